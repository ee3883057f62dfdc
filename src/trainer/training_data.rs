//! A data set on the GPU, and its walk through the epochs.

use wgpu::Buffer;

use super::step;
use super::{Trainer, check_rows};
use crate::data::{Dataset, Targets, batches, shuffled_order};
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Gpu, Matrix};
use crate::kernels::gather_rows::{self, GatherRows};
use crate::options::Remainder;

/// A data set on the GPU, bound to the trainer that [uploaded](Trainer::upload) it.
///
/// Each epoch goes through the rows in an order of its own, which follows from the seed and the
/// number of the epoch alone.
#[derive(Debug)]
pub struct TrainingData {
    rows: u32,
    seed: u64,
    steps_per_epoch: u32,
    /// Counted from 1; 0 before the first step.
    epoch: u64,
    /// Steps of this epoch that were encoded.
    position: u32,
    /// The step count at the epoch's beginning, then the order of its rows.
    order: Buffer,
    /// The step count in `order`.
    first_step: u64,
    /// Where the trainer wants its batches.
    batch_inputs: Matrix,
    batch_size: u32,
    gather: Vec<Dispatch>,
    remainder: Option<RemainderBatch>,
}

/// The epoch's last, smaller batch.
#[derive(Debug)]
struct RemainderBatch {
    rows: u32,
    gather: Vec<Dispatch>,
    step: Vec<Dispatch>,
}

/// What brings a batch to its place, and the step on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) rows: u32,
    gather: &'a [Dispatch],
    step: &'a [Dispatch],
}

impl<'a> Batch<'a> {
    pub(super) fn dispatches(self) -> impl Iterator<Item = &'a Dispatch> {
        self.gather.iter().chain(self.step)
    }
}

impl TrainingData {
    pub(super) fn new(trainer: &Trainer, dataset: &Dataset) -> Result<Self> {
        let Trainer { network, options, kernels, gather, memory, .. } = trainer;
        let gpu = network.gpu();
        let batch_size = options.batch_size;
        let rows = dataset.rows();
        if dataset.features() != network.inputs() {
            return Err(Error::Length {
                what: "a row of the data set",
                found: dataset.features().into(),
                needed: network.inputs().into(),
                why: "one value per input of the network".to_owned(),
            });
        }
        dataset.targets().check(options.loss, rows.into(), network.outputs().into())?;
        let steps_per_epoch = batches(rows, batch_size, options.remainder);
        if steps_per_epoch == 0 {
            return Err(Error::Length {
                what: "the data set",
                found: rows.into(),
                needed: batch_size.into(),
                why: "rows of one batch, as smaller ones are dropped".to_owned(),
            });
        }
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
        let bind = |rows: u32| {
            let mut dispatches = Vec::new();
            let batch_inputs = memory.batch.inputs.slice(0, rows)?;
            let batch_targets = memory.batch.targets.reshape(rows, targets[0].1.columns())?;
            for (parts, outputs) in [(&inputs, batch_inputs), (&targets, batch_targets)] {
                let batch = BatchMatrix { outputs, batch_size };
                bind_gather(gpu, gather, &memory.step, &order, parts, &batch, &mut dispatches)?;
            }
            Ok::<_, Error>(dispatches)
        };
        let left = rows % batch_size;
        let remainder = if options.remainder == Remainder::Keep && left > 0 {
            check_rows(network, left)?;
            let step = step::bind(network, kernels, memory, left)?;
            Some(RemainderBatch { rows: left, gather: bind(left)?, step })
        } else {
            None
        };
        Ok(Self {
            rows,
            seed: options.seed,
            steps_per_epoch,
            epoch: 0,
            position: steps_per_epoch,
            order: order.buffer().clone(),
            first_step: 0,
            batch_inputs: memory.batch.inputs.clone(),
            batch_size,
            // An epoch of one smaller batch has no full one.
            gather: if rows < batch_size { Vec::new() } else { bind(batch_size)? },
            remainder,
        })
    }

    /// Rows of the data set.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Mini-batches of an epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.steps_per_epoch
    }

    /// The number of the epoch, counted from 1; 0 before the first step.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many of the epoch's mini-batches were encoded.
    pub fn position(&self) -> u32 {
        if self.epoch == 0 { 0 } else { self.position }
    }

    pub(super) fn belongs_to(&self, batch_inputs: &Matrix) -> bool {
        self.batch_inputs.buffer() == batch_inputs.buffer()
    }

    /// Mini-batches left of this epoch, which has begun.
    pub(super) fn steps_left(&self) -> u32 {
        self.steps_per_epoch - self.position
    }

    /// Mini-batches left of this epoch, or of the next one if this is over.
    pub(super) fn steps_to_epoch_end(&self) -> u32 {
        if self.steps_left() == 0 { self.steps_per_epoch } else { self.steps_left() }
    }

    /// Shuffles if the last epoch is over. `steps` are those of the trainer so far; those that it took
    /// on other data since the epoch began count as taken before it.
    pub(super) fn prepare(&mut self, gpu: &Gpu, steps: u64) -> Result<()> {
        if self.steps_left() == 0 {
            let order = shuffled_order(self.rows, self.seed, self.epoch);
            gpu.write(&self.order, 1, &order)?;
            self.epoch += 1;
            self.position = 0;
        }
        let first_step = steps - u64::from(self.position);
        if first_step != self.first_step {
            gpu.write(&self.order, 0, &[first_step as u32])?;
            self.first_step = first_step;
        }
        Ok(())
    }

    /// The next `count` batches of this epoch; `step` is that of a full batch.
    pub(super) fn batches<'a>(
        &'a self,
        count: u32,
        step: &'a [Dispatch],
    ) -> impl Iterator<Item = Batch<'a>> + Clone {
        (self.position..self.position + count).map(move |position| match &self.remainder {
            Some(RemainderBatch { rows, gather, step }) if position + 1 == self.steps_per_epoch => {
                Batch { rows: *rows, gather, step }
            }
            _ => Batch { rows: self.batch_size, gather: &self.gather, step },
        })
    }

    pub(super) fn advance(&mut self, steps: u32) {
        self.position += steps;
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

/// Where a batch's rows go.
struct BatchMatrix {
    outputs: Matrix,
    batch_size: u32,
}

/// Binds a gathering dispatch for each part of the data set.
fn bind_gather(
    gpu: &Gpu,
    kernel: &GatherRows,
    step: &Matrix,
    order: &Matrix,
    parts: &[(u32, Matrix)],
    batch: &BatchMatrix,
    dispatches: &mut Vec<Dispatch>,
) -> Result<()> {
    for (part_first_row, part) in parts {
        let buffers = gather_rows::Buffers {
            step,
            order,
            part,
            part_first_row: *part_first_row,
            outputs: &batch.outputs,
            batch_size: batch.batch_size,
        };
        dispatches.push(kernel.bind(&gpu.device, "data", buffers)?);
    }
    Ok(())
}

/// Copies rows into as many buffers as it takes to keep each within a binding. Each part comes with
/// the number of its first row.
fn upload_parts<T: bytemuck::NoUninit>(
    gpu: &Gpu,
    label: &str,
    values: &[T],
    columns: u32,
) -> Result<Vec<(u32, Matrix)>> {
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
