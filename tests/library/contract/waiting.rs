//! Only documented calls wait for the GPU, and no future blocks while it is polled.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::thread;

use wgpu::{BindGroup, BufferUsages, ComputePassDescriptor, ComputePipeline, PollType};
use ztilde::{Inference, Network, NetworkOptions, Trainer, block_on};

use super::app::{App, BATCH_SIZE, SIZES, classes, dataset, inputs, options};
use crate::fixtures::journal;

/// An app that can keep its GPU busy.
struct BusyApp {
    app: App,
    pipeline: ComputePipeline,
    bindings: BindGroup,
    /// Whether the driver takes a submission only when the previous one is done, as Mesa's software
    /// driver does. There, no call that submits can return sooner, so the test only checks that the call
    /// does not request a wait.
    is_patient: bool,
}

const LONG: &str = "
    @group(0) @binding(0) var<storage, read_write> values: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var value = values[id.x];
        for (var round = 0u; round < 32000u; round++) {
            value = value * 1664525u + 1013904223u;
        }
        values[id.x] = value;
    }";

/// The number of dispatches for the GPU: the next number if the GPU was done too soon.
const WORK: [u32; 4] = [32, 128, 512, 2048];

impl BusyApp {
    fn new() -> Self {
        let app = App::new();
        let source = wgpu::ShaderSource::Wgsl(LONG.into());
        let shader = wgpu::ShaderModuleDescriptor { label: None, source };
        let pipeline = app.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &app.device.create_shader_module(shader),
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = app.buffer(4 * 64, BufferUsages::STORAGE);
        let bindings = app.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut busy = Self { app, pipeline, bindings, is_patient: true };
        static IS_PATIENT: OnceLock<bool> = OnceLock::new();
        busy.is_patient = *IS_PATIENT.get_or_init(|| {
            !busy.returns_at_once(|| {
                busy.app.queue.submit([]);
            })
        });
        busy
    }

    /// Gives the GPU work. Returns a flag that is set once the work is done and the device was polled.
    fn work(&self, dispatches: u32) -> Arc<AtomicBool> {
        let mut encoder = self.app.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        for _ in 0..dispatches {
            pass.dispatch_workgroups(1, 1, 1);
        }
        drop(pass);
        self.app.queue.submit([encoder.finish()]);
        let is_done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_done);
        self.app.queue.on_submitted_work_done(move || flag.store(true, Ordering::Release));
        is_done
    }

    /// Whether the work is done, or will be within a moment: a driver reports it a little late.
    fn is_done(&self, work: &AtomicBool) -> bool {
        (0..300).any(|_| {
            self.app.device.poll(PollType::Poll).unwrap();
            thread::yield_now();
            work.load(Ordering::Acquire)
        })
    }

    /// Whether the call returns while the GPU is still busy with earlier work. A fast GPU gets more and
    /// more work. A call that waits never returns before the work is done.
    fn returns_at_once(&self, mut call: impl FnMut()) -> bool {
        WORK.into_iter().any(|dispatches| {
            let work = self.work(dispatches);
            call();
            let is_done = self.is_done(&work);
            self.app.wait();
            !is_done
        })
    }

    #[track_caller]
    fn assert_returns_at_once(&self, what: &str, mut call: impl FnMut()) {
        let ((), lines) = journal::record(&mut call);
        let poll = lines.iter().find(|line| line.starts_with("Device::poll"));
        assert_eq!(poll, None, "{what} asks the device how far it is");
        self.app.wait();
        if !self.is_patient || !lines.iter().any(|line| line.starts_with("Queue::submit")) {
            assert!(self.returns_at_once(call), "{what} waits for the GPU");
        }
    }

    /// The same for all polls of a future, from the call that makes it to its end.
    #[track_caller]
    fn assert_never_blocks<T>(&self, what: &str, mut call: impl AsyncFnMut() -> T) {
        let mut context = Context::from_waker(Waker::noop());
        let returned = WORK.into_iter().any(|dispatches| {
            let mut future = pin!(call());
            loop {
                let work = self.work(dispatches);
                let (polled, lines) = journal::record(|| future.as_mut().poll(&mut context));
                let is_done = self.is_done(&work);
                let wait = lines.iter().find(|line| line.starts_with("Device::poll Wait"));
                assert_eq!(wait, None, "{what} waits for the GPU");
                // Now the result that the future waits for is available, and the next poll continues.
                self.app.wait();
                if polled.is_ready() || (is_done && !self.is_patient) {
                    break !is_done || self.is_patient;
                }
            }
        });
        assert!(returned, "{what} waits for the GPU while it is polled");
    }
}

#[test]
fn calls_return_while_the_gpu_is_at_work() {
    let busy = BusyApp::new();
    let App { device, queue, .. } = &busy.app;
    let check = |what: &str, call: &mut dyn FnMut()| {
        busy.assert_returns_at_once(what, call);
    };
    let new_network = || Network::new(device, queue, &SIZES, NetworkOptions::default()).unwrap();
    let parameters = block_on(device, new_network().parameters()).unwrap();
    let mut trainer = busy.app.trainer();
    let [input_buffer, class_buffer] = [busy.app.upload(&inputs()), busy.app.upload(&classes())];
    let outputs = busy.app.buffer(u64::from(4 * BATCH_SIZE * SIZES[3]), BufferUsages::STORAGE);
    let mut encoder = device.create_command_encoder(&Default::default());
    let network = || busy.app.network();

    check("Network::new", &mut || drop(new_network()));
    check("Network::from_parameters", &mut || {
        drop(Network::from_parameters(device, queue, &parameters).unwrap());
    });
    check("Trainer::new", &mut || drop(Trainer::new(network(), options()).unwrap()));
    let snapshot = block_on(device, trainer.snapshot()).unwrap();
    check("Trainer::restore", &mut || drop(Trainer::restore(device, queue, &snapshot).unwrap()));
    check("Trainer::upload", &mut || drop(trainer.upload(&dataset(10)).unwrap()));
    check("Trainer::stream", &mut || drop(trainer.stream(dataset(10)).unwrap()));
    check("Trainer::step", &mut || trainer.step(&inputs(), classes()).unwrap());
    check("Trainer::encode_step", &mut || {
        trainer.encode_step(&mut encoder, &input_buffer, &class_buffer).unwrap();
    });
    let batch = trainer.bind_batch(&input_buffer, &class_buffer).unwrap();
    check("Trainer::bind_batch", &mut || {
        drop(trainer.bind_batch(&input_buffer, &class_buffer).unwrap());
    });
    check("Trainer::encode_bound_step", &mut || {
        trainer.encode_bound_step(&mut encoder, &batch).unwrap();
    });
    queue.submit([encoder.finish()]);
    check("Trainer::set_learning_rate", &mut || trainer.set_learning_rate(0.02).unwrap());
    check("Trainer::metrics", &mut || drop(trainer.metrics(3)));
    check("Trainer::snapshot", &mut || drop(trainer.snapshot()));
    check("Trainer::loss", &mut || drop(trainer.loss()));
    check("Network::parameters", &mut || drop(trainer.network().parameters()));
    check("Inference::predict", &mut || drop(Inference::predict(trainer.network(), &inputs())));
    let inference =
        || Inference::new(trainer.network(), &input_buffer, &outputs, BATCH_SIZE).unwrap();
    check("Inference::new", &mut || drop(inference()));
    let mut encoder = device.create_command_encoder(&Default::default());
    let bound = inference();
    check("Inference::encode", &mut || bound.encode(&mut encoder));
    queue.submit([encoder.finish()]);
    busy.app.assert_silent();
}

#[test]
fn no_future_blocks_while_it_is_polled() {
    let busy = BusyApp::new();
    let mut trainer = busy.app.trainer();
    trainer.step(&inputs(), classes()).unwrap();
    // More submissions than windows.
    let dataset = dataset(300);
    let mut data = [trainer.upload(&dataset).unwrap(), trainer.stream(dataset).unwrap()];
    let check = &busy;
    check.assert_never_blocks("metrics", async || trainer.metrics(1).await.unwrap());
    check.assert_never_blocks("snapshot", async || trainer.snapshot().await.unwrap());
    check.assert_never_blocks("loss", async || trainer.loss().await.unwrap());
    let network = trainer.network();
    check.assert_never_blocks("parameters", async || network.parameters().await.unwrap());
    check.assert_never_blocks("predict", async || {
        Inference::predict(network, &inputs()).await.unwrap()
    });
    for (data, what) in data.iter_mut().zip(["epoch", "epoch of streamed data"]) {
        check.assert_never_blocks(what, async || trainer.epoch(data).await.unwrap());
    }
    busy.app.assert_silent();
}

/// As documented: a fourth submission waits until the GPU is done with the first.
#[test]
fn training_waits_for_the_oldest_of_three_submissions() {
    let busy = BusyApp::new();
    let mut trainer = busy.app.trainer();
    for streams in [false, true] {
        let dataset = dataset(100);
        let data = if streams { trainer.stream(dataset) } else { trainer.upload(&dataset) };
        let mut data = data.unwrap();
        // The first submissions are short, and wait until their time is known.
        for _ in 0..10 {
            trainer.train(&mut data, 10).unwrap();
            busy.app.wait();
        }
        let was_busy = WORK.into_iter().any(|dispatches| {
            let work = busy.work(dispatches);
            let mut waits = || {
                let ((), lines) = journal::record(|| trainer.train(&mut data, 1).unwrap());
                lines.iter().filter(|line| line.starts_with("Device::poll Wait")).count()
            };
            assert_eq!([waits(), waits(), waits()], [0; 3], "streams: {streams}: three");
            let was_busy = !busy.is_done(&work);
            if was_busy {
                assert_eq!(waits(), 1, "streams: {streams}: the fourth");
                assert!(work.load(Ordering::Acquire), "three were still in flight");
            }
            busy.app.wait();
            was_busy
        });
        assert!(was_busy || busy.is_patient, "three submissions wait for the GPU");
    }
    busy.app.assert_silent();
}
