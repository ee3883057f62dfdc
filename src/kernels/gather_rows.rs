//! `shaders/gather_rows.wgsl`: a mini-batch out of a data set on the GPU.
//!
//! Its twin is [`crate::reference::gather_rows`].

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Kernel, Matrix};

const SOURCE: &str = include_str!("../../shaders/gather_rows.wgsl");

/// The kernel, compiled for single values and for vectors of four.
#[derive(Clone, Debug)]
pub struct GatherRows {
    values: Kernel,
    quads: Kernel,
}

/// What the kernel reads and writes. Values are copied bit by bit, so they may be `f32` or `u32`.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// One `u32`: the step count, which [`super::record_step`] moves.
    pub step: &'a Matrix,
    /// `u32`s: the step count at the epoch's beginning, then the epoch's permutation of the rows.
    pub order: &'a Matrix,
    /// The rows from `part_first_row` on of a data set, which lies in one or several parts.
    pub part: &'a Matrix,
    /// The number of the part's first row in the data set.
    pub part_first_row: u32,
    /// `[rows, columns]`: the batch; rows that lie in other parts are left alone.
    pub outputs: &'a Matrix,
    /// Rows of all batches but an epoch's last.
    pub batch_size: u32,
}

impl GatherRows {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device) -> Result<Self> {
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        let quads = SOURCE.replace("alias Element = u32", "alias Element = vec4<u32>");
        Ok(Self {
            values: Kernel::new(device, "gather_rows", SOURCE, &constants)?,
            quads: Kernel::new(device, "gather_rows", &quads, &constants)?,
        })
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the shapes do not fit each other, and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { step, order, part, part_first_row, outputs, batch_size } = buffers;
        step.expect("gather_rows", "step", [1, 1])?;
        outputs.expect_shape("gather_rows", "outputs", [outputs.rows(), part.columns()])?;
        if order.values() <= u64::from(outputs.rows()) {
            return Err(Error::Length {
                what: "gather_rows: order",
                found: order.values(),
                needed: u64::from(outputs.rows()) + 1,
                why: format!("1 + {} rows of a batch", outputs.rows()),
            });
        }
        let [rows, columns, stride] = [outputs.rows(), outputs.columns(), outputs.stride()];
        let is_quads = columns.is_multiple_of(4);
        let (kernel, size) = if is_quads { (&self.quads, 4) } else { (&self.values, 1) };
        let uniform =
            [rows, columns / size, stride / size, batch_size, part_first_row, part.rows()];
        kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[step, order, part, outputs],
            linear_workgroups(u64::from(rows) * u64::from(columns / size)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    /// Batches of 4 from 11 rows that lie in parts of 5, 5 and 1, the last batch with 3 rows, in an
    /// epoch that began at step 7.
    #[test]
    fn matches_the_reference_across_parts() {
        let mut gpu = TestGpu::new();
        let kernel = GatherRows::new(&gpu.gpu.device).unwrap();
        let order = [3, 10, 0, 7, 1, 9, 2, 8, 4, 6, 5];
        for columns in [1, 3, 64, 70] {
            let dataset = gpu.random([11, columns]);
            let uploaded_order = gpu.upload_integers(&[&[7], &order[..]].concat());
            for (step, rows) in [(7, 4), (8, 4), (9, 3)] {
                let outputs = gpu.zeros([rows, columns]);
                let dispatches: Vec<Dispatch> = [(0, 5), (5, 5), (10, 1)]
                    .into_iter()
                    .map(|(first, part_rows)| {
                        // A part of its own: bindings start on multiples of 256 bytes.
                        let rows: Vec<u32> = (first..first + part_rows).collect();
                        let part = gpu.upload(&reference::gather_rows(&dataset, &rows));
                        let buffers = Buffers {
                            step: &gpu.upload_integers(&[step]),
                            order: &uploaded_order,
                            part: &part,
                            part_first_row: first,
                            outputs: &outputs,
                            batch_size: 4,
                        };
                        kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()
                    })
                    .collect();
                gpu.run(&dispatches.iter().collect::<Vec<_>>());

                let first = 4 * (step as usize - 7);
                let batch = &order[first..first + rows as usize];
                let expected = reference::gather_rows(&dataset, batch);
                let what = format!("gather_rows, {columns} columns, step {step}");
                assert_close(&what, &gpu.read(&outputs), &expected, 0.0, 0.0);
            }
        }
    }

    #[test]
    fn walks_more_elements_than_invocations() {
        let mut gpu = TestGpu::new();
        let kernel = GatherRows::new(&gpu.gpu.device).unwrap();
        let rows = WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 9;
        let dataset = gpu.random([rows, 1]);
        let order: Vec<u32> = (0..rows).rev().collect();
        let outputs = gpu.zeros([rows, 1]);
        let buffers = Buffers {
            step: &gpu.upload_integers(&[0]),
            order: &gpu.upload_integers(&[&[0], &order[..]].concat()),
            part: &gpu.upload(&dataset),
            part_first_row: 0,
            outputs: &outputs,
            batch_size: rows,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        let expected = reference::gather_rows(&dataset, &order);
        assert_close("gather_rows", &gpu.read(&outputs), &expected, 0.0, 0.0);
    }
}
