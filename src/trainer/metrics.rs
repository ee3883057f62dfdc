//! What the steps saw: losses and accuracies, kept on the GPU until somebody asks.

use super::{HISTORY, Trainer};
use crate::error::{Error, Result};
use crate::gpu::read;

/// What a step saw of its batch, before it moved the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// The number of the step, counted from 1.
    pub step: u64,
    /// Rows in its batch.
    pub rows: u32,
    /// The batch's loss, as training makes it small: with label smoothing and class weights. NaN if a
    /// class index in a buffer of the app's was none, or a target of binary cross-entropy there outside
    /// 0 to 1.
    pub loss: f32,
    /// The share of right answers; 0 for mean squared error, which knows none.
    pub accuracy: f32,
}

/// What an epoch saw of its batches, each before its step moved the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochMetrics {
    /// Steps of the epoch.
    pub steps: u32,
    /// The mean loss of the rows: of the batches' losses, each as often as its batch has rows. With
    /// class weights, where a batch's loss is divided by what its rows weigh, this is not quite the
    /// weighted mean over all rows of the epoch.
    pub loss: f64,
    /// The share of right answers; 0 for mean squared error, which knows none.
    pub accuracy: f64,
}

impl Trainer {
    /// What the last `steps` steps saw, oldest first: at most 8192, and none from before the trainer was
    /// [restored](Trainer::restore). Steps in encoders that were not submitted yet are not there to be
    /// seen.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if there are not as many, [`Error::Option`] for none, [`Error::DeviceLost`],
    /// and what wgpu reports.
    pub fn metrics(&self, steps: u32) -> impl Future<Output = Result<Vec<StepMetrics>>> + use<> {
        let taken = self.steps - self.steps_before;
        let history = u64::from(HISTORY);
        let kept = taken.min(history);
        let first_step = self.steps.saturating_sub(steps.into());
        let first_slot = first_step % history;
        // From the first slot on, unless the steps go on at the beginning of the ring.
        let (first, count) = match first_slot + u64::from(steps) {
            end if end <= history => (first_slot, steps.into()),
            _ => (0, history),
        };
        let reading = if steps == 0 {
            let expected = "at least 1";
            Err(Error::Option { option: "steps", value: steps.to_string(), expected })
        } else if u64::from(steps) > kept {
            Err(Error::Length {
                what: "the history",
                found: kept,
                needed: steps.into(),
                why: format!("one per step, of {taken} so far, of which {HISTORY} are kept"),
            })
        } else {
            let buffer = self.memory.history.buffer();
            Ok(read::<[f32; 2]>(self.network.gpu(), buffer, 2 * first, 2 * count))
        };
        let rows: Vec<u32> = (first_step..self.steps)
            .map(|step| self.taken[(step % history) as usize].rows)
            .collect();
        async move {
            let values = reading?.await?;
            let metrics = (first_step..).zip(rows).map(|(step, rows)| {
                let [loss, accuracy] = values[(step % history - first) as usize];
                StepMetrics { step: step + 1, rows, loss, accuracy }
            });
            Ok(metrics.collect())
        }
    }

    /// The loss of the last step.
    ///
    /// # Errors
    ///
    /// As [`Trainer::metrics`].
    pub fn loss(&self) -> impl Future<Output = Result<f32>> + use<> {
        let metrics = self.metrics(1);
        async move { Ok(metrics.await?[0].loss) }
    }
}
