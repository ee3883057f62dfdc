//! `shaders/fused/layer_backward.wgsl`: the gradients of a layer, from those of the sums of the next one.
//!
//! Its twin is [`crate::reference::layer_backward`].

use wgpu::Device;

use super::grad_weights::{Targets, Weights};
use super::layer_forward::Phase;
use crate::error::Result;
use crate::gpu::{
    Dispatch, Kernel, Matrix, Share, Texts, check_rounds, tiled, uniform, workgroups,
};
use crate::kernels::activate;
use crate::options::Activation;
use crate::plan::{LayerPlan, Place};

/// With the gradients of the layer's own weights.
const WITH_LAYER: Texts = tiled![
    "fused/layer_backward.wgsl",
    "shared/weights_with_layer.wgsl",
    "shared/weights_patch.wgsl",
    "shared/faults.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/magnitudes.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/rounded.wgsl",
    "shared/quotient.wgsl",
];
/// Beside the gradients of the next layer's weights.
const BESIDE: Texts = tiled![
    "fused/layer_backward.wgsl",
    "shared/weights_beside.wgsl",
    "shared/weights_patch.wgsl",
    "shared/faults.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/magnitudes.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/rounded.wgsl",
    "shared/quotient.wgsl",
];
/// Without gradients of weights.
const ELSEWHERE: Texts = tiled![
    "fused/layer_backward.wgsl",
    "shared/weights_elsewhere.wgsl",
    "shared/weights_patch.wgsl",
    "shared/faults.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/magnitudes.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/rounded.wgsl",
    "shared/quotient.wgsl",
];

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct LayerBackward {
    /// The dispatches that a layer takes, in order.
    parts: Vec<Part>,
    plan: LayerPlan,
}

/// A dispatch, and whose weights' gradients it computes.
#[derive(Clone, Debug)]
struct Part {
    kernel: Kernel<Layer>,
    weights: Option<LayerPlan>,
    is_beside: bool,
}

/// The options that are fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) activation: Activation,
    pub(crate) epsilon: f32,
}

/// The inputs and outputs of the kernel. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, next outputs]`: the gradients of the next layer's sums.
    pub(crate) next_grad_sums: &'a Matrix,
    /// `[next outputs, outputs]`: a part of the parameters.
    pub(crate) next_weights: &'a Matrix,
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// One per output, if the layer is normalized: parts of the parameters.
    pub(crate) gamma: Option<&'a Matrix>,
    pub(crate) beta: Option<&'a Matrix>,
    /// The stop, `[1, 4]`, and the layer's faults, `[4, 4]`: parts of the parameters. Faults are noted at
    /// the same places in the gradients.
    pub(crate) stop: [&'a Matrix; 2],
    /// `[rows, outputs]`: from [`super::layer_forward`].
    pub(crate) sums: &'a Matrix,
    /// From [`super::layer_forward`].
    pub(crate) statistics: &'a Matrix,
    /// The inputs of the weights whose gradients are computed here, `[rows, inputs]`, and where these go: the
    /// layer's own, or the next one's.
    pub(crate) weights: Option<(&'a Matrix, Targets<'a>)>,
    /// `[rows, outputs]`: written.
    pub(crate) grad_sums: &'a Matrix,
    /// The gradients: packed, and then the slabs.
    pub(crate) gradients: &'a Matrix,
}

uniform! {
    struct Layer {
        weights: Weights,
        rows: u32,
        columns: u32,
        next_columns: u32,
        next_weights: u32,
        gamma: u32,
        beta: u32,
        chunk: u32,
        leaf: u32,
        stop: u32,
        faults: u32,
        first: u32,
        groups: u32,
    }
}

impl LayerBackward {
    /// Compiles the kernel for a device. `next` is the plan of the next layer.
    pub(crate) fn new(
        device: &Device,
        plan: LayerPlan,
        next: LayerPlan,
        options: Options,
    ) -> Result<Self> {
        let [_, activation, negative_slope] = activate::constants(options.activation);
        let compile = |(number, phase): (usize, Phase)| {
            let is_beside = number == 0 && plan.takes_next;
            let (texts, weights) = match plan.weights.place {
                Place::WithLayer => (WITH_LAYER, Some(plan)),
                _ if is_beside => (BESIDE, Some(next)),
                Place::BesideLayerBefore | Place::Alone => (ELSEWHERE, None),
            };
            let has_biases = weights.is_some_and(|weights| !weights.sizes.is_normalized);
            let constants = [
                ("PHASE", f64::from(phase as u32)),
                ("BATCH_NORM", f64::from(u8::from(plan.sizes.is_normalized))),
                ("HAS_BIASES", f64::from(u8::from(has_biases))),
                ("EPSILON", options.epsilon.into()),
                activation,
                negative_slope,
            ];
            let text = texts.text(plan.tiling);
            let kernel = Kernel::trusted(device, "layer_backward", &text, &constants)?;
            Ok(Part { kernel, weights, is_beside })
        };
        let parts = Phase::of(plan).into_iter().enumerate().map(compile).collect::<Result<_>>()?;
        Ok(Self { parts, plan })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Vec<Dispatch>> {
        self.check(buffers)?;
        let Buffers { next_grad_sums, parameters, sums, statistics, grad_sums, gradients, .. } =
            buffers;
        let rows = sums.rows();
        let work = || format!("{rows} rows of {} outputs", sums.columns());
        check_rounds(device, "layer_backward", work, self.plan.backward_loops(rows))?;
        let bind = |part: &Part| {
            let layer = |share| self.layer(part, buffers, share);
            let mut bound =
                vec![next_grad_sums, parameters, sums, statistics, grad_sums, gradients];
            let mut tasks = self.plan.tasks(rows);
            if let (Some(plan), Some((inputs, _))) = (part.weights, buffers.weights) {
                bound.push(inputs);
                tasks += if part.is_beside { plan.weights_tasks(rows) } else { 0 };
            }
            let groups = [workgroups(tasks, 1), 1, 1];
            let parts = self.plan.backward_parts(rows, part.weights.filter(|_| part.is_beside));
            part.kernel.bind_divided(device, place, layer, &bound, groups, parts)
        };
        self.parts.iter().map(bind).collect()
    }

    fn check(&self, buffers: Buffers<'_>) -> Result<()> {
        let Buffers { next_grad_sums, next_weights, gamma, beta, stop, sums, .. } = buffers;
        let kernel = "layer_backward";
        let [rows, columns, next] = [sums.rows(), sums.columns(), next_weights.rows()];
        next_grad_sums.expect_padded(kernel, "next_grad_sums", [rows, next])?;
        next_weights.expect_padded(kernel, "next_weights", [next, columns])?;
        sums.expect_padded(kernel, "sums", [rows, columns])?;
        buffers.grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        stop[0].expect_padded(kernel, "the stop", [1, 4])?;
        stop[1].expect_padded(kernel, "the matrix of faults", [4, 4])?;
        for vector in gamma.into_iter().chain(beta) {
            vector.expect_padded(kernel, "gamma or beta", [1, columns])?;
        }
        if let Some((inputs, targets)) = buffers.weights {
            let plans = self.parts.iter().filter_map(|part| part.weights);
            let slabs = plans.map(|plan| plan.order(rows).slabs()).max();
            targets.check(kernel, buffers.gradients, slabs.unwrap_or(1))?;
            inputs.expect_padded(
                kernel,
                "the weights' inputs",
                [rows, targets.weights.columns()],
            )?;
        }
        let needed = self.plan.statistics_rows(rows);
        buffers.statistics.expect_padded(kernel, "statistics", [needed, columns])
    }

    fn layer(&self, part: &Part, buffers: Buffers<'_>, share: Share) -> Layer {
        let Buffers { next_weights, parameters, gamma, beta, stop, sums, .. } = buffers;
        let rows = sums.rows();
        let first = |matrix: &Matrix| matrix.first_quad() - parameters.first_quad();
        let weights = part.weights.zip(buffers.weights);
        Layer {
            weights: weights.map_or(bytemuck::Zeroable::zeroed(), |(plan, (_, targets))| {
                Weights::new(plan, rows, targets)
            }),
            rows,
            columns: sums.columns(),
            next_columns: next_weights.rows(),
            next_weights: first(next_weights),
            gamma: gamma.map_or(0, first),
            beta: beta.map_or(0, first),
            chunk: self.plan.chunk(rows),
            leaf: self.plan.order(rows).leaf,
            stop: first(stop[0]),
            faults: first(stop[1]),
            first: share.first,
            groups: share.groups,
        }
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
