//! `Network`: the parameters on the GPU, and the order of the layers.

use wgpu::{Buffer, Device, Queue};

use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Gpu, Matrix, read};
use crate::kernels::{
    activate::{self, Activate},
    add_biases::{self, AddBiases},
    batch_statistics::{self, BatchStatistics},
    matmul::{self, Matmul, Operand},
    normalize::{self, Normalize},
};
use crate::layout::{Learned, LearnedLayout, Running, RunningLayout, padded};
use crate::options::{Activation, NetworkOptions};
use crate::parameters::{BatchNorm, Layer, Parameters};

/// A batch-normalized multilayer perceptron on the GPU: everything that was learned.
///
/// Each hidden layer is linear, normalized over the batch, scaled and shifted, then activated; it has
/// no biases, since the mean subtraction would cancel them. The output layer is linear with biases;
/// softmax and sigmoid belong to the losses. With `batch_norm: false` hidden layers are linear with
/// biases, then activated.
///
/// A [`Trainer`](crate::Trainer) changes it, an [`Inference`](crate::Inference) applies it.
#[derive(Debug)]
pub struct Network {
    gpu: Gpu,
    activation: Activation,
    epsilon: f32,
    momentum: f32,
    layer_sizes: Vec<u32>,
    layout: LearnedLayout,
    parameters: Buffer,
    learned: Vec<Learned>,
    running_layout: RunningLayout,
    running_statistics: Buffer,
    running: Vec<Option<Running>>,
    /// How many batches each layer's running statistics have seen.
    batches: Vec<u64>,
    kernels: Kernels,
}

#[derive(Debug)]
struct Kernels {
    matmul: Matmul,
    add_biases: AddBiases,
    normalize: Normalize,
    activate: Activate,
}

/// The matrices that a layer reads and writes, a row per sample. Some may share memory: a layer is
/// computed from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Activations {
    pub(crate) inputs: Matrix,
    pub(crate) sums: Matrix,
    /// What goes into the activation: for a layer without batch normalization the sums.
    pub(crate) ztilde: Matrix,
    /// For the output layer the sums.
    pub(crate) outputs: Matrix,
}

/// The statistics that a layer is normalized with.
#[derive(Clone, Copy)]
pub(crate) enum Statistics<'a> {
    /// The batch's own, which are measured first and move the running ones.
    Batch { measure: &'a BatchStatistics, mean: &'a Matrix, variance: &'a Matrix },
    /// The running ones.
    Running,
}

impl Network {
    /// A network with random weights, on the app's device.
    ///
    /// `layer_sizes` are features per layer, inputs first, outputs last.
    ///
    /// # Errors
    ///
    /// [`Error::Architecture`] or [`Error::Option`]
    /// if sizes or options make no network, [`Error::TooLarge`] if the
    /// device cannot bind it (see [`required_limits`](crate::required_limits)), and what wgpu reports.
    pub fn new(
        device: &Device,
        queue: &Queue,
        layer_sizes: &[u32],
        options: NetworkOptions,
    ) -> Result<Self> {
        // Before gigabytes of weights are made that the device could not take.
        let limits = device.limits();
        let needed = learned_bytes(layer_sizes);
        let limit = "max_storage_buffer_binding_size";
        let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        if needed > allowed {
            return Err(Error::TooLarge { what: "parameters".to_owned(), needed, limit, allowed });
        }
        Self::from_parameters(device, queue, &Parameters::initialize(layer_sizes, &options)?)
    }

    /// A network that goes on where `parameters` were read or saved.
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
        let layout = LearnedLayout::new(&parameters.layers);
        let learned_matrix = gpu.matrix("parameters", 1, layout.length()?)?;
        let buffer = learned_matrix.buffer().clone();
        gpu.write(&buffer, 0, &layout.pack(&parameters.layers))?;
        let running_layout = RunningLayout::new(&parameters.layers);
        let running_statistics = gpu.buffer("running statistics", running_layout.length())?;
        gpu.write(&running_statistics, 0, &running_layout.pack(&parameters.layers))?;
        let Parameters { activation, epsilon, momentum, .. } = *parameters;
        Ok(Self {
            activation,
            epsilon,
            momentum,
            layer_sizes: parameters.layer_sizes(),
            learned: layout.views(&buffer)?,
            layout,
            parameters: buffer,
            running: running_layout.views(&running_statistics)?,
            running_layout,
            running_statistics,
            batches: parameters.layers.iter().map(batches).collect(),
            kernels: Kernels {
                matmul: Matmul::new(device)?,
                add_biases: AddBiases::new(device)?,
                normalize: Normalize::new(device, epsilon)?,
                activate: Activate::new(device, activation)?,
            },
            gpu,
        })
    }

    /// Reads the network from the GPU, as it will be after everything that was submitted so far.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`], and what wgpu reports.
    pub fn parameters(&self) -> impl Future<Output = Result<Parameters>> + use<> {
        let learned = read(&self.gpu, &self.parameters, 0, self.layout.values());
        let running = read(&self.gpu, &self.running_statistics, 0, self.running_layout.length());
        let layout = self.layout.clone();
        let running_layout = self.running_layout.clone();
        let batches = self.batches.clone();
        let (activation, epsilon, momentum) = (self.activation, self.epsilon, self.momentum);
        async move {
            let learned = layout.unpack(&learned.await?);
            let running = running_layout.unpack(&running.await?);
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
            Ok(Parameters { activation, epsilon, momentum, layers })
        }
    }

    /// Features per layer, inputs first, outputs last.
    pub fn layer_sizes(&self) -> &[u32] {
        &self.layer_sizes
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

    pub(crate) fn activation(&self) -> Activation {
        self.activation
    }

    pub(crate) fn epsilon(&self) -> f32 {
        self.epsilon
    }

    pub(crate) fn momentum(&self) -> f32 {
        self.momentum
    }

    pub(crate) fn layout(&self) -> &LearnedLayout {
        &self.layout
    }

    pub(crate) fn parameters_buffer(&self) -> &Buffer {
        &self.parameters
    }

    pub(crate) fn learned(&self) -> &[Learned] {
        &self.learned
    }

    pub(crate) fn matmul(&self) -> &Matmul {
        &self.kernels.matmul
    }

    /// A batch has moved every layer's running statistics.
    pub(crate) fn count_batch(&mut self) {
        for (batches, running) in self.batches.iter_mut().zip(&self.running) {
            *batches += u64::from(running.is_some());
        }
    }

    /// Binds what a layer computes from its inputs to its outputs, in order.
    pub(crate) fn bind_layer(
        &self,
        layer: usize,
        place: &str,
        activations: &Activations,
        statistics: Statistics<'_>,
    ) -> Result<Vec<Dispatch>> {
        let device = &self.gpu.device;
        let Activations { inputs, sums, ztilde, outputs } = activations;
        let learned = &self.learned[layer];
        let product = matmul::Buffers {
            left: Operand::Plain(inputs),
            right: Operand::Transposed(learned.weights()),
            outputs: sums,
        };
        let mut dispatches = vec![self.kernels.matmul.bind(device, place, product)?];
        match learned {
            Learned::Linear { biases, .. } => {
                let buffers = add_biases::Buffers { biases, sums };
                dispatches.push(self.kernels.add_biases.bind(device, place, buffers)?);
            }
            Learned::Normalized { gamma, beta, .. } => {
                let running = self.running[layer].as_ref().expect("a normalized layer has both");
                let (mean, variance) = match statistics {
                    Statistics::Running => (&running.mean_rows, &running.var),
                    Statistics::Batch { measure, mean, variance } => {
                        let buffers = batch_statistics::Buffers {
                            inputs: sums,
                            mean,
                            variance,
                            running_mean: &running.mean,
                            running_var: &running.var,
                        };
                        dispatches.push(measure.bind(device, place, buffers)?);
                        (mean, variance)
                    }
                };
                let buffers = normalize::Buffers {
                    inputs: sums,
                    mean,
                    variance,
                    gamma,
                    beta,
                    outputs: ztilde,
                };
                dispatches.push(self.kernels.normalize.bind(device, place, buffers)?);
            }
        }
        if layer + 1 < self.learned.len() {
            let buffers = activate::Buffers { inputs: ztilde, outputs };
            dispatches.push(self.kernels.activate.bind(device, place, buffers)?);
        }
        Ok(dispatches)
    }
}

fn batches(layer: &Layer) -> u64 {
    match layer {
        Layer::Linear { .. } => 0,
        Layer::Normalized { batch_norm, .. } => batch_norm.batches,
    }
}

/// What a device must allow for a network of these sizes, trained on batches of `batch_size` rows:
/// WebGPU's defaults, with larger buffers and bindings where those are too small.
///
/// For apps that are about to make their device. A network fits a device whose limits are at least
/// these; inference alone needs no more than its parameters do, whatever the rows.
pub fn required_limits(layer_sizes: &[u32], batch_size: u32) -> wgpu::Limits {
    let widest = layer_sizes.iter().copied().max().map_or(0, u64::from);
    let batch = widest.saturating_mul(4).saturating_mul(batch_size.into());
    let bytes = learned_bytes(layer_sizes).max(batch);
    let defaults = wgpu::Limits::default();
    wgpu::Limits {
        max_buffer_size: defaults.max_buffer_size.max(bytes),
        max_storage_buffer_binding_size: defaults.max_storage_buffer_binding_size.max(bytes),
        ..defaults
    }
}

/// What the packed parameters of a network take, at the most.
fn learned_bytes(layer_sizes: &[u32]) -> u64 {
    layer_sizes
        .windows(2)
        .map(|pair| {
            let [inputs, outputs] = [u64::from(pair[0]), u64::from(pair[1])];
            // Gamma and beta, or biases.
            padded(inputs * outputs).saturating_add(2 * padded(outputs))
        })
        .fold(0_u64, u64::saturating_add)
        .saturating_mul(4)
}
