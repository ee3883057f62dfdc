//! `shaders/copy_rows.wgsl`: a matrix to a place where its rows start at other distances.
//!
//! Its twin is [`crate::reference::copy_rows`].

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct CopyRows(Kernel);

impl CopyRows {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = include_str!("../../shaders/copy_rows.wgsl");
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Kernel::new(device, "copy_rows", source, &constants).map(Self)
    }

    /// Binds the kernel to two matrices of the same shape.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        inputs: &Matrix,
        outputs: &Matrix,
    ) -> Result<Dispatch> {
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        inputs.expect_rows("copy_rows", "inputs", [rows, columns])?;
        outputs.expect_rows("copy_rows", "outputs", [rows, columns])?;
        let uniform = [rows, columns, inputs.stride(), outputs.stride()];
        self.0.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[inputs, outputs],
            linear_workgroups(u64::from(rows) * u64::from(columns)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{SHAPES, TestGpu};
    use crate::reference;

    #[test]
    fn matches_the_reference_both_ways() {
        let mut gpu = TestGpu::new();
        let kernel = CopyRows::new(&gpu.gpu.device).unwrap();
        // The last has more elements than 65,535 workgroups have invocations.
        for shape in SHAPES.into_iter().chain([[70_000, 61]]) {
            let [rows, columns] = shape;
            let matrix = gpu.random(shape);
            let dense = gpu.upload(&matrix);
            let padded = gpu.gpu.padded_matrix("test", rows, columns).unwrap();
            let back = gpu.zeros(shape);
            let there = kernel.bind(&gpu.gpu.device, "test", &dense, &padded).unwrap();
            let again = kernel.bind(&gpu.gpu.device, "test", &padded, &back).unwrap();
            gpu.run(&[&there, &again]);

            let stride = columns.next_multiple_of(4) as usize;
            let expected = reference::copy_rows(&matrix, stride);
            let floats = |values: &[f32]| values.iter().map(|&x| x.into()).collect::<Vec<f64>>();
            assert_eq!(floats(&gpu.read(&padded)), expected, "{shape:?}, padded");
            assert_eq!(floats(&gpu.read(&back)), matrix.into_raw_vec_and_offset().0, "{shape:?}");
        }
    }
}
