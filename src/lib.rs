//! Trains and runs batch-normalized multilayer perceptrons on any GPU, through wgpu and WGSL, on a device
//! that the app owns.
//!
//! In each hidden layer `z = W·a` is normalized over the mini-batch, scaled by a learned gamma, shifted by a
//! learned beta, and activated. Products, statistics, normalization, all backward passes and the optimizers
//! are compute shaders. Each is tested against a double-precision twin in [`mod@reference`].
//!
//! # A whole app
//!
//! It learns `sin(5x)` in its own buffers, and reads only the loss:
//!
//! ```rust
//! use wgpu::util::{BufferInitDescriptor, DeviceExt};
//! use wgpu::{BufferUsages, DeviceDescriptor, Features, Instance, InstanceDescriptor};
//! use ztilde::{Inference, Loss, Network, Optimizer, Trainer, TrainerOptions, block_on};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let instance = Instance::new(InstanceDescriptor::new_without_display_handle());
//!     let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
//!     // No feature is needed; a software adapter is several times as fast with subgroups.
//!     let required_features = adapter.features() & Features::SUBGROUP;
//!     let descriptor = DeviceDescriptor { required_features, ..Default::default() };
//!     let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
//!
//!     // 256 rows of one value each. Inference needs STORAGE, training COPY_SRC.
//!     let buffer = |value: fn(f32) -> f32| {
//!         let values: Vec<f32> = (0..256).map(|row| value(row as f32 / 128.0 - 1.0)).collect();
//!         let contents = bytemuck::cast_slice(&values);
//!         let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
//!         device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
//!     };
//!     let [inputs, targets, outputs] = [buffer(|x| x), buffer(|x| (5.0 * x).sin()), buffer(|_| 0.0)];
//!
//!     let network = Network::new(&device, &queue, &[1, 64, 64, 1], Default::default())?;
//!     let mut trainer = Trainer::new(network, TrainerOptions {
//!         batch_size: 256,
//!         loss: Loss::MeanSquaredError,
//!         optimizer: Optimizer::adam(0.01),
//!         ..Default::default()
//!     })?;
//!     let inference = Inference::new(trainer.network(), &inputs, &outputs, 256)?;
//!     for _ in 0..300 {
//!         let mut encoder = device.create_command_encoder(&Default::default());
//!         trainer.encode_step(&mut encoder, &inputs, &targets)?;
//!         inference.encode(&mut encoder); // a pass of the app's own may read the outputs now
//!         queue.submit([encoder.finish()]);
//!     }
//!     let loss = block_on(&device, trainer.loss())?;
//!     println!("loss {loss}");
//!     assert!(loss < 0.01, "it has not learned");
//!     Ok(())
//! }
//! ```
//!
//! # Which call takes a step?
//!
//! | the mini-batch is | call | who submits |
//! | --- | --- | --- |
//! | in slices on the CPU | [`Trainer::step`] | the library |
//! | in the app's buffers, different ones each time | [`Trainer::encode_step`] | the app |
//! | in the same buffers each time, or in rows some distance apart | [`Trainer::bind_batch`], then [`Trainer::encode_bound_step`] | the app |
//! | part of a data set that fits the GPU | [`Trainer::upload`], then [`Trainer::epoch`] or [`Trainer::train`] | the library |
//! | part of a larger data set | [`Trainer::stream`], then the same calls | the library |
//!
//! Uploaded and streamed data lead to the same parameters, bit for bit.
//!
//! ```rust
//! use ztilde::{Dataset, Inference, Loss, Network, Trainer, block_on, evaluate, ndarray::Array2};
//!
//! # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
//! # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
//! # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
//! # let inputs = Array2::from_shape_fn([400, 2], |(row, column)| ((row * (column + 3)) % 17) as f32);
//! # let classes: Vec<u32> = inputs.rows().into_iter().map(|row| (row[0] > row[1]).into()).collect();
//! # let dataset = Dataset::new(inputs, classes)?;
//! let network = Network::new(&device, &queue, &[2, 16, 10], Default::default())?;
//! let mut trainer = Trainer::new(network, Default::default())?;
//! let (train, test) = dataset.split(0.2, 7)?;
//! let mut data = trainer.upload(&train)?;
//! for _ in 0..30 {
//!     let epoch = block_on(&device, trainer.epoch(&mut data))?;
//!     println!("epoch {}: loss {:.4}, accuracy {:?}", data.epoch(), epoch.loss, epoch.accuracy);
//! }
//! let rows = test.inputs().as_standard_layout();
//! let outputs = block_on(&device, Inference::predict(trainer.network(), rows.as_slice().unwrap()))?;
//! let outputs = Array2::from_shape_vec([test.rows() as usize, 10], outputs).unwrap(); // ten classes
//! let tested = evaluate(&outputs, test.targets(), Loss::SoftmaxCrossEntropy)?;
//! println!("held out: loss {:.4}, accuracy {:?}", tested.loss, tested.accuracy);
//! # assert!(tested.accuracy.unwrap() > 0.9);
//! # Ok::<(), ztilde::Error>(())
//! ```
//!
//! # Save, load, resume
//!
//! | to keep | type | loses |
//! | --- | --- | --- |
//! | a trained network | [`Parameters`], a safetensors file that PyTorch loads, too | the optimizer's state |
//! | a training | [`Snapshot`] | nothing: the restored training ends with the same bits |
//!
//! ```rust
//! # use ztilde::{Network, Parameters, Snapshot, Trainer, block_on};
//! # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
//! # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
//! # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
//! # let network = Network::new(&device, &queue, &[2, 4, 2], Default::default())?;
//! # let trainer = Trainer::new(network, Default::default())?;
//! # let folder = tempfile::tempdir().unwrap();
//! # let [model, training] = ["network", "training"].map(|name| folder.path().join(name));
//! block_on(&device, trainer.network().parameters())?.save(&model)?; // "network.safetensors"
//! let network = Network::from_parameters(&device, &queue, &Parameters::load(&model)?)?;
//!
//! block_on(&device, trainer.snapshot())?.save(&training)?; // "training.safetensors"
//! let trainer = Trainer::restore(&device, &queue, &Snapshot::load(&training)?)?;
//! # Ok::<(), ztilde::Error>(())
//! ```
//!
//! [`Parameters::load_with`] also reads state dictionaries of PyTorch with prefixes, half precision or
//! missing optional tensors, and returns its assumptions.
//!
//! # What is promised
//!
//! On the app's device:
//!
//! - No feature is needed, and no limit beyond WebGPU's defaults. On a smaller device an `Err` names the
//!   missing limit. A device with [`required_limits`] suffices; inference alone needs less
//!   ([`Inference::required_limits`]).
//! - No handler is replaced. If wgpu reports an error inside a call, the call returns it as an `Err`
//!   (browsers report some errors too late for that).
//! - Three things wait for the GPU: `block_on`, `block_on_for`, and `Trainer::train` while three of its
//!   submissions are in flight, or while its first, short ones show the adapter's pace.
//! - Futures sleep in any executor, and never block it. While one is awaited outside `block_on`, a thread of
//!   the library polls the device, with pauses of at most a millisecond, and may run the app's own wgpu
//!   callbacks. The thread ends when no future waits.
//! - A lost device is an `Err`, and the library stops polling it. With `panic = "abort"` one case still ends
//!   the process: wgpu 30 panics when the driver itself reports the loss to a poll.
//! - Every object is named for GPU debuggers: `ztilde/layer 2/layer_backward`.
//! - Encoding a step or an inference creates no GPU object. If an app reads nothing for 4,096 steps, the
//!   library reads four bytes without waiting.
//! - An encoder may be dropped instead of submitted: its step is as if it had never been encoded. An encoder
//!   may be submitted late, after at most 7,168 further steps.
//! - Networks on one device share compiled kernels while one of them lives, or while the app holds a
//!   [`KernelCache`].
//! - Everything is `Send` and `Sync` natively; futures are `Send`.
//!
//! Everywhere:
//!
//! - The same seed gives the same bits on the same adapter, driver and version, for any division of the
//!   steps into submissions.
//! - A step whose loss, gradients or statistics are not finite changes no parameter. Training stops there and
//!   [`Trainer::fault`] names the step, the layer and the quantity; with [`OnFault::SkipStep`] it continues.
//! - NaN stays NaN: a prediction from an input that is NaN is NaN.
//! - A mistake of the app is an `Err` with the numbers that disagree; the call changes nothing.
//!
//! A bug of wgpu 30: an app's own `device.poll(PollType::Wait { timeout: Some(…), .. })` may panic while
//! another thread submits to the device or awaits one of these futures. Waiting without a timeout is safe.
//!
//! # Conventions
//!
//! PyTorch's conventions hold, unless this list says otherwise; `docs/conventions.md` in the repository
//! compares PyTorch, Keras, burn and ONNX.
//!
//! - Matrices are row-major: a row is a sample, a column is a feature. Weights are `[outputs, inputs]`.
//! - A layer with batch normalization has no biases: the mean subtraction would cancel them, and beta
//!   replaces them.
//! - `running = (1 − momentum) · running + momentum · batch`, with momentum 0.1. Keras's momentum is one
//!   minus this.
//! - A mini-batch is normalized with the variance that divides by n; `running_var` averages the variance
//!   that divides by n − 1.
//! - Training normalizes with the mini-batch's statistics, [`Inference`] with the running ones.
//! - A mini-batch of one row is an error: it has no variance. Rows left over at the end of an epoch are
//!   left to the next one, unless [`Remainder::Keep`] is set.
//! - Momentum is `v = μ·v + g`. The lecture's averaged form makes the same updates with a learning rate
//!   1 / (1 − μ) times as large.
//! - Weight decay acts on weights only, unless [`Optimizer::decays_all`] is set. PyTorch's optimizers
//!   decay all parameters.
//! - With class weights the mean over a mini-batch divides by the sum of its rows' weights. A row's
//!   weight is that of its class, even with label smoothing, where PyTorch weighs each part of the
//!   target.
//! - Losses are means over the mini-batch and over the outputs. Outputs are linear: softmax and sigmoid
//!   belong to the losses.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

#[cfg(not(target_arch = "wasm32"))]
mod atomic_file;
#[cfg(any(test, feature = "check"))]
pub mod check;
mod data;
mod error;
mod evaluation;
mod fused;
#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "gpu makes all GPU objects"))]
mod gpu;
mod inference;
pub mod kernels;
mod layout;
mod network;
mod options;
mod parameters;
mod plan;
mod random;
pub mod reference;
mod snapshot;
mod trainer;

pub use data::{Dataset, Targets, batches, shuffled_order};
pub use error::{Error, Fault, Quantity, Result};
pub use evaluation::{Evaluation, evaluate};
pub use gpu::{KernelCache, Rows};
pub use inference::Inference;
pub use network::{Network, PlannedBytes, required_limits};
pub use options::{
    Activation, Loss, Method, NetworkOptions, OnFault, Optimizer, Remainder, Schedule,
    TrainerOptions,
};
pub use parameters::{BatchNorm, Layer, LoadOptions, Loaded, Parameters};
pub use plan::{DeviceClass, PlannedDispatch, StepPlan};
pub use snapshot::{Place, Snapshot};
pub use trainer::{
    BoundBatch, EpochMetrics, HiddenBatchNorm, HiddenLayer, Skipped, StepMetrics, Trainer,
    TrainingData, TunedChoice, Tuning,
};
pub use {ndarray, wgpu};

#[cfg(not(target_arch = "wasm32"))]
pub use atomic_file::AtomicFile;
#[cfg(not(target_arch = "wasm32"))]
pub use gpu::{block_on, block_on_for};

/// Compiles the code in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
