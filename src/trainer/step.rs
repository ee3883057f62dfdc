//! One step as data: the list of bound dispatches that a batch goes through.

use wgpu::Device;

use super::memory::{BatchMemory, LayerMemory, Memory};
use crate::error::Result;
use crate::fused::{
    copy_rows::CopyRows,
    gradient_norm::{self, GradientNorm},
    layer_backward::{self, LayerBackward},
    layer_forward::{self, LayerForward},
    output_layer::{self, OutputLayer, Way},
    record_step::{self, RecordStep},
    skip_step::SkipStep,
    update::{self, Update},
    weigh_classes::{self, WeighClasses},
};
use crate::gpu::{Core, Dispatch, Division, Matrix};
use crate::kernels::loss::{self, Loss};
use crate::layout::Learned;
use crate::network::{Activations, Network};
use crate::options::{Activation, TrainerOptions};

/// The kernels that learning needs.
#[derive(Debug)]
pub(super) struct StepKernels {
    /// One per hidden layer.
    forward: Vec<LayerForward>,
    backward: Vec<LayerBackward>,
    output: OutputKernels,
    has_class_targets: bool,
    weigh_classes: Option<WeighClasses>,
    gradient_norm: Option<GradientNorm>,
    update: Update,
    skip: Option<SkipStep>,
}

/// The kernels of the output layer.
#[derive(Debug)]
enum OutputKernels {
    /// Where one workgroup serves.
    InOne(OutputLayer),
    /// From the outputs to the gradients in several dispatches.
    Separate { outputs: Outputs, record_step: RecordStep, backward: LayerBackward },
}

/// From the inputs of the output layer to the gradients of its outputs.
#[derive(Debug)]
enum Outputs {
    /// Where a tile is as wide as the layer.
    Narrow(OutputLayer),
    /// After the product that inference runs as well.
    Wide { product: LayerForward, loss: Loss },
}

impl StepKernels {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let device = &network.gpu().device;
        let gradient_norm = options.clip_norm.map(|norm| GradientNorm::new(device, norm as f32));
        let skips = options.on_fault.skips();
        let hidden = network.learned().len() - 1;
        let rows = options.batch_size;
        let loss = loss::Options {
            loss: options.loss,
            label_smoothing: options.label_smoothing,
            has_class_weights: options.class_weights.is_some(),
        };
        let weights = network.learned()[hidden].weights();
        let way = OutputLayer::way(device, rows, [weights.rows(), weights.columns()]);
        let outputs = |way| OutputLayer::new(device, loss, way);
        let is_divided = |layer| network.division(layer, rows) != Division::Strips;
        let leaves_weights = |layer: usize| {
            let is_in_one = layer == hidden && way == Some(Way::Whole);
            layer > 0 && is_divided(layer) && is_divided(layer - 1) && !is_in_one
        };
        let backward = |layer: usize| {
            let has_biases =
                |layer: usize| matches!(network.learned()[layer], Learned::Linear { .. });
            let options = layer_backward::Options {
                layer: if layer == hidden {
                    layer_backward::Position::Last
                } else {
                    layer_backward::Position::Hidden {
                        activation: network.activation(),
                        batch_norm: !has_biases(layer),
                        epsilon: network.epsilon(),
                    }
                },
                division: network.division(layer, rows),
                leaves_weights: leaves_weights(layer),
                next: (layer < hidden && leaves_weights(layer + 1))
                    .then(|| layer_backward::NextLayer { has_biases: has_biases(layer + 1) }),
            };
            LayerBackward::new(device, network.core(layer, rows), options)
        };
        let output = match way {
            Some(way @ Way::Whole) => OutputKernels::InOne(outputs(way)?),
            _ => OutputKernels::Separate {
                outputs: match way {
                    Some(way) => Outputs::Narrow(outputs(way)?),
                    None => Outputs::Wide {
                        product: LayerForward::new(
                            device,
                            Core::for_device(device),
                            layer_forward::Options::inference(
                                false,
                                Activation::Identity,
                                network.epsilon(),
                            ),
                        )?,
                        loss: Loss::new(device, loss)?,
                    },
                },
                record_step: RecordStep::new(device)?,
                backward: backward(hidden)?,
            },
        };
        Ok(Self {
            forward: network.compile(0..hidden, rows)?,
            backward: (0..hidden).map(backward).collect::<Result<_>>()?,
            output,
            has_class_targets: options.loss.has_class_targets(),
            weigh_classes: loss.has_class_weights.then(|| WeighClasses::new(device)).transpose()?,
            gradient_norm: gradient_norm.transpose()?,
            update: Update::new(device, &options.optimizer, skips)?,
            skip: skips.then(|| SkipStep::new(device)).transpose()?,
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
    let batch = memory.batch.slice(rows)?;
    let mut dispatches = Vec::new();
    for (layer, kernel) in kernels.forward.iter().enumerate() {
        let LayerMemory { sums, statistics, outputs, .. } = &batch.layers[layer];
        let activations = Activations {
            inputs: batch.inputs_of(layer),
            outputs,
            sums: Some(sums),
            statistics: Some(statistics),
        };
        dispatches.extend(network.bind_layer(kernel, layer, &place(layer), activations)?);
    }
    dispatches.extend(bind_output(network, kernels, memory, &batch)?);
    for (layer, kernel) in kernels.backward.iter().enumerate().rev() {
        let LayerMemory { sums, outputs, .. } = &batch.layers[layer];
        let next = &network.learned()[layer + 1];
        let [_, faults] = network.layout().stop_place(network.packed().buffer(), layer + 1)?;
        let next_weights =
            layer_backward::NextWeights { outputs, biases: next.vectors()[1], faults: &faults };
        let hidden = layer_backward::Hidden {
            next_grad_sums: &batch.layers[layer + 1].grad_sums,
            next_weights: next.weights(),
            sums,
            next: kernel.takes_next().then_some(next_weights),
        };
        dispatches.extend(bind_backward(network, kernel, &batch, layer, Some(hidden))?);
    }
    dispatches.extend(bind_update(network, kernels, memory, &batch)?);
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

/// The output layer, its loss, and the gradients of its sums and of its parameters.
fn bind_output(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    batch: &BatchMemory,
) -> Result<Vec<Dispatch>> {
    let device = &network.gpu().device;
    let last = network.learned().len() - 1;
    let learned = &network.learned()[last];
    let place = &place(last);
    let inputs = batch.inputs_of(last);
    let LayerMemory { outputs, grad_sums, .. } = &batch.layers[last];
    let (counts, history) = (network.counts(), &memory.history);
    let stop = network.layout().stop_place(batch.gradients.buffer(), last)?;
    let (targets, weighing) = bind_targets(kernels, memory, batch, device, place)?;
    let targets = &targets;
    let mut dispatches = Vec::from_iter(weighing);
    let in_one = |kernel: &OutputLayer, history: &Matrix| {
        let buffers = output_layer::Buffers {
            inputs,
            parameters: network.packed(),
            weights: learned.weights(),
            biases: learned.vectors()[1],
            stop: stop.each_ref(),
            grad_sums,
            gradients: &batch.gradients,
            targets,
            counts,
            history,
        };
        kernel.bind(device, place, buffers)
    };
    match &kernels.output {
        OutputKernels::InOne(kernel) => dispatches.push(in_one(kernel, history)?),
        OutputKernels::Separate { outputs: kernel, record_step, backward } => {
            let results = &batch.results;
            match kernel {
                Outputs::Narrow(kernel) => dispatches.push(in_one(kernel, results)?),
                Outputs::Wide { product, loss } => {
                    let measure =
                        loss::Buffers { outputs, targets, results, grad_outputs: grad_sums };
                    dispatches.extend(network.bind_inference(
                        product,
                        last,
                        place,
                        [inputs, outputs],
                    )?);
                    dispatches.push(loss.bind(device, place, measure)?);
                }
            }
            // The layer's first fault.
            let fault = &Matrix::vector(stop[1].buffer(), stop[1].first(), 1)?;
            let record = record_step::Buffers { results, counts, history, fault };
            dispatches.push(record_step.bind(device, place, record)?);
            dispatches.extend(bind_backward(network, backward, batch, last, None)?);
        }
    }
    Ok(dispatches)
}

/// The targets as the loss takes them, and the dispatch that weighs their classes, if there are weights.
fn bind_targets(
    kernels: &StepKernels,
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

/// The gradients of a layer; a hidden one's from those of the sums of the next layer.
fn bind_backward(
    network: &Network,
    kernel: &LayerBackward,
    batch: &BatchMemory,
    layer: usize,
    hidden: Option<layer_backward::Hidden<'_>>,
) -> Result<Vec<Dispatch>> {
    let learned = &network.learned()[layer];
    let packed = network.packed();
    let stop = network.layout().stop_place(packed.buffer(), layer)?;
    let buffers = layer_backward::Buffers {
        inputs: batch.inputs_of(layer),
        parameters: packed,
        weights: learned.weights(),
        vectors: learned.vectors(),
        stop: stop.each_ref(),
        hidden,
        grad_sums: &batch.layers[layer].grad_sums,
        gradients: &batch.gradients,
        statistics: Some(&batch.layers[layer].statistics),
    };
    kernel.bind(&network.gpu().device, &place(layer), buffers)
}

fn bind_update(
    network: &Network,
    kernels: &StepKernels,
    memory: &Memory,
    batch: &BatchMemory,
) -> Result<Vec<Dispatch>> {
    let device = &network.gpu().device;
    let Memory { rates, clip_scale, velocity, mean_square, .. } = memory;
    let gradients = &batch.gradients;
    let mut dispatches = Vec::new();
    if let Some(gradient_norm) = &kernels.gradient_norm {
        let partial_sums = &memory.partial_sums;
        let buffers = gradient_norm::Buffers { gradients, partial_sums, clip_scale };
        dispatches.extend(gradient_norm.bind(device, "update", buffers)?);
    }
    let buffers = update::Buffers {
        counts: network.counts(),
        rates,
        clip_scale,
        gradients,
        parameters: network.packed(),
        learned: network.layout().learned(),
        weights: network.layout().weights(),
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
