//! An app with its own device, which observes the library's actions on it.

use std::sync::{Arc, Mutex};

use wgpu::{Adapter, Buffer, BufferDescriptor, BufferUsages, Device, Limits, Queue};
use ztilde::kernels::{
    Matrix,
    add_biases::{self, AddBiases},
};
use ztilde::{
    Dataset, Inference, Loss, Network, NetworkOptions, Remainder, Trainer, TrainerOptions, block_on,
};

use crate::fixtures::devices::{Errors, device_with_errors_on};
use crate::fixtures::test_device;
use crate::fixtures::{buffers, data};

/// Rows of inputs and outputs that are not whole vectors of four.
pub(crate) const SIZES: [u32; 4] = [6, 30, 20, 3];
pub(crate) const BATCH_SIZE: u32 = 20;

/// An app, and the errors that the handlers on its device receive.
pub(crate) struct App {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) uncaptured: Errors,
    pub(crate) lost: Arc<Mutex<Vec<wgpu::DeviceLostReason>>>,
}

impl App {
    /// An app with WebGPU's guaranteed features and limits only.
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::on(&test_device::adapter(), limits)
    }

    /// Objects of two devices may only be mixed if both devices are of the same instance; otherwise wgpu
    /// panics.
    pub(crate) fn on(adapter: &Adapter, required_limits: Limits) -> Self {
        let (device, queue, uncaptured) = device_with_errors_on(adapter, required_limits);
        let lost = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, _| kept.lock().unwrap().push(reason));
        Self { device, queue, uncaptured, lost }
    }

    pub(crate) fn network(&self) -> Network {
        Network::new(&self.device, &self.queue, &SIZES, NetworkOptions::default()).unwrap()
    }

    pub(crate) fn trainer(&self) -> Trainer {
        Trainer::new(self.network(), options()).unwrap()
    }

    pub(crate) fn upload<T: bytemuck::NoUninit>(&self, values: &[T]) -> Buffer {
        buffers::upload(&self.device, values)
    }

    pub(crate) fn buffer(&self, size: u64, usage: BufferUsages) -> Buffer {
        self.device.create_buffer(&BufferDescriptor {
            label: Some("the app's"),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    pub(crate) fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_silent(&self) {
        self.wait();
        assert_eq!(*self.uncaptured.lock().unwrap(), [""; 0], "the app's handler was called");
    }

    /// Calls every public function that uses the GPU, and drops the results.
    pub(crate) fn call_everything(&self) {
        let Self { device, queue, .. } = self;
        let [input_buffer, class_buffer] = [self.upload(&inputs()), self.upload(&classes())];
        let label = Some("the app's");
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let mut trainer = self.trainer();
        trainer.step(&inputs(), classes()).unwrap();
        trainer.set_learning_rate(0.01).unwrap();
        trainer.encode_step(&mut encoder, &input_buffer, &class_buffer).unwrap();
        let batch = trainer.bind_batch(&input_buffer, &class_buffer).unwrap();
        trainer.encode_bound_step(&mut encoder, &batch).unwrap();
        trainer.hidden_layer(2).unwrap();
        let outputs = self.upload(&[0.0_f32; (BATCH_SIZE * SIZES[3]) as usize]);
        let inference =
            Inference::new(trainer.network(), &input_buffer, &outputs, BATCH_SIZE).unwrap();
        inference.encode(&mut encoder);
        queue.submit([encoder.finish()]);
        for mut data in
            [trainer.upload(&dataset(10)).unwrap(), trainer.stream(dataset(10)).unwrap()]
        {
            trainer.train(&mut data, 3).unwrap();
            block_on(device, trainer.epoch(&mut data)).unwrap();
        }
        block_on(device, trainer.metrics(2)).unwrap();
        assert!(block_on(device, trainer.loss()).unwrap().is_finite());
        block_on(device, Inference::predict(trainer.network(), &inputs())).unwrap();
        let parameters = block_on(device, trainer.network().parameters()).unwrap();
        Network::from_parameters(device, queue, &parameters).unwrap();
        let snapshot = block_on(device, trainer.snapshot()).unwrap();
        Trainer::restore(device, queue, &snapshot).unwrap();

        let vector = self.upload(&[0.0_f32; 6]);
        let biases = &Matrix::vector(&vector, 0, 6).unwrap();
        let sums = &Matrix::new(&outputs, 0, 10, 6).unwrap();
        let buffers = add_biases::Buffers { biases, sums };
        AddBiases::new(device).unwrap().bind(device, "the app's layer", buffers).unwrap();
        self.wait();
    }
}

pub(crate) fn options() -> TrainerOptions {
    TrainerOptions {
        batch_size: BATCH_SIZE,
        clip_norm: Some(1.0),
        remainder: Remainder::Keep,
        ..Default::default()
    }
}

pub(crate) fn inputs() -> Vec<f32> {
    (0..BATCH_SIZE * SIZES[0]).map(|value| (value as f32).sin()).collect()
}

pub(crate) fn classes() -> Vec<u32> {
    (0..BATCH_SIZE).map(|row| row * row % SIZES[3]).collect()
}

/// A data set of this many batches, and one more batch of five rows.
pub(crate) fn dataset(batches: u32) -> Dataset {
    data::dataset(1, batches * BATCH_SIZE + 5, SIZES[0], SIZES[3], Loss::SoftmaxCrossEntropy)
}
