//! A data set on the GPU, which gathers each epoch's batches.

use wgpu::{Buffer, CommandEncoder, SubmissionIndex};

use super::Batch;
use crate::data::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::fused::gather_rows;
use crate::gpu::{Dispatch, Gpu, Matrix, rows_of_binding};
use crate::trainer::step::StepKernels;
use crate::trainer::whole::{self, Run};
use crate::trainer::{Number, Trainer, begin_pass};

#[derive(Debug)]
pub(super) struct Resident {
    /// The number of the epoch's first step, then the order of its rows.
    order: Buffer,
    /// The step's number at the beginning of `order`.
    first_step: u64,
    batch_size: u32,
    gather: Vec<Dispatch>,
    /// The gathering of the epoch's last, smaller batch.
    gather_remainder: Vec<Dispatch>,
    /// Several steps on full batches, with their gathering; the longest first.
    runs: Vec<Run>,
}

/// Some rows of the data set.
#[derive(Debug)]
struct Part {
    /// The number of the first row.
    first_row: u32,
    inputs: Matrix,
    targets: Matrix,
}

impl Resident {
    /// Copies a data set that fits the trainer to the GPU; an epoch's last batch may have fewer rows.
    pub(super) fn new(trainer: &Trainer, dataset: &Dataset, left: Option<u32>) -> Result<Self> {
        let Trainer { network, options, .. } = trainer;
        let gpu = network.gpu();
        let rows = dataset.rows();
        let order = gpu.matrix("data/order", 1, rows.checked_add(1).ok_or_else(too_many_rows)?)?;
        let parts = upload_parts(gpu, dataset)?;
        let batch = &trainer.memory.batch;
        let gather = |rows| {
            let batch = [batch.inputs.slice(0, rows)?, batch.targets.slice(0, rows)?];
            bind_gather(trainer, &order, &parts, batch.each_ref())
        };
        // An epoch with a single, smaller batch has no full batch.
        let has_full = rows >= options.batch_size;
        Ok(Self {
            gather: if has_full { gather(options.batch_size)? } else { Vec::new() },
            gather_remainder: left.map_or(Ok(Vec::new()), gather)?,
            runs: bind_runs(trainer, &order, &parts, rows)?,
            order: order.buffer().clone(),
            first_step: 0,
            batch_size: options.batch_size,
        })
    }

    pub(super) fn begin_epoch(&mut self, gpu: &Gpu, order: &[u32]) -> Result<()> {
        gpu.write(&self.order, 1, order)
    }

    /// Sets the number of the epoch's first step, from which the GPU counts the batches of the epoch.
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
        number: Number<'_>,
        batches: impl Iterator<Item = Batch<'a>> + Clone,
        also: impl FnOnce(&mut CommandEncoder),
    ) -> Result<SubmissionIndex> {
        let mut batches = batches.peekable();
        gpu.submit("ztilde/train", |encoder| {
            if batches.peek().is_some_and(Batch::begins) {
                number.encode(encoder);
            }
            let mut pass = begin_pass(encoder);
            while let Some(batch) = batches.peek().cloned() {
                let whole = batches.clone().take_while(|batch| self.is_whole(batch));
                let whole = whole.count() as u32;
                if let Some(run) = self.runs.iter().find(|run| run.steps <= whole) {
                    run.dispatches.iter().for_each(|dispatch| dispatch.encode(&mut pass));
                    batches.nth(run.steps as usize - 1);
                    continue;
                }
                let is_full = batch.rows == self.batch_size;
                let gather = if is_full { &self.gather } else { &self.gather_remainder };
                for dispatch in gather.iter().filter(|_| batch.begins()) {
                    dispatch.encode(&mut pass);
                }
                batch.step.encode(&mut pass, batch.units);
                batches.next();
            }
            drop(pass);
            also(encoder);
        })
    }

    /// Whether this is all of a step on a full batch.
    fn is_whole(&self, batch: &Batch<'_>) -> bool {
        batch.rows == self.batch_size && batch.units == (0..batch.step.units())
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

/// Binds runs of several steps, if one workgroup takes whole steps and the data has as many full batches.
fn bind_runs(trainer: &Trainer, order: &Matrix, parts: &[Part], rows: u32) -> Result<Vec<Run>> {
    let Trainer { network, options, plan, kernels, memory, .. } = trainer;
    let (Some(plan), StepKernels::Whole(kernel)) = (plan.whole(), kernels) else {
        return Ok(Vec::new());
    };
    let batch_size = options.batch_size;
    let lengths = plan.lengths().filter(|&steps| 1 < steps && steps <= rows / batch_size);
    lengths
        .map(|steps| {
            let rows = steps * batch_size;
            let [inputs, targets] = memory.batches.each_ref().map(|matrix| matrix.slice(0, rows));
            let mut dispatches = bind_gather(trainer, order, parts, [&inputs?, &targets?])?;
            dispatches.push(whole::bind(network, kernel, memory, batch_size, steps)?);
            Ok(Run { steps, dispatches })
        })
        .collect()
}

/// Binds a gathering dispatch for each part of the data set, to a batch or to several ones.
fn bind_gather(
    trainer: &Trainer,
    order: &Matrix,
    parts: &[Part],
    [batch_inputs, batch_targets]: [&Matrix; 2],
) -> Result<Vec<Dispatch>> {
    let Trainer { network, options, gather, .. } = trainer;
    let bind = |Part { first_row, inputs, targets }: &Part| {
        let buffers = gather_rows::Buffers {
            counts: network.counts(),
            order,
            inputs,
            targets,
            part_first_row: *first_row,
            batch_inputs,
            batch_targets,
            batch_size: options.batch_size,
        };
        gather.bind(&network.gpu().device, "data", buffers)
    };
    parts.iter().map(bind).collect()
}

/// Copies a data set to the GPU, in as many parts as it takes to keep each within a binding.
fn upload_parts(gpu: &Gpu, dataset: &Dataset) -> Result<Vec<Part>> {
    let inputs = dataset.inputs().as_standard_layout();
    let inputs = inputs.as_slice().expect("the standard layout is a slice");
    let features = dataset.features();
    let rows = dataset.rows();
    let (targets, target_columns) = match dataset.targets() {
        Targets::Classes(classes) => (bytemuck::cast_slice::<_, u32>(classes), 1),
        Targets::Values(values) => (bytemuck::cast_slice(values), values.len() as u32 / rows),
    };
    // If a single row does not fit, making its matrix is an error.
    let most_rows = rows_of_binding(&gpu.device.limits(), features.max(target_columns));
    (0..rows)
        .step_by(most_rows as usize)
        .map(|first_row| {
            let part_rows = most_rows.min(rows - first_row);
            let part_inputs = gpu.matrix("data/inputs", part_rows, features)?;
            let part_targets = gpu.matrix("data/targets", part_rows, target_columns)?;
            gpu.upload(&part_inputs, rows_of(inputs, first_row, part_rows, features))?;
            let values = rows_of(targets, first_row, part_rows, target_columns);
            gpu.upload(&part_targets, values)?;
            Ok(Part { first_row, inputs: part_inputs, targets: part_targets })
        })
        .collect()
}

fn rows_of<T>(values: &[T], first: u32, rows: u32, columns: u32) -> &[T] {
    let columns = columns as usize;
    &values[first as usize * columns..][..rows as usize * columns]
}
