//! `shaders/fused/layer_forward.wgsl`: a layer of a batch, from its inputs to its outputs.
//!
//! Its twin is [`crate::reference::layer_forward`].

use wgpu::Device;

use crate::error::{Error, Result};
use crate::gpu::{
    Dispatch, Kernel, Matrix, Share, Texts, check_rounds, tiled, uniform, workgroups,
};
use crate::kernels::activate;
use crate::options::Activation;
use crate::plan::{LayerPlan, Tiling};

/// For training: keeps what the backward pass needs.
const KEPT: Texts = tiled![
    "fused/layer_forward.wgsl",
    "shared/batch_kept.wgsl",
    "shared/moments.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/magnitudes.wgsl",
    "shared/quotient.wgsl",
    "shared/rounded.wgsl",
];
/// For inference.
const NOT_KEPT: Texts = tiled![
    "fused/layer_forward.wgsl",
    "shared/batch_not_kept.wgsl",
    "shared/moments.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/magnitudes.wgsl",
    "shared/quotient.wgsl",
    "shared/rounded.wgsl",
];

/// The statistics that normalize a layer, in the order of the shader's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalization {
    /// Nothing: it has biases.
    None,
    /// The running statistics.
    Running,
    /// The batch's own, which move the running ones.
    Batch,
}

/// The options that are fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) activation: Activation,
    pub(crate) epsilon: f32,
    /// Of the running statistics.
    pub(crate) momentum: f32,
}

/// The work of a dispatch, in the order of the shader's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Whole,
    Measure,
    Finish,
}

impl Phase {
    /// The phases that a layer takes, in order, forward or backward.
    pub(super) fn of(plan: LayerPlan) -> Vec<Self> {
        if plan.has_finish() { vec![Self::Measure, Self::Finish] } else { vec![Self::Whole] }
    }
}

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct LayerForward {
    phases: Vec<Kernel<Layer>>,
    normalization: Normalization,
    momentum: f32,
    tiling: Tiling,
    /// In training.
    plan: Option<LayerPlan>,
}

/// The inputs and outputs of the kernel. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`.
    pub(crate) inputs: &'a Matrix,
    /// The packed parameters, of which the following are parts.
    pub(crate) parameters: &'a Matrix,
    /// `[outputs, inputs]`.
    pub(crate) weights: &'a Matrix,
    /// One per output, if the layer is normalized.
    pub(crate) gamma: Option<&'a Matrix>,
    /// Beta, or the biases. One per output.
    pub(crate) beta: &'a Matrix,
    /// All running statistics, of which `running` are parts.
    pub(crate) running_statistics: &'a Matrix,
    /// The running mean and variance of a normalized layer. One per output; in training a second row,
    /// for those before the step.
    pub(crate) running: Option<[&'a Matrix; 2]>,
    /// `[1, 4]`, a part of the parameters: the first value is not 0 if learning has stopped.
    pub(crate) stop: &'a Matrix,
    /// In training.
    pub(crate) kept: Option<Kept<'a>>,
    /// `[rows, outputs]`.
    pub(crate) outputs: &'a Matrix,
}

/// What training keeps for the backward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    /// `[rows, outputs]`.
    pub(crate) sums: &'a Matrix,
    /// `[3, outputs]`: the batch's mean, as the sum of two rows, and its variance. Four rows more for each
    /// leaf, if another dispatch joins them.
    pub(crate) statistics: &'a Matrix,
}

uniform! {
    struct Layer {
        rows: u32,
        columns: u32,
        inner: u32,
        weights: u32,
        gamma: u32,
        beta: u32,
        momentum: f32,
        unbias: f32,
        chunk: u32,
        leaf: u32,
        stop: u32,
        mean: u32,
        variance: u32,
        first: u32,
        groups: u32,
    }
}

impl LayerForward {
    /// Compiles the kernel for training.
    pub(crate) fn for_training(device: &Device, plan: LayerPlan, options: Options) -> Result<Self> {
        let is_normalized = plan.sizes.is_normalized;
        let normalization = if is_normalized { Normalization::Batch } else { Normalization::None };
        let phases = Phase::of(plan);
        let text = KEPT.text(plan.tiling);
        let phases = compile(device, &text, &phases, normalization, options)?;
        let momentum = options.momentum;
        Ok(Self { phases, normalization, momentum, tiling: plan.tiling, plan: Some(plan) })
    }

    /// Compiles the kernel for inference.
    pub(crate) fn for_inference(
        device: &Device,
        tiling: Tiling,
        is_normalized: bool,
        activation: Activation,
        epsilon: f32,
    ) -> Result<Self> {
        let normalization =
            if is_normalized { Normalization::Running } else { Normalization::None };
        let options = Options { activation, epsilon, momentum: 0.0 };
        let text = NOT_KEPT.text(tiling);
        let phases = compile(device, &text, &[Phase::Whole], normalization, options)?;
        Ok(Self { phases, normalization, momentum: 0.0, tiling, plan: None })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Vec<Dispatch>> {
        self.check(buffers)?;
        let Buffers { inputs, parameters, weights, running_statistics, outputs, kept, .. } =
            buffers;
        let layer = |share| self.layer(buffers, share);
        let Layer { rows, columns, inner, chunk, .. } = layer(Share { first: 0, groups: 1 });
        let mut bound = vec![inputs, parameters, running_statistics, outputs];
        bound.extend(kept.iter().flat_map(|kept| [kept.statistics, kept.sums]));
        let groups =
            [workgroups(self.tiling.strips(columns).into(), 1), workgroups(rows.into(), chunk), 1];
        let patches =
            rows.div_ceil(chunk).div_ceil(groups[1]) * chunk.div_ceil(self.tiling.patch_rows());
        let rounds = u64::from(patches) * self.tiling.rounds_of_patch(weights.columns());
        let work = || format!("{rows} rows of sums of {inner} products");
        check_rounds(device, "layer_forward", work, rounds)?;
        // In inference the rows of an app's encoder stay together.
        let parts = self.plan.map_or(1, |plan| plan.forward_parts(rows));
        let bind =
            |phase: &Kernel<Layer>| phase.bind_divided(device, place, layer, &bound, groups, parts);
        self.phases.iter().map(bind).collect()
    }

    fn check(&self, buffers: Buffers<'_>) -> Result<()> {
        let Buffers { inputs, weights, gamma, beta, running, stop, outputs, kept, .. } = buffers;
        let kernel = "layer_forward";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        outputs.expect_padded(kernel, "outputs", [rows, columns])?;
        stop.expect_padded(kernel, "stop", [1, 4])?;
        for vector in gamma.into_iter().chain([beta]) {
            vector.expect_padded(kernel, "gamma, beta or the biases", [1, columns])?;
        }
        let is_batch = self.normalization == Normalization::Batch;
        let rows_of_running = if is_batch { 2 } else { 1 };
        for (what, part) in
            ["running_mean", "running_var"].into_iter().zip(running.iter().flatten())
        {
            part.expect_padded(kernel, what, [rows_of_running, columns])?;
        }
        if is_batch && rows < 2 {
            return Err(Error::BatchTooSmall { rows: rows.into() });
        }
        if let (Some(Kept { sums, statistics }), Some(plan)) = (kept, self.plan) {
            sums.expect_padded(kernel, "sums", [rows, columns])?;
            let needed = plan.statistics_rows(rows);
            statistics.expect_padded(kernel, "statistics", [needed, columns])?;
        }
        Ok(())
    }

    fn layer(&self, buffers: Buffers<'_>, share: Share) -> Layer {
        let Buffers { inputs, parameters, weights, gamma, beta, running_statistics, .. } = buffers;
        let rows = inputs.rows();
        let first = |part: &Matrix| part.first_quad() - parameters.first_quad();
        let quads_before = |part: &Matrix| part.first_quad() - running_statistics.first_quad();
        let [mean, variance] = buffers.running.map_or([0; 2], |parts| parts.map(quads_before));
        let is_batch = self.normalization == Normalization::Batch;
        let unbias = if is_batch { f64::from(rows) / f64::from(rows - 1) } else { 1.0 };
        // In inference a workgroup has the rows of one patch.
        let patch = self.tiling.patch_rows();
        let [chunk, leaf] =
            self.plan.map_or([patch; 2], |plan| [plan.chunk(rows), plan.order(rows).leaf]);
        Layer {
            rows,
            columns: weights.rows(),
            inner: weights.columns(),
            weights: first(weights),
            gamma: gamma.map_or(0, first),
            beta: first(beta),
            momentum: self.momentum,
            unbias: unbias as f32,
            chunk,
            leaf,
            stop: first(buffers.stop),
            mean,
            variance,
            first: share.first,
            groups: share.groups,
        }
    }
}

fn compile(
    device: &Device,
    text: &str,
    phases: &[Phase],
    normalization: Normalization,
    options: Options,
) -> Result<Vec<Kernel<Layer>>> {
    let [_, activation, negative_slope] = activate::constants(options.activation);
    let compile = |&phase: &Phase| {
        let constants = [
            ("PHASE", f64::from(phase as u32)),
            ("NORMALIZATION", f64::from(normalization as u32)),
            ("EPSILON", options.epsilon.into()),
            activation,
            negative_slope,
        ];
        Kernel::trusted(device, "layer_forward", text, &constants)
    };
    phases.iter().map(compile).collect()
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
