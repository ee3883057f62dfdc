//! Checks of a user's own adapter and driver: every kernel in every tiling against its formula in double
//! precision, columns whose digits are easily lost, trainings, and a lost device.
//!
//! The kernels' tests call the same functions. The module is compiled with the feature `check`, natively; it
//! is for programs like `ztilde check`, and an app that does not offer such checks leaves it out.

mod list;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wgpu::{Device, Queue};

pub use crate::gpu::Comparison;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Gpu, KernelCache};
use crate::plan::{DeviceClass, Tiling};
use list::{Cases, LIST};

/// A property of a kernel, of a training or of the device, which either holds on a device or does not.
///
/// ```
/// use ztilde::check::checks;
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// for check in checks(&device).iter().filter(|check| check.subject() == "column_sums") {
///     let outcome = check.run(&device, &queue);
///     let worst = outcome.worst().expect("it has compared something");
///     println!("{}: {} of the bound, at {}", check.property(), worst.of_bound(), worst.what);
///     assert!(outcome.passed(), "{:?}", outcome.failures());
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Check {
    subject: &'static str,
    property: &'static str,
    tiling: Option<Tiling>,
    class: DeviceClass,
    cases: Cases,
}

/// The result of a [`Check`].
///
/// See the example of [`Check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// All comparisons, in their order.
    pub comparisons: Vec<Comparison>,
    /// The error or the broken assumption that ended the check early.
    pub stopped: Option<String>,
}

/// All checks for a device, the kernels first. Which tilings there are depends on the device.
pub fn checks(device: &Device) -> Vec<Check> {
    let class = DeviceClass::from(device);
    let mut checks = Vec::new();
    for &(subject, property, cases) in LIST {
        let tilings = match cases {
            Cases::OfTiling(_) => Tiling::orders(class).concat().into_iter().map(Some).collect(),
            Cases::OfDevice(_) | Cases::OfClass(_) | Cases::Destructive(_) => vec![None],
        };
        let check = |tiling| Check { subject, property, tiling, class, cases };
        checks.extend(tilings.into_iter().map(check));
    }
    checks
}

/// What the checks are about: the kernels, `training` and `device`, in the order of [`checks`].
///
/// ```
/// assert!(ztilde::check::subjects().contains(&"layer_forward"));
/// ```
pub fn subjects() -> Vec<&'static str> {
    let mut subjects: Vec<_> = LIST.iter().map(|&(subject, ..)| subject).collect();
    // The checks of a subject follow each other.
    subjects.dedup();
    subjects
}

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a check. A panic then becomes the check's failure, and a program's panic hook need
/// not print it.
///
/// ```
/// assert!(!ztilde::check::is_running());
/// ```
pub fn is_running() -> bool {
    IS_RUNNING.get()
}

impl Check {
    /// The kernel, `training` or `device`.
    pub fn subject(&self) -> &'static str {
        self.subject
    }

    /// The property that has to hold.
    pub fn property(&self) -> &'static str {
        self.property
    }

    /// Rows and columns of the block that a workgroup computes, for kernels that have several of them.
    pub fn tiling(&self) -> Option<String> {
        self.tiling.map(|tiling| tiling.to_string())
    }

    /// Whether the check destroys the device. It needs one of its own then.
    pub fn is_destructive(&self) -> bool {
        matches!(self.cases, Cases::Destructive(_))
    }

    /// Runs the check, and waits for it. The device has to be one of the adapter and with the features that the
    /// check was made for ([`checks`]). A panic is a failure of the check.
    pub fn run(&self, device: &Device, queue: &Queue) -> Outcome {
        let mut gpu = TestGpu::recording(Gpu::new(device, queue));
        // Several cases have the same kernels: each is compiled once.
        let _kernels = KernelCache::new(device);
        IS_RUNNING.set(true);
        let ended = catch_unwind(AssertUnwindSafe(|| match (self.cases, self.tiling) {
            (Cases::OfDevice(run) | Cases::Destructive(run), _) => run(&mut gpu),
            (Cases::OfClass(run), _) => run(&mut gpu, self.class),
            (Cases::OfTiling(run), tiling) => {
                run(&mut gpu, (self.class, tiling.unwrap_or(Tiling::single(self.class))));
            }
        }));
        IS_RUNNING.set(false);
        let stopped = ended.err().map(|panic| message(panic.as_ref()));
        Outcome { comparisons: gpu.into_record(), stopped }
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    message.unwrap_or("a panic without a message").to_owned()
}

impl Outcome {
    /// Whether the property holds.
    pub fn passed(&self) -> bool {
        self.stopped.is_none() && self.comparisons.iter().all(|comparison| comparison.off == 0)
    }

    /// The comparison with the largest error, relative to its bound.
    pub fn worst(&self) -> Option<&Comparison> {
        self.comparisons.iter().max_by(|a, b| a.of_bound().total_cmp(&b.of_bound()))
    }

    /// What is wrong: the worst comparison first, and the reason for an early end last.
    pub fn failures(&self) -> Vec<String> {
        let mut off: Vec<_> = self.comparisons.iter().filter(|found| found.off > 0).collect();
        off.sort_by(|a, b| b.of_bound().total_cmp(&a.of_bound()));
        let off = off.into_iter().map(ToString::to_string);
        off.chain(self.stopped.iter().map(|why| format!("it stopped: {why}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::reference;

    fn check(run: fn(&mut TestGpu)) -> Outcome {
        let gpu = TestGpu::new().gpu;
        let cases = Cases::OfDevice(run);
        let check = Check { subject: "test", property: "", tiling: None, class: gpu.class, cases };
        let outcome = check.run(&gpu.device, &gpu.queue);
        assert!(!is_running());
        outcome
    }

    /// The biases of one column, and a twin that is wrong by 1 % in one value.
    fn add_biases(gpu: &mut TestGpu, error: f64) {
        use crate::kernels::add_biases::{AddBiases, Buffers};
        let [sums, biases] = [gpu.random([5, 3]), gpu.random([1, 3])];
        let on_gpu = gpu.upload(&sums);
        let buffers = Buffers { biases: &gpu.upload(&biases), sums: &on_gpu };
        let kernel = AddBiases::new(&gpu.gpu.device).unwrap();
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        let mut expected = reference::add_biases(&sums, &biases.row(0).to_owned());
        expected[[4, 1]] *= 1.0 + error;
        gpu.compare("5 × 3", &gpu.read(&on_gpu), &expected, 1e-6, 0.0);
        gpu.compare("5 × 3 again", &gpu.read(&on_gpu), &expected, 1.0, 0.0);
    }

    #[test]
    fn a_wrong_twin_is_a_failure_with_its_place_error_and_bound() {
        let outcome = check(|gpu| add_biases(gpu, 0.0));
        assert!(outcome.passed() && outcome.failures().is_empty(), "{outcome:?}");
        let outcome = check(|gpu| add_biases(gpu, 0.01));
        assert!(!outcome.passed());
        let worst = outcome.worst().unwrap();
        assert_eq!((worst.off, worst.index, worst.bound), (1, 13, 1e-6));
        assert_eq!(worst.error(), (worst.found - worst.expected).abs());
        // The check goes on after a value that is off.
        assert_eq!(outcome.comparisons.len(), 2);
        let failures = outcome.failures();
        assert_eq!(failures.len(), 1);
        assert!(failures[0].starts_with("5 × 3: 1 of 15 values are off"), "{failures:?}");
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message() {
        let outcome = check(|gpu| {
            gpu.compare("before", &[1.0], &[1.0], 0.0, 0.0);
            panic!("the driver answered {}", 42);
        });
        assert!(!outcome.passed() && outcome.comparisons.len() == 1, "{outcome:?}");
        assert_eq!(outcome.failures(), ["it stopped: the driver answered 42"]);
    }

    #[test]
    fn every_kernel_is_checked_against_its_formula() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let shaders: BTreeSet<String> = ["kernels", "fused"]
            .into_iter()
            .flat_map(|family| fs::read_dir(root.join(family)).unwrap())
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let checked = LIST.iter().filter(|(_, property, _)| *property == list::FORMULA);
        let checked: BTreeSet<String> = checked
            .map(|(name, ..)| (*name).to_owned())
            .filter(|name| name != "training")
            .collect();
        assert_eq!(shaders, checked, "shaders (left) and kernels that are checked (right)");
    }

    #[test]
    fn no_check_is_listed_twice_and_each_tiling_is_one() {
        let names: BTreeSet<_> =
            LIST.iter().map(|&(subject, property, _)| (subject, property)).collect();
        assert_eq!(names.len(), LIST.len());
        let subjects: BTreeSet<_> = subjects().into_iter().collect();
        assert_eq!(
            subjects.len(),
            self::subjects().len(),
            "the checks of a subject follow each other"
        );
        let gpu = TestGpu::with_subgroups().gpu;
        let of_forward = checks(&gpu.device).into_iter().filter(|check| {
            check.subject() == "layer_forward" && check.property() == list::FORMULA
        });
        let tilings: Vec<_> = of_forward.map(|check| check.tiling().expect("a tiling")).collect();
        let expected: Vec<_> =
            Tiling::orders(gpu.class).concat().iter().map(ToString::to_string).collect();
        assert_eq!(tilings, expected);
    }
}
