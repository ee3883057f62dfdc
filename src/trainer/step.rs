//! One step as data: the list of bound dispatches that a batch goes through.

use wgpu::Device;

use super::memory::{BatchMemory, Kept, LayerMemory, Memory};
use super::whole;
use crate::error::Result;
use crate::fused::{
    copy_rows::CopyRows,
    grad_weights::{self, GradWeights},
    gradient_norm::{self, GradientNorm},
    layer_backward::{self, LayerBackward},
    layer_forward::{self, LayerForward},
    output_layer::{self, OutputLayer},
    record_step::{self, RecordStep},
    skip_step::SkipStep,
    update::{self, Update},
    weigh_classes::{self, WeighClasses},
    whole_steps::WholeSteps,
};
use crate::gpu::{Dispatch, Matrix};
use crate::kernels::loss::{self, Loss};
use crate::layout::Learned;
use crate::network::Network;
use crate::options::{Activation, TrainerOptions};
use crate::plan::{LayerPlan, OutputKernels, Place, Slabs, StepPlan};

/// The kernels that learning needs, as the plan has them.
#[derive(Debug)]
pub(super) enum StepKernels {
    Divided(Box<DividedKernels>),
    Whole(Box<WholeSteps>),
}

/// The kernels of a step that is several dispatches.
#[derive(Debug)]
pub(super) struct DividedKernels {
    /// One per hidden layer.
    hidden: Vec<HiddenKernels>,
    output: Output,
    /// Of the output layer's weights, if they are computed alone.
    grad_weights: Option<GradWeights>,
    has_class_targets: bool,
    weigh_classes: Option<WeighClasses>,
    gradient_norm: Option<GradientNorm>,
    update: Update,
    skip: Option<SkipStep>,
}

/// The kernels of a hidden layer.
#[derive(Debug)]
struct HiddenKernels {
    forward: LayerForward,
    backward: LayerBackward,
    grad_weights: Option<GradWeights>,
}

/// The kernels of the output layer, up to the gradients of its outputs and the record of the step.
#[derive(Debug)]
enum Output {
    InOne(OutputLayer),
    RowByRow { output_layer: OutputLayer, record_step: RecordStep },
    Wide { product: LayerForward, loss: Loss, record_step: RecordStep },
}

impl StepKernels {
    pub(super) fn new(
        network: &Network,
        plan: &StepPlan,
        memory: &Memory,
        options: &TrainerOptions,
    ) -> Result<Self> {
        Ok(match plan.whole() {
            Some(whole) => Self::Whole(Box::new(whole::kernel(network, whole, memory, options)?)),
            None => Self::Divided(Box::new(DividedKernels::new(network, plan, options)?)),
        })
    }
}

impl DividedKernels {
    fn new(network: &Network, plan: &StepPlan, options: &TrainerOptions) -> Result<Self> {
        let device = &network.gpu().device;
        let skips = options.on_fault.skips();
        let loss = loss::Options::from(options);
        let layers = plan.layers();
        let has_slabs = !plan.ranges(options.batch_size).is_empty();
        let of_hidden = |pair: &[LayerPlan]| HiddenKernels::new(network, pair[0], pair[1]);
        let output = *layers.last().expect("a network has an output layer");
        let clip_norm =
            options.clip_norm.map(|norm| GradientNorm::new(device, norm as f32, has_slabs));
        Ok(Self {
            hidden: layers.windows(2).map(of_hidden).collect::<Result<_>>()?,
            output: Output::new(network, output, loss)?,
            grad_weights: grad_weights(device, output)?,
            has_class_targets: options.loss.has_class_targets(),
            weigh_classes: loss.has_class_weights.then(|| WeighClasses::new(device)).transpose()?,
            gradient_norm: clip_norm.transpose()?,
            update: Update::new(device, &options.optimizer, skips, has_slabs)?,
            skip: skips.then(|| SkipStep::new(device)).transpose()?,
        })
    }
}

impl HiddenKernels {
    fn new(network: &Network, plan: LayerPlan, next: LayerPlan) -> Result<Self> {
        let device = &network.gpu().device;
        let (activation, epsilon) = (network.activation(), network.epsilon());
        let forward = layer_forward::Options { activation, epsilon, momentum: network.momentum() };
        let backward = layer_backward::Options { activation, epsilon };
        Ok(Self {
            forward: LayerForward::for_training(device, plan, forward)?,
            backward: LayerBackward::new(device, plan, next, backward)?,
            grad_weights: grad_weights(device, plan)?,
        })
    }
}

impl Output {
    fn new(network: &Network, plan: LayerPlan, loss: loss::Options) -> Result<Self> {
        let device = &network.gpu().device;
        let output_layer = || OutputLayer::new(device, plan, loss);
        Ok(match plan.output() {
            OutputKernels::InOne => Self::InOne(output_layer()?),
            OutputKernels::RowByRow => {
                let record_step = RecordStep::new(device)?;
                Self::RowByRow { output_layer: output_layer()?, record_step }
            }
            OutputKernels::Wide => Self::Wide {
                product: LayerForward::for_inference(
                    device,
                    plan.tiling,
                    false,
                    Activation::Identity,
                    network.epsilon(),
                )?,
                loss: Loss::new(device, loss)?,
                record_step: RecordStep::new(device)?,
            },
        })
    }
}

fn grad_weights(device: &Device, plan: LayerPlan) -> Result<Option<GradWeights>> {
    (plan.weights.place == Place::Alone).then(|| GradWeights::new(device, plan)).transpose()
}

/// What a step on a batch of some rows is bound to.
struct Step<'a> {
    network: &'a Network,
    plan: &'a StepPlan,
    memory: &'a Memory,
    batch: BatchMemory,
    slabs: Vec<Slabs>,
    /// The stop and the faults of each layer, among the parameters.
    faults: Vec<[Matrix; 2]>,
}

/// Binds a step on a batch of `rows` rows: forward, loss, backward, update.
pub(super) fn bind(
    network: &Network,
    plan: &StepPlan,
    kernels: &StepKernels,
    memory: &Memory,
    rows: u32,
) -> Result<Vec<Dispatch>> {
    let kernels = match kernels {
        StepKernels::Divided(kernels) => &**kernels,
        StepKernels::Whole(kernel) => {
            return Ok(vec![whole::bind(network, kernel, memory, rows, 1)?]);
        }
    };
    let batch = memory.batch.slice(rows)?;
    let packed = network.packed().buffer();
    let layers = 0..plan.layers().len();
    let faults = layers.map(|layer| network.layout().stop_place(packed, layer));
    let step = Step {
        network,
        plan,
        memory,
        batch,
        slabs: plan.slabs(),
        faults: faults.collect::<Result<_>>()?,
    };
    let mut dispatches = Vec::new();
    for (layer, kernels) in kernels.hidden.iter().enumerate() {
        dispatches.extend(step.bind_forward(&kernels.forward, layer)?);
    }
    dispatches.extend(step.bind_output(kernels)?);
    for (layer, kernels) in kernels.hidden.iter().enumerate().rev() {
        dispatches.extend(step.bind_backward(&kernels.backward, layer)?);
        dispatches.extend(step.bind_grad_weights(kernels.grad_weights.as_ref(), layer)?);
    }
    dispatches.extend(step.bind_update(kernels, rows)?);
    Ok(dispatches)
}

/// Binds the copy from `dense_inputs` to the inputs, if they are different matrices.
pub(super) fn bind_arrival(
    network: &Network,
    copy_rows: &CopyRows,
    memory: &Memory,
) -> Result<Vec<Dispatch>> {
    let Memory { batch: BatchMemory { inputs, .. }, dense_inputs, .. } = memory;
    if inputs.buffer() == dense_inputs.buffer() {
        return Ok(Vec::new());
    }
    copy_rows.bind(&network.gpu().device, "inputs", dense_inputs, inputs)
}

fn place(layer: usize) -> String {
    format!("layer {}", layer + 1)
}

impl Step<'_> {
    fn device(&self) -> &Device {
        &self.network.gpu().device
    }

    /// What a hidden layer keeps for the backward pass.
    fn kept(&self, layer: usize) -> Result<Kept> {
        let Kept { sums, statistics } =
            self.batch.layers[layer].kept.as_ref().expect("a hidden layer keeps its sums");
        let rows = self.plan.layers()[layer].statistics_rows(self.batch.inputs.rows());
        Ok(Kept { sums: sums.clone(), statistics: statistics.slice(0, rows)? })
    }

    fn bind_forward(&self, kernel: &LayerForward, layer: usize) -> Result<Vec<Dispatch>> {
        let outputs = &self.batch.layers[layer].outputs;
        let Kept { sums, statistics } = &self.kept(layer)?;
        let kept = Some(layer_forward::Kept { sums, statistics });
        let inputs = self.batch.inputs_of(layer);
        self.network.bind_layer(kernel, layer, &place(layer), inputs, outputs, kept)
    }

    /// Where the gradients of a layer's weights and biases go.
    fn targets(&self, layer: usize) -> grad_weights::Targets<'_> {
        let learned = &self.network.learned()[layer];
        grad_weights::Targets {
            parameters: self.network.packed(),
            weights: learned.weights(),
            biases: match learned {
                Learned::Linear { biases, .. } => Some(biases),
                Learned::Normalized { .. } => None,
            },
            faults: &self.faults[layer][1],
            slabs: self.slabs[layer],
        }
    }

    /// The output layer, its loss, and the gradients of its sums and of its parameters.
    fn bind_output(&self, kernels: &DividedKernels) -> Result<Vec<Dispatch>> {
        let (batch, memory, device) = (&self.batch, self.memory, self.device());
        let last = self.plan.layers().len() - 1;
        let place = &place(last);
        let inputs = batch.inputs_of(last);
        let LayerMemory { outputs, grad_sums, .. } = &batch.layers[last];
        let results = &batch.results;
        let (targets, weighing) = bind_targets(kernels, memory, batch, device, place)?;
        let targets = &targets;
        let mut dispatches = Vec::from_iter(weighing);
        let output_layer = |kernel: &OutputLayer, history: &Matrix| {
            let buffers = output_layer::Buffers {
                inputs,
                targets_of_gradients: self.targets(last),
                stop: &self.faults[last][0],
                grad_sums,
                gradients: &memory.gradients,
                targets,
                counts: self.network.counts(),
                history,
            };
            kernel.bind(device, place, buffers)
        };
        match &kernels.output {
            Output::InOne(kernel) => dispatches.push(output_layer(kernel, &memory.history)?),
            Output::RowByRow { output_layer: kernel, record_step } => {
                dispatches.push(output_layer(kernel, results)?);
                dispatches.push(self.bind_record(record_step, last)?);
            }
            Output::Wide { product, loss, record_step } => {
                let buffers = loss::Buffers { outputs, targets, results, grad_outputs: grad_sums };
                let matrices = [inputs, outputs];
                dispatches.extend(self.network.bind_inference(product, last, place, matrices)?);
                dispatches.push(loss.bind(device, place, buffers)?);
                dispatches.push(self.bind_record(record_step, last)?);
            }
        }
        dispatches.extend(self.bind_grad_weights(kernels.grad_weights.as_ref(), last)?);
        Ok(dispatches)
    }

    fn bind_record(&self, kernel: &RecordStep, last: usize) -> Result<Dispatch> {
        // The layer's first fault, in the gradients.
        let gradients = self.memory.gradients.buffer();
        let [_, faults] = self.network.layout().stop_place(gradients, last)?;
        let fault = &Matrix::vector(gradients, faults.first(), 1)?;
        let (counts, history) = (self.network.counts(), &self.memory.history);
        let record = record_step::Buffers { results: &self.batch.results, counts, history, fault };
        kernel.bind(self.device(), &place(last), record)
    }

    /// The gradients of a hidden layer, from those of the sums of the next layer.
    fn bind_backward(&self, kernel: &LayerBackward, layer: usize) -> Result<Vec<Dispatch>> {
        let (batch, network) = (&self.batch, self.network);
        let plan = self.plan.layers()[layer];
        let next = layer + 1;
        let learned = &network.learned()[layer];
        let gamma = learned.gamma();
        let Kept { sums, statistics } = &self.kept(layer)?;
        let of = |weights: usize| (batch.inputs_of(weights), self.targets(weights));
        let is_with_layer = plan.weights.place == Place::WithLayer;
        let of_next = || plan.takes_next.then(|| of(next));
        let buffers = layer_backward::Buffers {
            next_grad_sums: &batch.layers[next].grad_sums,
            next_weights: network.learned()[next].weights(),
            parameters: network.packed(),
            gamma,
            beta: gamma.map(|_| learned.beta()),
            stop: self.faults[layer].each_ref(),
            sums,
            statistics,
            weights: is_with_layer.then(|| of(layer)).or_else(of_next),
            grad_sums: &batch.layers[layer].grad_sums,
            gradients: &self.memory.gradients,
        };
        kernel.bind(self.device(), &place(layer), buffers)
    }

    /// The gradients of a layer's weights, if they are computed alone.
    fn bind_grad_weights(
        &self,
        kernel: Option<&GradWeights>,
        layer: usize,
    ) -> Result<Option<Dispatch>> {
        let buffers = grad_weights::Buffers {
            inputs: self.batch.inputs_of(layer),
            grad_sums: &self.batch.layers[layer].grad_sums,
            targets: self.targets(layer),
            stop: &self.faults[layer][0],
            gradients: &self.memory.gradients,
        };
        kernel.map(|kernel| kernel.bind(self.device(), &place(layer), buffers)).transpose()
    }

    fn bind_update(&self, kernels: &DividedKernels, rows: u32) -> Result<Vec<Dispatch>> {
        let (network, device) = (self.network, self.device());
        let Memory { rates, clip_scale, velocity, mean_square, gradients, .. } = self.memory;
        let slabs = &self.plan.ranges(rows);
        let mut dispatches = Vec::new();
        if let Some(gradient_norm) = &kernels.gradient_norm {
            let partial_sums = &self.memory.partial_sums;
            let length = network.packed().columns();
            let buffers =
                gradient_norm::Buffers { gradients, slabs, length, partial_sums, clip_scale };
            dispatches.extend(gradient_norm.bind(device, "update", buffers)?);
        }
        let buffers = update::Buffers {
            counts: network.counts(),
            rates,
            clip_scale,
            gradients,
            slabs,
            parameters: network.packed(),
            weights: network.layout().weights(),
            learned: network.layout().learned(),
            faults: network.layout().faults(),
            velocity,
            mean_square,
        };
        dispatches.push(kernels.update.bind(device, "update", buffers)?);
        if let Some(skip) = &kernels.skip {
            dispatches.push(network.bind_skip(skip, gradients)?);
        }
        Ok(dispatches)
    }
}

/// The targets as the loss takes them, and the dispatch that weighs their classes, if there are weights.
fn bind_targets(
    kernels: &DividedKernels,
    memory: &Memory,
    batch: &BatchMemory,
    device: &Device,
    place: &str,
) -> Result<(Matrix, Option<Dispatch>)> {
    let BatchMemory { targets, .. } = batch;
    if !kernels.has_class_targets {
        return Ok((targets.clone(), None));
    }
    // Class indices are one row.
    let (Some(kernel), Some(class_weights)) = (&kernels.weigh_classes, &memory.class_weights)
    else {
        return Ok((targets.reshape(1, targets.rows())?, None));
    };
    // The weights of the classes in this batch follow the class indices.
    let targets = targets.reshape(1, targets.rows() + class_weights.columns())?;
    let buffers = weigh_classes::Buffers { class_weights, targets: &targets };
    let weighing = kernel.bind(device, place, buffers)?;
    Ok((targets, Some(weighing)))
}
