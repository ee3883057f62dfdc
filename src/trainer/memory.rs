//! The matrices that exist only while learning.

use wgpu::Device;

use super::{HISTORY, RATES, Trainer};
use crate::error::Result;
use crate::fused::gradient_norm::MAX_PARTIAL_SUMS;
use crate::fused::layer_forward::statistics_rows;
use crate::fused::record_step::RECORD;
use crate::gpu::{Core, Division, Matrix};
use crate::layout::{LayerShape, LearnedLayout};
use crate::network::{Network, PlannedBytes, padded_bytes};
use crate::options::{NetworkOptions, TrainerOptions};

/// The memory of a step without the network's, for batches of up to `batch_size` rows.
#[derive(Debug)]
pub(super) struct Memory {
    /// The matrices whose sizes depend on the rows of a batch.
    pub(super) batch: BatchMemory,
    /// The contiguous rows of a batch from the CPU or from an app's buffer. These are the inputs of
    /// `batch` if their rows are whole vectors of four.
    pub(super) dense_inputs: Matrix,
    /// One row, if classes are weighted.
    pub(super) class_weights: Option<Matrix>,
    /// The number and the learning rate of each step, which encoders copy to the GPU's counts.
    pub(super) numbers: Matrix,
    pub(super) history: Matrix,
    pub(super) rates: Matrix,
    pub(super) partial_sums: Matrix,
    pub(super) clip_scale: Matrix,
    pub(super) velocity: Matrix,
    pub(super) mean_square: Matrix,
}

/// The matrices of a batch.
#[derive(Debug)]
pub(super) struct BatchMemory {
    pub(super) inputs: Matrix,
    /// Class indices are followed by a weight for each class, if classes are weighted.
    pub(super) targets: Matrix,
    /// One per layer.
    pub(super) layers: Vec<LayerMemory>,
    /// Each row's loss and accuracy.
    pub(super) results: Matrix,
    /// A row for each slab of the batch; all but the first hold only the gradients of weights and
    /// biases.
    pub(super) gradients: Matrix,
}

#[derive(Debug)]
pub(super) struct LayerMemory {
    /// The values before the normalization, or before the activation without one.
    pub(super) sums: Matrix,
    /// The batch's statistics, and those of its chunks.
    pub(super) statistics: Matrix,
    core: Core,
    is_divided: bool,
    pub(super) outputs: Matrix,
    /// The gradients of the pre-activations; layers alternate between two matrices.
    pub(super) grad_sums: Matrix,
}

impl Memory {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let gpu = network.gpu();
        // Checked before any buffer is created.
        gpu.check_largest(large_matrices(network, options)?)?;
        let batch = BatchMemory::new(network, options)?;
        let dense_inputs = match network.inputs() % 4 {
            0 => batch.inputs.clone(),
            _ => gpu.matrix("trainer/dense inputs", options.batch_size, network.inputs())?,
        };
        let clip_scale = gpu.matrix("trainer/clip scale", 1, 1)?;
        gpu.write(clip_scale.buffer(), 0, &[1_f32])?;
        let length = network.layout().length()?;
        let method = options.optimizer.method;
        // The update binds one value as a placeholder for a state that its method lacks.
        let state = |has: bool| if has { length } else { 1 };
        Ok(Self {
            batch,
            dense_inputs,
            class_weights: class_weights(network, options)?,
            numbers: gpu.matrix("trainer/numbers", HISTORY, 2)?,
            history: gpu.matrix("trainer/history", HISTORY, RECORD)?,
            rates: gpu.matrix("trainer/rates", RATES, 4)?,
            partial_sums: gpu.matrix("trainer/partial sums", 1, MAX_PARTIAL_SUMS)?,
            clip_scale,
            velocity: gpu.matrix("trainer/velocity", 1, state(method.has_velocity()))?,
            mean_square: gpu.matrix("trainer/mean square", 1, state(method.has_mean_square()))?,
        })
    }
}

impl Trainer {
    /// The memory that a network and its trainer will need on the GPU, without that of data sets that are
    /// [uploaded](Trainer::upload) or [streamed](Trainer::stream).
    ///
    /// Sizes and options are not checked.
    pub fn planned_bytes(
        device: &Device,
        layer_sizes: &[u32],
        network: &NetworkOptions,
        options: &TrainerOptions,
    ) -> PlannedBytes {
        let TrainerOptions { batch_size: rows, loss, optimizer, .. } = *options;
        let shapes = LayerShape::of_network(layer_sizes, network.batch_norm);
        let learned = LearnedLayout::new(&shapes).bytes();
        let method = optimizer.method;
        let states = [method.has_velocity(), method.has_mean_square()];
        let states = states.into_iter().filter(|&has_state| has_state).count();

        let inputs = layer_sizes.first().copied().unwrap_or(0);
        let outputs = layer_sizes.last().copied().unwrap_or(0);
        let widest = layer_sizes.iter().copied().skip(1).max().unwrap_or(0);
        let row = |columns: u32| padded_bytes(1, columns);
        let targets = if loss.has_class_targets() { 1 } else { u64::from(outputs) };
        let turns = shapes.len().min(2) as u64;
        // Targets, and two results per row; inputs, and contiguous inputs if the inputs are padded.
        let mut per_row = 4 * (targets + 2) + row(inputs) + turns * row(widest);
        per_row += if inputs.is_multiple_of(4) { 0 } else { 4 * u64::from(inputs) };
        let mut statistics = 0_u64;
        let mut slabs = 1;
        for (number, sizes) in (1..).zip(layer_sizes.windows(2)) {
            let is_last = number + 1 == layer_sizes.len();
            // The output layer's pre-activations are its outputs.
            per_row += if is_last { row(sizes[1]) } else { 2 * row(sizes[1]) };
            let next = layer_sizes.get(number + 1).copied().unwrap_or(0);
            let core = Core::for_product(device, [rows, sizes[1]], sizes[0]);
            let division = core.division(rows, sizes[0], next);
            let statistics_rows = statistics_rows(core, rows, division == Division::Rows);
            statistics = statistics.saturating_add(padded_bytes(statistics_rows, sizes[1]));
            if division != Division::Strips {
                slabs = core.slabs(rows, learned);
            }
        }
        let network = PlannedBytes::of_network(layer_sizes, network);
        let copies = u64::from(slabs) + states as u64;
        // The app's class weights, and those of a batch.
        let class_weights =
            options.class_weights.as_ref().map_or(0, |_| 2 * 4 * u64::from(outputs));
        let independent_of_rows = statistics.saturating_add(class_weights);
        PlannedBytes {
            parameters: network.parameters.saturating_add(learned.saturating_mul(copies)),
            batch: per_row.saturating_mul(rows.into()).saturating_add(independent_of_rows),
            history: 4 * u64::from(HISTORY * (2 + RECORD) + RATES * 4),
        }
    }
}

impl BatchMemory {
    fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let gpu = network.gpu();
        let rows = options.batch_size;
        let weights = options.class_weights.as_ref().map_or(0, |_| network.outputs());
        let sizes = network.layer_sizes();
        let widest = sizes[1..].iter().copied().max().expect("a network has an output layer");
        let targets = if options.loss.has_class_targets() { 1 } else { network.outputs() };
        let turns = [
            gpu.padded_matrix("trainer/gradients of rows 1", rows, widest)?,
            gpu.padded_matrix("trainer/gradients of rows 2", rows, widest)?,
        ];
        let layers = (0..network.learned().len())
            .map(|layer| LayerMemory::new(network, layer, rows, &turns[layer % 2]));
        let length = network.layout().length()?;
        Ok(Self {
            inputs: gpu.padded_matrix("trainer/inputs", rows, network.inputs())?,
            targets: gpu
                .matrix("trainer/targets", rows.saturating_add(weights), targets)?
                .slice(0, rows)?,
            layers: layers.collect::<Result<_>>()?,
            results: gpu.matrix("trainer/results", rows, 2)?,
            gradients: gpu.matrix("trainer/gradients", slabs(network, rows), length)?,
        })
    }

    /// The same memory for a batch of fewer rows.
    pub(super) fn slice(&self, rows: u32) -> Result<Self> {
        let Self { inputs, targets, layers, results, gradients } = self;
        let slabs = layers[0].core.slabs(rows, 4 * u64::from(gradients.stride()));
        Ok(Self {
            inputs: inputs.slice(0, rows)?,
            targets: targets.slice(0, rows)?,
            layers: layers.iter().map(|layer| layer.slice(rows)).collect::<Result<_>>()?,
            results: results.slice(0, rows)?,
            gradients: gradients.slice(0, slabs.min(gradients.rows()))?,
        })
    }

    /// The inputs of a layer.
    pub(super) fn inputs_of(&self, layer: usize) -> &Matrix {
        if layer == 0 { &self.inputs } else { &self.layers[layer - 1].outputs }
    }
}

impl LayerMemory {
    fn new(network: &Network, layer: usize, rows: u32, turn: &Matrix) -> Result<Self> {
        let gpu = network.gpu();
        let columns = network.learned()[layer].weights().rows();
        let matrix = |name: &str, rows: u32| {
            gpu.padded_matrix(&format!("layer {}/{name}", layer + 1), rows, columns)
        };
        let is_divided = network.division(layer, rows) == Division::Rows;
        let core = network.core(layer, rows);
        let needed = statistics_rows(core, rows, is_divided);
        let outputs = matrix("outputs", rows)?;
        let is_last = layer + 1 == network.learned().len();
        Ok(Self {
            // The output layer has no activation.
            sums: if is_last { outputs.clone() } else { matrix("sums", rows)? },
            statistics: matrix("statistics", needed)?,
            core,
            is_divided,
            outputs,
            grad_sums: turn.reshape_padded(rows, columns)?,
        })
    }

    fn slice(&self, rows: u32) -> Result<Self> {
        let Self { sums, statistics, core, is_divided, outputs, grad_sums } = self;
        let needed = statistics_rows(*core, rows, *is_divided);
        Ok(Self {
            sums: sums.slice(0, rows)?,
            statistics: statistics.slice(0, needed)?,
            outputs: outputs.slice(0, rows)?,
            grad_sums: grad_sums.slice(0, rows)?,
            core: *core,
            is_divided: *is_divided,
        })
    }
}

/// Every matrix that grows with the network or with the batch: name, rows and columns, as they are
/// bound.
fn large_matrices(network: &Network, options: &TrainerOptions) -> Result<Vec<(String, u32, u32)>> {
    let rows = options.batch_size;
    let sizes = network.layer_sizes();
    let padded = |columns: u32| columns.next_multiple_of(4);
    let targets = if options.loss.has_class_targets() { 1 } else { network.outputs() };
    let mut matrices = vec![
        ("trainer/gradients".to_owned(), slabs(network, rows), network.layout().length()?),
        ("trainer/targets".to_owned(), rows, targets),
        ("trainer/inputs".to_owned(), rows, padded(network.inputs())),
    ];
    for (layer, &columns) in sizes[1..].iter().enumerate() {
        let place = |name: &str| format!("layer {}/{name}", layer + 1);
        let is_divided = network.division(layer, rows) == Division::Rows;
        let needed = statistics_rows(network.core(layer, rows), rows, is_divided);
        matrices.push((place("statistics"), needed, padded(columns)));
        matrices.push((place("outputs"), rows, padded(columns)));
    }
    Ok(matrices)
}

/// Only the ratios of the weights matter. The largest becomes 1, so that their sums cannot overflow;
/// subnormal weights become 0, as on some GPUs.
fn class_weights(network: &Network, options: &TrainerOptions) -> Result<Option<Matrix>> {
    let Some(weights) = &options.class_weights else {
        return Ok(None);
    };
    let largest = weights.iter().copied().fold(0.0, f32::max);
    let shares: Vec<f32> = weights
        .iter()
        .map(|&weight| (f64::from(weight) / f64::from(largest)) as f32)
        .map(|share| if share.is_normal() { share } else { 0.0 })
        .collect();
    let gpu = network.gpu();
    let matrix = gpu.matrix("trainer/class weights", 1, network.outputs())?;
    gpu.write(matrix.buffer(), 0, &shares)?;
    Ok(Some(matrix))
}

/// The slabs of the gradients, for a batch of this many rows.
fn slabs(network: &Network, rows: u32) -> u32 {
    let layers = 0..network.learned().len();
    let is_divided = |layer| network.division(layer, rows) != Division::Strips;
    if layers.into_iter().any(is_divided) {
        Core::for_device(&network.gpu().device).slabs(rows, network.layout().bytes())
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::FEWEST_ROWS;

    /// `required_limits` relies on this.
    #[test]
    fn statistics_have_no_more_rows_than_a_batch_or_a_slice() {
        let on_cpu = [[1, 1], [1, 2]].map(Core::Subgroup);
        let on_gpu = [[1, 1], [2, 2]].map(Core::Workgroup);
        for core in [on_cpu, on_gpu].into_iter().flatten() {
            for rows in 1..10_000 {
                let needed = statistics_rows(core, rows, true);
                assert!(needed <= rows.max(FEWEST_ROWS), "{core:?}: {needed} of {rows} rows");
            }
        }
    }
}
