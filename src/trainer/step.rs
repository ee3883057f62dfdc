//! One step as data: the list of bound dispatches that a batch goes through.

use crate::error::Result;
use crate::gpu::{Dispatch, Gpu, Matrix};
use crate::kernels::{
    copy_rows::CopyRows,
    gradient_norm::{self, GradientNorm, MAX_PARTIAL_SUMS},
    layer_backward::{self, LayerBackward},
    layer_forward::{LayerForward, Normalization},
    loss::{self, Loss},
    record_step::{self, RecordStep},
    update::{self, Update},
};
use crate::layout::Learned;
use crate::network::{Activations, Network};
use crate::options::TrainerOptions;

/// The kernels that learning needs.
#[derive(Debug)]
pub(super) struct StepKernels {
    /// One per layer.
    forward: Vec<LayerForward>,
    backward: Vec<LayerBackward>,
    loss: Loss,
    record_step: RecordStep,
    gradient_norm: Option<GradientNorm>,
    update: Update,
}

impl StepKernels {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let device = &network.gpu().device;
        let gradient_norm = options.clip_norm.map(|norm| GradientNorm::new(device, norm as f32));
        let last = network.learned().len() - 1;
        let backward = network.learned().iter().enumerate().map(|(layer, learned)| {
            let options = if layer == last {
                layer_backward::Options::Last
            } else {
                layer_backward::Options::Hidden {
                    activation: network.activation(),
                    batch_norm: matches!(learned, Learned::Normalized { .. }),
                    epsilon: network.epsilon(),
                }
            };
            LayerBackward::new(device, options)
        });
        Ok(Self {
            forward: network.compile(Normalization::Batch, true)?,
            backward: backward.collect::<Result<_>>()?,
            loss: Loss::new(device, options.loss)?,
            record_step: RecordStep::new(device)?,
            gradient_norm: gradient_norm.transpose()?,
            update: Update::new(device, &options.optimizer)?,
        })
    }
}

/// What a step reads and writes besides the network, for batches of up to `batch_size` rows.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) inputs: Matrix,
    /// Where a batch from the CPU or from an app's buffer goes, whose rows lie one behind the other: the
    /// inputs themselves if these are whole vectors of four.
    pub(super) dense_inputs: Matrix,
    pub(super) targets: Matrix,
    has_class_targets: bool,
    layers: Vec<LayerMemory>,
    /// The gradients of a layer's matrices, which take turns in two.
    gradients_of_rows: [Matrix; 2],
    results: Matrix,
    pub(super) step: Matrix,
    pub(super) history: Matrix,
    pub(super) rates: Matrix,
    partial_sums: Matrix,
    clip_scale: Matrix,
    gradients: Matrix,
    velocity: Matrix,
    mean_square: Matrix,
}

#[derive(Debug)]
struct LayerMemory {
    /// Of a hidden layer.
    sums: Option<Matrix>,
    /// Of a normalized layer.
    statistics: Option<Matrix>,
    outputs: Matrix,
}

impl Memory {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let gpu = network.gpu();
        let rows = options.batch_size;
        let sizes = network.layer_sizes();
        let widest = sizes[1..].iter().copied().max().expect("a network has an output layer");
        let has_class_targets = options.loss.has_class_targets();
        let targets = if has_class_targets { [1, rows] } else { [rows, network.outputs()] };
        let clip_scale = gpu.matrix("trainer/clip scale", 1, 1)?;
        gpu.write(clip_scale.buffer(), 0, &[1_f32])?;
        let layout = network.layout();
        let length = layout.length()?;
        let gradients = gpu.matrix("trainer/gradients", 1, length)?;
        let method = options.optimizer.method;
        // The update binds a value in the place of a state that its method does not have.
        let state = |has: bool| if has { length } else { 1 };
        let history = super::HISTORY;
        let inputs = gpu.padded_matrix("trainer/inputs", rows, network.inputs())?;
        let dense_inputs = match network.inputs() % 4 {
            0 => inputs.clone(),
            _ => gpu.matrix("trainer/dense inputs", rows, network.inputs())?,
        };
        Ok(Self {
            inputs,
            dense_inputs,
            targets: gpu.matrix("trainer/targets", targets[0], targets[1])?,
            has_class_targets,
            layers: (0..network.learned().len())
                .map(|layer| LayerMemory::new(gpu, network, layer, rows))
                .collect::<Result<_>>()?,
            gradients_of_rows: [
                gpu.padded_matrix("trainer/gradients of rows 1", rows, widest)?,
                gpu.padded_matrix("trainer/gradients of rows 2", rows, widest)?,
            ],
            results: gpu.matrix("trainer/results", rows, 2)?,
            step: gpu.matrix("trainer/step", 1, 1)?,
            history: gpu.matrix("trainer/history", history, 2)?,
            rates: gpu.matrix("trainer/rates", history, 4)?,
            partial_sums: gpu.matrix("trainer/partial sums", 1, MAX_PARTIAL_SUMS)?,
            clip_scale,
            gradients,
            velocity: gpu.matrix("trainer/velocity", 1, state(update::has_velocity(method)))?,
            mean_square: gpu.matrix(
                "trainer/mean square",
                1,
                state(update::has_mean_square(method)),
            )?,
        })
    }
}

impl LayerMemory {
    fn new(gpu: &Gpu, network: &Network, layer: usize, rows: u32) -> Result<Self> {
        let learned = &network.learned()[layer];
        let columns = learned.weights().rows();
        let number = layer + 1;
        let matrix = |name: &str, rows: u32| {
            gpu.padded_matrix(&format!("layer {number}/{name}"), rows, columns)
        };
        let is_last = number == network.learned().len();
        let is_normalized = matches!(learned, Learned::Normalized { .. });
        Ok(Self {
            sums: (!is_last).then(|| matrix("sums", rows)).transpose()?,
            statistics: is_normalized.then(|| matrix("statistics", 3)).transpose()?,
            outputs: matrix("outputs", rows)?,
        })
    }

    /// With as many rows as the batch has.
    fn slice(&self, rows: u32) -> Result<Self> {
        Ok(Self {
            sums: self.sums.as_ref().map(|sums| sums.slice(0, rows)).transpose()?,
            statistics: self.statistics.clone(),
            outputs: self.outputs.slice(0, rows)?,
        })
    }
}

/// Binds a step on a batch of `rows` rows: forward, loss, backward, update.
pub(super) fn bind(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    rows: u32,
) -> Result<Vec<Dispatch>> {
    let inputs = memory.inputs.slice(0, rows)?;
    let layers: Vec<LayerMemory> =
        memory.layers.iter().map(|layer| layer.slice(rows)).collect::<Result<_>>()?;
    let inputs_of: Vec<&Matrix> =
        std::iter::once(&inputs).chain(layers.iter().map(|layer| &layer.outputs)).collect();
    let mut dispatches = Vec::new();
    for (layer, LayerMemory { sums, statistics, outputs }) in layers.iter().enumerate() {
        let activations = Activations {
            inputs: inputs_of[layer],
            outputs,
            sums: sums.as_ref(),
            statistics: statistics.as_ref(),
        };
        let kernel = &kernels.forward[layer];
        dispatches.push(network.bind_layer(kernel, layer, &place(layer), activations)?);
    }
    let outputs = inputs_of[layers.len()];
    dispatches.extend(bind_loss(network, kernels, memory, outputs)?);
    for layer in (0..layers.len()).rev() {
        let inputs = inputs_of[layer];
        dispatches.push(bind_backward(network, kernels, memory, layer, inputs, &layers[layer])?);
    }
    dispatches.extend(bind_update(network, kernels, memory)?);
    Ok(dispatches)
}

/// Binds what brings `dense_inputs` to the inputs, if these are not the same.
pub(super) fn bind_arrival(network: &Network, memory: &Memory) -> Result<Option<Dispatch>> {
    let Memory { inputs, dense_inputs, .. } = memory;
    if inputs.buffer() == dense_inputs.buffer() {
        return Ok(None);
    }
    let device = &network.gpu().device;
    CopyRows::new(device)?.bind(device, "inputs", dense_inputs, inputs).map(Some)
}

fn place(layer: usize) -> String {
    format!("layer {}", layer + 1)
}

/// The gradients of the layer's sums, for as many rows as the batch has. Layers take turns in two
/// matrices.
fn grad_sums(network: &Network, memory: &Memory, layer: usize, rows: u32) -> Result<Matrix> {
    let columns = network.learned()[layer].weights().rows();
    memory.gradients_of_rows[layer % 2].reshape_padded(rows, columns)
}

/// The loss, whose gradient is that of the output layer's sums.
fn bind_loss(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    outputs: &Matrix,
) -> Result<[Dispatch; 2]> {
    let device = &network.gpu().device;
    let rows = outputs.rows();
    let results = memory.results.slice(0, rows)?;
    let targets = if memory.has_class_targets {
        memory.targets.reshape(1, rows)?
    } else {
        memory.targets.slice(0, rows)?
    };
    let measure = loss::Buffers {
        outputs,
        targets: &targets,
        results: &results,
        grad_outputs: &grad_sums(network, memory, network.learned().len() - 1, rows)?,
    };
    let Memory { step, history, .. } = memory;
    let record = record_step::Buffers { results: &results, step, history };
    Ok([
        kernels.loss.bind(device, "loss", measure)?,
        kernels.record_step.bind(device, "loss", record)?,
    ])
}

/// From the gradient of the next layer's sums, or of the loss, to those of this layer.
fn bind_backward(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    layer: usize,
    inputs: &Matrix,
    seen: &LayerMemory,
) -> Result<Dispatch> {
    let rows = inputs.rows();
    let learned = network.learned();
    let next = (layer + 1 < learned.len()).then(|| grad_sums(network, memory, layer + 1, rows));
    let next = next.transpose()?;
    let hidden = next.as_ref().zip(seen.sums.as_ref()).map(|(next_grad_sums, sums)| {
        layer_backward::Hidden {
            next_grad_sums,
            next_weights: learned[layer + 1].weights(),
            sums,
            statistics: seen.statistics.as_ref(),
        }
    });
    let buffers = layer_backward::Buffers {
        inputs,
        parameters: network.packed(),
        weights: learned[layer].weights(),
        vectors: learned[layer].vectors(),
        hidden,
        grad_sums: &grad_sums(network, memory, layer, rows)?,
        gradients: &memory.gradients,
    };
    kernels.backward[layer].bind(&network.gpu().device, &place(layer), buffers)
}

fn bind_update(network: &Network, kernels: &StepKernels, memory: &Memory) -> Result<Vec<Dispatch>> {
    let device = &network.gpu().device;
    let Memory { step, rates, clip_scale, gradients, velocity, mean_square, .. } = memory;
    let mut dispatches = Vec::new();
    if let Some(gradient_norm) = &kernels.gradient_norm {
        let partial_sums = &memory.partial_sums;
        let buffers = gradient_norm::Buffers { gradients, partial_sums, clip_scale };
        dispatches.extend(gradient_norm.bind(device, "update", buffers)?);
    }
    let buffers = update::Buffers {
        step,
        rates,
        clip_scale,
        gradients,
        parameters: network.packed(),
        weights: network.layout().weights(),
        velocity,
        mean_square,
    };
    dispatches.push(kernels.update.bind(device, "update", buffers)?);
    Ok(dispatches)
}
