//! The matrices that exist only while learning.

use crate::error::Result;
use crate::gpu::{Core, Matrix};
use crate::kernels::gradient_norm::MAX_PARTIAL_SUMS;
use crate::kernels::layer_forward::statistics_rows;
use crate::kernels::update;
use crate::network::Network;
use crate::options::TrainerOptions;

/// What a step reads and writes besides the network, for batches of up to `batch_size` rows.
#[derive(Debug)]
pub(super) struct Memory {
    /// What depends on the rows of a batch.
    pub(super) batch: BatchMemory,
    /// Where a batch from the CPU or from an app's buffer goes, whose rows lie one behind the other: the
    /// inputs themselves if these are whole vectors of four.
    pub(super) dense_inputs: Matrix,
    pub(super) step: Matrix,
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
    pub(super) targets: Matrix,
    /// One per layer.
    pub(super) layers: Vec<LayerMemory>,
    /// Each row's loss and accuracy.
    pub(super) results: Matrix,
    /// A row for each slab of the batch; all but the first only have those of weights.
    pub(super) gradients: Matrix,
}

#[derive(Debug)]
pub(super) struct LayerMemory {
    /// What goes into the normalization, or into the activation if there is none.
    pub(super) sums: Matrix,
    /// The batch's, and those of its chunks.
    pub(super) statistics: Matrix,
    core: Core,
    is_divided: bool,
    pub(super) outputs: Matrix,
    /// The gradients of the sums; layers take turns in two.
    pub(super) grad_sums: Matrix,
}

impl Memory {
    pub(super) fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let gpu = network.gpu();
        let batch = BatchMemory::new(network, options)?;
        let dense_inputs = match network.inputs() % 4 {
            0 => batch.inputs.clone(),
            _ => gpu.matrix("trainer/dense inputs", options.batch_size, network.inputs())?,
        };
        let clip_scale = gpu.matrix("trainer/clip scale", 1, 1)?;
        gpu.write(clip_scale.buffer(), 0, &[1_f32])?;
        let length = network.layout().length()?;
        let method = options.optimizer.method;
        // The update binds a value in the place of a state that its method does not have.
        let state = |has: bool| if has { length } else { 1 };
        let has_mean_square = update::has_mean_square(method);
        let history = super::HISTORY;
        Ok(Self {
            batch,
            dense_inputs,
            step: gpu.matrix("trainer/step", 1, 1)?,
            history: gpu.matrix("trainer/history", history, 2)?,
            rates: gpu.matrix("trainer/rates", history, 4)?,
            partial_sums: gpu.matrix("trainer/partial sums", 1, MAX_PARTIAL_SUMS)?,
            clip_scale,
            velocity: gpu.matrix("trainer/velocity", 1, state(update::has_velocity(method)))?,
            mean_square: gpu.matrix("trainer/mean square", 1, state(has_mean_square))?,
        })
    }
}

impl BatchMemory {
    fn new(network: &Network, options: &TrainerOptions) -> Result<Self> {
        let gpu = network.gpu();
        let rows = options.batch_size;
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
            targets: gpu.matrix("trainer/targets", rows, targets)?,
            layers: layers.collect::<Result<_>>()?,
            results: gpu.matrix("trainer/results", rows, 2)?,
            gradients: gpu.matrix("trainer/gradients", slabs(network, rows), length)?,
        })
    }

    /// The same memory for a batch of fewer rows.
    pub(super) fn slice(&self, rows: u32) -> Result<Self> {
        let Self { inputs, targets, layers, results, gradients } = self;
        let slabs = Core::slabs(rows, 4 * u64::from(gradients.stride())).min(gradients.rows());
        Ok(Self {
            inputs: inputs.slice(0, rows)?,
            targets: targets.slice(0, rows)?,
            layers: layers.iter().map(|layer| layer.slice(rows)).collect::<Result<_>>()?,
            results: results.slice(0, rows)?,
            gradients: gradients.slice(0, slabs)?,
        })
    }

    /// What goes into a layer.
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
        let is_divided = network.divides(layer, rows);
        let core = Core::for_device(&gpu.device);
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

/// The slabs of the gradients, for a batch of as many rows.
pub(super) fn slabs(network: &Network, rows: u32) -> u32 {
    let is_divided = (0..network.learned().len()).any(|layer| network.divides(layer, rows));
    if is_divided { Core::slabs(rows, 4 * network.layout().values()) } else { 1 }
}
