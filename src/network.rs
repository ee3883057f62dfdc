//! `Network`: the parameters on the GPU, and the order of the layers.

mod bytes;
mod dispatches;
mod inference_kernels;
#[cfg(test)]
mod tests;

use wgpu::{Device, Queue};

use crate::error::{Error, Result};
use crate::fused::network_forward::Tensors;
use crate::fused::record_step::{COUNTS, Counts, whole};
use crate::gpu::{Gpu, Matrix, Source, read_all};
use crate::layout::{self, Learned, LearnedLayout, Running, RunningLayout};
use crate::options::{Activation, NetworkOptions};
use crate::parameters::{BatchNorm, Layer, Parameters};
#[cfg(test)]
use crate::plan::InferencePlan;
use crate::plan::LayerSizes;
pub use bytes::{PlannedBytes, required_limits};
pub(crate) use bytes::{largest_matrix, padded_bytes};
use dispatches::inference_layers;
pub(crate) use inference_kernels::{Forward, InferenceKernels, plan as inference_plan};

/// The fewest rows that a matrix must be able to hold: inference takes a multiple of this many rows at
/// once. The matrices for a batch's statistics have at most this many rows, or as many as the batch.
pub(crate) const FEWEST_ROWS: u32 = 64;

/// A batch-normalized multilayer perceptron on the GPU, with its parameters and running statistics.
///
/// Each hidden layer is linear, normalized over the batch, scaled and shifted, then activated; it has
/// no biases, since the mean subtraction would cancel them. The output layer is linear with biases;
/// softmax and sigmoid belong to the losses. With `batch_norm: false` hidden layers are linear with
/// biases, then activated.
///
/// A [`Trainer`](crate::Trainer) changes the parameters, an [`Inference`](crate::Inference) applies
/// them.
///
/// ```
/// use ztilde::{Network, Parameters, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[4, 16, 3], Default::default())?;
/// let parameters: Parameters = block_on(&device, network.parameters())?;
/// assert_eq!(parameters.layer_sizes(), [4, 16, 3]);
/// let copy = Network::from_parameters(&device, &queue, &parameters)?;
/// # assert_eq!(block_on(&device, copy.parameters())?, parameters);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Debug)]
pub struct Network {
    gpu: Gpu,
    activation: Activation,
    epsilon: f32,
    momentum: f32,
    layer_sizes: Vec<u32>,
    sizes: Vec<LayerSizes>,
    layout: LearnedLayout,
    parameters: Matrix,
    learned: Vec<Learned>,
    running_layout: RunningLayout,
    running_statistics: Matrix,
    running: Vec<Option<Running>>,
    /// The number of batches that each layer's running statistics had seen when the network was made.
    batches: Vec<u64>,
    /// The [`Counts`] on the GPU.
    counts: Matrix,
    /// The steps that all its trainers have encoded.
    encoded: u64,
    /// The steps that its latest trainer has encoded, with those before a restore.
    steps: u64,
    /// The app's notes, as in [`Parameters::notes`].
    notes: String,
    /// Kept so that a prediction need not compile them.
    inference: InferenceKernels,
}

impl Network {
    /// A network with random weights, on the app's device.
    ///
    /// `layer_sizes` are features per layer, inputs first, outputs last. `queue` must be the device's
    /// own: wgpu reports a queue of another device to that device's error handler.
    ///
    /// See the example of [`Network`].
    ///
    /// # Errors
    ///
    /// [`Error::Architecture`] or [`Error::Option`] if sizes or options are invalid,
    /// [`Error::TooLarge`] if the device cannot bind it (see [`required_limits`]), and errors of wgpu.
    pub fn new(
        device: &Device,
        queue: &Queue,
        layer_sizes: &[u32],
        options: NetworkOptions,
    ) -> Result<Self> {
        // Checked before gigabytes of weights are made that the device cannot hold.
        let limits = device.limits();
        let shapes = LayerSizes::of_network(layer_sizes, options.batch_norm);
        let needed = LearnedLayout::new(&shapes).bytes();
        let limit = "max_storage_buffer_binding_size";
        let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        if needed > allowed {
            return Err(Error::TooLarge { what: "parameters".to_owned(), needed, limit, allowed });
        }
        Self::from_parameters(device, queue, &Parameters::initialize(layer_sizes, &options)?)
    }

    /// A network that continues from saved `parameters`.
    ///
    /// # Errors
    ///
    /// As [`Network::new`].
    pub fn from_parameters(
        device: &Device,
        queue: &Queue,
        parameters: &Parameters,
    ) -> Result<Self> {
        parameters.check()?;
        let gpu = Gpu::new(device, queue);
        let shapes = layout::sizes(&parameters.layers);
        let layout = LearnedLayout::new(&shapes);
        let packed = gpu.matrix("parameters", 1, layout.length()?)?;
        gpu.upload(&packed, &layout.pack(&parameters.layers))?;
        let running_layout = RunningLayout::new(&shapes);
        let running_statistics =
            gpu.matrix("running statistics", 1, running_layout.length() as u32)?;
        let packed_running = running_layout.pack(&parameters.layers);
        gpu.upload(&running_statistics, &packed_running)?;
        let Parameters { activation, epsilon, momentum, .. } = *parameters;
        let learned = layout.views(packed.buffer())?;
        let running = running_layout.views(running_statistics.buffer())?;
        let plan = inference_plan(device, &shapes);
        let tensors = Tensors {
            parameters: &packed,
            running: &running_statistics,
            layers: &inference_layers(&learned, &running),
        };
        let inference = InferenceKernels::new(device, plan, parameters, tensors)?;
        Ok(Self {
            activation,
            epsilon,
            momentum,
            layer_sizes: parameters.layer_sizes(),
            learned,
            layout,
            parameters: packed,
            running,
            running_layout,
            running_statistics,
            batches: parameters.layers.iter().map(batches).collect(),
            counts: gpu.matrix("counts", 1, COUNTS)?,
            encoded: 0,
            steps: 0,
            notes: parameters.notes.clone(),
            inference,
            sizes: shapes,
            gpu,
        })
    }

    /// Reads the network from the GPU, as it will be after everything that was submitted so far. If a
    /// [`Fault`](crate::Fault) has stopped the learning, the result is the network of the step before,
    /// whose values are all finite.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`], and errors of wgpu.
    pub fn parameters(&self) -> impl Future<Output = Result<Parameters>> + use<> {
        let packed = read_all(&self.gpu, self.sources());
        let unpack = self.unpack();
        async move {
            let [learned, running, counts] = packed.await?;
            Ok(unpack(&learned, &running, &counts))
        }
    }

    /// The parameters, the running statistics, and the counts.
    pub(crate) fn sources(&self) -> [Source<'_>; 3] {
        let running = self.running_statistics.buffer();
        [
            Source::new(self.parameters.buffer(), self.layout.values()),
            Source::new(running, self.running_layout.length()),
            Source::new(self.counts.buffer(), COUNTS.into()),
        ]
    }

    /// Converts the values of the [`sources`](Self::sources) to parameters.
    pub(crate) fn unpack(&self) -> impl FnOnce(&[f32], &[f32], &[f32]) -> Parameters + use<> {
        let layout = self.layout.clone();
        let running_layout = self.running_layout.clone();
        let batches = self.batches.clone();
        let (activation, epsilon, momentum) = (self.activation, self.epsilon, self.momentum);
        let (notes, steps, encoded) = (self.notes.clone(), self.steps, self.encoded);
        move |learned, running, counts| {
            let stop = layout.stop(learned);
            let has_skipped = stop.as_ref().is_some_and(|stop| stop.has_skipped);
            let running = running_layout.unpack(running, has_skipped);
            let learned = layout.unpack(learned);
            let layers = learned
                .into_iter()
                .zip(running.into_iter().zip(batches))
                .map(|((weights, mut vectors), (running, batches))| match running {
                    None => Layer::Linear { weights, biases: vectors.swap_remove(0) },
                    Some((running_mean, running_var)) => {
                        let beta = vectors.swap_remove(1);
                        let gamma = vectors.swap_remove(0);
                        let batch_norm =
                            BatchNorm { gamma, beta, running_mean, running_var, batches };
                        Layer::Normalized { weights, batch_norm }
                    }
                })
                .collect();
            let mut parameters = Parameters { activation, epsilon, momentum, layers, notes };
            let counts = Counts::of(counts);
            let taken = whole(counts.taken, steps);
            let learned = stop.map_or(taken, |stop| stop.learned_steps(taken));
            parameters.count_batches(whole(counts.of_network, encoded) - (taken - learned));
            parameters
        }
    }

    /// Features per layer, inputs first, outputs last.
    pub fn layer_sizes(&self) -> &[u32] {
        &self.layer_sizes
    }

    /// The sizes of its layers.
    pub(crate) fn sizes(&self) -> &[LayerSizes] {
        &self.sizes
    }

    /// Features of the inputs.
    pub fn inputs(&self) -> u32 {
        self.layer_sizes[0]
    }

    /// Features of the outputs.
    pub fn outputs(&self) -> u32 {
        *self.layer_sizes.last().expect("a network has two sizes or more")
    }

    /// Whether any layer is normalized, so that a batch needs two rows.
    pub fn has_batch_norm(&self) -> bool {
        self.running.iter().any(Option::is_some)
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The function after each hidden layer.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The epsilon that is added to a variance before its root is taken.
    pub fn epsilon(&self) -> f32 {
        self.epsilon
    }

    /// The momentum of the running statistics.
    pub(crate) fn momentum(&self) -> f32 {
        self.momentum
    }

    pub(crate) fn layout(&self) -> &LearnedLayout {
        &self.layout
    }

    /// All parameters, packed.
    pub(crate) fn packed(&self) -> &Matrix {
        &self.parameters
    }

    pub(crate) fn learned(&self) -> &[Learned] {
        &self.learned
    }

    /// Counts a step that was encoded, after which its trainer has encoded `steps`.
    pub(crate) fn count_step(&mut self, steps: u64) {
        self.steps = steps;
        self.encoded += 1;
    }

    pub(crate) fn running(&self) -> &[Option<Running>] {
        &self.running
    }

    /// All running statistics, packed.
    pub(crate) fn running_statistics(&self) -> &Matrix {
        &self.running_statistics
    }

    pub(crate) fn counts(&self) -> &Matrix {
        &self.counts
    }

    /// Sets the counts for a trainer that begins after `steps` steps. The count of the network's batches
    /// continues.
    pub(crate) fn begin_training(&mut self, steps: u64) -> Result<()> {
        self.steps = steps;
        // A former trainer may have stopped at a step with this number. Its stop must not stop this
        // trainer.
        self.layout.forget_stopped_step(&self.gpu, self.parameters.buffer())?;
        self.gpu.write(self.counts.buffer(), 0, &Counts::first(steps))
    }

    /// Compiles the kernels of another plan of inference than the fastest, for the parameters that the network
    /// was made of.
    #[cfg(test)]
    pub(crate) fn follow(&mut self, plan: InferencePlan, parameters: &Parameters) -> Result<()> {
        let layers = &inference_layers(&self.learned, &self.running);
        let tensors =
            Tensors { parameters: &self.parameters, running: &self.running_statistics, layers };
        self.inference = InferenceKernels::new(&self.gpu.device, plan, parameters, tensors)?;
        Ok(())
    }

    pub(crate) fn inference_kernels(&self) -> &InferenceKernels {
        &self.inference
    }
}

fn batches(layer: &Layer) -> u64 {
    match layer {
        Layer::Linear { .. } => 0,
        Layer::Normalized { batch_norm, .. } => batch_norm.batches,
    }
}
