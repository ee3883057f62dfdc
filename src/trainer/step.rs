//! One step as data: the list of bound dispatches that a batch goes through.

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Gpu, Matrix};
use crate::kernels::{
    activate_backward::{self, ActivateBackward},
    batch_statistics::BatchStatistics,
    column_sums::{self, ColumnSums},
    gradient_norm::{self, GradientNorm, MAX_PARTIAL_SUMS},
    loss::{self, Loss},
    matmul::{self, Operand},
    normalize_backward::{self, NormalizeBackward},
    normalize_gradients::{self, NormalizeGradients},
    record_step::{self, RecordStep},
    update::{self, Update},
};
use crate::layout::Learned;
use crate::network::{Activations, Network, Statistics};
use crate::options::TrainerOptions;

/// The kernels that only learning needs.
#[derive(Debug)]
pub(super) struct StepKernels {
    batch_statistics: BatchStatistics,
    loss: Loss,
    record_step: RecordStep,
    activate_backward: ActivateBackward,
    normalize_gradients: NormalizeGradients,
    normalize_backward: NormalizeBackward,
    column_sums: ColumnSums,
    gradient_norm: Option<GradientNorm>,
    update: Update,
}

impl StepKernels {
    pub(super) fn new(
        device: &Device,
        network: &Network,
        options: &TrainerOptions,
    ) -> Result<Self> {
        let gradient_norm = options.clip_norm.map(|norm| GradientNorm::new(device, norm as f32));
        Ok(Self {
            batch_statistics: BatchStatistics::new(device, network.momentum())?,
            loss: Loss::new(device, options.loss)?,
            record_step: RecordStep::new(device)?,
            activate_backward: ActivateBackward::new(device, network.activation())?,
            normalize_gradients: NormalizeGradients::new(device, network.epsilon())?,
            normalize_backward: NormalizeBackward::new(device, network.epsilon())?,
            column_sums: ColumnSums::new(device)?,
            gradient_norm: gradient_norm.transpose()?,
            update: Update::new(device, &options.optimizer)?,
        })
    }
}

/// What a step reads and writes besides the network, for batches of up to `batch_size` rows.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) inputs: Matrix,
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
    learned_gradients: Vec<Learned>,
    parameters: Matrix,
    velocity: Matrix,
    mean_square: Matrix,
}

#[derive(Debug)]
struct LayerMemory {
    sums: Matrix,
    ztilde: Matrix,
    outputs: Matrix,
    /// Of a normalized layer.
    statistics: Option<StatisticsMemory>,
}

#[derive(Debug)]
struct StatisticsMemory {
    mean: Matrix,
    variance: Matrix,
    grad_mean: Matrix,
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
        Ok(Self {
            inputs: gpu.matrix("trainer/inputs", rows, network.inputs())?,
            targets: gpu.matrix("trainer/targets", targets[0], targets[1])?,
            has_class_targets,
            layers: (0..network.learned().len())
                .map(|layer| LayerMemory::new(gpu, network, layer, rows))
                .collect::<Result<_>>()?,
            gradients_of_rows: [
                gpu.matrix("trainer/gradients of rows 1", rows, widest)?,
                gpu.matrix("trainer/gradients of rows 2", rows, widest)?,
            ],
            results: gpu.matrix("trainer/results", rows, 2)?,
            step: gpu.matrix("trainer/step", 1, 1)?,
            history: gpu.matrix("trainer/history", history, 2)?,
            rates: gpu.matrix("trainer/rates", history, 4)?,
            partial_sums: gpu.matrix("trainer/partial sums", 1, MAX_PARTIAL_SUMS)?,
            clip_scale,
            learned_gradients: layout.views(gradients.buffer())?,
            gradients,
            parameters: Matrix::vector(network.parameters_buffer(), 0, length)?,
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
        let matrix = |name: &str| gpu.matrix(&format!("layer {number}/{name}"), rows, columns);
        let sums = matrix("sums")?;
        let is_last = number == network.learned().len();
        let (ztilde, statistics) = match learned {
            Learned::Linear { .. } => (sums.clone(), None),
            Learned::Normalized { .. } => {
                let vector = |name: &str, rows: u32| {
                    gpu.matrix(&format!("layer {number}/{name}"), rows, columns)
                };
                let statistics = StatisticsMemory {
                    mean: vector("mean", 2)?,
                    variance: vector("variance", 1)?,
                    grad_mean: vector("grad_mean", 2)?,
                };
                (matrix("ztilde")?, Some(statistics))
            }
        };
        let outputs = if is_last { sums.clone() } else { matrix("outputs")? };
        Ok(Self { sums, ztilde, outputs, statistics })
    }
}

/// Binds a step on a batch of `rows` rows: forward, loss, backward, update.
pub(super) fn bind(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    rows: u32,
) -> Result<Vec<Dispatch>> {
    let layers = activations(memory, rows)?;
    let mut dispatches = Vec::new();
    for (layer, activations) in layers.iter().enumerate() {
        let statistics = match &memory.layers[layer].statistics {
            None => Statistics::Running,
            Some(StatisticsMemory { mean, variance, .. }) => {
                Statistics::Batch { measure: &kernels.batch_statistics, mean, variance }
            }
        };
        let place = place(layer);
        dispatches.extend(network.bind_layer(layer, &place, activations, statistics)?);
    }
    let outputs = &layers.last().expect("a network has an output layer").outputs;
    dispatches.extend(bind_loss(network, kernels, memory, outputs)?);
    let mut backward = Backward { network, kernels, memory, current: 0, dispatches };
    for (layer, activations) in layers.iter().enumerate().rev() {
        backward.bind_layer(layer, activations)?;
    }
    let mut dispatches = backward.dispatches;
    dispatches.extend(bind_update(network, kernels, memory)?);
    Ok(dispatches)
}

fn place(layer: usize) -> String {
    format!("layer {}", layer + 1)
}

/// Each layer's matrices with as many rows as the batch has.
fn activations(memory: &Memory, rows: u32) -> Result<Vec<Activations>> {
    let with_rows = |matrix: &Matrix| matrix.slice(0, rows);
    let mut inputs = with_rows(&memory.inputs)?;
    memory
        .layers
        .iter()
        .map(|layer| {
            let outputs = with_rows(&layer.outputs)?;
            Ok(Activations {
                inputs: std::mem::replace(&mut inputs, outputs.clone()),
                sums: with_rows(&layer.sums)?,
                ztilde: with_rows(&layer.ztilde)?,
                outputs,
            })
        })
        .collect()
}

/// The loss, whose gradient goes into the first of the two matrices for gradients.
fn bind_loss(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    outputs: &Matrix,
) -> Result<[Dispatch; 2]> {
    let device = &network.gpu().device;
    let [rows, columns] = [outputs.rows(), outputs.columns()];
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
        grad_outputs: &memory.gradients_of_rows[0].reshape(rows, columns)?,
    };
    let Memory { step, history, .. } = memory;
    let record = record_step::Buffers { results: &results, step, history };
    Ok([
        kernels.loss.bind(device, "loss", measure)?,
        kernels.record_step.bind(device, "loss", record)?,
    ])
}

/// The backward pass while it is bound.
struct Backward<'a> {
    network: &'a Network,
    kernels: &'a StepKernels,
    memory: &'a Memory,
    /// Which of the two matrices holds the gradient that the next kernel reads.
    current: usize,
    dispatches: Vec<Dispatch>,
}

impl Backward<'_> {
    /// From the gradient of a layer's outputs to those of its parameters and of its inputs.
    fn bind_layer(&mut self, layer: usize, activations: &Activations) -> Result<()> {
        let device = &self.network.gpu().device.clone();
        let place = &place(layer);
        let is_last = layer + 1 == self.network.learned().len();
        if !is_last {
            let [grad_outputs, grad_ztilde] = self.turn(&activations.sums)?;
            let buffers = activate_backward::Buffers {
                inputs: &activations.ztilde,
                grad_outputs: &grad_outputs,
                grad_inputs: &grad_ztilde,
            };
            self.dispatches.push(self.kernels.activate_backward.bind(device, place, buffers)?);
        }
        match &self.memory.learned_gradients[layer] {
            Learned::Linear { biases, .. } => {
                let grad_sums = self.gradient(&activations.sums)?;
                let buffers = column_sums::Buffers { inputs: &grad_sums, sums: biases };
                self.dispatches.push(self.kernels.column_sums.bind(device, place, buffers)?);
            }
            Learned::Normalized { .. } => self.bind_normalize(layer, &activations.sums)?,
        }
        self.bind_products(layer, activations)
    }

    /// From the gradient of ztilde to those of gamma, beta and the sums.
    fn bind_normalize(&mut self, layer: usize, sums: &Matrix) -> Result<()> {
        let device = &self.network.gpu().device.clone();
        let place = &place(layer);
        let learned = &self.network.learned()[layer];
        let gradients = &self.memory.learned_gradients[layer];
        let (
            Learned::Normalized { gamma, .. },
            Learned::Normalized { gamma: grad_gamma, beta: grad_beta, .. },
            Some(StatisticsMemory { mean, variance, grad_mean }),
        ) = (learned, gradients, &self.memory.layers[layer].statistics)
        else {
            unreachable!("layer {layer} is normalized in one place and not in another");
        };
        let [grad_ztilde, grad_sums] = self.turn(sums)?;
        let reduce = normalize_gradients::Buffers {
            inputs: sums,
            mean,
            variance,
            grad_outputs: &grad_ztilde,
            grad_gamma,
            grad_beta,
            grad_mean,
        };
        self.dispatches.push(self.kernels.normalize_gradients.bind(device, place, reduce)?);
        let backward = normalize_backward::Buffers {
            inputs: sums,
            mean,
            variance,
            gamma,
            grad_gamma,
            grad_mean,
            grad_outputs: &grad_ztilde,
            grad_inputs: &grad_sums,
        };
        self.dispatches.push(self.kernels.normalize_backward.bind(device, place, backward)?);
        Ok(())
    }

    /// From the gradient of the sums to those of the weights and, but for the first layer, the inputs.
    fn bind_products(&mut self, layer: usize, activations: &Activations) -> Result<()> {
        let device = &self.network.gpu().device.clone();
        let place = &place(layer);
        let grad_sums = self.gradient(&activations.sums)?;
        let of_weights = matmul::Buffers {
            left: Operand::Transposed(&grad_sums),
            right: Operand::Plain(&activations.inputs),
            outputs: self.memory.learned_gradients[layer].weights(),
        };
        self.dispatches.push(self.network.matmul().bind(device, place, of_weights)?);
        if layer > 0 {
            self.current = 1 - self.current;
            let of_inputs = matmul::Buffers {
                left: Operand::Plain(&grad_sums),
                right: Operand::Plain(self.network.learned()[layer].weights()),
                outputs: &self.gradient(&activations.inputs)?,
            };
            self.dispatches.push(self.network.matmul().bind(device, place, of_inputs)?);
        }
        Ok(())
    }

    /// The current gradient, in the shape of what it is the gradient of.
    fn gradient(&self, of: &Matrix) -> Result<Matrix> {
        self.memory.gradients_of_rows[self.current].reshape(of.rows(), of.columns())
    }

    /// The current gradient, and the matrix that takes the next one, which is current from now on.
    fn turn(&mut self, of: &Matrix) -> Result<[Matrix; 2]> {
        let read = self.gradient(of)?;
        self.current = 1 - self.current;
        Ok([read, self.gradient(of)?])
    }
}

fn bind_update(network: &Network, kernels: &StepKernels, memory: &Memory) -> Result<Vec<Dispatch>> {
    let device = &network.gpu().device;
    let Memory { step, rates, clip_scale, gradients, parameters, velocity, mean_square, .. } =
        memory;
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
        parameters,
        weights: network.layout().weights(),
        velocity,
        mean_square,
    };
    dispatches.push(kernels.update.bind(device, "update", buffers)?);
    Ok(dispatches)
}
