//! `shaders/fused/layer_forward.wgsl`: a layer of a batch, from its inputs to its outputs.
//!
//! Its twin is [`crate::reference::layer_forward`].

use wgpu::Device;

use crate::error::{Error, Result};
use crate::gpu::{
    Core, Dispatch, Kernel, Matrix, check_rounds, uniform, unused_matrices, workgroups,
};
use crate::kernels::activate;
use crate::options::Activation;

/// For training: keeps what the backward pass needs.
const KEPT_FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_forward.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/batch_kept.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
);
const KEPT_FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_forward.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/batch_kept.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
);
/// For inference.
const FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_forward.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/batch_not_kept.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
);
const FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_forward.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/batch_not_kept.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
);

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
    pub(crate) normalization: Normalization,
    pub(crate) activation: Activation,
    /// Whether the sums and statistics of a batch are kept, as training needs them.
    pub(crate) is_training: bool,
    /// Whether the rows of a batch are divided into chunks, for its own statistics.
    pub(crate) is_divided: bool,
    pub(crate) epsilon: f32,
    pub(crate) momentum: f32,
}

impl Options {
    pub(crate) fn inference(is_normalized: bool, activation: Activation, epsilon: f32) -> Self {
        let normalization =
            if is_normalized { Normalization::Running } else { Normalization::None };
        let (is_training, is_divided, momentum) = (false, false, 0.0);
        Self { normalization, activation, is_training, is_divided, epsilon, momentum }
    }
}

/// The work of a dispatch, in the order of the shader's numbers.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Whole,
    Measure,
    Finish,
}

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct LayerForward {
    /// The phases that a layer takes, in order.
    phases: Vec<Kernel<Layer>>,
    core: Core,
    options: Options,
    /// Placeholders for what the kernel does not use.
    unused: Vec<Matrix>,
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
    /// Gamma and beta, one per output. Biases take the slot of beta; gamma is then not read.
    pub(crate) vectors: [&'a Matrix; 2],
    /// All running statistics, of which `running` are parts.
    pub(crate) running_statistics: &'a Matrix,
    /// The running mean and variance of a normalized layer. One per output; in training a second row,
    /// for those before the step.
    pub(crate) running: Option<[&'a Matrix; 2]>,
    /// `[1, 4]`, a part of the parameters: the first value is not 0 if learning has stopped.
    pub(crate) stop: &'a Matrix,
    /// `[3, outputs]`: the batch's mean, as the sum of two rows, and its variance. Four rows more for each
    /// chunk, if there are any.
    pub(crate) statistics: Option<&'a Matrix>,
    /// `[rows, outputs]`.
    pub(crate) sums: Option<&'a Matrix>,
    /// `[rows, outputs]`.
    pub(crate) outputs: &'a Matrix,
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
        stop: u32,
        mean: u32,
        variance: u32,
    }
}

impl LayerForward {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, core: Core, options: Options) -> Result<Self> {
        let [_, activation, negative_slope] = activate::constants(options.activation);
        let compile = |phase: Phase| {
            let constants = [
                ("PHASE", f64::from(phase as u32)),
                ("NORMALIZATION", f64::from(options.normalization as u32)),
                ("EPSILON", options.epsilon.into()),
                activation,
                negative_slope,
            ];
            let text = match options.is_training {
                true => core.text(KEPT_FOR_SUBGROUPS, KEPT_FOR_WORKGROUPS),
                false => core.text(FOR_SUBGROUPS, FOR_WORKGROUPS),
            };
            Kernel::trusted(device, "layer_forward", &text, &constants)
        };
        let phases = if options.is_divided && options.normalization == Normalization::Batch {
            vec![compile(Phase::Measure)?, compile(Phase::Finish)?]
        } else {
            vec![compile(Phase::Whole)?]
        };
        Ok(Self { phases, core, options, unused: unused_matrices(device, 2)? })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Vec<Dispatch>> {
        let Buffers {
            inputs, parameters, weights, vectors, running_statistics, stop, outputs, ..
        } = buffers;
        let kernel = "layer_forward";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        outputs.expect_padded(kernel, "outputs", [rows, columns])?;
        stop.expect_padded(kernel, "stop", [1, 4])?;
        for vector in vectors {
            vector.expect_padded(kernel, "gamma, beta or the biases", [1, columns])?;
        }
        let statistics = buffers.statistics.unwrap_or(&self.unused[0]);
        let sums = buffers.sums.unwrap_or(&self.unused[1]);
        let is_batch = self.options.normalization == Normalization::Batch;
        let rows_of_running = if is_batch { 2 } else { 1 };
        for (what, part) in
            ["running_mean", "running_var"].into_iter().zip(buffers.running.iter().flatten())
        {
            part.expect_padded(kernel, what, [rows_of_running, columns])?;
        }
        let quads_before = |part: &Matrix| part.first_quad() - running_statistics.first_quad();
        let [mean, variance] = buffers.running.map_or([0; 2], |parts| parts.map(quads_before));
        if is_batch {
            if rows < 2 {
                return Err(Error::BatchTooSmall { rows: rows.into() });
            }
            let needed = statistics_rows(self.core, rows, self.options.is_divided);
            statistics.expect_padded(kernel, "statistics", [needed, columns])?;
        }
        if self.options.is_training {
            sums.expect_padded(kernel, "sums", [rows, columns])?;
        }
        let unbias = if is_batch { f64::from(rows) / f64::from(rows - 1) } else { 1.0 };
        // Statistics of a strip need all its rows in one workgroup.
        let chunk = match (is_batch, self.options.is_divided) {
            (true, false) => rows.next_multiple_of(self.core.patch_rows()),
            (true, true) => self.core.chunk(rows),
            (false, _) => self.core.patch_rows(),
        };
        let layer = Layer {
            rows,
            columns,
            inner,
            weights: weights.first_quad() - parameters.first_quad(),
            gamma: vectors[0].first_quad() - parameters.first_quad(),
            beta: vectors[1].first_quad() - parameters.first_quad(),
            momentum: self.options.momentum,
            unbias: unbias as f32,
            chunk,
            stop: stop.first_quad() - parameters.first_quad(),
            mean,
            variance,
        };
        let matrices = [inputs, parameters, running_statistics, outputs, statistics, sums];
        let bound = if self.options.is_training { &matrices[..] } else { &matrices[..4] };
        let groups = [self.core.strips(columns), workgroups(rows.into(), chunk), 1];
        let patches =
            rows.div_ceil(chunk).div_ceil(groups[1]) * chunk.div_ceil(self.core.patch_rows());
        let rounds = u64::from(patches) * self.core.rounds_of_patch(inner);
        let work = || format!("{rows} rows of sums of {inner} products");
        check_rounds(device, kernel, work, rounds)?;
        let bind = |phase: &Kernel<Layer>| phase.bind(device, place, layer, bound, groups);
        self.phases.iter().map(bind).collect()
    }
}

/// Rows of the statistics of a batch, and of its chunks.
pub(crate) fn statistics_rows(core: Core, rows: u32, is_divided: bool) -> u32 {
    if is_divided { 3 + 4 * rows.div_ceil(core.chunk(rows)) } else { 3 }
}

#[cfg(test)]
mod tests;
