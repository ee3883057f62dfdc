//! Futures that wait for the GPU, in executors that do not poll it.

use std::sync::mpsc;
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Error;
use crate::gpu::testing::own_gpu;
use crate::gpu::{Gpu, block_on, block_on_for};

const SLOW: &str = "
    @group(0) @binding(0) var<storage, read_write> values: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var value = values[id.x];
        for (var round = 0u; round < 32000u; round++) {
            value = value * 1664525u + 1013904223u;
        }
        values[id.x] = value;
    }";

/// A GPU with work that takes as long as the test needs.
struct SlowGpu {
    gpu: Gpu,
    pipeline: wgpu::ComputePipeline,
    buffer: Buffer,
    bindings: wgpu::BindGroup,
}

impl SlowGpu {
    /// Uses a device of its own: other tests' submissions would wait for this work.
    fn new() -> Self {
        let gpu = own_gpu();
        let source = wgpu::ShaderSource::Wgsl(SLOW.into());
        let module = wgpu::ShaderModuleDescriptor { label: None, source };
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &gpu.device.create_shader_module(module),
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = gpu.buffer("slow", 64).unwrap();
        let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        Self { gpu, pipeline, buffer, bindings }
    }

    /// Submits the dispatches together with the copy that the read waits for: Mesa's software driver
    /// takes a submission only after the previous one is done.
    fn read(&self, dispatches: u32) -> impl Future<Output = Result<Vec<u32>>> + Send + use<> {
        let staging = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let submission = self.gpu.submit("slow", |encoder| {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bindings, &[]);
            for _ in 0..dispatches {
                pass.dispatch_workgroups(1, 1, 1);
            }
            drop(pass);
            encoder.copy_buffer_to_buffer(&self.buffer, 0, &staging, 0, 4);
        });
        Reading::new(&self.gpu, staging, &submission.unwrap()).values()
    }
}

/// The CPU time of the calling thread so far.
#[cfg(target_os = "linux")]
fn computed() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Wakes a task, and records the CPU time of the thread that wakes it.
#[cfg(target_os = "linux")]
struct Noting {
    waker: std::task::Waker,
    computed: Arc<Mutex<Duration>>,
}

#[cfg(target_os = "linux")]
impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        *self.computed.lock().unwrap() = computed();
        self.waker.wake_by_ref();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_future_sleeps_in_any_executor() {
    let slow = SlowGpu::new();
    let mut dispatches = 64;
    loop {
        let mut reading = Box::pin(slow.read(dispatches));
        let waking = Arc::new(Mutex::new(Duration::ZERO));
        let (start, before) = (Instant::now(), computed());
        let values = pollster::block_on(std::future::poll_fn(|context| {
            let noting = Noting { waker: context.waker().clone(), computed: Arc::clone(&waking) };
            reading.as_mut().poll(&mut Context::from_waker(&Arc::new(noting).into()))
        }));
        let (waited, own) = (start.elapsed(), computed() - before);
        assert_eq!(values.unwrap().len(), 1);
        let waking = *waking.lock().unwrap();
        if waited > Duration::from_secs(1) {
            assert!(own + waking < waited / 10, "of {waited:?}: {own:?}, and {waking:?} to wake");
            return;
        }
        dispatches *= 2;
    }
}

/// From several threads, on two devices at once. Half of the futures are dropped while others wait.
#[test]
fn all_futures_are_woken() {
    const THREADS: usize = 8;
    let gpus = [(); 2].map(|()| Arc::new(SlowGpu::new()));
    let (sender, woken) = mpsc::channel();
    for number in 0..THREADS {
        let (slow, sender) = (Arc::clone(&gpus[number % 2]), sender.clone());
        thread::spawn(move || {
            for round in 0..20 {
                let dropped = slow.read(1);
                let awaited = [slow.read(4), slow.read(1)];
                drop(dropped);
                for reading in awaited {
                    assert_eq!(pollster::block_on(reading).unwrap().len(), 1);
                }
                sender.send((number, round)).unwrap();
            }
        });
    }
    drop(sender);
    for count in 0..20 * THREADS {
        let answer = woken.recv_timeout(Duration::from_secs(60));
        assert!(answer.is_ok(), "after {count} rounds a future was not woken: {answer:?}");
    }
}

/// Whether the condition becomes true within a minute, enough even for a busy machine.
fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if is_so() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

fn has_thread(watch: &Watch) -> bool {
    lock(&watch.waiting).thread.is_some()
}

#[test]
fn there_is_a_thread_only_while_a_future_sleeps_elsewhere() {
    let slow = SlowGpu::new();
    let watch = &slow.gpu.watch;
    block_on(&slow.gpu.device, slow.read(64)).unwrap();
    assert!(!has_thread(watch), "block_on has had a thread made");
    let limit = Duration::from_secs(60);
    block_on_for(&slow.gpu.device, limit, slow.read(64)).unwrap();
    assert!(!has_thread(watch), "block_on_for has had a thread made");
    let had_thread = (0..100).any(|_| {
        pollster::block_on(slow.read(64)).unwrap();
        has_thread(watch)
    });
    assert!(had_thread, "no thread wakes pollster's");
    assert!(soon(|| !has_thread(watch)), "the thread does not end");
    // The next thread is started.
    pollster::block_on(slow.read(64)).unwrap();
}

/// A waker that does nothing, but is not `Waker::noop`.
struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_dropped_future_leaves_nothing_behind() {
    let slow = SlowGpu::new();
    let lost = Arc::new(());
    let held = Arc::downgrade(&lost);
    slow.gpu.device.set_device_lost_callback(move |_, _| assert_eq!(*lost, ()));
    let watch = Arc::downgrade(&slow.gpu.watch);
    let silent = Arc::new(Silent);
    let waker = Arc::clone(&silent).into();
    let had_thread = (0..100).any(|_| {
        let mut reading = Box::pin(slow.read(64));
        let _ = reading.as_mut().poll(&mut Context::from_waker(&waker));
        has_thread(&slow.gpu.watch)
    });
    assert!(had_thread, "no thread looks for the future");
    drop((slow, waker));
    assert!(soon(|| watch.upgrade().is_none() && held.upgrade().is_none()), "the device lives on");
    assert_eq!(Arc::strong_count(&silent), 1, "the waker is kept");
}

/// wgpu would panic if the driver had lost the device.
#[test]
fn a_device_that_is_known_to_be_lost_is_asked_nothing() {
    let slow = SlowGpu::new();
    slow.gpu.watch.lose("the first message".to_owned());
    slow.gpu.watch.lose("another message".to_owned());
    for error in [
        pollster::block_on(slow.read(1)).unwrap_err(),
        block_on(&slow.gpu.device, slow.read(1)).unwrap_err(),
        block_on_for(&slow.gpu.device, Duration::MAX, slow.read(1)).unwrap_err(),
        slow.gpu.watch.look().unwrap_err(),
    ] {
        assert!(matches!(&error, Error::DeviceLost(why) if why == "the first message"), "{error}");
    }
}

/// All networks of a device share its state; networks of other devices do not.
#[test]
fn a_device_is_watched_once() {
    let slow = [(); 2].map(|()| SlowGpu::new());
    let Gpu { device, queue, watch, .. } = &slow[0].gpu;
    assert!(Arc::ptr_eq(watch, &Gpu::new(device, queue).watch));
    assert!(!Arc::ptr_eq(watch, &slow[1].gpu.watch));
}
