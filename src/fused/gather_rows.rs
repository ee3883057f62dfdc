//! `shaders/fused/gather_rows.wgsl`: a mini-batch out of a data set on the GPU.
//!
//! Its twin is [`crate::reference::gather_rows`].

use wgpu::Device;

use super::record_step::COUNTS;
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Kernel, Matrix, check_count, uniform};
use crate::kernels::{WORKGROUP_SIZE, linear_workgroups};

const OF_VALUES: &str = concat!(
    include_str!("../../shaders/fused/gather_rows.wgsl"),
    include_str!("../../shaders/shared/element_value.wgsl"),
    include_str!("../../shaders/shared/counts.wgsl"),
);
const OF_QUADS: &str = concat!(
    include_str!("../../shaders/fused/gather_rows.wgsl"),
    include_str!("../../shaders/shared/element_quad.wgsl"),
    include_str!("../../shaders/shared/counts.wgsl"),
);

/// Copies a mini-batch out of a data set on the GPU, in the order of a permutation.
#[derive(Clone, Debug)]
pub(crate) struct GatherRows {
    values: Kernel<Batch>,
    quads: Kernel<Batch>,
}

/// The inputs and outputs of the kernel. It copies values bit for bit, so they may be `f32` or `u32`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[1, 6]`, `u32`: the [`Counts`](super::record_step::Counts), whose `number` the kernel reads.
    /// [`super::record_step`] advances them.
    pub(crate) counts: &'a Matrix,
    /// One row of `u32`: the number of the epoch's first step, then the epoch's permutation of the rows.
    pub(crate) order: &'a Matrix,
    /// `[rows of the part, features]`: the inputs of one part of the data set. A data set too large for one
    /// binding has several parts, and a dispatch for each.
    pub(crate) inputs: &'a Matrix,
    /// `[rows of the part, targets of a row]`.
    pub(crate) targets: &'a Matrix,
    /// The index of the part's first row in the data set.
    pub(crate) part_first_row: u32,
    /// `[rows, features]`: the mini-batch. Its rows may be any distance apart. The kernel leaves rows from
    /// other parts alone.
    pub(crate) batch_inputs: &'a Matrix,
    /// `[rows, targets of a row]`.
    pub(crate) batch_targets: &'a Matrix,
    /// The rows of each mini-batch; the last one of an epoch may have fewer.
    pub(crate) batch_size: u32,
}

uniform! {
    struct Batch {
        rows: u32,
        columns: u32,
        stride: u32,
        targets: u32,
        batch_size: u32,
        part_first_row: u32,
        part_rows: u32,
    }
}

impl GatherRows {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Ok(Self {
            values: Kernel::new(device, "gather_rows", OF_VALUES, &constants)?,
            quads: Kernel::new(device, "gather_rows", OF_QUADS, &constants)?,
        })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { counts, order, inputs, targets, part_first_row, .. } = buffers;
        let Buffers { batch_inputs, batch_targets, batch_size, .. } = buffers;
        let name = "gather_rows";
        let rows = batch_inputs.rows();
        counts.expect(name, "counts", [1, COUNTS])?;
        order.expect(name, "order", [1, order.columns()])?;
        inputs.expect(name, "inputs", [inputs.rows(), inputs.columns()])?;
        targets.expect(name, "targets", [inputs.rows(), targets.columns()])?;
        batch_inputs.expect_rows(name, "batch_inputs", [rows, inputs.columns()])?;
        batch_targets.expect(name, "batch_targets", [rows, targets.columns()])?;
        if order.values() <= u64::from(rows) {
            return Err(Error::Length {
                what: "gather_rows: order",
                found: order.values(),
                needed: u64::from(rows) + 1,
                why: format!("1 + {rows} rows of a batch"),
            });
        }
        let lengths = [inputs.columns(), batch_inputs.stride()];
        let is_quads = lengths.iter().all(|length| length.is_multiple_of(4));
        let (kernel, size) = if is_quads { (&self.quads, 4) } else { (&self.values, 1) };
        let columns = inputs.columns() / size;
        let batch = Batch {
            rows,
            columns,
            stride: batch_inputs.stride() / size,
            targets: targets.columns(),
            batch_size,
            part_first_row,
            part_rows: inputs.rows(),
        };
        let of_row = u64::from(columns) + u64::from(targets.columns());
        check_count(name, rows, of_row)?;
        let elements = u64::from(rows) * of_row;
        kernel.bind(
            device,
            place,
            batch,
            &[counts, order, inputs, targets, batch_inputs, batch_targets],
            linear_workgroups(elements),
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    /// Batches of 4 from 11 rows that lie in parts of 5, 5 and 1, the last batch with 3 rows, in an
    /// epoch that began at step 7.
    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let kernel = GatherRows::new(&gpu.gpu.device).unwrap();
        let order = [3, 10, 0, 7, 1, 9, 2, 8, 4, 6, 5];
        for [columns, target_columns] in [[1, 1], [3, 2], [64, 1], [70, 5], [4, 4]] {
            let dataset = gpu.random([11, columns]);
            let targets = gpu.random([11, target_columns]);
            let uploaded_order = gpu.upload_integers(&[&[7], &order[..]].concat());
            for (step, rows) in [(7, 4), (8, 4), (9, 3)] {
                let batch_inputs = gpu.garbage([rows, columns]);
                let batch_targets = gpu.zeros([rows, target_columns]);
                let dispatches: Vec<Dispatch> = [(0, 5), (5, 5), (10, 1)]
                    .into_iter()
                    .map(|(first, part_rows)| {
                        // A part of its own: bindings start on multiples of 256 bytes.
                        let rows: Vec<u32> = (first..first + part_rows).collect();
                        let part = |matrix| gpu.upload(&reference::gather_rows(matrix, &rows));
                        let buffers = Buffers {
                            counts: &gpu.upload_integers(&[0, step, 0, 0, 0, 0]),
                            order: &uploaded_order,
                            inputs: &part(&dataset),
                            targets: &part(&targets),
                            part_first_row: first,
                            batch_inputs: &batch_inputs,
                            batch_targets: &batch_targets,
                            batch_size: 4,
                        };
                        kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()
                    })
                    .collect();
                gpu.run(&dispatches.iter().collect::<Vec<_>>());

                let first = 4 * (step as usize - 7);
                let batch = &order[first..first + rows as usize];
                let what = format!("{columns} and {target_columns}, step {step}");
                let expected = reference::gather_rows(&dataset, batch);
                gpu.compare(&what, &gpu.read_inside(&batch_inputs), &expected, 0.0, 0.0);
                let expected = reference::gather_rows(&targets, batch);
                gpu.compare(&what, &gpu.read(&batch_targets), &expected, 0.0, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    #[test]
    fn matches_the_reference_across_parts() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn a_row_of_whole_vectors_may_start_at_any_value() {
        let mut gpu = TestGpu::new();
        let kernel = GatherRows::new(&gpu.gpu.device).unwrap();
        let dataset = gpu.random([3, 4]);
        let order = [2, 0, 1];
        let batch_targets = gpu.zeros([3, 1]);
        let batch_inputs = gpu.zeros([3, 7]);
        let buffers = Buffers {
            counts: &gpu.upload_integers(&[0; 6]),
            order: &gpu.upload_integers(&[&[0], &order[..]].concat()),
            inputs: &gpu.upload(&dataset),
            targets: &gpu.zeros([3, 1]),
            part_first_row: 0,
            batch_inputs: &Matrix::strided(batch_inputs.buffer(), 0, 3, 4, 7).unwrap(),
            batch_targets: &batch_targets,
            batch_size: 3,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        let expected = reference::copy_rows(&reference::gather_rows(&dataset, &order), 7);
        assert_close("gather_rows", &gpu.read(&batch_inputs), &expected, 0.0, 0.0);
    }

    #[test]
    fn walks_more_elements_than_invocations() {
        let mut gpu = TestGpu::new();
        let kernel = GatherRows::new(&gpu.gpu.device).unwrap();
        let rows = WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS / 2 + 9;
        let [inputs, targets] = [gpu.random([rows, 1]), gpu.random([rows, 1])];
        let order: Vec<u32> = (0..rows).rev().collect();
        let [batch_inputs, batch_targets] = [gpu.zeros([rows, 1]), gpu.zeros([rows, 1])];
        let buffers = Buffers {
            counts: &gpu.upload_integers(&[0; 6]),
            order: &gpu.upload_integers(&[&[0], &order[..]].concat()),
            inputs: &gpu.upload(&inputs),
            targets: &gpu.upload(&targets),
            part_first_row: 0,
            batch_inputs: &batch_inputs,
            batch_targets: &batch_targets,
            batch_size: rows,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        for (found, dataset) in [(batch_inputs, inputs), (batch_targets, targets)] {
            let expected = reference::gather_rows(&dataset, &order);
            assert_close("gather_rows", &gpu.read(&found), &expected, 0.0, 0.0);
        }
    }
}
