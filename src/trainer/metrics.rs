//! The losses and accuracies of the steps, kept on the GPU until they are read.

use std::ops::Range;

use super::Trainer;
use super::history::{History, Record};
use crate::error::{Error, Result};
use crate::gpu::read_all;
use crate::options::Loss;
use crate::plan::HISTORY;

/// The loss and accuracy of a step's batch, before the step's update.
///
/// ```
/// use ztilde::{Network, Trainer, TrainerOptions, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[1, 4, 2], Default::default())?;
/// let mut trainer = Trainer::new(network, TrainerOptions { batch_size: 2, ..Default::default() })?;
/// for _ in 0..3 {
///     trainer.step(&[-1.0, 1.0], &[0_u32, 1])?;
/// }
/// for step in block_on(&device, trainer.metrics(2))? {
///     println!("step {}: loss {:.3}, accuracy {:?}", step.step, step.loss, step.accuracy); // 2, then 3
/// }
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// The number of the step among all steps taken, counted from 1.
    pub step: u64,
    /// Rows in its batch.
    pub rows: u32,
    /// The batch's loss, with label smoothing and class weights. NaN if the app's buffer held a class
    /// index without a class, or a target of binary cross-entropy outside 0 to 1.
    pub loss: f32,
    /// The share of correct predictions. None for losses of numbers.
    pub accuracy: Option<f32>,
}

/// The mean loss and accuracy of an epoch's batches, each before its step's update.
///
/// See the example of [`TrainingData`](super::TrainingData).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochMetrics {
    /// Steps of the epoch that were taken.
    pub steps: u32,
    /// Steps of the epoch that were [skipped](crate::OnFault::SkipStep).
    pub skipped: u32,
    /// The mean of the batches' losses, weighted by their numbers of rows. With class weights this
    /// differs a little from the weighted mean over the epoch, as each batch's loss is divided by the
    /// weights of its own rows. NaN if all steps were skipped.
    pub loss: f64,
    /// The share of correct predictions. None for losses of numbers.
    pub accuracy: Option<f64>,
}

impl Trainer {
    /// The metrics of the last `steps` steps that the GPU has taken, oldest first: at most 8192, and
    /// only those since the trainer was [restored](Trainer::restore). Steps in encoders that were
    /// dropped, or not submitted yet, and [skipped](Trainer::skipped) steps are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if fewer steps were taken or are kept, [`Error::Option`] if `steps` is 0,
    /// [`Error::DeviceLost`], and errors of wgpu.
    pub fn metrics(&self, steps: u32) -> impl Future<Output = Result<Vec<StepMetrics>>> + use<> {
        let steps_before = self.steps_before;
        let reading = self.check_kept(steps).map(|()| self.read_history(steps));
        let loss = self.options.loss;
        async move {
            let history = reading?.await?;
            let steps = u64::from(steps);
            // In a browser, a read from a failed device may give zeros.
            let taken = history.taken.saturating_sub(steps_before);
            if taken < steps {
                return Err(too_few(taken, steps, history.encoded - steps_before));
            }
            Ok((history.taken - steps..history.taken)
                .filter_map(|step| seen(&history, loss, step))
                .collect())
        }
    }

    /// The loss of the last step that the GPU has taken.
    ///
    /// # Errors
    ///
    /// As [`Trainer::metrics`].
    pub fn loss(&self) -> impl Future<Output = Result<f32>> + use<> {
        let metrics = self.metrics(1);
        async move { Ok(metrics.await?[0].loss) }
    }

    fn read_history(&self, steps: u32) -> impl Future<Output = Result<History>> + use<> {
        let window = self.window(steps.into());
        let values = read_all::<f32, 2>(self.network.gpu(), self.window_sources(&window));
        async move {
            let [history, counts] = values.await?;
            Ok(window.history(&history, &counts))
        }
    }

    /// Checks that the metrics of this many steps exist: at least one step, and at most as many as are
    /// kept or were encoded.
    fn check_kept(&self, steps: u32) -> Result<()> {
        let encoded = self.count.encoded() - self.steps_before;
        if steps == 0 {
            let expected = "at least 1";
            return Err(Error::Option { option: "steps", value: steps.to_string(), expected });
        }
        match encoded.min(HISTORY.into()) {
            kept if kept < steps.into() => Err(too_few(kept, steps.into(), encoded)),
            _ => Ok(()),
        }
    }
}

/// The metrics of the steps with these numbers, without steps that the GPU has not taken.
pub(super) fn metrics_of(history: &History, numbers: Range<u64>, loss: Loss) -> Vec<StepMetrics> {
    let is_asked = |step: &u64| {
        let record = history.record(*step);
        record.is_some_and(|record| numbers.contains(&history.number(record)))
    };
    let steps = numbers.end - numbers.start;
    let last = history.taken.saturating_sub(steps)..history.taken;
    last.filter(is_asked).filter_map(|step| seen(history, loss, step)).collect()
}

fn too_few(found: u64, needed: u64, encoded: u64) -> Error {
    let why = format!(
        "one per step that the GPU has taken: {encoded} were encoded so far, and the last {HISTORY} are kept"
    );
    Error::Length { what: "the history", found, needed, why }
}

fn seen(history: &History, loss: Loss, step: u64) -> Option<StepMetrics> {
    let has_accuracy = loss.has_accuracy();
    let Record { loss, accuracy, rows, .. } = history.record(step)?;
    let accuracy = has_accuracy.then_some(accuracy);
    Some(StepMetrics { step: step + 1, rows, loss, accuracy })
}
