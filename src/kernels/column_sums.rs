//! `shaders/kernels/column_sums.wgsl`: the gradient of the biases.
//!
//! Its twin is [`crate::reference::column_sums`].

use wgpu::Device;

use super::{COLUMNS, IMAGE_COLUMNS, IMAGE_LANES, LANES, LayoutKernel};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, uniform};

/// Adds up each column: `sums[c] = Σ_r inputs[r, c]`.
///
/// The gradient of the loss by the biases is the sum of its gradient by the biased sums over the rows.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::column_sums::{Buffers, ColumnSums};
///
/// let grad_outputs = upload(&device, &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// let grad_biases = upload(&device, &[0.0_f32; 2]);
/// let dispatch = ColumnSums::new(&device)?.bind(&device, "output layer", Buffers {
///     inputs: &Matrix::new(&grad_outputs, 0, 3, 2)?,
///     sums: &Matrix::vector(&grad_biases, 0, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_eq!(read(&device, &queue, &grad_biases), [9.0, 12.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ColumnSums(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel.
///
/// See the example of [`ColumnSums`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`.
    pub inputs: &'a Matrix,
    /// `[1, columns]`: the sum of each column.
    pub sums: &'a Matrix,
}

uniform! {
    struct Shape {
        rows: u32,
        columns: u32,
    }
}

impl ColumnSums {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/kernels/column_sums.wgsl"),
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

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if rows are not contiguous,
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
            Shape { rows: inputs.rows(), columns: inputs.columns() },
            &[inputs, sums],
            workgroups,
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::{SHAPES, TestGpu};
    use crate::reference;

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        compare(gpu, SHAPES.into_iter().chain([[100_003, 3]]));
    }

    pub(super) fn compare(gpu: &mut TestGpu, shapes: impl IntoIterator<Item = [u32; 2]>) {
        let kernel = ColumnSums::new(&gpu.gpu.device).unwrap();
        for shape in shapes {
            let inputs = gpu.random(shape);
            let sums = gpu.zeros([1, shape[1]]);
            let buffers = Buffers { inputs: &gpu.upload(&inputs), sums: &sums };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let expected = reference::column_sums(&inputs);
            // Each lane adds up rows / LANES values below 1; roundings mostly cancel.
            let rows = f64::from(shape[0]);
            let bound = f64::from(f32::EPSILON) * (rows.sqrt() * rows / f64::from(LANES) + 4.0);
            gpu.compare(&format!("{shape:?}"), &gpu.read(&sums), &expected, bound, 1e-6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, cases};
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn walks_more_columns_than_workgroups() {
        let many_columns = COLUMNS * crate::gpu::MAX_WORKGROUPS + 5;
        cases::compare(&mut TestGpu::new(), [[2, many_columns]]);
    }
}
