//! A pipeline is compiled once for a device: whoever asks for the same one again shares it.
//!
//! It lives as long as somebody has it. Nothing here keeps a pipeline or a device alive.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wgpu::{BufferDescriptor, BufferUsages, ComputePipeline, Device};

use super::guarded;
use crate::error::{Error, Result};

/// What a pipeline is compiled from. The same on the same device makes the same pipeline.
#[derive(Debug, PartialEq)]
pub(super) struct Source {
    pub(super) label: String,
    pub(super) entry_point: String,
    /// The overrides, each with the bits of its value: 0 and −0 are two.
    pub(super) constants: Vec<(String, u64)>,
    /// Whether the shader is compiled without the compiler's checks.
    pub(super) is_trusted: bool,
    pub(super) text: String,
}

/// A pipeline that others find as long as somebody has this.
#[derive(Debug)]
pub(super) struct SharedPipeline {
    device: Device,
    source: Source,
    /// Whoever compiles it holds the lock, so that all who want the same wait, and nobody else.
    pipeline: Mutex<Option<ComputePipeline>>,
}

impl SharedPipeline {
    /// The one that somebody has, or a new one.
    pub(super) fn find_or_insert(device: &Device, source: Source) -> Arc<Self> {
        let hash = hash(device);
        // Declared first, so dropped last: what the last handle of another device takes with it may
        // come back for the lock.
        let candidates: Vec<Arc<Self>>;
        let mut listed = lock(pipelines());
        listed.retain(|listed| listed.pipeline.strong_count() > 0);
        candidates = listed
            .iter()
            .filter(|listed| listed.device_hash == hash)
            .filter_map(|listed| listed.pipeline.upgrade())
            .collect();
        let is_wanted =
            |found: &&Arc<Self>| found.source == source && is_same_device(&found.device, device);
        if let Some(found) = candidates.iter().find(is_wanted) {
            return Arc::clone(found);
        }
        let pipeline = Mutex::new(None);
        #[cfg_attr(
            target_arch = "wasm32",
            allow(
                clippy::arc_with_non_send_sync,
                reason = "a browser's device stays in its thread"
            )
        )]
        let new = Arc::new(Self { device: device.clone(), source, pipeline });
        listed.push(Listed { device_hash: hash, pipeline: Arc::downgrade(&new) });
        new
    }

    /// The pipeline, which `compile` makes if nobody has yet.
    pub(super) fn get_or_compile(
        &self,
        compile: impl FnOnce() -> Result<ComputePipeline>,
    ) -> Result<ComputePipeline> {
        let mut pipeline = lock(&self.pipeline);
        let compiled = match pipeline.take() {
            Some(compiled) => compiled,
            None => compile()?,
        };
        Ok(pipeline.insert(compiled).clone())
    }
}

/// Where a pipeline is found while it lives.
struct Listed {
    /// So that other devices' pipelines are left alone.
    device_hash: u64,
    pipeline: Weak<SharedPipeline>,
}

type Pipelines = Mutex<Vec<Listed>>;

/// Those of all devices.
#[cfg(not(target_arch = "wasm32"))]
fn pipelines() -> &'static Pipelines {
    static PIPELINES: Pipelines = Mutex::new(Vec::new());
    &PIPELINES
}

/// Those of all devices of this thread, which a browser's device never leaves.
#[cfg(target_arch = "wasm32")]
fn pipelines() -> &'static Pipelines {
    thread_local! {
        static PIPELINES: &'static Pipelines = Box::leak(Box::default());
    }
    PIPELINES.with(|pipelines| *pipelines)
}

fn hash(device: &Device) -> u64 {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    hasher.finish()
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether two handles are of the same device.
///
/// wgpu 30 compares devices by a number that every `Instance` counts anew, so that devices of two
/// instances may look equal (gfx-rs/wgpu#8461). An error, though, is told to its own device's scope only.
fn is_same_device(one: &Device, other: &Device) -> bool {
    // A browser's devices have numbers of their own, and it tells errors too late.
    one == other && (cfg!(target_arch = "wasm32") || shares_error_scopes(one, other))
}

fn shares_error_scopes(one: &Device, other: &Device) -> bool {
    let refused = || {
        other.create_buffer(&BufferDescriptor {
            label: Some("ztilde/a buffer without usage, to be refused"),
            size: 4,
            usage: BufferUsages::empty(),
            mapped_at_creation: false,
        })
    };
    // If they are two, the outer scope keeps the error from the other one's handler.
    let told = guarded(other, || guarded(one, refused));
    matches!(told, Ok(Err(Error::Refused(_))))
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, OnceLock};
    use std::thread;

    use wgpu::{Adapter, DeviceDescriptor, Queue};

    use super::*;
    use crate::gpu::test_device;
    use crate::network::Network;
    use crate::options::{Activation, NetworkOptions, Optimizer, TrainerOptions};
    use crate::trainer::Trainer;

    const TEXT: &str = "override VALUE: f32; override OTHER: f32 = 1.0;
        @group(0) @binding(0) var<storage, read_write> outputs: array<f32>;
        @compute @workgroup_size(1) fn main() { outputs[0] = VALUE * OTHER; }
        @compute @workgroup_size(1) fn other() { outputs[0] = VALUE + OTHER; }";

    /// Each one of this instance has a number of its own. Other tests' devices have the first number,
    /// as has the one that is kept here, so that they leave these alone.
    fn device() -> (Device, Queue) {
        static FIRST: OnceLock<(Adapter, Device)> = OnceLock::new();
        let (adapter, _) = FIRST.get_or_init(|| {
            let adapter = test_device::adapter();
            let (device, _) = request(&adapter);
            (adapter, device)
        });
        request(adapter)
    }

    fn request(adapter: &Adapter) -> (Device, Queue) {
        let descriptor = DeviceDescriptor::default();
        pollster::block_on(adapter.request_device(&descriptor)).expect("a device")
    }

    fn source() -> Source {
        Source {
            label: "ztilde/test".to_owned(),
            entry_point: "main".to_owned(),
            constants: vec![("VALUE".to_owned(), 0.0_f64.to_bits())],
            is_trusted: false,
            text: TEXT.to_owned(),
        }
    }

    fn living(device: &Device) -> usize {
        let listed = lock(pipelines());
        listed
            .iter()
            .filter(|listed| listed.device_hash == hash(device))
            .filter_map(|listed| listed.pipeline.upgrade())
            .filter(|living| is_same_device(&living.device, device))
            .count()
    }

    fn trainer(device: &Device, queue: &Queue, rate: f64, epsilon: f32) -> Trainer {
        let options =
            NetworkOptions { activation: Activation::Relu, epsilon, ..Default::default() };
        let network = Network::new(device, queue, &[6, 8, 4], options).expect("a network");
        let optimizer = Optimizer::adam(rate);
        let options = TrainerOptions { batch_size: 16, optimizer, ..Default::default() };
        Trainer::new(network, options).expect("a trainer")
    }

    #[test]
    fn only_the_same_source_is_shared() {
        let (device, _) = device();
        let value = |name: &str, value: f64| vec![(name.to_owned(), value.to_bits())];
        let sources = [
            source(),
            Source { label: "ztilde/other".to_owned(), ..source() },
            Source { entry_point: "other".to_owned(), ..source() },
            Source { constants: value("VALUE", 1.0), ..source() },
            Source { constants: value("VALUE", -0.0), ..source() },
            Source { constants: value("OTHER", 0.0), ..source() },
            Source { is_trusted: true, ..source() },
            Source { text: format!("{TEXT} "), ..source() },
        ];
        let count = sources.len();
        let kept = sources.map(|source| SharedPipeline::find_or_insert(&device, source));
        assert_eq!(living(&device), count, "pipelines of {count} sources");
        let again = SharedPipeline::find_or_insert(&device, source());
        assert!(Arc::ptr_eq(&kept[0], &again));
    }

    /// Also of all threads that want it at once, and not if the first attempt fails.
    #[test]
    fn one_compiles_for_all() {
        const THREADS: usize = 4;
        let (device, _) = device();
        let shared = SharedPipeline::find_or_insert(&device, source());
        let refused = || Err(Error::Refused("not now".to_owned()));
        shared.get_or_compile(refused).expect_err("it was not compiled");

        let compiled = Mutex::new(0);
        let compile = || {
            *lock(&compiled) += 1;
            let shader = wgpu::ShaderSource::Wgsl(TEXT.into());
            let module = wgpu::ShaderModuleDescriptor { label: None, source: shader };
            Ok(device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &device.create_shader_module(module),
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[("VALUE", 0.0)],
                    ..Default::default()
                },
                cache: None,
            }))
        };
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let found = SharedPipeline::find_or_insert(&device, source());
                    assert!(Arc::ptr_eq(&found, &shared));
                    found.get_or_compile(compile).expect("it compiles");
                });
            }
        });
        assert_eq!(*lock(&compiled), 1, "compilations for {THREADS} threads");
    }

    /// The first devices of two instances look equal to wgpu, and their handlers would panic at an error.
    #[test]
    fn devices_share_nothing() {
        let first = || request(&test_device::adapter());
        let devices = [first(), first(), device(), device()].map(|(device, _)| device);
        let kept =
            devices.each_ref().map(|device| SharedPipeline::find_or_insert(device, source()));
        assert_eq!(devices.each_ref().map(living), [1; 4]);
        let again = SharedPipeline::find_or_insert(&devices[0].clone(), source());
        assert!(Arc::ptr_eq(&kept[0], &again));
    }

    #[test]
    fn networks_share_what_they_have_in_common() {
        let (device, queue) = device();
        let first = trainer(&device, &queue, 0.1, 1e-5);
        let count = living(&device);
        assert!(count > 0, "a trainer has no pipelines");
        let second = trainer(&device, &queue, 0.01, 1e-5);
        assert_eq!(living(&device), count, "pipelines of two trainers, as of one");
        let third = trainer(&device, &queue, 0.1, 1e-3);
        let with_third = living(&device);
        assert!((count + 1..2 * count).contains(&with_third), "{with_third} for 2, {count} for 1");
        drop((first, third));
        assert_eq!(living(&device), count, "pipelines of the second alone");
        drop(second);
        assert_eq!(living(&device), 0, "pipelines of nobody");
    }

    #[test]
    fn nothing_outlives_its_users() {
        let (device, queue) = device();
        let apps = Arc::new(());
        let held = Arc::downgrade(&apps);
        device.set_device_lost_callback(move |_, _| assert_eq!(*apps, ()));
        let trainer = trainer(&device, &queue, 0.1, 1e-5);
        let shared = SharedPipeline::find_or_insert(&device, source());
        let entry = Arc::downgrade(&shared);
        drop((trainer, shared, device, queue));
        assert!(held.upgrade().is_none(), "the device is still alive");

        let (device, _) = self::device();
        let _next = SharedPipeline::find_or_insert(&device, source());
        let is_listed = lock(pipelines()).iter().any(|listed| listed.pipeline.ptr_eq(&entry));
        assert!(!is_listed, "a dead pipeline is still listed");
    }
}
