//! Kernels that are compiled side by side, in as many threads as the machine runs at once.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
#[cfg(not(target_arch = "wasm32"))]
use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

#[cfg(not(target_arch = "wasm32"))]
use super::class::compiles_in_threads;
use super::pipelines::SharedPipeline;
#[cfg(not(target_arch = "wasm32"))]
use super::shared::OfDevice;
use crate::error::Result;

type List = Vec<Arc<SharedPipeline>>;

thread_local! {
    /// The pipelines to compile when this thread's call of [`side_by_side`] has made its kernels.
    static LIST: RefCell<Option<List>> = const { RefCell::new(None) };
}

/// Makes kernels of one device, and compiles them when all are made. A call inside another one leaves its
/// kernels to the outer call.
///
/// The error is that of the first kernel, in the order in which they were made, that does not compile.
pub(crate) fn side_by_side<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    if LIST.with_borrow(Option::is_some) {
        return make();
    }
    let listing = Listing::begin();
    let made = make()?;
    compile_all(&listing.end())?;
    Ok(made)
}

/// Compiles a pipeline: now, or at the end of [`side_by_side`].
pub(super) fn compile_or_list(pipeline: &Arc<SharedPipeline>) -> Result<()> {
    let is_listed = LIST.with_borrow_mut(|list| {
        let Some(list) = list else { return false };
        if !list.iter().any(|listed| Arc::ptr_eq(listed, pipeline)) {
            list.push(Arc::clone(pipeline));
        }
        true
    });
    if is_listed { Ok(()) } else { pipeline.compile().map(drop) }
}

/// While it lives, this thread lists pipelines.
struct Listing;

impl Listing {
    fn begin() -> Self {
        LIST.set(Some(List::new()));
        Self
    }

    fn end(self) -> List {
        LIST.with_borrow_mut(|list| list.as_mut().map(mem::take)).unwrap_or_default()
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        LIST.set(None);
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn compile_all(list: &[Arc<SharedPipeline>]) -> Result<()> {
    let Some(first) = list.first() else { return Ok(()) };
    let threads = if compiles_in_threads(first.device()) {
        let left = list.iter().filter(|pipeline| !pipeline.is_compiled()).count();
        thread::available_parallelism().map_or(1, NonZero::get).min(left)
    } else {
        1
    };
    for_all(list, threads, |pipeline| pipeline.compile().map(drop))
}

/// A browser's device stays in its thread.
#[cfg(target_arch = "wasm32")]
fn compile_all(list: &[Arc<SharedPipeline>]) -> Result<()> {
    list.iter().try_for_each(|pipeline| pipeline.compile().map(drop))
}

/// Calls `job` for each item, in this thread and up to `threads - 1` others. After an error no call begins.
///
/// The error is that of the first item, in their order, that fails. A panic goes on in this thread.
#[cfg(not(target_arch = "wasm32"))]
fn for_all<T: Sync>(
    items: &[T],
    threads: usize,
    job: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    // Calls begin in order: when an item fails, those of all items before it have begun, and will end.
    let work = || {
        loop {
            let place = next.fetch_add(1, Relaxed);
            let error = job(items.get(place)?).err();
            if let Some(error) = error {
                next.store(items.len(), Relaxed);
                return Some((place, error));
            }
        }
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let start = |_| {
            let thread = thread::Builder::new().name("ztilde/compiler".to_owned());
            // If the system starts no thread, the others take its items.
            thread.spawn_scoped(scope, work).ok()
        };
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let own = work();
        let of_others = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        of_others.chain([own]).flatten().collect()
    });
    let first = failures.into_iter().min_by_key(|(place, _)| *place);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Barrier, Mutex, mpsc};

    use wgpu::Device;

    use super::super::compile::Source;
    use super::super::shared::lock;
    use super::super::test_device;
    use super::*;
    use crate::error::Error;

    /// A device for one test, whose pipelines it counts.
    fn device() -> Device {
        let adapter = test_device::adapter();
        pollster::block_on(adapter.request_device(&Default::default())).expect("a device").0
    }

    fn compiled(device: &Device) -> isize {
        device.get_internal_counters().hal.compute_pipelines.read()
    }

    fn source(number: u32, text: &str) -> Source {
        Source {
            label: format!("ztilde/number {number}"),
            entry_point: "main".to_owned(),
            constants: Vec::new(),
            is_trusted: false,
            text: text.to_owned(),
        }
    }

    fn valid(number: u32) -> Source {
        let outputs = "@group(0) @binding(0) var<storage, read_write> outputs: array<u32>;";
        let main = format!("@compute @workgroup_size(1) fn main() {{ outputs[0] = {number}; }}");
        source(number, &format!("{outputs} {main}"))
    }

    /// What a kernel does when it is made.
    fn make(device: &Device, source: Source) -> Result<Arc<SharedPipeline>> {
        let pipeline = SharedPipeline::find_or_insert(device, source);
        compile_or_list(&pipeline)?;
        Ok(pipeline)
    }

    #[test]
    fn kernels_are_compiled_when_all_are_made() {
        let device = device();
        let before = compiled(&device);
        let kernels = side_by_side(|| {
            let outer = make(&device, valid(0))?;
            let inner = side_by_side(|| make(&device, valid(1)))?;
            let same = make(&device, valid(0))?;
            assert_eq!(compiled(&device), before, "compiled before all were made");
            Ok([outer, inner, same])
        })
        .expect("they compile");
        assert!(kernels.iter().all(|kernel| kernel.is_compiled()));
        assert_eq!(compiled(&device) - before, 2, "pipelines of two sources");
        let _alone = make(&device, valid(2)).expect("it compiles");
        assert_eq!(compiled(&device) - before, 3, "one more, which is compiled at once");
    }

    /// After a call that fails or panics, kernels are again compiled at once.
    #[test]
    fn a_list_ends_with_its_call() {
        let device = device();
        let error = side_by_side(|| {
            make(&device, valid(0))?;
            Err::<(), _>(Error::Wgpu("not made".to_owned()))
        });
        assert!(matches!(error, Err(Error::Wgpu(message)) if message == "not made"));
        let panic = || side_by_side(|| -> Result<()> { panic!("of the maker") });
        catch_unwind(panic).expect_err("it panics");
        let kernel = make(&device, valid(1)).expect("it compiles");
        assert!(kernel.is_compiled());
    }

    #[test]
    fn the_error_is_that_of_the_first_kernel_that_does_not_compile() {
        let device = device();
        let error = side_by_side(|| {
            let kernels = [valid(0), source(1, "no shader"), valid(2), source(3, "no shader")];
            kernels.map(|source| make(&device, source)).into_iter().collect::<Result<Vec<_>>>()
        });
        let error = error.expect_err("it compiles").to_string();
        assert!(error.contains("ztilde/number 1"), "{error}");
    }

    /// Also if a later item fails earlier. No call begins after that.
    #[test]
    fn the_first_error_in_order_is_returned() {
        for threads in [1, 2] {
            let (fail, failed) = mpsc::channel();
            let failed = Mutex::new(failed);
            let called = Mutex::new(Vec::new());
            let job = |&item: &usize| {
                lock(&called).push(item);
                match item {
                    0 => return Ok(()),
                    1 if threads > 1 => lock(&failed).recv().expect("item 2 fails"),
                    _ => fail.send(()).expect("the test listens"),
                }
                Err(Error::Wgpu(item.to_string()))
            };
            let error = for_all(&[0, 1, 2, 3, 4], threads, job).expect_err("two items fail");
            assert!(matches!(&error, Error::Wgpu(item) if item == "1"), "{threads}: {error}");
            let mut called = lock(&called).clone();
            called.sort_unstable();
            assert_eq!(called, [0, 1, 2][..=threads], "{threads} threads");
        }
    }

    #[test]
    fn a_panic_of_a_thread_goes_on_in_the_caller() {
        let caller = thread::current().id();
        let both = Barrier::new(2);
        let job = |_: &u32| {
            both.wait();
            assert_eq!(thread::current().id(), caller, "another thread");
            Ok(())
        };
        let panic = catch_unwind(AssertUnwindSafe(|| for_all(&[0, 1], 2, job)));
        let panic = panic.expect_err("it panics");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains("another thread"), "{message}");
    }

    /// Two in the same order, one in the other. Each returns when all are compiled, by any thread.
    #[test]
    fn threads_compile_the_same_kernels_at_once() {
        const KERNELS: u32 = 6;
        let device = device();
        let before = compiled(&device);
        let start = Barrier::new(3);
        let compile = |is_reversed: bool| {
            start.wait();
            let number = |place| if is_reversed { KERNELS - 1 - place } else { place };
            let sources = (0..KERNELS).map(|place| valid(number(place)));
            let make = || sources.map(|source| make(&device, source)).collect::<Result<Vec<_>>>();
            let kernels = side_by_side(make).expect("they compile");
            (kernels, compiled(&device) - before)
        };
        let of_threads = thread::scope(|scope| {
            let start = |is_reversed| scope.spawn(move || compile(is_reversed));
            [false, false, true].map(start).map(|thread| thread.join().expect("no panic"))
        });
        for (kernels, compiled) in of_threads {
            assert!(kernels.iter().all(|kernel| kernel.is_compiled()));
            assert_eq!(compiled, KERNELS as isize, "pipelines when a thread had its kernels");
        }
    }
}
