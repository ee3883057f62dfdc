//! A data set on the GPU, where each epoch's batches are gathered.

use wgpu::Buffer;

use super::Batch;
use crate::data::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Gpu, Matrix};
use crate::kernels::gather_rows;
use crate::trainer::{Trainer, begin_pass};

#[derive(Debug)]
pub(super) struct Resident {
    /// The step count at the epoch's beginning, then the order of its rows.
    order: Buffer,
    /// The step count in `order`.
    first_step: u64,
    batch_size: u32,
    gather: Vec<Dispatch>,
    /// Of the epoch's last, smaller batch.
    gather_remainder: Vec<Dispatch>,
}

/// A matrix of the data set, in as many parts as it takes to keep each within a binding. Each comes
/// with the number of its first row.
type Parts = Vec<(u32, Matrix)>;

impl Resident {
    /// Copies a data set to the GPU that fits the trainer; an epoch's last batch may have fewer rows.
    pub(super) fn new(trainer: &Trainer, dataset: &Dataset, left: Option<u32>) -> Result<Self> {
        let Trainer { network, options, .. } = trainer;
        let gpu = network.gpu();
        let rows = dataset.rows();
        let order = gpu.matrix("data/order", 1, rows.checked_add(1).ok_or_else(too_many_rows)?)?;
        let inputs = dataset.inputs().as_standard_layout();
        let inputs = inputs.as_slice().expect("the standard layout is a slice");
        let inputs = upload_parts(gpu, "data/inputs", inputs, network.inputs())?;
        let targets = match dataset.targets() {
            Targets::Classes(classes) => upload_parts(gpu, "data/targets", classes, 1)?,
            Targets::Values(values) => {
                upload_parts(gpu, "data/targets", values, network.outputs())?
            }
        };
        let gather = |rows| bind_gather(trainer, &order, &inputs, &targets, rows);
        // An epoch of one smaller batch has no full one.
        let has_full = rows >= options.batch_size;
        Ok(Self {
            gather: if has_full { gather(options.batch_size)? } else { Vec::new() },
            gather_remainder: left.map_or(Ok(Vec::new()), gather)?,
            order: order.buffer().clone(),
            first_step: 0,
            batch_size: options.batch_size,
        })
    }

    pub(super) fn begin_epoch(&mut self, gpu: &Gpu, order: &[u32]) -> Result<()> {
        gpu.write(&self.order, 1, order)
    }

    /// The place in the epoch is counted on the GPU, from this step on.
    pub(super) fn count_from(&mut self, gpu: &Gpu, first_step: u64) -> Result<()> {
        if first_step != self.first_step {
            gpu.write(&self.order, 0, &[first_step as u32])?;
            self.first_step = first_step;
        }
        Ok(())
    }

    pub(super) fn submit<'a>(
        &self,
        gpu: &Gpu,
        batches: impl Iterator<Item = Batch<'a>>,
    ) -> Result<()> {
        gpu.submit("ztilde/train", |encoder| {
            let mut pass = begin_pass(encoder);
            for batch in batches {
                let is_full = batch.rows == self.batch_size;
                let gather = if is_full { &self.gather } else { &self.gather_remainder };
                for dispatch in gather.iter().chain(batch.step) {
                    dispatch.encode(&mut pass);
                }
            }
        })?;
        Ok(())
    }
}

fn too_many_rows() -> Error {
    Error::Length {
        what: "the data set",
        found: u32::MAX.into(),
        needed: u64::from(u32::MAX) - 1,
        why: "row numbers are counted in u32".to_owned(),
    }
}

/// Binds a gathering dispatch for each part of the data set, for batches of so many rows.
fn bind_gather(
    trainer: &Trainer,
    order: &Matrix,
    inputs: &Parts,
    targets: &Parts,
    rows: u32,
) -> Result<Vec<Dispatch>> {
    let Trainer { network, options, gather, memory, .. } = trainer;
    let batch_inputs = memory.batch.inputs.slice(0, rows)?;
    let batch_targets = memory.batch.targets.reshape(rows, targets[0].1.columns())?;
    let mut dispatches = Vec::new();
    for (parts, outputs) in [(inputs, &batch_inputs), (targets, &batch_targets)] {
        for (part_first_row, part) in parts {
            let buffers = gather_rows::Buffers {
                step: &memory.step,
                order,
                part,
                part_first_row: *part_first_row,
                outputs,
                batch_size: options.batch_size,
            };
            dispatches.push(gather.bind(&network.gpu().device, "data", buffers)?);
        }
    }
    Ok(dispatches)
}

/// Copies rows into as many buffers as it takes to keep each within a binding.
fn upload_parts<T: bytemuck::NoUninit>(
    gpu: &Gpu,
    label: &str,
    values: &[T],
    columns: u32,
) -> Result<Parts> {
    let limits = gpu.device.limits();
    let bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    // One row that does not fit is an error, which making its matrix tells.
    let rows = (bytes / (4 * u64::from(columns))).max(1) as usize;
    let mut first_row = 0;
    values
        .chunks(rows * columns as usize)
        .map(|chunk| {
            let part_rows = (chunk.len() / columns as usize) as u32;
            let part = gpu.matrix(label, part_rows, columns)?;
            gpu.write(part.buffer(), 0, chunk)?;
            let first = first_row;
            first_row += part_rows;
            Ok((first, part))
        })
        .collect()
}
