//! Training on a data set: its upload, steps in short submissions, and whole epochs.

use std::collections::VecDeque;
use std::sync::Arc;

use super::pieces::{Pieces, Report, Reported};
use super::{EpochMetrics, Trainer, TrainingData};
use crate::data::Dataset;
use crate::error::{Error, Result};

/// The advice in errors about data sets that do not fit the device.
const STREAM: &str = "Trainer::stream would keep the data set on the CPU";

impl Trainer {
    /// Copies a data set to the GPU, to train on it there. A data set that is too large for the GPU can
    /// be [streamed](Trainer::stream).
    ///
    /// See the example of [`TrainingData`].
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if its features or targets do not fit the network, or its number of rows the
    /// place of a [restored](Trainer::restore) trainer, [`Error::OtherData`] if its values or the order
    /// of its rows do not fit that place, [`Error::Targets`], [`Error::Class`] or [`Error::Probability`]
    /// if the targets do not fit the loss, [`Error::BatchTooSmall`] if an epoch's last batch would have
    /// one row, [`Error::OutOfMemory`] or [`Error::TooLarge`] if the device cannot hold it, and other errors
    /// of wgpu.
    pub fn upload(&self, dataset: &Dataset) -> Result<TrainingData> {
        let data = TrainingData::resident(self, dataset).map_err(|error| match error {
            Error::OutOfMemory(message) => Error::OutOfMemory(format!("{message} ({STREAM})")),
            Error::TooLarge { what, needed, limit, allowed } => {
                Error::TooLarge { what: format!("{what} ({STREAM})"), needed, limit, allowed }
            }
            other => other,
        })?;
        self.at_its_place(data)
    }

    /// Keeps a data set on the CPU, and uploads it batch by batch: for data sets that the GPU cannot or
    /// need not hold. The steps are those on [uploaded](Trainer::upload) data, bit for bit.
    ///
    /// The rows of each submission are gathered into one of three windows while the GPU computes earlier
    /// submissions. A window has at most 16 MiB, or the size of one batch if that is larger. The windows
    /// are in memory that the CPU and the GPU share; their size does not depend on the data set's.
    ///
    /// Takes a `Dataset`, or an `Arc` of a shared one.
    ///
    /// # Errors
    ///
    /// As [`Trainer::upload`]; [`Error::TooLarge`] only if a batch, with its targets, is larger than the
    /// device's `max_buffer_size`.
    pub fn stream(&self, dataset: impl Into<Arc<Dataset>>) -> Result<TrainingData> {
        self.at_its_place(TrainingData::streamed(self, dataset.into())?)
    }

    /// Trains on the next `steps` mini-batches, continuing with the next epoch where one ends.
    ///
    /// A submission holds as many steps as take 10 to 20 ms, or a part of a step that takes longer: some of
    /// its dispatches, and of a long product some of its workgroups. The trainer measures the adapter's pace on its own submissions. The first of
    /// them are shorter, because nothing is known yet. A submission ends with an epoch, or with the streamed
    /// mini-batches of a window.
    ///
    /// Natively it waits for the oldest submission if three are in flight, and while the first ones show the
    /// pace. In a browser, which must not block, it does not wait: submissions are as long as the cost model
    /// predicts, and streamed data may take further windows.
    ///
    /// A lost device may show only in calls that await an answer, such as [`Trainer::metrics`];
    /// divergence shows in [`Trainer::fault`]. Await one of them now and then; in a browser this also keeps
    /// the GPU's queue short.
    ///
    /// # Errors
    ///
    /// [`Error::OtherTrainer`] if the data belongs to another trainer, [`Error::Timeout`] if a limit of
    /// [`block_on_for`](crate::block_on_for) ends the wait (the steps so far are taken, and counted), and
    /// errors of wgpu.
    pub fn train(&mut self, data: &mut TrainingData, steps: u32) -> Result<()> {
        self.check_owner(data)?;
        let mut pieces = Pieces::new(self, data, steps);
        while !pieces.is_empty() {
            pieces.make_room()?;
            pieces.submit()?;
        }
        Ok(())
    }

    /// Trains to the end of the epoch, and returns its metrics. The submissions are those of
    /// [`Trainer::train`]; their losses are copied at their ends. It awaits the oldest if three are in
    /// flight, so that the GPU's queue stays short and does not run empty.
    ///
    /// If the future is dropped, or ends with an error, the submitted steps are still taken and counted,
    /// and the next call continues after them. [`Trainer::metrics`] returns their losses.
    ///
    /// See the example of [`TrainingData`].
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if the loss, a gradient or a batch's statistics were not finite, which is
    /// noticed within four submissions (of 10 to 20 ms each); and as [`Trainer::train`] and
    /// [`Trainer::metrics`].
    pub async fn epoch(&mut self, data: &mut TrainingData) -> Result<EpochMetrics> {
        self.check_owner(data)?;
        let has_accuracy = self.options.loss.has_accuracy();
        let mut epoch = EpochMetrics { steps: 0, skipped: 0, loss: 0.0, accuracy: None };
        let [mut rows, mut right] = [0.0; 2];
        let steps = data.steps_to_epoch_end();
        let mut pieces = Pieces::new(self, data, steps);
        let mut reported = VecDeque::new();
        loop {
            pieces.look()?;
            while !pieces.is_empty() && !pieces.must_wait() {
                reported.push_back(pieces.submit_and_report()?);
            }
            let Some(Reported { number, steps, report }) = reported.pop_front() else {
                if pieces.is_empty() {
                    break;
                }
                pieces.earlier_ones().await?;
                continue;
            };
            let Report { metrics, fault } = report.await?;
            pieces.finish(number);
            epoch.skipped += steps - metrics.len() as u32;
            if let Some(fault) = fault {
                return Err(Error::Diverged(fault));
            }
            for step in metrics {
                epoch.steps += 1;
                epoch.loss += f64::from(step.rows) * f64::from(step.loss);
                right += f64::from(step.rows) * f64::from(step.accuracy.unwrap_or(0.0));
                rows += f64::from(step.rows);
            }
        }
        epoch.loss /= rows;
        epoch.accuracy = has_accuracy.then_some(right / rows);
        Ok(epoch)
    }

    fn check_owner(&self, data: &TrainingData) -> Result<()> {
        match data.belongs_to(&self.memory.batch.inputs) {
            true => Ok(()),
            false => Err(Error::OtherTrainer),
        }
    }

    /// The data at the place from which a restored trainer continues.
    fn at_its_place(&self, mut data: TrainingData) -> Result<TrainingData> {
        self.resumes_at.map_or(Ok(()), |place| data.go_to(place))?;
        Ok(data)
    }
}
