//! The state of a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ztilde::{Evaluation, Loss};

use crate::report::Epoch;

/// More rows, and more seconds per epoch, than any run has; far below an overflow.
const MOST_SAMPLES: u64 = 1 << 60;
const MOST_TIME: Duration = Duration::from_secs(1 << 40);

/// The position of a training in its data: the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) epoch: u32,
    /// The number of blocks of the epoch that are done; rows in memory are one block.
    pub(crate) block: usize,
    /// The number of steps taken in the next block.
    pub(crate) position: u32,
}

/// The state from which a run resumes, without the trainer and the best parameters.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) place: Place,
    /// The number of training rows so far, counted again in each epoch.
    pub(crate) samples: u64,
    /// The metrics of the batches of this epoch so far.
    pub(crate) seen: EpochSums,
    /// The complete epochs.
    pub(crate) epochs: Vec<Epoch>,
}

/// The metrics of an epoch's batches; losses and accuracies times rows.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpochSums {
    pub(crate) rows: u64,
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) time: Duration,
}

impl Place {
    pub(crate) const fn beginning_of(epoch: u32) -> Self {
        Self { epoch, block: 0, position: 0 }
    }
}

impl Default for State {
    fn default() -> Self {
        let place = Place::beginning_of(1);
        Self { place, samples: 0, seen: EpochSums::default(), epochs: Vec::new() }
    }
}

impl State {
    /// Fails with a sentence if no run can have this state: resuming from it would be meaningless, or
    /// its numbers would overflow.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { place, samples, seen, epochs } = self;
        let count = epochs.len();
        if let Some((epoch, number)) =
            epochs.iter().zip(1..).find(|(it, number)| it.epoch != *number)
        {
            return Err(format!("epoch {} stands where epoch {number} should", epoch.epoch));
        }
        if place.epoch == u32::MAX || place.epoch as usize != count + 1 {
            return Err(format!("the run is in epoch {}, but {count} are over", place.epoch));
        }
        if seen.rows > *samples || *samples > MOST_SAMPLES {
            return Err(format!(
                "{} rows of the epoch were seen and {samples} in all, of {MOST_SAMPLES} at most",
                seen.rows
            ));
        }
        if seen.time > MOST_TIME {
            return Err(format!("the epoch has taken {} seconds", seen.time.as_secs()));
        }
        Ok(())
    }

    /// The epoch with the smallest loss on the held-out rows.
    pub(crate) fn best(&self) -> Option<&Epoch> {
        let loss = |epoch: &&Epoch| epoch.test.map_or(f64::INFINITY, |test| test.loss);
        self.epochs.iter().min_by(|left, right| loss(left).total_cmp(&loss(right)))
    }

    /// The number of epochs since the best one.
    pub(crate) fn epochs_since_best(&self) -> u32 {
        let last = self.epochs.last().map_or(0, |epoch| epoch.epoch);
        last - self.best().map_or(0, |best| best.epoch)
    }
}

impl EpochSums {
    pub(crate) fn evaluation(&self, loss: Loss) -> Evaluation {
        let rows = self.rows as f64;
        let (mean_loss, accuracy) = (self.loss / rows, self.accuracy / rows);
        // In training, the targets have deviation 1.
        let mean_square = (loss == Loss::MeanSquaredError).then_some(mean_loss);
        Evaluation {
            loss: mean_loss,
            accuracy: loss.has_accuracy().then_some(accuracy),
            rmse: mean_square.map(f64::sqrt),
            r2: mean_square.map(|square| 1.0 - square),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_epoch_is_the_first_of_the_smallest_loss() {
        let evaluation = |loss| Evaluation { loss, accuracy: Some(0.5), rmse: None, r2: None };
        let mut state = State::default();
        assert_eq!(state.epochs_since_best(), 0);
        for (place, loss) in [3.0, 1.0, 2.0, 1.0, 1.5].into_iter().enumerate() {
            let (train, test) = (evaluation(0.0), Some(evaluation(loss)));
            state.epochs.push(Epoch { epoch: place as u32 + 1, train, test, seconds: 1.0 });
        }
        assert_eq!(state.best().map(|best| best.epoch), Some(2));
        assert_eq!(state.epochs_since_best(), 3);
    }

    #[test]
    fn a_state_where_no_run_comes_is_refused() {
        let evaluation = Evaluation { loss: 1.0, accuracy: Some(0.5), rmse: None, r2: None };
        let epoch = |epoch| Epoch { epoch, train: evaluation, test: None, seconds: 1.0 };
        let state = || State {
            place: Place::beginning_of(3),
            samples: 20,
            seen: EpochSums { rows: 10, ..EpochSums::default() },
            epochs: vec![epoch(1), epoch(2)],
        };
        assert_eq!(state().check(), Ok(()));
        assert_eq!(State::default().check(), Ok(()));
        let refused = |change: fn(&mut State), expected: &str| {
            let mut state = state();
            change(&mut state);
            let error = state.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused(|state| state.epochs.swap(0, 1), "epoch 2 stands where epoch 1 should");
        refused(|state| state.epochs[1].epoch = u32::MAX, "4294967295 stands where epoch 2");
        refused(|state| state.place.epoch = u32::MAX, "in epoch 4294967295, but 2 are over");
        refused(|state| state.place.epoch = 0, "in epoch 0, but 2 are over");
        refused(|state| state.seen.rows = 21, "21 rows of the epoch were seen and 20 in all");
        refused(|state| state.samples = u64::MAX, "18446744073709551615 in all");
        refused(|state| state.seen.time = Duration::MAX, "has taken 18446744073709551615 seconds");
    }

    #[test]
    fn a_state_comes_back_from_json() {
        let mut state = State {
            place: Place { epoch: 3, block: 2, position: 7 },
            seen: EpochSums { rows: 5, loss: 0.1 + 0.2, accuracy: 1.0 / 3.0, time: Duration::MAX },
            ..State::default()
        };
        let classes = Evaluation { loss: 0.3, accuracy: Some(0.7), rmse: None, r2: None };
        let values = Evaluation { loss: 0.3, accuracy: None, rmse: Some(0.1), r2: None };
        for (train, test) in [(classes, Some(classes)), (classes, None), (values, Some(values))] {
            state.epochs.push(Epoch { epoch: 1, train, test, seconds: 0.25 });
        }
        let text = serde_json::to_string(&state).unwrap();
        let read: State = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.seen.loss.to_bits(), state.seen.loss.to_bits());
        assert_eq!(read.epochs[2].test, Some(values));
        assert_eq!(read.epochs[1].test, None);
    }
}
