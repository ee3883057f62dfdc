//! `shaders/add_biases.wgsl`: adds the biases to every row, in place.
//!
//! Its twin is [`crate::reference::add_biases`].

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct AddBiases(Kernel);

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// One per column.
    pub biases: &'a Matrix,
    /// `[rows, columns]`; the biases are added to it.
    pub sums: &'a Matrix,
}

impl AddBiases {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device) -> Result<Self> {
        Kernel::new(
            device,
            "add_biases",
            include_str!("../../shaders/add_biases.wgsl"),
            &[("WORKGROUP_SIZE", WORKGROUP_SIZE.into())],
        )
        .map(Self)
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other, and what wgpu
    /// reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { biases, sums } = buffers;
        sums.expect("add_biases", "sums", [sums.rows(), sums.columns()])?;
        biases.expect("add_biases", "biases", [1, sums.columns()])?;
        self.0.bind(
            device,
            place,
            bytemuck::cast_slice(&[sums.rows(), sums.columns()]),
            &[biases, sums],
            linear_workgroups(sums.values()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{SHAPES, TestGpu, assert_close};
    use crate::reference;

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        let kernel = AddBiases::new(&gpu.gpu.device).unwrap();
        // The last has more elements than 65,535 workgroups have invocations.
        for shape in SHAPES.into_iter().chain([[70_000, 61]]) {
            let sums = gpu.random(shape);
            let biases = gpu.random_vector(shape[1]);
            let on_gpu = gpu.upload(&sums);
            let buffers = Buffers { biases: &gpu.upload_vector(&biases), sums: &on_gpu };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let expected = reference::add_biases(&sums, &biases);
            // One addition, rounded once.
            let what = format!("add_biases {shape:?}");
            assert_close(&what, &gpu.read(&on_gpu), &expected, 0.0, f64::from(f32::EPSILON));
        }
    }
}
