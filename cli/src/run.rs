//! A training under way: the loop over epochs, blocks and steps, and the tests between.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use wgpu::Device;
use ztilde::{Dataset, Evaluation, Loss, Targets, Trainer, TrainingData};

use crate::{
    data::{Rows, Statistics, Visit, visits},
    diverged::diverged,
    failure::Failure,
    forward,
    progress::{Pace, Progress},
    report::{Epoch, Final},
};

/// Where in its data a training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1; 0 before the first.
    pub(crate) epoch: u64,
    /// How many blocks of the epoch were learned; rows in memory are one block.
    pub(crate) block: usize,
    /// How many steps of the next block were taken.
    pub(crate) position: u32,
}

/// What is learned from, a block at a time.
pub(crate) enum Learned {
    /// The one block there is; it is elsewhere only while it is learned.
    Resident(Option<TrainingData>),
    Blocks {
        visits: Receiver<Result<Visit, Failure>>,
        count: usize,
    },
}

impl Learned {
    /// Rows to learn from, in as many epochs.
    pub(crate) fn new(trainer: &Trainer, rows: Rows, epochs: u32) -> Result<Self, Failure> {
        match rows {
            Rows::Memory(dataset) => Ok(Self::Resident(Some(trainer.upload(&dataset)?))),
            Rows::Blocks(file) => {
                let count = file.blocks();
                let visits = visits(file, trainer.options().seed, [1, 0], epochs.into());
                Ok(Self::Blocks { visits, count })
            }
        }
    }

    fn blocks(&self) -> usize {
        match self {
            Self::Resident(_) => 1,
            Self::Blocks { count, .. } => *count,
        }
    }

    /// The block at a place.
    fn block(&mut self, trainer: &Trainer, place: Place) -> Result<TrainingData, Failure> {
        let gone = || Failure::input("the thread that reads the blocks has ended");
        match self {
            Self::Resident(data) => data.take().ok_or_else(gone),
            Self::Blocks { visits, .. } => {
                let Visit { epoch, block, rows } = visits.recv().map_err(|_| gone())??;
                debug_assert_eq!((epoch, block), (place.epoch, place.block));
                Ok(trainer.stream(rows)?)
            }
        }
    }

    /// Takes back what [`Learned::block`] lent.
    fn give_back(&mut self, data: TrainingData) {
        if let Self::Resident(resident) = self {
            *resident = Some(data);
        }
    }
}

/// A training under way.
pub(crate) struct Run<'a> {
    pub(crate) device: &'a Device,
    pub(crate) trainer: Trainer,
    pub(crate) learned: Learned,
    pub(crate) held_out: Option<Rows>,
    /// What one of the network's units is in the target's own.
    pub(crate) target_scale: f64,
    pub(crate) place: Place,
    pub(crate) progress: &'a Progress,
    /// Whether there is a line for each epoch.
    pub(crate) is_told: bool,
}

impl Run<'_> {
    pub(crate) fn train(&mut self, epochs: u32) -> Result<(Vec<Epoch>, Final), Failure> {
        let mut pace = Pace::new();
        let mut report: Vec<Epoch> = Vec::new();
        let (mut samples, mut time) = (0, Duration::ZERO);
        if self.is_told {
            self.progress.line(&Epoch::head(self.loss(), self.held_out.is_some()))?;
        }
        for epoch in 1..=epochs {
            self.place = Place { epoch: epoch.into(), ..Place::default() };
            let seen = self.learn(&mut pace)?;
            let epoch = Epoch {
                epoch,
                train: self.in_own_units(seen.evaluation(self.loss())),
                test: self.test()?,
                seconds: seen.time.as_secs_f64(),
            };
            if self.is_told {
                self.progress.line(&epoch.line())?;
            }
            report.push(epoch);
            samples += seen.rows;
            time += seen.time;
        }
        let last = Final {
            test: report.last().and_then(|epoch| epoch.test),
            loss: self.loss(),
            steps: self.trainer.steps(),
            seconds: time.as_secs_f64(),
            samples_per_second: samples as f64 / time.as_secs_f64(),
        };
        Ok((report, last))
    }

    fn loss(&self) -> Loss {
        self.trainer.options().loss
    }

    /// One epoch of training.
    fn learn(&mut self, pace: &mut Pace) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        while self.place.block < self.learned.blocks() {
            let mut data = self.learned.block(&self.trainer, self.place)?;
            while self.place.position < data.steps_per_epoch() {
                let steps = pace.steps().min(data.steps_per_epoch() - self.place.position);
                self.step(&mut data, steps, pace, &mut seen)?;
                self.place.position += steps;
            }
            self.learned.give_back(data);
            self.place.block += 1;
            self.place.position = 0;
        }
        Ok(seen)
    }

    /// As many steps, and a look at what they came to.
    fn step(
        &mut self,
        data: &mut TrainingData,
        steps: u32,
        pace: &mut Pace,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        self.trainer.train(data, steps)?;
        let metrics = ztilde::block_on(self.device, self.trainer.metrics(steps))?;
        let time = start.elapsed();
        pace.took(time);
        let rows_before = seen.rows;
        let mut loss = 0.0;
        for step in metrics {
            if !step.loss.is_finite() {
                return Err(self.diverged(step.step, step.loss.into()));
            }
            seen.rows += u64::from(step.rows);
            seen.loss += f64::from(step.loss) * f64::from(step.rows);
            seen.accuracy += f64::from(step.accuracy) * f64::from(step.rows);
            loss = step.loss;
        }
        seen.time += time;
        let speed = (seen.rows - rows_before) as f64 / time.as_secs_f64();
        self.progress.advance(self.place.epoch, steps.into(), loss, speed);
        Ok(())
    }

    /// The network as it is now, on the rows that were held out.
    fn test(&self) -> Result<Option<Evaluation>, Failure> {
        let Some(held_out) = &self.held_out else {
            return Ok(None);
        };
        let mut tested = Tested::new();
        held_out.visit(|dataset| {
            let at_once = forward::rows_at_once(self.trainer.network()) as usize;
            let rows = dataset.rows() as usize;
            (0..rows).step_by(at_once).try_for_each(|first| {
                self.test_rows(dataset, first..rows.min(first + at_once), &mut tested)
            })
        })?;
        let evaluation = tested.evaluation();
        if !evaluation.loss.is_finite() {
            return Err(self.diverged(self.trainer.steps(), evaluation.loss));
        }
        Ok(Some(self.in_own_units(evaluation)))
    }

    fn test_rows(
        &self,
        dataset: &Dataset,
        rows: std::ops::Range<usize>,
        tested: &mut Tested,
    ) -> Result<(), Failure> {
        let network = self.trainer.network();
        let features = dataset.features() as usize;
        // A data set is row-major in memory.
        let inputs = dataset.inputs().as_slice().unwrap_or_default();
        let inputs = &inputs[rows.start * features..rows.end * features];
        let outputs = forward::outputs(self.device, network, inputs)?;
        let targets = match dataset.targets() {
            Targets::Classes(classes) => Targets::from(&classes[rows]),
            Targets::Values(values) => Targets::from(&values[rows]),
        };
        tested.take(&ztilde::evaluate(&outputs, &targets, self.loss())?, &targets);
        Ok(())
    }

    /// The error in the units that the targets have in the table.
    fn in_own_units(&self, evaluation: Evaluation) -> Evaluation {
        Evaluation { rmse: evaluation.rmse.map(|rmse| rmse * self.target_scale), ..evaluation }
    }

    fn diverged(&self, step: u64, loss: f64) -> Failure {
        match ztilde::block_on(self.device, self.trainer.network().parameters()) {
            Ok(parameters) => diverged(step, loss, &parameters),
            Err(error) => error.into(),
        }
    }
}

/// What an epoch's batches came to; losses and accuracies times rows.
#[derive(Default)]
struct Seen {
    rows: u64,
    loss: f64,
    accuracy: f64,
    time: Duration,
}

impl Seen {
    fn evaluation(&self, loss: Loss) -> Evaluation {
        let rows = self.rows as f64;
        let (mean_loss, accuracy) = (self.loss / rows, self.accuracy / rows);
        match loss {
            // The targets' deviation in training is 1.
            Loss::MeanSquaredError => Evaluation {
                loss: mean_loss,
                accuracy: None,
                rmse: Some(mean_loss.sqrt()),
                r2: Some(1.0 - mean_loss),
            },
            _ => Evaluation { loss: mean_loss, accuracy: Some(accuracy), rmse: None, r2: None },
        }
    }
}

/// What the parts of a test came to; losses and accuracies times rows.
pub(crate) struct Tested {
    rows: f64,
    loss: f64,
    accuracy: Option<f64>,
    /// Of the targets, where they are numbers.
    targets: Statistics,
}

impl Tested {
    pub(crate) const fn new() -> Self {
        Self { rows: 0.0, loss: 0.0, accuracy: None, targets: Statistics::NONE }
    }

    pub(crate) fn take(&mut self, part: &Evaluation, targets: &Targets<'_>) {
        let rows = targets.len() as f64;
        self.rows += rows;
        self.loss += part.loss * rows;
        if let Some(accuracy) = part.accuracy {
            *self.accuracy.get_or_insert(0.0) += accuracy * rows;
        }
        if let Targets::Values(values) = targets {
            values.iter().for_each(|&value| self.targets.take(value.into()));
        }
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        let loss = self.loss / self.rows;
        let accuracy = self.accuracy.map(|accuracy| accuracy / self.rows);
        let (rmse, r2) = match accuracy {
            Some(_) => (None, None),
            // As ztilde::evaluate has it: targets that are all the same have no spread.
            None => (
                Some(loss.sqrt()),
                (self.targets.squares() > 0.0).then(|| 1.0 - self.loss / self.targets.squares()),
            ),
        };
        Evaluation { loss, accuracy, rmse, r2 }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn a_test_in_parts_is_that_of_the_whole() {
        let outputs = Array2::from_shape_fn((7, 1), |(row, _)| (row as f32 * 1.7).sin());
        let targets: Vec<f32> = (0..7).map(|row| row as f32 / 3.0).collect();
        let loss = Loss::MeanSquaredError;
        let whole = ztilde::evaluate(&outputs, &(&targets).into(), loss).unwrap();
        let mut tested = Tested::new();
        for rows in [0..3, 3..4, 4..7] {
            let part = Targets::from(&targets[rows.clone()]);
            let outputs = outputs.slice(ndarray::s![rows, ..]).to_owned();
            tested.take(&ztilde::evaluate(&outputs, &part, loss).unwrap(), &part);
        }
        let found = tested.evaluation();
        assert!((found.loss - whole.loss).abs() < 1e-12, "{found:?} {whole:?}");
        assert!((found.rmse.unwrap() - whole.rmse.unwrap()).abs() < 1e-12);
        assert!((found.r2.unwrap() - whole.r2.unwrap()).abs() < 1e-12, "{found:?} {whole:?}");
    }
}
