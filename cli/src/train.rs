//! `ztilde train`: trains on a data set, and reports the results.

mod work;

use std::time::Instant;

use ztilde::KernelCache;

use crate::{
    adapter,
    checkpoint::{Checkpoint, Fingerprints},
    config::ConfigOptions,
    data::{Data, HeldOut, Prepared, Room},
    failure::Failure,
    interrupt,
    options::{Options, Results},
    output::{self, Json},
    progress::Progress,
    report::{self, Origin, Report},
    settle::settle,
    tuning::Tunings,
};
use work::Work;

/// Trains a network on your data; without any, on 1,797 handwritten digits
///
/// Without options it learns to read 1,797 built-in images of handwritten digits, 8x8 pixels each, with
/// layers of 64-128-64-10. Results go to stdout, a line per epoch, the rest to stderr.
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Train {
    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    _config: ConfigOptions,
}

impl Train {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Options { data: data_options, training, long_runs, results, .. } = &self.options;
        check_writable(results)?;
        let checkpoint = Checkpoint::find(long_runs)?;

        let mut notes = Vec::new();
        let start = Instant::now();
        let data = Data::read(data_options, &mut notes)?;
        let read_seconds = start.elapsed().as_secs_f64();
        let held_out = match data_options.folds {
            Some(folds) => HeldOut::Fold(0, folds),
            None => HeldOut::Share(training.held_out),
        };
        let rows = data.learned_rows(held_out, training.seed)?;
        let batch_size = training.batch_size.unwrap_or_else(|| usual_batch_size(rows));
        let steps_per_epoch = training.steps_per_epoch(rows, batch_size)?;
        let mut settled = settle(&self.options, batch_size, steps_per_epoch)?;
        let memory = (data_options.memory * f64::from(1 << 20)) as u64;
        let room = Room { memory, batch_size, seed: training.seed };
        let start = Instant::now();
        let first = data.prepare(held_out, room, &mut notes)?;
        let prepare_seconds = start.elapsed().as_secs_f64();
        self.check_tested(&first)?;
        settled.take_loss(training, &first.preprocessing.target)?;
        let has_checkpoint = long_runs.checkpoint.is_some();
        let fingerprints = has_checkpoint.then(|| Fingerprints::new(&first)).transpose()?;
        if let Some(checkpoint) = &checkpoint {
            checkpoint.check(&settled.report, &first, fingerprints.as_ref())?;
        }
        notes.iter().for_each(|note| output::note(&format!("note: {note}")));

        let (adapter, device, queue) = adapter::open()?;
        // The trainers of folds and comparisons share kernels.
        let _kernels = KernelCache::new(&device);
        let origin = Origin::new(adapter, settled.report.clone());
        interrupt::listen()?;
        let done = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.tell(&origin));
        let trainings = if results.compare { 2 } else { data_options.folds.unwrap_or(1) };
        let steps = u64::from(trainings) * steps_per_epoch * u64::from(training.epochs);
        let to_stderr = results.json == Some(Json::Stdout);
        let progress = Progress::new(steps, done, training.epochs, to_stderr);
        let preprocessing = first.preprocessing.clone();
        let summary = report::Data::new(&data, &preprocessing);
        let work = Work {
            options: &self.options,
            settled: &settled,
            origin: &origin,
            fingerprints: fingerprints.as_ref(),
            steps_per_epoch,
            device,
            queue,
            progress,
            tunings: self.options.long_runs.tune.then(|| Tunings::of_user().into()),
        };
        let prepare = |held_out| data.prepare(held_out, room, &mut Vec::new());
        let outcome = if let Some(folds) = data_options.folds {
            work.folds(first, folds, |fold| prepare(HeldOut::Fold(fold, folds)))?
        } else if results.compare {
            work.compared(first, || prepare(held_out))?
        } else {
            // The data is on disk, and no longer needed in memory.
            drop(data);
            work.once(first, checkpoint)?
        };
        let Some(json) = &results.json else {
            return Ok(());
        };
        let data = report::Data { notes: &notes, read_seconds, prepare_seconds, ..summary };
        json.write(&Report { origin, data, outcome })
    }

    /// The best epoch has the smallest loss on held-out rows, so there must be some.
    fn check_tested(&self, data: &Prepared) -> Result<(), Failure> {
        let Options { training, long_runs, .. } = &self.options;
        if data.held_out.is_some() || !long_runs.keeps_best() {
            return Ok(());
        }
        let option = if long_runs.keep_best { "--keep-best" } else { "--patience" };
        Err(Failure::input(format!(
            "{option} needs held-out rows, but --held-out is {}",
            training.held_out
        )))
    }
}

/// Checks paths before the training, not after it.
fn check_writable(results: &Results) -> Result<(), Failure> {
    results.model.as_deref().map_or(Ok(()), output::check_writable)?;
    results.json.as_ref().map_or(Ok(()), Json::check)?;
    results.plot.as_ref().map_or(Ok(()), |plot| output::check_writable(plot.path()))
}

/// Few rows get small batches: a power of two from 8 to the library's default, with at least eight
/// batches per epoch.
fn usual_batch_size(rows: u64) -> u32 {
    let most = ztilde::TrainerOptions::default().batch_size;
    let eighth = (rows / 8).clamp(8, most.into());
    let power = 1_u64 << eighth.ilog2();
    rows.clamp(1, power) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_make_small_batches() {
        let sizes = [1, 5, 8, 100, 142, 455, 512, 1438, 1 << 40].map(usual_batch_size);
        assert_eq!(sizes, [1, 5, 8, 8, 16, 32, 64, 64, 64]);
    }
}
