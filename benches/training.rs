//! Training and inference in samples per second, which Criterion calls elements, on the six named
//! networks, the time to make a trainer, and the CPU time of an app's frame.
//!
//! ```text
//! cargo bench --bench training            all of them
//! cargo bench --bench training -- mnist   those whose name has this in it
//! ```
//!
//! Times include the CPU's work to record and submit. The time of a frame consists only of that work.

#[path = "../src/gpu/test_device.rs"]
mod test_device;
mod workloads;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::{Buffer, BufferUsages, Device, PollType, Queue};
use workloads::{WORKLOADS, Workload};
use ztilde::{
    Dataset, Inference, KernelCache, Loss, Network, NetworkOptions, Optimizer, Targets, Trainer,
    TrainerOptions, TrainingData,
};

/// Batches of the data set.
const BATCHES: u32 = 4;

fn main() {
    workloads::run(|criterion| {
        training_steps(criterion, "training", |trainer, data| trainer.upload(&data));
        training_steps(criterion, "streaming", |trainer, data| trainer.stream(data));
        inference(criterion);
        construction(criterion);
        frame(criterion);
    });
}

/// A step: gathers a batch of a data set on the GPU or the CPU, and trains on it with Adam.
fn training_steps(
    criterion: &mut Criterion,
    name: &str,
    lend: fn(&Trainer, Dataset) -> ztilde::Result<TrainingData>,
) {
    let (device, queue) = test_device::device_with_subgroups();
    let mut group = criterion.benchmark_group(name);
    for workload in &WORKLOADS {
        group.throughput(Throughput::Elements(workload.batch_size.into()));
        // Made on first use: a filter may exclude it.
        let mut training = None;
        group.bench_function(BenchmarkId::from_parameter(workload.name), |bencher| {
            let (trainer, data) =
                training.get_or_insert_with(|| make_training(&device, &queue, workload, lend));
            bencher.iter_custom(|steps| {
                time(&device, || trainer.train(data, steps as u32).expect("the trainer's own data"))
            });
        });
    }
    group.finish();
}

/// An inference on a batch in a buffer, in its own submission.
fn inference(criterion: &mut Criterion) {
    let (device, queue) = test_device::device_with_subgroups();
    let mut group = criterion.benchmark_group("inference");
    for workload in &WORKLOADS {
        group.throughput(Throughput::Elements(workload.batch_size.into()));
        let mut inference = None;
        group.bench_function(BenchmarkId::from_parameter(workload.name), |bencher| {
            let inference =
                inference.get_or_insert_with(|| make_inference(&device, &queue, workload));
            bencher.iter_custom(|times| {
                time(&device, || {
                    for _ in 0..times {
                        let mut encoder = device.create_command_encoder(&Default::default());
                        inference.encode(&mut encoder);
                        queue.submit([encoder.finish()]);
                    }
                })
            });
        });
    }
    group.finish();
}

/// Creates a network and its trainer, on a device without others, and on a device that already has the
/// same ones.
fn construction(criterion: &mut Criterion) {
    let (device, queue) = test_device::device_with_subgroups();
    let mut group = criterion.benchmark_group("construction");
    let make = || make_trainer(&device, &queue, &WORKLOADS[0]);
    group.bench_function("alone", |bencher| bencher.iter(make));
    group.bench_function("beside another", |bencher| {
        let _other = make();
        bencher.iter(make);
    });
    group.finish();
}

/// The CPU time of a frame, in three parts. The library encodes a step of training and an inference on
/// 256 × 256 pixels; wgpu finishes the app's encoder; the frame is submitted to an idle device. The wait
/// for the GPU is not counted.
fn frame(criterion: &mut Criterion) {
    const ROWS: u32 = 256;
    const PIXELS: u32 = 256 * 256;
    let (device, queue) = test_device::device_with_subgroups();
    let mut group = criterion.benchmark_group("frame");
    let mut frame = None;
    for (part, name) in ["encode", "finish", "submit"].into_iter().enumerate() {
        group.bench_function(name, |bencher| {
            let (trainer, inference, [rows, colors]) = frame.get_or_insert_with(|| {
                let [rows, colors, pixels, picture] = [2 * ROWS, 3 * ROWS, 2 * PIXELS, 3 * PIXELS]
                    .map(|values| make_buffer(&device, values));
                let network =
                    Network::new(&device, &queue, &[2, 64, 64, 3], NetworkOptions::default());
                let options = TrainerOptions {
                    batch_size: ROWS,
                    loss: Loss::MeanSquaredError,
                    optimizer: Optimizer::adam(1e-3),
                    ..Default::default()
                };
                let trainer = Trainer::new(network.expect("a network"), options);
                let trainer = trainer.expect("a trainer");
                let inference = Inference::new(trainer.network(), &pixels, &picture, PIXELS);
                (trainer, inference.expect("the buffers fit"), [rows, colors])
            });
            bencher.iter_custom(|frames| {
                let mut time = Duration::ZERO;
                for _ in 0..frames {
                    let mut encoder = device.create_command_encoder(&Default::default());
                    let start = Instant::now();
                    trainer.encode_step(&mut encoder, &*rows, &*colors).expect("they fit");
                    inference.encode(&mut encoder);
                    let encoded = Instant::now();
                    let commands = encoder.finish();
                    let finished = Instant::now();
                    queue.submit([commands]);
                    let submitted = Instant::now();
                    time += [encoded - start, finished - encoded, submitted - finished][part];
                    device.poll(PollType::wait_indefinitely()).expect("the device answers");
                }
                time
            });
        });
    }
    group.finish();
}

/// The time to submit work and wait for its end.
fn time(device: &Device, submit: impl FnOnce()) -> Duration {
    let start = Instant::now();
    submit();
    device.poll(PollType::wait_indefinitely()).expect("the device answers");
    start.elapsed()
}

fn make_network(device: &Device, queue: &Queue, workload: &Workload) -> Network {
    let options = NetworkOptions { activation: workload.activation, ..Default::default() };
    Network::new(device, queue, workload.layer_sizes, options).expect("a network")
}

fn make_trainer(device: &Device, queue: &Queue, workload: &Workload) -> Trainer {
    let options = TrainerOptions {
        batch_size: workload.batch_size,
        loss: workload.loss,
        optimizer: Optimizer::adam(1e-3),
        ..Default::default()
    };
    Trainer::new(make_network(device, queue, workload), options).expect("a trainer")
}

fn make_training(
    device: &Device,
    queue: &Queue,
    workload: &Workload,
    lend: fn(&Trainer, Dataset) -> ztilde::Result<TrainingData>,
) -> (Trainer, TrainingData) {
    let trainer = make_trainer(device, queue, workload);
    let rows = BATCHES * workload.batch_size;
    let mut generator = ChaCha8Rng::seed_from_u64(7);
    let mut value = || generator.random::<f32>() * 2.0 - 1.0;
    let shape = [rows as usize, workload.layer_sizes[0] as usize];
    let inputs = Array2::from_shape_simple_fn(shape, &mut value);
    let targets = if workload.loss.has_class_targets() {
        Targets::from((0..rows).map(|row| row % workload.outputs()).collect::<Vec<u32>>())
    } else {
        Targets::from((0..rows * workload.outputs()).map(|_| value()).collect::<Vec<f32>>())
    };
    let dataset = Dataset::new(inputs, targets).expect("a data set");
    let data = lend(&trainer, dataset).expect("it fits the network");
    (trainer, data)
}

fn make_inference(device: &Device, queue: &Queue, workload: &Workload) -> Inference {
    let network = make_network(device, queue, workload);
    let [inputs, outputs] = [workload.layer_sizes[0], workload.outputs()]
        .map(|columns| make_buffer(device, workload.batch_size * columns));
    fill(queue, &inputs);
    Inference::new(&network, &inputs, &outputs, workload.batch_size).expect("the buffers fit")
}

/// A buffer of an app.
fn make_buffer(device: &Device, values: u32) -> Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * u64::from(values),
        usage: BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// Writes random values into a whole buffer.
fn fill(queue: &Queue, buffer: &Buffer) {
    let mut generator = ChaCha8Rng::seed_from_u64(7);
    let values: Vec<f32> =
        (0..buffer.size() / 4).map(|_| generator.random::<f32>() * 2.0 - 1.0).collect();
    queue.write_buffer(buffer, 0, bytemuck::cast_slice(&values));
}
