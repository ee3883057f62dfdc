//! A running training: the loop over epochs, blocks and steps, and the work between them.

mod learned;
mod tested;

use std::time::{Duration, Instant};

use wgpu::Device;
use ztilde::{Dataset, Evaluation, Loss, Parameters, Targets, Trainer, TrainingData};

use crate::{
    checkpoint::Keeper,
    data::Rows,
    diverged::{diverged, diverged_in_test},
    failure::Failure,
    forward, interrupt,
    progress::{Pace, Progress},
    report::{Baseline, End, Epoch, Final},
    state::{Place, State},
};
pub(crate) use learned::Learned;
pub(crate) use tested::Tested;

/// When a run ends, and which parameters it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) epochs: u32,
    /// Stop after this many epochs without a better one.
    pub(crate) patience: Option<u32>,
    /// Stop after this time, counted from the beginning or from the resumption of the run.
    pub(crate) time_limit: Option<Duration>,
    /// Whether to keep the parameters of the best epoch rather than the last ones.
    pub(crate) keeps_best: bool,
}

/// A running training.
pub(crate) struct Run<'a> {
    pub(crate) device: &'a Device,
    pub(crate) plan: Plan,
    pub(crate) trainer: Trainer,
    pub(crate) learned: Learned,
    pub(crate) held_out: Option<Rows>,
    pub(crate) baseline: Option<Baseline>,
    /// One unit of the network's scale in the target's own unit.
    pub(crate) target_scale: f64,
    pub(crate) state: State,
    /// The parameters of the best epoch so far, if they are to be kept.
    pub(crate) best: Option<Parameters>,
    /// Writes checkpoints.
    pub(crate) keeper: Option<&'a Keeper<'a>>,
    pub(crate) progress: &'a Progress,
    /// Called after each epoch, with all epochs so far.
    pub(crate) on_epoch: &'a dyn Fn(&[Epoch]) -> Result<(), Failure>,
    pub(crate) pace: Pace,
}

impl Run<'_> {
    /// Trains until the plan ends the run. A divergence leaves the last checkpoint unchanged.
    pub(crate) fn train(&mut self) -> Result<Final, Failure> {
        self.train_to_end().map_err(|failure| {
            failure.if_diverged(|| {
                let keeper = self.keeper.filter(|keeper| keeper.last.get() > 0)?;
                let (path, step) = (keeper.path.display(), keeper.last.get());
                Some(format!(
                    "{path} is of step {step}, when all was still finite: --resume continues from it, also \
                     with another --learning-rate"
                ))
            })
        })
    }

    fn train_to_end(&mut self) -> Result<Final, Failure> {
        let deadline = self.plan.time_limit.and_then(|limit| Instant::now().checked_add(limit));
        let end = loop {
            if let Some(end) = self.end() {
                break end;
            }
            if !self.learn(deadline)? {
                break End::TimeLimit;
            }
            self.finish_epoch()?;
        };
        self.keep()?;
        // A checkpoint continues in the middle of the epoch. The results describe the current state.
        if self.state.seen.rows > 0 {
            self.finish_epoch()?;
        }
        Ok(self.result(end))
    }

    /// The best or the last parameters.
    pub(crate) fn into_parameters(self) -> Result<Parameters, Failure> {
        if let Some(best) = self.best {
            return Ok(best);
        }
        Ok(ztilde::block_on(self.device, self.trainer.network().parameters())?)
    }

    /// Whether the run is over, checked between two epochs.
    fn end(&self) -> Option<End> {
        let is_hopeless = |patience| self.state.epochs_since_best() >= patience;
        if self.plan.patience.is_some_and(is_hopeless) {
            return Some(End::Patience);
        }
        (self.state.place.epoch > self.plan.epochs).then_some(End::Epochs)
    }

    fn result(&self, end: End) -> Final {
        let epochs = &self.state.epochs;
        let kept = if self.plan.keeps_best { self.state.best() } else { epochs.last() };
        let seconds = epochs.iter().map(|epoch| epoch.seconds).sum();
        Final {
            epoch: kept.map_or(0, |epoch| epoch.epoch),
            test: kept.and_then(|epoch| epoch.test),
            baseline: self.baseline.clone(),
            loss: self.loss(),
            end,
            steps: self.trainer.steps(),
            seconds,
            samples_per_second: self.state.samples as f64 / seconds,
        }
    }

    fn loss(&self) -> Loss {
        self.trainer.options().loss
    }

    /// Trains the rest of an epoch. Returns whether there was time for all of it.
    fn learn(&mut self, deadline: Option<Instant>) -> Result<bool, Failure> {
        let mut has_stepped = false;
        while self.state.place.block < self.learned.blocks() {
            let mut data = self.learned.block(&self.trainer, self.state.place)?;
            let all = data.steps_per_epoch();
            while self.state.place.position < all {
                let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                self.pause()?;
                // At least one step, or a run with a short limit would never make progress.
                if is_late && has_stepped {
                    return Ok(false);
                }
                let left = all - self.state.place.position;
                let due = self.keeper.map_or(u64::MAX, |keeper| keeper.due_in(&self.trainer));
                let steps = self.pace.steps().min(left).min(due.try_into().unwrap_or(u32::MAX));
                self.step(&mut data, steps)?;
                has_stepped = true;
            }
            self.learned.give_back(data);
            self.state.place.block += 1;
            self.state.place.position = 0;
        }
        Ok(true)
    }

    /// Called between two steps. Ends the run if a signal requested it, and writes a checkpoint.
    fn pause(&self) -> Result<(), Failure> {
        if !interrupt::is_asked_for() {
            let is_due = self.keeper.is_some_and(|keeper| keeper.due_in(&self.trainer) == 0);
            return if is_due { self.keep() } else { Ok(()) };
        }
        self.keep()?;
        self.progress.finish();
        let place = format!(
            "interrupted after step {}, in epoch {} of {}",
            self.trainer.steps(),
            self.state.place.epoch,
            self.plan.epochs
        );
        Err(Failure::interrupted(match self.keeper {
            Some(keeper) => format!(
                "{place}. The checkpoint is {}: the same command with --resume continues from it",
                keeper.path.display()
            ),
            None => format!("{place}. Nothing was kept, as there was no --checkpoint"),
        }))
    }

    /// Writes the checkpoint, if there is to be one.
    fn keep(&self) -> Result<(), Failure> {
        let Some(keeper) = self.keeper else { return Ok(()) };
        let mut snapshot = ztilde::block_on(self.device, self.trainer.snapshot())?;
        if self.learned.is_in_blocks() && self.state.place.position == 0 {
            // The trainer is at the end of a block, and another block is next.
            snapshot.take_place();
        }
        keeper.write(&snapshot, self.best.as_ref(), &self.state)
    }

    /// Takes this many steps, and shows their metrics.
    fn step(&mut self, data: &mut TrainingData, steps: u32) -> Result<(), Failure> {
        let start = Instant::now();
        self.trainer.train(data, steps)?;
        let (metrics, fault) = (self.trainer.metrics(steps), self.trainer.fault());
        let metrics = ztilde::block_on(self.device, metrics)?;
        if let Some(fault) = ztilde::block_on(self.device, fault)? {
            return Err(diverged(fault, self.trainer.network().layer_sizes().len() - 1));
        }
        let time = start.elapsed();
        self.pace.took(time);
        let State { place, seen, samples, .. } = &mut self.state;
        let mut rows = 0;
        let (mut loss, mut accuracy) = (0.0, None);
        for step in metrics {
            rows += u64::from(step.rows);
            seen.loss += f64::from(step.loss) * f64::from(step.rows);
            seen.accuracy += f64::from(step.accuracy.unwrap_or(0.0)) * f64::from(step.rows);
            loss = step.loss;
            accuracy = step.accuracy;
        }
        place.position += steps;
        seen.rows += rows;
        seen.time += time;
        *samples += rows;
        let speed = rows as f64 / time.as_secs_f64();
        self.progress.advance(self.state.place.epoch, steps.into(), loss, accuracy, speed);
        Ok(())
    }

    /// Tests the network after an epoch, and moves on to the next one.
    fn finish_epoch(&mut self) -> Result<(), Failure> {
        let test = self.test()?;
        let State { place, seen, epochs, .. } = &mut self.state;
        let seen = std::mem::take(seen);
        let epoch = place.epoch;
        *place = Place::beginning_of(epoch + 1);
        let train = in_own_units(seen.evaluation(self.trainer.options().loss), self.target_scale);
        epochs.push(Epoch { epoch, train, test, seconds: seen.time.as_secs_f64() });
        if self.plan.keeps_best && self.state.epochs_since_best() == 0 {
            let parameters = ztilde::block_on(self.device, self.trainer.network().parameters())?;
            self.best = Some(parameters);
        }
        (self.on_epoch)(&self.state.epochs)
    }

    /// Tests the current network on the held-out rows.
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
            return Err(diverged_in_test(evaluation.loss));
        }
        Ok(Some(in_own_units(evaluation, self.target_scale)))
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
}

/// The error in the units that the targets have in the table, of which one of the network's is `scale`.
fn in_own_units(evaluation: Evaluation, scale: f64) -> Evaluation {
    Evaluation { rmse: evaluation.rmse.map(|rmse| rmse * scale), ..evaluation }
}
