//! `shaders/add_slabs.wgsl`: the gradients over a whole batch, from those over its slabs.
//!
//! Its twin is [`crate::reference::add_slabs`].

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct AddSlabs(Kernel);

impl AddSlabs {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = include_str!("../../shaders/add_slabs.wgsl");
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Kernel::new(device, "add_slabs", source, &constants).map(Self)
    }

    /// Binds the kernel to the slabs, a row each, of whose values the first `learned` are summed up: a
    /// multiple of four.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        gradients: &Matrix,
        learned: u32,
    ) -> Result<Dispatch> {
        let shape = [gradients.rows(), gradients.columns()];
        gradients.expect_padded("add_slabs", "gradients", shape)?;
        let uniform = [shape[0], gradients.stride() / 4, learned / 4];
        self.0.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[gradients],
            linear_workgroups(u64::from(learned / 4)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        let kernel = AddSlabs::new(&gpu.gpu.device).unwrap();
        for [slabs, length, learned] in [[1, 64, 64], [2, 4, 4], [3, 320, 64], [16, 4096, 4032]] {
            let gradients = gpu.random([slabs, length]);
            let on_gpu = gpu.upload(&gradients);
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", &on_gpu, learned).unwrap()]);
            let found = gpu.read(&on_gpu);
            let (sums, rest) = found.split_at(learned as usize);
            let expected = reference::add_slabs(&gradients);
            let what = format!("add_slabs {slabs} × {length}");
            let bound = f64::from(slabs) * f64::from(f32::EPSILON);
            assert_close(&what, sums, expected.iter().take(sums.len()), bound, 0.0);
            // What is not learned, and the other slabs, stay as they were.
            let others = gradients.iter().skip(sums.len());
            assert_close(&what, rest, others, 0.0, 0.0);
        }
    }
}
