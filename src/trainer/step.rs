//! One step as data: the list of bound dispatches that a batch goes through.

use crate::error::Result;
use crate::gpu::{Dispatch, Gpu, Matrix};
use crate::kernels::{
    copy_rows::CopyRows,
    gradient_norm::{self, GradientNorm, MAX_PARTIAL_SUMS},
    layer_backward::{self, LayerBackward},
    layer_forward::{LayerForward, Normalization},
    loss::{self, Loss},
    output_layer::{self, OutputLayer},
    record_step::{self, RecordStep},
    update::{self, Update},
};
use crate::layout::Learned;
use crate::network::{Activations, Network};
use crate::options::TrainerOptions;

/// The kernels that learning needs.
#[derive(Debug)]
pub(super) struct StepKernels {
    /// One per hidden layer.
    forward: Vec<LayerForward>,
    backward: Vec<LayerBackward>,
    output: OutputKernels,
    gradient_norm: Option<GradientNorm>,
    update: Update,
}

/// What the output layer goes through.
#[derive(Debug)]
enum OutputKernels {
    /// Where one workgroup serves.
    InOne(OutputLayer),
    /// Behind the product that inference has, too.
    Separate { loss: Loss, record_step: RecordStep, backward: LayerBackward },
}

impl StepKernels {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let device = &network.gpu().device;
        let gradient_norm = options.clip_norm.map(|norm| GradientNorm::new(device, norm as f32));
        let hidden = network.learned().len() - 1;
        let backward = network.learned()[..hidden].iter().map(|learned| {
            let options = layer_backward::Options::Hidden {
                activation: network.activation(),
                batch_norm: matches!(learned, Learned::Normalized { .. }),
                epsilon: network.epsilon(),
            };
            LayerBackward::new(device, options)
        });
        let output = if OutputLayer::serves(device, options.batch_size, network.outputs()) {
            OutputKernels::InOne(OutputLayer::new(device, options.loss)?)
        } else {
            OutputKernels::Separate {
                loss: Loss::new(device, options.loss)?,
                record_step: RecordStep::new(device)?,
                backward: LayerBackward::new(device, layer_backward::Options::Last)?,
            }
        };
        Ok(Self {
            forward: network.compile(0..hidden, Normalization::Batch, true)?,
            backward: backward.collect::<Result<_>>()?,
            output,
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
    /// One per hidden layer.
    layers: Vec<LayerMemory>,
    /// Where several kernels work on the output layer.
    output: Option<OutputMemory>,
    /// The gradients of a layer's matrices, which take turns in two.
    gradients_of_rows: [Matrix; 2],
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
    sums: Matrix,
    /// Of a normalized layer.
    statistics: Option<Matrix>,
    outputs: Matrix,
}

#[derive(Debug)]
struct OutputMemory {
    outputs: Matrix,
    /// Each row's loss and accuracy.
    results: Matrix,
}

impl Memory {
    pub(super) fn new(
        network: &Network,
        kernels: &StepKernels,
        options: &TrainerOptions,
    ) -> Result<Self> {
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
            layers: (0..network.learned().len() - 1)
                .map(|layer| LayerMemory::new(gpu, network, layer, rows))
                .collect::<Result<_>>()?,
            output: match kernels.output {
                OutputKernels::InOne(_) => None,
                OutputKernels::Separate { .. } => Some(OutputMemory {
                    outputs: gpu.padded_matrix("trainer/outputs", rows, network.outputs())?,
                    results: gpu.matrix("trainer/results", rows, 2)?,
                }),
            },
            gradients_of_rows: [
                gpu.padded_matrix("trainer/gradients of rows 1", rows, widest)?,
                gpu.padded_matrix("trainer/gradients of rows 2", rows, widest)?,
            ],
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
        let is_normalized = matches!(learned, Learned::Normalized { .. });
        Ok(Self {
            sums: matrix("sums", rows)?,
            statistics: is_normalized.then(|| matrix("statistics", 3)).transpose()?,
            outputs: matrix("outputs", rows)?,
        })
    }

    /// With as many rows as the batch has.
    fn slice(&self, rows: u32) -> Result<Self> {
        Ok(Self {
            sums: self.sums.slice(0, rows)?,
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
            sums: Some(sums),
            statistics: statistics.as_ref(),
        };
        let kernel = &kernels.forward[layer];
        dispatches.push(network.bind_layer(kernel, layer, &place(layer), activations)?);
    }
    dispatches.extend(bind_output(network, kernels, memory, inputs_of[layers.len()])?);
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

/// The output layer, its loss, and the gradients of its sums and of what it learns.
fn bind_output(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    inputs: &Matrix,
) -> Result<Vec<Dispatch>> {
    let device = &network.gpu().device;
    let rows = inputs.rows();
    let last = network.learned().len() - 1;
    let learned = &network.learned()[last];
    let place = &place(last);
    let targets = if memory.has_class_targets {
        memory.targets.reshape(1, rows)?
    } else {
        memory.targets.slice(0, rows)?
    };
    let grad_sums = grad_sums(network, memory, last, rows)?;
    let Memory { step, history, gradients, .. } = memory;
    match (&kernels.output, &memory.output) {
        (OutputKernels::Separate { loss, record_step, backward }, Some(output)) => {
            let outputs = output.outputs.slice(0, rows)?;
            let results = output.results.slice(0, rows)?;
            let measure = loss::Buffers {
                outputs: &outputs,
                targets: &targets,
                results: &results,
                grad_outputs: &grad_sums,
            };
            let record = record_step::Buffers { results: &results, step, history };
            let back = layer_backward::Buffers {
                inputs,
                parameters: network.packed(),
                weights: learned.weights(),
                vectors: learned.vectors(),
                hidden: None,
                grad_sums: &grad_sums,
                gradients,
            };
            Ok(vec![
                network.bind_inference(last, place, inputs, &outputs)?,
                loss.bind(device, place, measure)?,
                record_step.bind(device, place, record)?,
                backward.bind(device, place, back)?,
            ])
        }
        (OutputKernels::InOne(kernel), _) => {
            let buffers = output_layer::Buffers {
                inputs,
                parameters: network.packed(),
                weights: learned.weights(),
                biases: learned.vectors()[0],
                grad_sums: &grad_sums,
                gradients,
                targets: &targets,
                step,
                history,
            };
            Ok(vec![kernel.bind(device, place, buffers)?])
        }
        (OutputKernels::Separate { .. }, None) => unreachable!("memory was made for the kernels"),
    }
}

/// From the gradient of the next layer's sums to those of a hidden layer.
fn bind_backward(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    layer: usize,
    inputs: &Matrix,
    LayerMemory { sums, statistics, .. }: &LayerMemory,
) -> Result<Dispatch> {
    let rows = inputs.rows();
    let learned = network.learned();
    let hidden = layer_backward::Hidden {
        next_grad_sums: &grad_sums(network, memory, layer + 1, rows)?,
        next_weights: learned[layer + 1].weights(),
        sums,
        statistics: statistics.as_ref(),
    };
    let buffers = layer_backward::Buffers {
        inputs,
        parameters: network.packed(),
        weights: learned[layer].weights(),
        vectors: learned[layer].vectors(),
        hidden: Some(hidden),
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
