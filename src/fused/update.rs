//! `shaders/fused/update.wgsl`: one step of the optimizer, parameter by parameter.
//!
//! Its twins are in [`crate::reference`]: one function for each method.

use bytemuck::Zeroable;
use wgpu::Device;

use super::record_step::COUNTS;
use super::{QUAD, quads};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, storage_buffer, uniform, workgroups};
use crate::kernels::WORKGROUP_SIZE;
use crate::options::{Method, Optimizer};
use crate::plan::{DeviceClass, MOST_RANGES, SlabRange};

/// Enough to fill a large GPU. Where there is more to do, an invocation owns several quads, and reads
/// the step's rates once for all of them.
const MOST_WORKGROUPS: u32 = 1024;

/// Quads of an invocation on a software adapter, if there are enough: what it reads once takes longer
/// there than a quad does.
const SOFTWARE_QUADS: u32 = 8;

/// Takes a step of an [`Optimizer`], parameter by parameter. [`Method`] has the formulas.
///
/// Gradients are multiplied by `clip_scale`. Weight decay acts on the weights alone, unless
/// [`Optimizer::decays_all`] is set. Parameters that the step would make infinite keep their values.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    kernel: Kernel<Sizes>,
    method: Method,
    decays_all: bool,
}

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[1, 6]`, `u32`: the [`Counts`](super::record_step::Counts). The kernel reads `taken`, which counts
    /// this step, too, and `rate`.
    pub(crate) counts: &'a Matrix,
    /// `[capacity, 4]`: the [`rates`] of each step. The index of a step's row is the number of steps
    /// taken before it, modulo the capacity.
    pub(crate) rates: &'a Matrix,
    /// `[1, 1]`: the factor of all gradients, from [`super::gradient_norm`], or 1.
    pub(crate) clip_scale: &'a Matrix,
    /// `[1, values]`: the gradients, packed like the parameters, and then the slabs that are added to them.
    pub(crate) gradients: &'a Matrix,
    pub(crate) slabs: &'a [SlabRange],
    /// `[1, parameters]`: first the weights, then all others, then the stop and the faults
    /// (`shaders/shared/faults.wgsl`), as in the gradients.
    pub(crate) parameters: &'a Matrix,
    /// The number of values before the stop, a multiple of four.
    pub(crate) learned: u32,
    /// The number of weights, a multiple of four.
    pub(crate) weights: u32,
    /// The number of quads of faults, four for each layer.
    pub(crate) faults: u32,
    /// `[1, parameters]`, zero before the first step. For methods that
    /// [have no velocity](Method::has_velocity) any matrix, which the kernel leaves alone.
    pub(crate) velocity: &'a Matrix,
    /// `[1, parameters]`, zero before the first step. For methods that
    /// [have no mean square](Method::has_mean_square) any matrix, which the kernel leaves alone.
    pub(crate) mean_square: &'a Matrix,
}

uniform! {
    struct Sizes {
        quads: u32,
        decaying_quads: u32,
        capacity: u32,
        faults: u32,
        count: u32,
        padding_1: u32,
        padding_2: u32,
        padding_3: u32,
        ranges: [Range; MOST_RANGES],
    }
}

uniform! {
    /// A range of the gradients, in the uniforms of the kernels that add up slabs.
    struct Range {
        end: u32,
        slabs: u32,
        length: u32,
        shift: u32,
    }
}

/// The table of ranges in a uniform.
pub(super) fn table(slabs: &[SlabRange]) -> [Range; MOST_RANGES] {
    let mut table = [Range::zeroed(); MOST_RANGES];
    for (entry, &SlabRange { end, slabs, length, shift }) in table.iter_mut().zip(slabs) {
        *entry = Range { end, slabs, length, shift };
    }
    table
}

/// The row of [`Buffers::rates`] for a step, counted from 1, with a learning rate of 1: the schedule's
/// share `s`; with Adam also `s / (1 − beta1ᵗ)` and `1 / √(1 − beta2ᵗ)`, and with decoupled weight decay
/// `s · weight_decay`. Values that the method does not have are 0.
pub(crate) fn rates(optimizer: &Optimizer, step: u64) -> [f32; 4] {
    let rate = Optimizer { learning_rate: 1.0, ..*optimizer }.learning_rate_at(step);
    let (corrected_rate, square_correction) = match optimizer.method {
        Method::Adam { beta1, beta2, epsilon: _, decoupled: _ } => {
            let left = |base: f64| 1.0 - base.powf(step as f64);
            (rate / left(beta1), left(beta2).sqrt().recip())
        }
        Method::GradientDescent
        | Method::Momentum { .. }
        | Method::RmsProp { .. }
        | Method::Lion { .. } => (0.0, 0.0),
    };
    let is_decoupled = optimizer.method.is_decoupled();
    let decay = if is_decoupled { rate * optimizer.weight_decay } else { 0.0 };
    [rate, corrected_rate, square_correction, decay].map(|value| value as f32)
}

impl Update {
    /// Compiles the kernel for a device and an optimizer. The learning rate and its schedule come from
    /// [`Buffers::counts`] and [`Buffers::rates`]. If it `skips`, a step with a fault is skipped, and does not
    /// stop the training. `has_slabs` says whether [`Buffers::slabs`] may have ranges.
    pub(crate) fn new(
        device: &Device,
        optimizer: &Optimizer,
        skips: bool,
        has_slabs: bool,
    ) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/update.wgsl"),
            include_str!("../../shaders/shared/optimizer.wgsl"),
            include_str!("../../shaders/shared/slab_sum.wgsl"),
            include_str!("../../shaders/shared/counts.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let choices = [("SKIPS", skips), ("HAS_SLABS", has_slabs)];
        let choices = choices.map(|(name, is_chosen)| (name, f64::from(u8::from(is_chosen))));
        let size = ("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE));
        let constants: Vec<_> =
            constants(optimizer).into_iter().chain(choices).chain([size]).collect();
        let kernel = Kernel::new(device, "update", source, &constants)?;
        Ok(Self { kernel, method: optimizer.method, decays_all: optimizer.decays_all })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers {
            counts,
            rates,
            clip_scale,
            gradients,
            slabs,
            parameters,
            learned,
            weights,
            faults,
            velocity,
            mean_square,
        } = buffers;
        let length = parameters.columns();
        counts.expect("update", "counts", [1, COUNTS])?;
        rates.expect("update", "rates", [rates.rows(), 4])?;
        clip_scale.expect("update", "clip_scale", [1, 1])?;
        parameters.expect("update", "parameters", [1, length])?;
        gradients.expect("update", "gradients", [1, gradients.columns().max(length)])?;
        let quads_of_all = quads("the row of parameters", learned)?;
        let quads_of_weights = quads("the weights' part of the parameters", weights)?;
        let decaying_quads = if self.decays_all { quads_of_all } else { quads_of_weights };
        let quads_of_one = if DeviceClass::from(device).is_software() { SOFTWARE_QUADS } else { 1 };
        let quads_of_workgroup = WORKGROUP_SIZE * quads_of_one;
        let method = self.method;
        let velocity = state(device, method.has_velocity(), "velocity", velocity, length)?;
        let mean_square =
            state(device, method.has_mean_square(), "mean_square", mean_square, length)?;
        let sizes = Sizes {
            quads: quads_of_all,
            decaying_quads,
            capacity: rates.rows(),
            faults,
            count: slabs.len() as u32,
            ranges: table(slabs),
            ..Sizes::zeroed()
        };
        self.kernel.bind(
            device,
            place,
            sizes,
            &[counts, rates, clip_scale, gradients, parameters, &velocity, &mean_square],
            [workgroups(quads_of_all.into(), quads_of_workgroup).min(MOST_WORKGROUPS), 1, 1],
        )
    }
}

/// A velocity or mean square, or a placeholder if the method has none: the shader declares both in any
/// case.
fn state(
    device: &Device,
    has: bool,
    what: &'static str,
    given: &Matrix,
    length: u32,
) -> Result<Matrix> {
    if has {
        given.expect("update", what, [1, length])?;
        return Ok(given.clone());
    }
    let buffer = storage_buffer(device, "update/unused state", QUAD.into())?;
    Matrix::vector(&buffer, 0, QUAD)
}

/// The overrides of a kernel that has `optimizer.wgsl`. What a method does not have is never read.
pub(super) fn constants(optimizer: &Optimizer) -> [(&'static str, f64); 7] {
    let method = optimizer.method;
    let (momentum, smoothing, epsilon) = match method {
        Method::GradientDescent => (0.0, 0.0, 0.0),
        Method::Momentum { momentum, nesterov: _ } => (momentum, 0.0, 0.0),
        Method::RmsProp { smoothing, epsilon } => (0.0, smoothing, epsilon),
        Method::Adam { beta1, beta2, epsilon, decoupled: _ } => (beta1, beta2, epsilon),
        Method::Lion { beta1, beta2 } => (beta1, beta2, 0.0),
    };
    let decay = if method.is_decoupled() { 0.0 } else { optimizer.weight_decay };
    [
        ("METHOD", method.number().into()),
        ("WEIGHT_DECAY", decay),
        ("MOMENTUM", momentum),
        ("MOMENTUM_REST", 1.0 - momentum),
        ("SMOOTHING", smoothing),
        ("SMOOTHING_REST", 1.0 - smoothing),
        ("METHOD_EPSILON", epsilon),
    ]
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
