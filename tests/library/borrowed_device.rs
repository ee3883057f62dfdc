//! The device is the app's: several trainers share it, and the app keeps control of its handlers, error
//! scopes and lifetime. tests/library/contract has the other promises to an app.

use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, Device, DeviceDescriptor, ErrorFilter, Limits, Queue,
};
use ztilde::{
    Activation, Error, Inference, Loss, Network, NetworkOptions, Optimizer, Parameters, Trainer,
    TrainerOptions, block_on,
};

use crate::fixtures::buffers::upload;
use crate::fixtures::data::dataset;
use crate::fixtures::devices::own_device_with_errors;
use crate::fixtures::test_device;

const BATCH_SIZE: u32 = 20;

/// Trainers that differ in all their options.
fn trainer(device: &Device, queue: &Queue, number: u32) -> Trainer {
    let network = NetworkOptions {
        activation: [Activation::Relu, Activation::Tanh, Activation::Gelu][number as usize],
        batch_norm: number != 1,
        seed: number.into(),
        ..Default::default()
    };
    let optimizer =
        [Optimizer::adam(0.01), Optimizer::momentum(0.1, 0.9), Optimizer::rmsprop(0.01)];
    let options = TrainerOptions {
        batch_size: BATCH_SIZE,
        optimizer: optimizer[number as usize],
        clip_norm: (number == 2).then_some(0.5),
        ..Default::default()
    };
    let sizes = [6, 30 + number, 20, 4];
    Trainer::new(Network::new(device, queue, &sizes, network).unwrap(), options).unwrap()
}

fn inputs(step: u32) -> Vec<f32> {
    (0..BATCH_SIZE * 6).map(|value| ((value + 100 * step) as f32).sin()).collect()
}

fn classes(step: u32) -> Vec<u32> {
    (0..BATCH_SIZE).map(|row| (row * row + step) % 4).collect()
}

fn result(device: &Device, trainer: &Trainer, steps: u32) -> (Parameters, Vec<u32>) {
    let metrics = block_on(device, trainer.metrics(steps)).unwrap();
    assert!(metrics.iter().all(|step| step.loss.is_finite()), "{metrics:?}");
    let losses = metrics.iter().map(|step| step.loss.to_bits()).collect();
    (block_on(device, trainer.network().parameters()).unwrap(), losses)
}

/// Each of three trainers takes the same steps as it takes alone on the same batches, bit for bit.
#[test]
fn trainers_that_share_an_encoder_do_not_disturb_each_other() {
    const STEPS: u32 = 12;
    let (device, queue) = test_device::device();
    let batches: Vec<[Buffer; 2]> = (0..STEPS)
        .map(|step| [upload(&device, &inputs(step)), upload(&device, &classes(step))])
        .collect();
    let mut together = [0, 1, 2].map(|number| trainer(&device, &queue, number));
    let mut encoder = device.create_command_encoder(&Default::default());
    for [inputs, classes] in &batches {
        for trainer in &mut together {
            trainer.encode_step(&mut encoder, inputs, classes).unwrap();
        }
    }
    queue.submit([encoder.finish()]);
    for (number, found) in (0..).zip(&together) {
        let mut alone = trainer(&device, &queue, number);
        for step in 0..STEPS {
            alone.step(&inputs(step), classes(step)).unwrap();
        }
        let found = result(&device, found, STEPS);
        assert!(found == result(&device, &alone, STEPS), "trainer {number} was disturbed");
    }
}

/// A data set too large for the GPU is an error that names it. Training can stream it from the CPU.
#[test]
fn what_the_gpu_cannot_hold_is_streamed() {
    let limits = Limits { max_storage_buffer_binding_size: 1 << 18, ..Limits::default() };
    let (device, queue, uncaptured) = own_device_with_errors(limits);
    let mut trainer = trainer(&device, &queue, 0);
    let dataset = dataset(1, 80_000, 6, 4, Loss::SoftmaxCrossEntropy);
    let message = trainer.upload(&dataset).unwrap_err().to_string();
    let parts = ["320004 bytes", "max_storage_buffer_binding_size is 262144", "Trainer::stream"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    let mut data = trainer.stream(dataset).unwrap();
    trainer.train(&mut data, 100).unwrap();
    let (_, losses) = result(&device, &trainer, 100);
    assert_eq!(losses.len(), 100);
    assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
}

/// Even if the CPU is far ahead of the GPU, streaming takes no memory except its windows.
#[test]
fn streaming_makes_no_buffers_on_the_way() {
    let (device, queue, _) = own_device_with_errors(Limits::default());
    let mut trainer = trainer(&device, &queue, 0);
    let mut data =
        trainer.stream(dataset(1, 70 * BATCH_SIZE, 6, 4, Loss::SoftmaxCrossEntropy)).unwrap();
    let buffers = || {
        let report = device.generate_allocator_report();
        report.map(|report| {
            report.allocations.into_iter().map(|buffer| (buffer.name, buffer.offset)).collect()
        })
    };
    // The first step also writes the rates of these steps.
    trainer.train(&mut data, 1).unwrap();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let before: Option<Vec<(String, u64)>> = buffers();
    for steps in [1, 2, 3, 4, 130, 5, 300, 1] {
        trainer.train(&mut data, steps).unwrap();
        assert_eq!(buffers(), before, "after {} steps", trainer.steps());
    }
}

/// The library's errors do not reach the app's scopes and handler; the app's own errors still do.
#[test]
fn the_apps_error_scopes_and_handler_stay_its_own() {
    let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
    let filters = [ErrorFilter::Internal, ErrorFilter::OutOfMemory, ErrorFilter::Validation];
    let scopes = filters.map(|filter| device.push_error_scope(filter));
    let mut trainer = trainer(&device, &queue, 0);
    trainer.step(&inputs(0), classes(0)).unwrap();
    let unbindable = device.create_buffer(&BufferDescriptor {
        label: None,
        size: 4096,
        usage: BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let outputs = upload(&device, &[0.0_f32; 4]);
    Inference::new(trainer.network(), &unbindable, &outputs, 1).unwrap_err();
    for scope in scopes.into_iter().rev() {
        assert!(pollster::block_on(scope.pop()).is_none());
    }
    assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);

    // An error of the app: a size larger than any buffer may have.
    drop(device.create_buffer(&BufferDescriptor {
        label: Some("the app's"),
        size: device.limits().max_buffer_size + 4,
        usage: BufferUsages::STORAGE,
        mapped_at_creation: false,
    }));
    let uncaptured = uncaptured.lock().unwrap();
    assert!(uncaptured.len() == 1 && uncaptured[0].contains("the app's"), "{uncaptured:?}");
}

/// Buffers of one device cannot be bound on another of the same adapter.
#[test]
fn buffers_of_another_device_are_refused() {
    let adapter = test_device::adapter();
    let [(device, queue), (other, _)] = [(); 2].map(|()| {
        pollster::block_on(adapter.request_device(&DeviceDescriptor::default())).unwrap()
    });
    let trainer = trainer(&device, &queue, 0);
    let [own, foreign] = [&device, &other].map(|device| upload(device, &[0.0_f32; 64]));
    for [inputs, outputs] in [[&own, &foreign], [&foreign, &own]] {
        let error = Inference::new(trainer.network(), inputs, outputs, 4).unwrap_err();
        assert!(matches!(error, Error::Wgpu(_)), "{error}");
    }
}
