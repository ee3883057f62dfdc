//! `ztilde train`: learns from a data set, and says how well.

use std::time::Instant;

use wgpu::{Device, Queue};
use ztilde::{Loss, Network, Parameters, Trainer};

use crate::{
    adapter,
    config::ConfigOptions,
    data::{Data, HeldOut, Prepared, Room},
    failure::Failure,
    model,
    options::Options,
    output::{self, Json},
    plot::curves,
    progress::Progress,
    report::{self, Epoch, Final, Fold, Outcome, Report, Summary, decimals},
    run::{Learned, Place, Run},
    settle::{Settled, settle},
};

/// Trains a network on your data; without any, on 1,797 handwritten digits
///
/// Without options it learns to read the 1,797 handwritten digits of 8x8 pixels that the binary
/// carries, with a network of 64-128-64-10 features. Results go to stdout, a line per epoch, the
/// rest to stderr.
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
        let Options { data: data_options, training, results, .. } = &self.options;
        // Whoever mistyped a path should not learn of it after the training.
        results.model.as_deref().map_or(Ok(()), output::check_writable)?;
        results.json.as_ref().map_or(Ok(()), Json::check)?;
        results.plot.as_ref().map_or(Ok(()), |plot| output::check_writable(plot.path()))?;

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
        let settled = settle(&self.options, batch_size, steps_per_epoch)?;
        let memory = (data_options.memory * f64::from(1 << 20)) as u64;
        let room = Room { memory, batch_size, seed: training.seed };
        let start = Instant::now();
        let first = data.prepare(held_out, room, &mut notes)?;
        let prepare_seconds = start.elapsed().as_secs_f64();
        notes.iter().for_each(|note| output::note(&format!("note: {note}")));

        let (adapter, device, queue) = adapter::open()?;
        let to_stderr = results.json == Some(Json::Stdout);
        let trainings = u64::from(data_options.folds.unwrap_or(1));
        let steps = trainings * steps_per_epoch * u64::from(training.epochs);
        let progress = Progress::new(steps, training.epochs, to_stderr);
        let work = Work { options: &self.options, settled: &settled, device, queue, progress };
        let preprocessing = first.preprocessing.clone();
        let summary = data.summary(&preprocessing);
        let outcome = match data_options.folds {
            None => {
                // What was read is on the disk, and no longer needed.
                drop(data);
                work.once(first)?
            }
            Some(folds) => work.folds(first, folds, |fold| {
                data.prepare(HeldOut::Fold(fold, folds), room, &mut Vec::new())
            })?,
        };
        let Some(json) = &results.json else {
            return Ok(());
        };
        json.write(&Report {
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            options: settled.report,
            data: report::Data { notes: &notes, read_seconds, prepare_seconds, ..summary },
            outcome,
        })
    }
}

/// What is there for one training, or for several.
struct Work<'a> {
    options: &'a Options,
    settled: &'a Settled,
    device: Device,
    queue: Queue,
    progress: Progress,
}

impl Work<'_> {
    /// Trains once, and saves the model.
    fn once(&self, data: Prepared) -> Result<Outcome, Failure> {
        let model = self.options.results.model.as_ref();
        let tested_rows = data.held_out.as_ref().map(|rows| rows.count());
        let notes = model::notes(&data.preprocessing)?;
        let title = format!("learning {:?}", data.preprocessing.target.name);
        let (network, epochs, last) = self.train(data, true)?;
        if let Some(path) = model {
            let parameters = ztilde::block_on(&self.device, network.parameters())?;
            Parameters { notes, ..parameters }.save(path)?;
        }
        self.progress.finish();
        if let (Some(test), Some(rows)) = (&last.test, tested_rows) {
            let result = match (test.accuracy, test.rmse) {
                (Some(accuracy), _) => format!("test accuracy {:.2} %", 100.0 * accuracy),
                (None, rmse) => {
                    let r2 =
                        test.r2.map_or_else(String::new, |r2| format!(", R² {}", decimals(r2)));
                    format!("test RMSE {}{r2}", decimals(rmse.unwrap_or_default()))
                }
            };
            self.progress.line(&format!("{result} on {rows} rows that were held out"))?;
        }
        if let Some(file) = &self.options.results.plot {
            curves(file, self.options.results.theme, &title, &report::panels(&epochs))?;
        }
        if let Some(path) = model {
            self.progress.line(&format!("model saved to {}", path.display()))?;
        }
        Ok(Outcome::Once { epochs, last })
    }

    /// Trains once for each fold.
    fn folds(
        &self,
        first: Prepared,
        count: u32,
        prepare: impl Fn(u32) -> Result<Prepared, Failure>,
    ) -> Result<Outcome, Failure> {
        let loss = loss(&first);
        self.progress.line(&Fold::head(loss))?;
        let mut first = Some(first);
        let mut folds = Vec::new();
        for fold in 0..count {
            let data = first.take().map_or_else(|| prepare(fold), Ok)?;
            let (_, epochs, last) = self.train(data, false)?;
            let fold = Fold { fold: fold + 1, epochs, last };
            self.progress.line(&fold.line())?;
            folds.push(fold);
        }
        self.progress.finish();
        let last = Summary::new(&folds, loss);
        self.progress.line(&last.line(count))?;
        Ok(Outcome::Folds { folds, last })
    }

    /// Trains a new network.
    fn train(
        &self,
        data: Prepared,
        is_told: bool,
    ) -> Result<(Network, Vec<Epoch>, Final), Failure> {
        let loss = loss(&data);
        let Prepared { preprocessing, learned, held_out } = data;
        let hidden = &self.options.network.hidden.0;
        let mut layer_sizes = vec![preprocessing.inputs() as u32];
        layer_sizes.extend(hidden);
        layer_sizes.push(preprocessing.outputs() as u32);
        let network =
            Network::new(&self.device, &self.queue, &layer_sizes, self.settled.network.clone())?;
        let options = ztilde::TrainerOptions { loss, ..self.settled.trainer.clone() };
        let trainer = Trainer::new(network, options)?;
        let epochs = self.options.training.epochs;
        let learned = Learned::new(&trainer, learned, epochs)?;
        let mut run = Run {
            device: &self.device,
            trainer,
            learned,
            held_out,
            target_scale: preprocessing.target_scale(),
            place: Place::default(),
            progress: &self.progress,
            is_told,
        };
        let (epochs, last) = run.train(epochs)?;
        Ok((run.trainer.into_network(), epochs, last))
    }
}

/// What the outputs are compared by.
fn loss(data: &Prepared) -> Loss {
    match data.preprocessing.target.classes() {
        Some(_) => Loss::SoftmaxCrossEntropy,
        None => Loss::MeanSquaredError,
    }
}

/// Few rows make small batches: a power of two that an epoch has eight of at least, from 8 on to the
/// library's default.
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
