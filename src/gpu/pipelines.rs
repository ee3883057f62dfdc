//! Pipelines, each compiled once for a device, and shared.
//!
//! A pipeline lives as long as something uses it, or as long as the app holds a [`KernelCache`] of its
//! device. Nothing else here keeps a pipeline or a device alive.

use std::sync::{Arc, Mutex};

use wgpu::{ComputePipeline, Device};

use super::compile::Source;
use super::shared::{OfDevice, Registry, lock};
use crate::error::Result;

/// A pipeline that the registry finds while a handle to this entry lives.
#[derive(Debug)]
pub(super) struct SharedPipeline {
    device: Device,
    source: Source,
    /// Locked during the compilation: threads that need the same pipeline wait, and no others.
    pipeline: Mutex<Option<ComputePipeline>>,
}

impl SharedPipeline {
    /// The living pipeline of this source, or a new one.
    pub(super) fn find_or_insert(device: &Device, source: Source) -> Arc<Self> {
        let new =
            || Self { device: device.clone(), source: source.clone(), pipeline: Mutex::default() };
        pipelines().find_or_insert(device, |found| found.source == source, new)
    }

    /// Compiles the pipeline if it is not compiled yet. The device's caches keep it.
    pub(super) fn compile(self: &Arc<Self>) -> Result<ComputePipeline> {
        self.get_or_compile(|| self.source.compile(&self.device))
    }

    /// The pipeline, compiled now if it is not compiled yet.
    pub(super) fn pipeline(self: &Arc<Self>) -> Result<ComputePipeline> {
        let compiled = lock(&self.pipeline).clone();
        compiled.map_or_else(|| self.compile(), Ok)
    }

    /// Whether it is compiled. Does not wait for a thread that is compiling it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn is_compiled(&self) -> bool {
        self.pipeline.try_lock().is_ok_and(|pipeline| pipeline.is_some())
    }

    /// The pipeline; calls `compile` if there is none yet.
    fn get_or_compile(
        self: &Arc<Self>,
        compile: impl FnOnce() -> Result<ComputePipeline>,
    ) -> Result<ComputePipeline> {
        let mut pipeline = lock(&self.pipeline);
        let compiled = match pipeline.take() {
            Some(compiled) => compiled,
            None => compile()?,
        };
        let compiled = pipeline.insert(compiled).clone();
        drop(pipeline);
        caches().of_device(&self.device).iter().for_each(|cache| cache.keep(self));
        Ok(compiled)
    }
}

/// Keeps the kernels that are compiled for a device, so that later networks, trainers and inferences need
/// not compile them again.
///
/// Without a cache, which is the default, a kernel is shared by all users that are alive at the same
/// time, and freed with the last one. An app that makes and drops one network after another should hold
/// a cache. Kernels depend on the options, and only roughly on the sizes of a network: different
/// architectures often share kernels.
///
/// The cache also keeps the device alive. It starts with the kernels that are alive when it is made.
///
/// ```
/// use ztilde::{KernelCache, Network};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let _kernels = KernelCache::new(&device);
/// for width in [16, 32, 64] {
///     let network = Network::new(&device, &queue, &[8, width, width, 2], Default::default())?;
///     // Train and test it; the next one compiles only what is new.
/// }
/// # Ok::<(), ztilde::Error>(())
/// ```
///
/// # Before the first frame
///
/// [`Network::new`](crate::Network::new) compiles the kernels of inference, and
/// [`Trainer::new`](crate::Trainer::new) those of training: natively in as many threads as the machine runs
/// at once, and on OpenGL and in a browser one after the other. Neither they nor an
/// [`Inference`](crate::Inference) compile later. Natively an app can make both in a thread of its own, and show
/// frames meanwhile:
///
/// ```
/// use ztilde::{Network, Trainer, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let making = std::thread::spawn({
///     let (device, queue) = (device.clone(), queue.clone());
///     move || {
///         let network = Network::new(&device, &queue, &[2, 32, 32, 3], Default::default())?;
///         Trainer::new(network, Default::default())
///     }
/// });
/// let mut frames = 0;
/// while !making.is_finished() {
///     frames += 1; // Show a frame, without the network.
///     # std::thread::yield_now();
/// }
/// let mut trainer = making.join().expect("no panic")?;
/// trainer.step(&[0.5; 64 * 2], &[1_u32; 64])?;
/// assert!(block_on(&device, trainer.loss())? > 0.0);
/// # Ok::<(), ztilde::Error>(())
/// ```
///
/// Some drivers, such as Mesa's software driver, translate a kernel to the processor's code only when it
/// first runs.
#[derive(Debug)]
pub struct KernelCache {
    cached: Arc<Cached>,
}

#[derive(Debug)]
struct Cached {
    device: Device,
    pipelines: Mutex<Vec<Arc<SharedPipeline>>>,
}

impl KernelCache {
    /// A cache of the kernels of this device.
    pub fn new(device: &Device) -> Self {
        let cached = Cached { device: device.clone(), pipelines: Mutex::default() };
        let cached = caches().insert(device, cached);
        pipelines().of_device(device).iter().for_each(|pipeline| cached.keep(pipeline));
        Self { cached }
    }

    /// The number of kernels in the cache.
    pub fn len(&self) -> usize {
        lock(&self.cached.pipelines).len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all kernels from the cache. Kernels in use stay alive, as they would without a cache.
    pub fn clear(&self) {
        // Dropped after the lock is released: the last handle of a pipeline may drop further objects.
        let _pipelines = std::mem::take(&mut *lock(&self.cached.pipelines));
    }
}

impl Cached {
    fn keep(&self, pipeline: &Arc<SharedPipeline>) {
        let mut pipelines = lock(&self.pipelines);
        if !pipelines.iter().any(|kept| Arc::ptr_eq(kept, pipeline)) {
            pipelines.push(Arc::clone(pipeline));
        }
    }
}

impl OfDevice for Cached {
    fn device(&self) -> &Device {
        &self.device
    }
}

/// The pipelines and the caches of all devices.
struct Registries {
    pipelines: Registry<SharedPipeline>,
    caches: Registry<Cached>,
}

impl Registries {
    const fn new() -> Self {
        Self { pipelines: Registry::new(), caches: Registry::new() }
    }
}

fn pipelines() -> &'static Registry<SharedPipeline> {
    &registries().pipelines
}

fn caches() -> &'static Registry<Cached> {
    &registries().caches
}

#[cfg(not(target_arch = "wasm32"))]
fn registries() -> &'static Registries {
    static REGISTRIES: Registries = Registries::new();
    &REGISTRIES
}

/// One registry per thread: a browser's device never leaves its thread.
#[cfg(target_arch = "wasm32")]
fn registries() -> &'static Registries {
    thread_local! {
        static REGISTRIES: &'static Registries = Box::leak(Box::new(Registries::new()));
    }
    REGISTRIES.with(|registries| *registries)
}

impl OfDevice for SharedPipeline {
    fn device(&self) -> &Device {
        &self.device
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, OnceLock};
    use std::thread;

    use wgpu::{Adapter, DeviceDescriptor, Queue};

    use super::*;
    use crate::error::Error;
    use crate::gpu::test_device;
    use crate::network::Network;
    use crate::options::{Activation, NetworkOptions, Optimizer, TrainerOptions};
    use crate::trainer::Trainer;

    const TEXT: &str = "override VALUE: f32; override OTHER: f32 = 1.0;
        @group(0) @binding(0) var<storage, read_write> outputs: array<f32>;
        @compute @workgroup_size(1) fn main() { outputs[0] = VALUE * OTHER; }
        @compute @workgroup_size(1) fn other() { outputs[0] = VALUE + OTHER; }";

    /// A device whose number in wgpu is unique among the tests. The other tests' devices have the first
    /// number of their instance, as has the device that is kept here.
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
        pipelines().count(device)
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

    /// Only one of several threads compiles, and a failed attempt is repeated.
    #[test]
    fn one_compiles_for_all() {
        const THREADS: usize = 4;
        let (device, _) = device();
        let shared = SharedPipeline::find_or_insert(&device, source());
        let refused = || Err(Error::Wgpu("not now".to_owned()));
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

    /// wgpu considers the first devices of two instances equal. Their handlers would panic at an error.
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
        assert_eq!(living(&device), 0, "pipelines without users");
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
        assert!(!pipelines().lists(&entry), "a dead pipeline is still listed");
    }

    /// The cache keeps living kernels and later ones, until it is dropped or cleared.
    #[test]
    fn a_cache_keeps_what_was_compiled() {
        let (device, queue) = device();
        let living = |device: &Device| pipelines().count(device);
        let first = trainer(&device, &queue, 0.1, 1e-5);
        let count = living(&device);
        let cache = KernelCache::new(&device);
        drop(first);
        assert_eq!([cache.len(), living(&device)], [count; 2], "kernels of a dropped trainer");
        drop(trainer(&device, &queue, 0.1, 1e-5));
        assert_eq!(living(&device), count, "kernels of the same trainer made once more");
        let (other, other_queue) = self::device();
        drop(trainer(&other, &other_queue, 0.1, 1e-5));
        assert_eq!(living(&other), 0, "kernels of a device without a cache");
        cache.clear();
        assert!(cache.is_empty() && living(&device) == 0, "kernels of a cache that was cleared");
        drop(trainer(&device, &queue, 0.1, 1e-5));
        assert_eq!(cache.len(), count);
        drop(cache);
        assert_eq!(living(&device), 0, "kernels of a cache that was dropped");
    }
}
