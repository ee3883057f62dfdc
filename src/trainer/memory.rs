//! The matrices that exist only while learning, as the plan lists them.

use wgpu::Device;

use super::{Trainer, tuning};
use crate::error::Result;
use crate::gpu::{Gpu, Matrix};
use crate::network::{Network, PlannedBytes};
use crate::options::{NetworkOptions, TrainerOptions};
use crate::plan::{DeviceClass, Purpose, Role, StepPlan};

/// The memory of a step without the network's, for batches of up to `batch_size` rows.
#[derive(Debug)]
pub(super) struct Memory {
    /// One row, of which most other matrices are parts, if one workgroup takes whole steps.
    pub(super) shared: Option<Matrix>,
    /// The matrices whose sizes depend on the rows of a batch.
    pub(super) batch: BatchMemory,
    /// Inputs and targets of all batches that whole steps take together; else of one.
    pub(super) batches: [Matrix; 2],
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
    /// The gradients, packed like the parameters, and the further slabs of each layer's.
    pub(super) gradients: Matrix,
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
}

#[derive(Debug)]
pub(super) struct LayerMemory {
    pub(super) outputs: Matrix,
    /// The gradients of the pre-activations; layers alternate between two matrices.
    pub(super) grad_sums: Matrix,
    /// Of a hidden layer.
    pub(super) kept: Option<Kept>,
}

/// What the forward pass of a hidden layer keeps for the backward pass.
#[derive(Debug)]
pub(super) struct Kept {
    /// The values before the normalization, or before the activation without one.
    pub(super) sums: Matrix,
    /// The batch's statistics, and those of its leaves.
    pub(super) statistics: Matrix,
}

impl Memory {
    pub(super) fn new(
        network: &Network,
        plan: &StepPlan,
        options: &TrainerOptions,
    ) -> Result<Self> {
        let gpu = network.gpu();
        // Checked before any buffer is created.
        gpu.check_largest(plan.matrices())?;
        let shared = plan.shared_values().map(|values| gpu.matrix("trainer/memory", 1, values));
        let all = All { gpu, plan, shared: shared.transpose()? };
        let batches = [all.make(Role::Inputs)?, all.make(Role::Targets)?];
        let batch = BatchMemory::new(network, &all, batches.each_ref())?;
        let dense_inputs = all.optional(Role::DenseInputs)?;
        let clip_scale = all.make(Role::ClipScale)?;
        gpu.write(clip_scale.buffer(), 0, &[1_f32])?;
        let class_weights = all.optional(Role::ClassWeights)?;
        if let (Some(matrix), Some(weights)) = (&class_weights, &options.class_weights) {
            gpu.write(matrix.buffer(), 0, &shares(weights))?;
        }
        Ok(Self {
            dense_inputs: dense_inputs.unwrap_or_else(|| batch.inputs.clone()),
            batch,
            batches,
            class_weights,
            numbers: all.make(Role::Numbers)?,
            history: all.make(Role::History)?,
            rates: all.make(Role::Rates)?,
            partial_sums: all.make(Role::PartialSums)?,
            clip_scale,
            velocity: all.make(Role::Velocity)?,
            mean_square: all.make(Role::MeanSquare)?,
            gradients: all.make(Role::Gradients)?,
            shared: all.shared,
        })
    }
}

/// Makes the matrices of a plan.
struct All<'a> {
    gpu: &'a Gpu,
    plan: &'a StepPlan,
    shared: Option<Matrix>,
}

impl All<'_> {
    fn make(&self, role: Role) -> Result<Matrix> {
        Ok(self.optional(role)?.expect("a matrix of every plan"))
    }

    fn optional(&self, role: Role) -> Result<Option<Matrix>> {
        let Some(planned) = self.plan.matrix(role) else { return Ok(None) };
        let (Some(shared), Some(first)) = (&self.shared, planned.first) else {
            return self.gpu.planned(planned).map(Some);
        };
        // What fits a binding is counted in u32.
        let [rows, columns] = [planned.rows, planned.columns].map(|count| count as u32);
        let part = if planned.is_padded { Matrix::padded } else { Matrix::new };
        part(shared.buffer(), first, rows, columns).map(Some)
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
        let plan = StepPlan::new(DeviceClass::from(device), layer_sizes, network, options);
        let plan = tuning::known(device, &plan, options).unwrap_or(plan);
        let PlannedBytes { parameters, batch, history } =
            PlannedBytes::of_network(layer_sizes, network);
        let bytes = |network: u64, purpose| plan.bytes(purpose).saturating_add(network);
        PlannedBytes {
            parameters: bytes(parameters, Purpose::Parameters),
            batch: bytes(batch, Purpose::Batch),
            history: bytes(history, Purpose::History),
        }
    }
}

impl BatchMemory {
    fn new(network: &Network, all: &All<'_>, [inputs, targets]: [&Matrix; 2]) -> Result<Self> {
        let sizes = network.sizes();
        let turns = (0..sizes.len().min(2)).map(|turn| all.make(Role::GradSums(turn)));
        let turns = turns.collect::<Result<Vec<_>>>()?;
        let rows = all.plan.rows();
        let layers = sizes.iter().enumerate().map(|(layer, sizes)| {
            let outputs = all.make(Role::Outputs(layer))?;
            let grad_sums = turns[layer % 2].reshape_padded(rows, sizes.outputs)?;
            let sums = all.optional(Role::Sums(layer))?;
            let statistics = all.optional(Role::Statistics(layer))?;
            let kept = sums.zip(statistics).map(|(sums, statistics)| Kept { sums, statistics });
            Ok(LayerMemory { outputs, grad_sums, kept })
        });
        Ok(Self {
            targets: targets.slice(0, rows)?,
            layers: layers.collect::<Result<_>>()?,
            results: all.make(Role::Results)?,
            inputs: inputs.slice(0, rows)?,
        })
    }

    /// The same memory for a batch of fewer rows.
    pub(super) fn slice(&self, rows: u32) -> Result<Self> {
        let Self { inputs, targets, layers, results } = self;
        Ok(Self {
            inputs: inputs.slice(0, rows)?,
            targets: targets.slice(0, rows)?,
            layers: layers.iter().map(|layer| layer.slice(rows)).collect::<Result<_>>()?,
            results: results.slice(0, rows)?,
        })
    }

    /// The inputs of a layer.
    pub(super) fn inputs_of(&self, layer: usize) -> &Matrix {
        if layer == 0 { &self.inputs } else { &self.layers[layer - 1].outputs }
    }
}

impl LayerMemory {
    fn slice(&self, rows: u32) -> Result<Self> {
        let Self { outputs, grad_sums, kept } = self;
        let kept = kept.as_ref().map(|Kept { sums, statistics }| {
            Ok(Kept { sums: sums.slice(0, rows)?, statistics: statistics.clone() })
        });
        Ok(Self {
            outputs: outputs.slice(0, rows)?,
            grad_sums: grad_sums.slice(0, rows)?,
            kept: kept.transpose()?,
        })
    }
}

/// Only the ratios of the weights matter. The largest becomes 1, so that their sums cannot overflow;
/// subnormal weights become 0, as on some GPUs.
fn shares(weights: &[f32]) -> Vec<f32> {
    let largest = weights.iter().copied().fold(0.0, f32::max);
    weights
        .iter()
        .map(|&weight| (f64::from(weight) / f64::from(largest)) as f32)
        .map(|share| if share.is_normal() { share } else { 0.0 })
        .collect()
}
