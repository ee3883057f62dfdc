//! `shaders/fused/gradient_norm.wgsl`: the factor that keeps the gradient from being too long.
//!
//! Its twin is [`crate::reference::gradient_norm`].

use bytemuck::Zeroable;
use wgpu::Device;

use super::update::{Range, table};
use super::{QUAD, quads};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, uniform, workgroups};
use crate::plan::{MAX_PARTIAL_SUMS, MOST_RANGES, SlabRange};

const WORKGROUP_SIZE: u32 = 256;

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
    /// `[1, values]`: the gradients, packed like the parameters, and then the slabs that are added to them.
    pub(crate) gradients: &'a Matrix,
    pub(crate) slabs: &'a [SlabRange],
    /// The number of values that are packed, a multiple of four.
    pub(crate) length: u32,
    /// `[1, MAX_PARTIAL_SUMS]`: sums that the first dispatch writes and the second reads.
    pub(crate) partial_sums: &'a Matrix,
    /// `[1, 1]`: the factor, which is NaN if a gradient is NaN.
    pub(crate) clip_scale: &'a Matrix,
}

uniform! {
    struct Length {
        quads: u32,
        count: u32,
        padding_1: u32,
        padding_2: u32,
        ranges: [Range; MOST_RANGES],
    }
}

impl GradientNorm {
    /// Compiles the kernel for a device. The norm of the scaled gradients is `clip_norm` at most.
    /// `has_slabs` says whether [`Buffers::slabs`] may have ranges.
    pub(crate) fn new(device: &Device, clip_norm: f32, has_slabs: bool) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/gradient_norm.wgsl"),
            include_str!("../../shaders/shared/slab_sum.wgsl"),
            include_str!("../../shaders/shared/clip_factor.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants = [
            ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
            ("CLIP_NORM", clip_norm.into()),
            ("HAS_SLABS", f64::from(u8::from(has_slabs))),
        ];
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
        let Buffers { gradients, slabs, length, partial_sums, clip_scale } = buffers;
        gradients.expect("gradient_norm", "gradients", [1, gradients.columns().max(length)])?;
        partial_sums.expect("gradient_norm", "partial_sums", [1, MAX_PARTIAL_SUMS])?;
        clip_scale.expect("gradient_norm", "clip_scale", [1, 1])?;
        let quads = quads("the row of gradients", length)?;
        // The sums are whole quads, too: a workgroup without gradients leaves 0.
        let sums = workgroups(quads.into(), WORKGROUP_SIZE).next_multiple_of(QUAD);
        let sums = sums.min(MAX_PARTIAL_SUMS);
        let count = slabs.len() as u32;
        let length = Length { quads, count, ranges: table(slabs), ..Length::zeroed() };
        let partial =
            self.partial.bind(device, place, length, &[gradients, partial_sums], [sums, 1, 1])?;
        let length = Length { quads: sums / QUAD, ..Length::zeroed() };
        let total =
            self.total.bind(device, place, length, &[partial_sums, clip_scale], [1, 1, 1])?;
        Ok([partial, total])
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array1;

    use super::*;
    use crate::fused::update::cases::slabs as slabs_of;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let lengths = [4, 8, 1020, 1024, 1028, 262_144, 1_000_004].map(|length| [1, length]);
        for [slabs, length] in lengths.into_iter().chain([[2, 1028], [16, 4]]) {
            for clip_norm in [0.01, 1.0, 1e6] {
                let kernel = GradientNorm::new(&gpu.gpu.device, clip_norm, slabs > 1).unwrap();
                let (packed, gradients, ranges) = slabs_of(gpu, [slabs, length]);
                let clip_scale = gpu.zeros([1, 1]);
                let buffers = Buffers {
                    gradients: &gpu.upload_vector(&packed),
                    slabs: &ranges,
                    length,
                    // The sums of a longer gradient that was there before.
                    partial_sums: &gpu.upload_vector(&Array1::ones(MAX_PARTIAL_SUMS as usize)),
                    clip_scale: &clip_scale,
                };
                let [partial, total] = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
                gpu.run(&[&partial, &total]);

                let norm = reference::gradient_norm(&gradients);
                let expected = reference::clip_scale(norm, clip_norm.into());
                let what = format!("clip_scale of {slabs} × {length} values to {clip_norm}");
                gpu.compare(&what, &gpu.read(&clip_scale), &[expected], 0.0, 2e-6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    /// As in PyTorch. Otherwise the step would be taken without clipping.
    #[test]
    fn a_gradient_that_is_nan_makes_the_factor_nan() {
        let gpu = TestGpu::new();
        let kernel = GradientNorm::new(&gpu.gpu.device, 1.0, false).unwrap();
        for (place, nan) in [(0, f64::NAN), (70_000, -f64::NAN)] {
            let mut gradients = Array1::zeros(100_000);
            gradients[place] = nan;
            let clip_scale = gpu.zeros([1, 1]);
            let buffers = Buffers {
                gradients: &gpu.upload_vector(&gradients),
                slabs: &[],
                length: 100_000,
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
        let kernel = GradientNorm::new(&gpu.gpu.device, 1.0, false).unwrap();
        let buffers = Buffers {
            gradients: &gpu.zeros([1, 7]),
            slabs: &[],
            length: 7,
            partial_sums: &gpu.zeros([1, MAX_PARTIAL_SUMS]),
            clip_scale: &gpu.zeros([1, 1]),
        };
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.contains("gradients holds 7 values, but 8 are needed"), "{error}");
    }
}
