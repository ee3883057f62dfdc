//! `shaders/fused/copy_rows.wgsl`: a matrix to a place where its rows start at other distances.
//!
//! Its twin is [`crate::reference::copy_rows`].

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Layout, Matrix, largest_binding, uniform};
use crate::kernels::{WORKGROUP_SIZE, linear_workgroups};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct CopyRows(Kernel<Shape>);

uniform! {
    struct Shape {
        inputs: Layout,
        outputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl CopyRows {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/copy_rows.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("IS_IMAGES", 0.0)];
        Kernel::new(device, "copy_rows", source, &constants).map(Self)
    }

    /// Binds the kernel to two matrices of the same shape, whose rows may be any distance apart, from any
    /// place on: in pieces, where they are longer than a binding may be.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        inputs: &Matrix,
        outputs: &Matrix,
    ) -> Result<Vec<Dispatch>> {
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        inputs.expect_rows("copy_rows", "inputs", [rows, columns])?;
        outputs.expect_rows("copy_rows", "outputs", [rows, columns])?;
        let most = rows_of_a_piece(device, [inputs, outputs]);
        let firsts = (0..rows).step_by(most as usize);
        let pieces = firsts.map(|first| {
            let piece =
                |matrix: &Matrix| Ok(matrix.slice(first, most.min(rows - first))?.aligned(device));
            let [inputs, outputs] = [piece(inputs)?, piece(outputs)?];
            self.0.bind(
                device,
                place,
                Shape {
                    inputs: inputs.layout(),
                    outputs: outputs.layout(),
                    rows: inputs.rows(),
                    columns,
                },
                &[&inputs, &outputs],
                linear_workgroups(u64::from(inputs.rows()) * u64::from(columns)),
            )
        });
        pieces.collect()
    }
}

/// How many rows of both matrices can be bound at once: all of them, if possible.
fn rows_of_a_piece(device: &Device, matrices: [&Matrix; 2]) -> u32 {
    let limits = device.limits();
    let most = largest_binding(&limits) / 4;
    let rows = matrices[0].rows();
    if matrices.iter().all(|matrix| matrix.aligned(device).values() <= most) {
        return rows;
    }
    // A binding may have to start before its first row.
    let most = most - u64::from(limits.min_storage_buffer_offset_alignment / 4);
    let stride = u64::from(matrices.map(Matrix::stride).into_iter().max().unwrap_or(1));
    (most / stride).clamp(1, rows.into()) as u32
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::reference;

    /// Both ways.
    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let kernel = CopyRows::new(&gpu.gpu.device).unwrap();
        let device = gpu.gpu.device.clone();
        let bind = |from: &Matrix, to: &Matrix| {
            let mut pieces = kernel.bind(&device, "test", from, to).unwrap();
            assert_eq!(pieces.len(), 1, "pieces of what can be bound at once");
            pieces.remove(0)
        };
        // The last has more elements than 65,535 workgroups have invocations.
        for shape in SHAPES.into_iter().chain([[70_000, 61]]) {
            for arrangement in [Arrangement::Dense, Arrangement::Strided] {
                let [rows, columns] = shape;
                let what = format!("{shape:?}, {arrangement:?}");
                let matrix = gpu.random(shape);
                let arranged = gpu.arrange(&matrix, arrangement);
                let padded = gpu.gpu.padded_matrix("test", rows, columns).unwrap();
                let back = gpu.arranged(shape, arrangement);
                gpu.run(&[&bind(&arranged, &padded), &bind(&padded, &back)]);

                let stride = columns.next_multiple_of(4) as usize;
                let expected = reference::copy_rows(&matrix, stride);
                gpu.compare(&format!("{what}, padded"), &gpu.read(&padded), &expected, 0.0, 0.0);
                gpu.compare(&what, &gpu.read_arranged(&what, &back), &matrix, 0.0, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference_both_ways() {
        cases::matches_the_reference(&mut TestGpu::new());
    }
}
