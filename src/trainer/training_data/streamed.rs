//! A data set on the CPU, whose batches are copied to the GPU window by window.

use std::sync::Arc;

use wgpu::{BufferViewMut, CommandEncoder, SubmissionIndex};

use super::Batch;
use crate::data::{Dataset, Targets};
use crate::error::Result;
use crate::gpu::{Gpu, Matrix, Staging};
use crate::plan::MOST_IN_FLIGHT;
use crate::trainer::{Number, Trainer, begin_pass};

/// The bytes of a window, unless a single batch is larger: enough to hide the cost of submitting it.
const WINDOW_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct Streamed {
    dataset: Arc<Dataset>,
    /// The order of the epoch's rows.
    order: Vec<u32>,
    batch_size: u32,
    /// The batches of a submission: each has its inputs, with rows of whole vectors of four, then its
    /// targets.
    ///
    /// The windows alternate: while the GPU works on one, and another waits in its queue, the CPU fills
    /// the third.
    windows: Vec<Staging>,
    next_window: usize,
    batches_per_window: u32,
    /// The trainer's matrices for a batch.
    inputs: Matrix,
    targets: Matrix,
}

impl Streamed {
    /// Streams a data set that fits the trainer.
    pub(super) fn new(
        trainer: &Trainer,
        dataset: Arc<Dataset>,
        steps_per_epoch: u32,
    ) -> Result<Self> {
        let Trainer { network, options, memory, .. } = trainer;
        let batch_values = memory.batch.inputs.values() + memory.batch.targets.values();
        let fitting = WINDOW_BYTES / (4 * batch_values);
        let batches_per_window = fitting.clamp(1, steps_per_epoch.into());
        let window =
            |_| Staging::new(network.gpu(), "data/window", batches_per_window * batch_values);
        Ok(Self {
            dataset,
            order: Vec::new(),
            batch_size: options.batch_size,
            windows: (0..MOST_IN_FLIGHT).map(window).collect::<Result<_>>()?,
            next_window: 0,
            batches_per_window: batches_per_window as u32,
            inputs: memory.batch.inputs.clone(),
            targets: memory.batch.targets.clone(),
        })
    }

    pub(super) fn batches_per_window(&self) -> u32 {
        self.batches_per_window
    }

    pub(super) fn begin_epoch(&mut self, order: Vec<u32>) {
        self.order = order;
    }

    /// Submits at most as many batches as a window holds. Natively it waits if the GPU has not yet
    /// copied the previous contents of the next window.
    pub(super) fn submit<'a>(
        &mut self,
        gpu: &Gpu,
        number: Number<'_>,
        batches: impl Iterator<Item = Batch<'a>> + Clone,
        also: impl FnOnce(&mut CommandEncoder),
    ) -> Result<SubmissionIndex> {
        if !batches.clone().all(|batch| batch.begins()) {
            // The batch was copied with the first part of its step.
            return gpu.submit("ztilde/train", |encoder| {
                let mut pass = begin_pass(encoder);
                batches.for_each(|batch| batch.step.encode(&mut pass, batch.units));
                drop(pass);
                also(encoder);
            });
        }
        let Self { dataset, order, batch_size, windows, next_window, inputs, targets, .. } = self;
        let window = &mut windows[*next_window];
        let batch_bytes = 4 * (inputs.values() + targets.values());
        let target_place = 4 * inputs.values();
        window.write(gpu, |view| {
            for (batch, place) in batches.clone().zip((0..).step_by(batch_bytes as usize)) {
                let first = batch.position as usize * *batch_size as usize;
                let rows = &order[first..first + batch.rows as usize];
                let row_bytes = 4 * inputs.stride() as usize;
                gather(dataset, rows, view, [place, place + target_place as usize], row_bytes);
            }
        })?;
        let submission = window.submit(gpu, "ztilde/train", |encoder, window| {
            number.encode(encoder);
            for (batch, place) in batches.zip((0..).step_by(batch_bytes as usize)) {
                let rows = u64::from(batch.rows);
                for (matrix, place) in [(&*inputs, place), (&*targets, place + target_place)] {
                    let bytes = 4 * matrix.values() / u64::from(*batch_size) * rows;
                    let first = 4 * matrix.first();
                    encoder.copy_buffer_to_buffer(window, place, matrix.buffer(), first, bytes);
                }
                batch.step.encode(&mut begin_pass(encoder), batch.units);
            }
            also(encoder);
        })?;
        *next_window = (*next_window + 1) % windows.len();
        Ok(submission)
    }
}

/// Writes the inputs of these rows, each padded with zeros to `row_bytes`, and their targets.
fn gather(
    dataset: &Dataset,
    rows: &[u32],
    view: &mut BufferViewMut,
    [mut inputs_place, mut targets_place]: [usize; 2],
    row_bytes: usize,
) {
    let inputs = dataset.inputs().as_slice().expect("a data set is row-major in memory");
    let features = dataset.features() as usize;
    let (target_bytes, targets) = target_bytes(dataset.targets(), dataset.rows());
    for &row in rows {
        let row = row as usize;
        let values = bytemuck::cast_slice(&inputs[row * features..][..features]);
        let (mut filled, mut rest) =
            view.slice(inputs_place..inputs_place + row_bytes).split_at(values.len());
        filled.copy_from_slice(values);
        rest.fill(0);
        view.slice(targets_place..targets_place + target_bytes)
            .copy_from_slice(&targets[row * target_bytes..][..target_bytes]);
        inputs_place += row_bytes;
        targets_place += target_bytes;
    }
}

/// A data set's targets: the number of bytes of each row, and the contiguous bytes of all rows.
fn target_bytes<'a>(targets: &'a Targets<'_>, rows: u32) -> (usize, &'a [u8]) {
    let bytes: &[u8] = match targets {
        Targets::Classes(classes) => bytemuck::cast_slice(classes),
        Targets::Values(values) => bytemuck::cast_slice(values),
    };
    (bytes.len() / rows as usize, bytes)
}
