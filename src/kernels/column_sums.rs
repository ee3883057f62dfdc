//! `shaders/column_sums.wgsl`: the gradient of the biases.
//!
//! Its twin is [`crate::reference::column_sums`].

use wgpu::Device;

use super::{COLUMNS, IMAGE_COLUMNS, IMAGE_LANES, LANES, LayoutKernel};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct ColumnSums(LayoutKernel);

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`.
    pub inputs: &'a Matrix,
    /// One per column.
    pub sums: &'a Matrix,
}

impl ColumnSums {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/column_sums.wgsl"),
            include_str!("../../shaders/shared/lane_sum.wgsl"),
        );
        let compile = |columns: u32, lanes: u32| {
            let constants = [("COLUMNS", columns.into()), ("LANES", lanes.into())];
            Kernel::new(device, "column_sums", source, &constants)
        };
        Ok(Self(LayoutKernel {
            rows: compile(COLUMNS, LANES)?,
            images: compile(IMAGE_COLUMNS, IMAGE_LANES)?,
        }))
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::TooMany`](crate::Error::TooMany) if a software adapter would not reach the last rows
    /// (beyond sixteen million), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, sums } = buffers;
        inputs.expect("column_sums", "inputs", [inputs.rows(), inputs.columns()])?;
        sums.expect("column_sums", "sums", [1, inputs.columns()])?;
        let (kernel, workgroups) = self.0.sum(device, "column_sums", inputs, 1)?;
        kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&[inputs.rows(), inputs.columns()]),
            &[inputs, sums],
            workgroups,
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
        let kernel = ColumnSums::new(&gpu.gpu.device).unwrap();
        let many_columns = COLUMNS * crate::gpu::MAX_WORKGROUPS + 5;
        for shape in SHAPES.into_iter().chain([[100_003, 3], [2, many_columns]]) {
            let inputs = gpu.random(shape);
            let sums = gpu.zeros([1, shape[1]]);
            let buffers = Buffers { inputs: &gpu.upload(&inputs), sums: &sums };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let expected = reference::column_sums(&inputs);
            // Each lane adds up rows / LANES values below 1; roundings mostly cancel.
            let rows = f64::from(shape[0]);
            let bound = f64::from(f32::EPSILON) * (rows.sqrt() * rows / f64::from(LANES) + 4.0);
            assert_close(
                &format!("column_sums {shape:?}"),
                &gpu.read(&sums),
                &expected,
                bound,
                1e-6,
            );
        }
    }
}
