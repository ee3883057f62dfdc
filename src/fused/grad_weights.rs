//! `shaders/fused/grad_weights.wgsl`: the gradients of a layer's weights and biases.
//!
//! Its twin is [`crate::reference::grad_weights`].

use wgpu::Device;

use crate::error::{Error, Result};
use crate::gpu::{
    Dispatch, Kernel, Matrix, Share, Texts, check_rounds, tiled, uniform, workgroups,
};
use crate::plan::{LayerPlan, Slabs};

const TEXTS: Texts = tiled![
    "fused/grad_weights.wgsl",
    "shared/weights_patch.wgsl",
    "shared/faults.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/magnitudes.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
];

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct GradWeights {
    kernel: Kernel<Layer>,
    plan: LayerPlan,
}

/// Where the gradients of a layer's weights and biases go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'a> {
    /// The packed parameters, of which the following are parts. The gradients are packed in the same way.
    pub(crate) parameters: &'a Matrix,
    /// `[outputs, inputs]`.
    pub(crate) weights: &'a Matrix,
    /// One per output, if the layer is not normalized.
    pub(crate) biases: Option<&'a Matrix>,
    /// `[4, 4]`: the layer's faults.
    pub(crate) faults: &'a Matrix,
    /// Where the gradients of all slabs of a batch but the first lie.
    pub(crate) slabs: Slabs,
}

/// The inputs and outputs of the kernel. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`.
    pub(crate) inputs: &'a Matrix,
    /// `[rows, outputs]`.
    pub(crate) grad_sums: &'a Matrix,
    pub(crate) targets: Targets<'a>,
    /// `[1, 4]`, a part of the parameters.
    pub(crate) stop: &'a Matrix,
    /// The gradients: packed, and then the slabs.
    pub(crate) gradients: &'a Matrix,
}

uniform! {
    /// A part of the uniforms of all kernels that compute gradients of weights.
    struct Weights {
        columns: u32,
        inner: u32,
        first: u32,
        biases: u32,
        faults: u32,
        slab_rows: u32,
        slabs: u32,
        slab: u32,
    }
}

uniform! {
    struct Layer {
        weights: Weights,
        rows: u32,
        stop: u32,
        first: u32,
        groups: u32,
    }
}

impl Weights {
    /// The gradients of these weights, for a batch of this many rows.
    pub(super) fn new(plan: LayerPlan, rows: u32, targets: Targets<'_>) -> Self {
        let Targets { parameters, weights, biases, faults, slabs } = targets;
        let first = |part: &Matrix| part.first_quad() - parameters.first_quad();
        // What fits a binding has fewer than 2³² quads.
        let quads = |values: u64| (values / 4) as u32;
        Self {
            columns: weights.rows(),
            inner: weights.columns(),
            first: first(weights),
            biases: biases.map_or(0, first),
            faults: first(faults),
            slab_rows: plan.order(rows).slab,
            slabs: quads(slabs.first),
            slab: quads(slabs.length),
        }
    }
}

impl Targets<'_> {
    /// Checks their shapes, and that `gradients` holds all slabs.
    pub(super) fn check(self, kernel: &'static str, gradients: &Matrix, slabs: u32) -> Result<()> {
        let Self { parameters, weights, biases, faults, .. } = self;
        let [columns, inner] = [weights.rows(), weights.columns()];
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        faults.expect_padded(kernel, "the matrix of faults", [4, 4])?;
        biases.map_or(Ok(()), |biases| biases.expect_padded(kernel, "biases", [1, columns]))?;
        let further = match slabs {
            ..=1 => 0,
            more => self.slabs.first + u64::from(more - 1) * self.slabs.length,
        };
        let needed = u64::from(parameters.columns()).max(further);
        let found = gradients.columns().into();
        if found < needed {
            let why = format!("{kernel}: {} parameters, {slabs} slabs", parameters.columns());
            return Err(Error::Length { what: "gradients", found, needed, why });
        }
        Ok(())
    }
}

impl GradWeights {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, plan: LayerPlan) -> Result<Self> {
        let has_biases = !plan.sizes.is_normalized;
        let constants = [("HAS_BIASES", f64::from(u8::from(has_biases)))];
        let text = TEXTS.text(plan.weights.tiling);
        let kernel = Kernel::trusted(device, "grad_weights", &text, &constants)?;
        Ok(Self { kernel, plan })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { inputs, grad_sums, targets, stop, gradients } = buffers;
        let kernel = "grad_weights";
        let [rows, columns] = [inputs.rows(), targets.weights.rows()];
        targets.check(kernel, gradients, self.plan.order(rows).slabs())?;
        inputs.expect_padded(kernel, "inputs", [rows, targets.weights.columns()])?;
        grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        stop.expect_padded(kernel, "the stop", [1, 4])?;
        let weights = Weights::new(self.plan, rows, targets);
        let layer = |Share { first, groups }| Layer {
            weights,
            rows,
            stop: stop.first_quad() - targets.parameters.first_quad(),
            first,
            groups,
        };
        let slab = weights.slab_rows;
        let rounds = self.plan.weights_loops(rows);
        check_rounds(device, kernel, || format!("sums over {slab} rows"), rounds)?;
        let groups = [workgroups(self.plan.weights_tasks(rows), 1), 1, 1];
        let parts = self.plan.weights_parts(rows);
        let bound = [grad_sums, inputs, gradients];
        self.kernel.bind_divided(device, place, layer, &bound, groups, parts)
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
