//! A trainer's data set, and the current place in its epochs.

mod resident;
mod streamed;

use std::ops::Range;
use std::sync::Arc;

use wgpu::{CommandEncoder, SubmissionIndex};

use super::step;
use super::units::{Piece, Step};
use super::{Number, Trainer, check_rows};
use crate::data::{Dataset, batches, shuffled_order};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Matrix};
use crate::options::Remainder;
use crate::snapshot::Place;
use resident::Resident;
use streamed::Streamed;

/// A data set, bound to the trainer that [uploaded](Trainer::upload) it or [streams](Trainer::stream)
/// it.
///
/// Each epoch visits the rows in its own order, which depends only on the seed and the number of the
/// epoch.
///
/// ```
/// use ztilde::{Dataset, Network, Trainer, TrainerOptions, block_on, ndarray::Array2};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// // Is a point right of the diagonal?
/// let inputs = Array2::from_shape_fn([200, 2], |(row, column)| ((row * (column + 3)) % 17) as f32);
/// let classes: Vec<u32> = inputs.rows().into_iter().map(|point| (point[0] > point[1]).into()).collect();
/// let dataset = Dataset::new(inputs, classes)?;
/// let network = Network::new(&device, &queue, &[2, 16, 2], Default::default())?;
/// let mut trainer = Trainer::new(network, TrainerOptions { batch_size: 20, ..Default::default() })?;
/// let mut data = trainer.upload(&dataset)?; // Or trainer.stream(dataset)?
/// for _ in 0..3 {
///     let epoch = block_on(&device, trainer.epoch(&mut data))?;
///     println!("epoch {}: loss {:.3}, accuracy {:?}", data.epoch(), epoch.loss, epoch.accuracy);
/// }
/// assert_eq!((data.epoch(), trainer.steps()), (3, 30));
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainingData {
    epochs: Epochs,
    source: Source,
}

/// The memory that holds the rows.
#[derive(Debug)]
enum Source {
    Resident(Box<Resident>),
    Streamed(Box<Streamed>),
}

/// The state of the current epoch.
#[derive(Debug)]
struct Epochs {
    rows: u32,
    fingerprint: u64,
    seed: u64,
    batch_size: u32,
    steps_per_epoch: u32,
    /// Counted from 1; 0 before the first step.
    epoch: u64,
    /// Steps of this epoch that were encoded.
    position: u32,
    /// Whether the source has the order of this epoch.
    is_shuffled: bool,
    /// The trainer's matrices for a batch.
    batch_inputs: Matrix,
    remainder: Option<RemainderStep>,
}

/// The step on the epoch's last, smaller batch.
#[derive(Debug)]
struct RemainderStep {
    rows: u32,
    step: Step,
}

/// A mini-batch of the epoch, or a part of its step.
#[derive(Clone, Debug)]
struct Batch<'a> {
    /// Its number in the epoch, counted from 0.
    position: u32,
    rows: u32,
    /// The step, after the batch has been copied.
    step: &'a Step,
    units: Range<usize>,
}

impl Batch<'_> {
    /// Whether its step begins here, with the copy of the batch.
    fn begins(&self) -> bool {
        self.units.start == 0
    }
}

impl TrainingData {
    pub(super) fn resident(trainer: &Trainer, dataset: &Dataset) -> Result<Self> {
        let epochs = Epochs::new(trainer, dataset)?;
        let source = Source::Resident(Resident::new(trainer, dataset, epochs.left())?.into());
        Ok(Self { epochs, source })
    }

    pub(super) fn streamed(trainer: &Trainer, dataset: Arc<Dataset>) -> Result<Self> {
        let epochs = Epochs::new(trainer, &dataset)?;
        let source =
            Source::Streamed(Streamed::new(trainer, dataset, epochs.steps_per_epoch)?.into());
        Ok(Self { epochs, source })
    }

    /// Rows of the data set.
    pub fn rows(&self) -> u32 {
        self.epochs.rows
    }

    /// Mini-batches of an epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.epochs.steps_per_epoch
    }

    /// The number of the epoch, counted from 1; 0 before the first step.
    pub fn epoch(&self) -> u64 {
        self.epochs.epoch
    }

    /// The number of the epoch's mini-batches that were encoded.
    pub fn position(&self) -> u32 {
        if self.epochs.epoch == 0 { 0 } else { self.epochs.position }
    }

    /// The current place, between two mini-batches.
    pub fn place(&self) -> Place {
        let data = Some(self.epochs.fingerprint);
        Place { epoch: self.epoch(), position: self.position(), rows: self.rows(), data }
    }

    /// Moves to a place in this data: the next mini-batch is the one that followed this place, if batch
    /// size, remainder and seed are the same.
    ///
    /// Data that a [restored](Trainer::restore) trainer uploads or streams already begins at its place.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the place is in a data set with another number of rows, or past the end of an
    /// epoch; [`Error::OtherData`] if the values or the order of the rows differ.
    pub fn go_to(&mut self, place: Place) -> Result<()> {
        self.epochs.go_to(place)
    }

    pub(super) fn belongs_to(&self, batch_inputs: &Matrix) -> bool {
        self.epochs.batch_inputs.buffer() == batch_inputs.buffer()
    }

    /// The step on the next mini-batch of this epoch; `full` is that on a full one.
    pub(super) fn next_step<'a>(&'a self, full: &'a Step) -> &'a Step {
        self.epochs.batch(self.epochs.position, full).step
    }

    /// The predicted time of a piece of the next steps.
    pub(super) fn work(&self, piece: &Piece, full: &Step) -> f64 {
        let batches = self.epochs.batches(piece, full);
        batches.map(|batch| batch.step.work(batch.units)).sum()
    }

    /// The mini-batches left in this epoch, which has begun.
    pub(super) fn steps_left(&self) -> u32 {
        self.epochs.steps_left()
    }

    /// The mini-batches left in this epoch, or in the next one if this epoch is over.
    pub(super) fn steps_to_epoch_end(&self) -> u32 {
        if self.steps_left() == 0 { self.steps_per_epoch() } else { self.steps_left() }
    }

    /// The most steps that one submission can hold.
    pub(super) fn steps_per_submission(&self) -> u32 {
        match &self.source {
            Source::Resident(_) => u32::MAX,
            Source::Streamed(streamed) => streamed.batches_per_window(),
        }
    }

    /// Shuffles if the last epoch is over. `next` is the number of the trainer's next step; steps on other
    /// data since the epoch began count as steps before the epoch.
    pub(super) fn prepare(&mut self, gpu: &Gpu, next: u64) -> Result<()> {
        let Self { epochs, source } = self;
        if epochs.steps_left() == 0 {
            epochs.epoch += 1;
            epochs.position = 0;
            epochs.is_shuffled = false;
        }
        if !epochs.is_shuffled {
            let order = shuffled_order(epochs.rows, epochs.seed, epochs.epoch - 1);
            match source {
                Source::Resident(resident) => resident.begin_epoch(gpu, &order)?,
                Source::Streamed(streamed) => streamed.begin_epoch(order),
            }
            epochs.is_shuffled = true;
        }
        match source {
            Source::Resident(resident) => {
                resident.count_from(gpu, next.wrapping_sub(epochs.position.into()))
            }
            Source::Streamed(_) => Ok(()),
        }
    }

    /// Submits a piece of the next steps of this epoch, the first of this number, and what `also` records at its
    /// end; `full` is the step on a full batch.
    pub(super) fn submit(
        &mut self,
        gpu: &Gpu,
        number: Number<'_>,
        piece: &Piece,
        full: &Step,
        also: impl FnOnce(&mut CommandEncoder),
    ) -> Result<SubmissionIndex> {
        let batches = self.epochs.batches(piece, full);
        match &mut self.source {
            Source::Resident(resident) => resident.submit(gpu, number, batches, also),
            Source::Streamed(streamed) => streamed.submit(gpu, number, batches, also),
        }
    }

    /// Advances to the next batch of this epoch.
    pub(super) fn advance(&mut self) {
        self.epochs.position += 1;
    }
}

impl Epochs {
    /// Checks that the data set fits the trainer, and binds the step on its last batch.
    fn new(trainer: &Trainer, dataset: &Dataset) -> Result<Self> {
        let Trainer { network, options, plan, kernels, memory, .. } = trainer;
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
        let left = rows % batch_size;
        let remainder = if options.remainder == Remainder::Keep && left > 0 {
            check_rows(network, left)?;
            let step = step::bind(network, plan, kernels, memory, left)?;
            Some(RemainderStep { rows: left, step: Step::new(step, plan, left) })
        } else {
            None
        };
        Ok(Self {
            rows,
            fingerprint: dataset.fingerprint(),
            seed: options.seed,
            batch_size,
            steps_per_epoch,
            epoch: 0,
            position: steps_per_epoch,
            is_shuffled: false,
            batch_inputs: memory.batch.inputs.clone(),
            remainder,
        })
    }

    fn go_to(&mut self, place: Place) -> Result<()> {
        let Place { epoch, position, rows, data } = place;
        let wrong = |what, found: u32, needed: u32, why: &str| {
            let [found, needed] = [found, needed].map(u64::from);
            Err(Error::Length { what, found, needed, why: why.to_owned() })
        };
        if rows != self.rows {
            let why = "the rows of the data that the place is in";
            return wrong("the data set", self.rows, rows, why);
        }
        if let Some(needed) = data.filter(|data| *data != self.fingerprint) {
            return Err(Error::OtherData { found: self.fingerprint, needed });
        }
        if position > self.steps_per_epoch {
            let why = "the mini-batches of the epoch that lie before the place";
            return wrong("an epoch", self.steps_per_epoch, position, why);
        }
        self.epoch = epoch;
        self.position = if epoch == 0 { self.steps_per_epoch } else { position };
        self.is_shuffled = false;
        Ok(())
    }

    fn steps_left(&self) -> u32 {
        self.steps_per_epoch - self.position
    }

    /// Rows of the last, smaller batch, if there is one.
    fn left(&self) -> Option<u32> {
        self.remainder.as_ref().map(|remainder| remainder.rows)
    }

    fn rows_of_batch(&self, position: u32) -> u32 {
        match self.left() {
            Some(rows) if position + 1 == self.steps_per_epoch => rows,
            _ => self.batch_size,
        }
    }

    /// The batch at a position, with all of its step; `full` is the step on a full batch.
    fn batch<'a>(&'a self, position: u32, full: &'a Step) -> Batch<'a> {
        let rows = self.rows_of_batch(position);
        let smaller = self.remainder.as_ref().filter(|remainder| remainder.rows == rows);
        let step = smaller.map_or(full, |remainder| &remainder.step);
        Batch { position, rows, step, units: 0..step.units() }
    }

    /// The batches of a piece, which begins with the next batch of this epoch.
    fn batches<'a>(
        &'a self,
        piece: &Piece,
        full: &'a Step,
    ) -> impl Iterator<Item = Batch<'a>> + Clone + use<'a> {
        let (count, units) = match piece {
            Piece::Steps(count) => (*count, None),
            Piece::Units(units) => (1, Some(units.clone())),
        };
        (self.position..self.position + count).map(move |position| {
            let batch = self.batch(position, full);
            let units = units.clone().unwrap_or(batch.units);
            Batch { units, ..batch }
        })
    }
}
