//! `shaders/fused/gradient_norm.wgsl`: the factor that keeps the gradient from being too long.
//!
//! Its twin is [`crate::reference::gradient_norm`].

use wgpu::Device;

use super::{QUAD, quads};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, uniform, workgroups};

const WORKGROUP_SIZE: u32 = 256;

/// The length of [`Buffers::partial_sums`].
pub(crate) const MAX_PARTIAL_SUMS: u32 = 256;

/// Computes the factor that limits the Euclidean norm of all gradients together.
///
/// The factor is `min(1, clip_norm / (norm + 1e-6))`, as in PyTorch's `clip_grad_norm_`.
/// [`Update`](super::update::Update) multiplies the gradients by it.
#[derive(Clone, Debug)]
pub(crate) struct GradientNorm {
    partial: Kernel<Length>,
    total: Kernel<Length>,
}

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[parts, parameters]`: the gradients of all parameters are the sums of the columns. The number of
    /// parameters is a multiple of four.
    pub(crate) gradients: &'a Matrix,
    /// `[1, MAX_PARTIAL_SUMS]`: sums that the first dispatch writes and the second reads.
    pub(crate) partial_sums: &'a Matrix,
    /// `[1, 1]`: the factor, which is NaN if a gradient is NaN.
    pub(crate) clip_scale: &'a Matrix,
}

uniform! {
    struct Length {
        quads: u32,
        slabs: u32,
    }
}

impl GradientNorm {
    /// Compiles the kernel for a device. The norm of the scaled gradients is `clip_norm` at most.
    pub(crate) fn new(device: &Device, clip_norm: f32) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/gradient_norm.wgsl"),
            include_str!("../../shaders/shared/slab_sum.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants =
            [("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("CLIP_NORM", clip_norm.into())];
        let compile = |entry_point| {
            Kernel::with_entry_point(device, "gradient_norm", source, entry_point, &constants)
        };
        Ok(Self { partial: compile("partial")?, total: compile("total")? })
    }

    /// Binds the kernel to its matrices: two dispatches, to be encoded in this order. `place` is the first
    /// part of their names.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<[Dispatch; 2]> {
        let Buffers { gradients, partial_sums, clip_scale } = buffers;
        let [slabs, length] = [gradients.rows(), gradients.columns()];
        gradients.expect("gradient_norm", "gradients", [slabs, length])?;
        partial_sums.expect("gradient_norm", "partial_sums", [1, MAX_PARTIAL_SUMS])?;
        clip_scale.expect("gradient_norm", "clip_scale", [1, 1])?;
        let quads = quads("the row of gradients", length)?;
        // The sums are whole quads, too: a workgroup without gradients leaves 0.
        let sums = workgroups(quads.into(), WORKGROUP_SIZE).next_multiple_of(QUAD);
        let sums = sums.min(MAX_PARTIAL_SUMS);
        let length = Length { quads, slabs };
        let partial =
            self.partial.bind(device, place, length, &[gradients, partial_sums], [sums, 1, 1])?;
        let length = Length { quads: sums / QUAD, slabs: 1 };
        let total =
            self.total.bind(device, place, length, &[partial_sums, clip_scale], [1, 1, 1])?;
        Ok([partial, total])
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        let lengths = [4, 8, 1020, 1024, 1028, 262_144, 1_000_004].map(|length| [1, length]);
        for [slabs, length] in lengths.into_iter().chain([[2, 1028], [16, 4]]) {
            for clip_norm in [0.01, 1.0, 1e6] {
                let kernel = GradientNorm::new(&gpu.gpu.device, clip_norm).unwrap();
                let of_slabs = gpu.random([slabs, length]);
                let gradients = of_slabs.sum_axis(ndarray::Axis(0));
                let clip_scale = gpu.zeros([1, 1]);
                let buffers = Buffers {
                    gradients: &gpu.upload(&of_slabs),
                    // The sums of a longer gradient that was there before.
                    partial_sums: &gpu.upload_vector(&Array1::ones(MAX_PARTIAL_SUMS as usize)),
                    clip_scale: &clip_scale,
                };
                let [partial, total] = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
                gpu.run(&[&partial, &total]);

                let norm = reference::gradient_norm(&gradients);
                let expected = reference::clip_scale(norm, clip_norm.into());
                let what = format!("clip_scale of {slabs} × {length} values to {clip_norm}");
                assert_close(&what, &gpu.read(&clip_scale), &[expected], 0.0, 2e-6);
            }
        }
    }

    /// As in PyTorch. Otherwise the step would be taken without clipping.
    #[test]
    fn a_gradient_that_is_nan_makes_the_factor_nan() {
        let gpu = TestGpu::new();
        let kernel = GradientNorm::new(&gpu.gpu.device, 1.0).unwrap();
        for (place, nan) in [(0, f64::NAN), (70_000, -f64::NAN)] {
            let mut gradients = Array1::zeros(100_000);
            gradients[place] = nan;
            let clip_scale = gpu.zeros([1, 1]);
            let buffers = Buffers {
                gradients: &gpu.upload_vector(&gradients),
                partial_sums: &gpu.zeros([1, MAX_PARTIAL_SUMS]),
                clip_scale: &clip_scale,
            };
            let [partial, total] = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
            gpu.run(&[&partial, &total]);
            assert!(gpu.read(&clip_scale)[0].is_nan(), "place {place}");
            assert!(reference::clip_scale(reference::gradient_norm(&gradients), 1.0).is_nan());
        }
    }

    #[test]
    fn refuses_gradients_that_are_no_whole_quads() {
        let gpu = TestGpu::new();
        let kernel = GradientNorm::new(&gpu.gpu.device, 1.0).unwrap();
        let buffers = Buffers {
            gradients: &gpu.zeros([1, 7]),
            partial_sums: &gpu.zeros([1, MAX_PARTIAL_SUMS]),
            clip_scale: &gpu.zeros([1, 1]),
        };
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.contains("gradients holds 7 values, but 8 are needed"), "{error}");
    }
}
