//! `ztilde train`: learns to read handwritten digits, and says how well.

use std::time::{Duration, Instant};

use ndarray::Array2;
use wgpu::Device;
use ztilde::{Dataset, Evaluation, Inference, Loss, Network, Trainer, TrainingData};

use crate::{
    adapter, digits,
    diverged::diverged,
    failure::Failure,
    options::{Options, Training},
    output::{self, Json},
    progress::{Pace, Progress},
    report::{Data, Epoch, Final, Report},
    settle::settle,
};

/// Trains a network; without options, on 1,797 handwritten digits
///
/// Without options it learns to read the 1,797 handwritten digits of 8x8 pixels that the binary
/// carries, with a network of 64-128-64-10 features. Results go to stdout, a line per epoch, the
/// rest to stderr.
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Train {
    #[command(flatten)]
    options: Options,
}

impl Train {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Options { network, training, results, .. } = &self.options;
        // Whoever mistyped a path should not learn of it after the training.
        results.model.as_deref().map_or(Ok(()), output::check_writable)?;
        results.json.as_ref().map_or(Ok(()), Json::check)?;

        let data = digits::load()?;
        let (learned, held_out) = hold_out(&data, training)?;
        let settled = settle(&self.options, steps_per_epoch(learned.rows(), training)?)?;
        let (adapter, device, queue) = adapter::open()?;

        let mut layer_sizes = vec![data.features()];
        layer_sizes.extend(&network.hidden.0);
        layer_sizes.push(digits::CLASSES);
        let loss = settled.trainer.loss;
        let network = Network::new(&device, &queue, &layer_sizes, settled.network)?;
        let trainer = Trainer::new(network, settled.trainer)?;
        let uploaded = trainer.upload(&learned)?;

        let steps = u64::from(uploaded.steps_per_epoch()) * u64::from(training.epochs);
        let to_stderr = results.json == Some(Json::Stdout);
        let progress = Progress::new(steps, training.epochs, to_stderr);
        let mut run = Run { device, trainer, data: uploaded, held_out, loss, progress };
        let (epochs, last) = run.train(training.epochs)?;

        if let Some(path) = &results.model {
            let parameters = ztilde::block_on(&run.device, run.trainer.network().parameters())?;
            parameters.save(path)?;
        }
        run.progress.finish();
        if let (Some(accuracy), Some(held_out)) = (last.test_accuracy, &run.held_out) {
            run.progress.line(&format!(
                "test accuracy {:.2} % on {} rows that were held out",
                100.0 * accuracy,
                held_out.rows()
            ))?;
        }
        if let Some(path) = &results.model {
            run.progress.line(&format!("model saved to {}", path.display()))?;
        }
        let Some(json) = &results.json else {
            return Ok(());
        };
        json.write(&Report {
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            options: settled.report,
            data: Data { rows: data.rows(), features: data.features(), classes: digits::CLASSES },
            epochs,
            last,
        })
    }
}

/// What is learned from, and what is held out to test on.
fn hold_out(data: &Dataset, training: &Training) -> Result<(Dataset, Option<Dataset>), Failure> {
    if training.held_out == 0.0 {
        return Ok((data.clone(), None));
    }
    let (learned, held_out) = data.split(training.held_out, training.seed)?;
    Ok((learned, Some(held_out)))
}

fn steps_per_epoch(rows: u32, training: &Training) -> Result<u32, Failure> {
    let batch_size = training.batch_size;
    match ztilde::data::batches(rows, batch_size, training.remainder) {
        0 => Err(Failure::input(format!(
            "--batch-size is {batch_size}, but there are only {rows} rows to learn from, and \
             --remainder drop leaves out what does not fill a batch"
        ))),
        steps => Ok(steps),
    }
}

/// A training under way.
struct Run {
    device: Device,
    trainer: Trainer,
    data: TrainingData,
    held_out: Option<Dataset>,
    loss: Loss,
    progress: Progress,
}

impl Run {
    fn train(&mut self, epochs: u32) -> Result<(Vec<Epoch>, Final), Failure> {
        let mut pace = Pace::new();
        let mut report: Vec<Epoch> = Vec::new();
        let (mut steps, mut samples, mut time) = (0, 0, Duration::ZERO);
        self.progress.line(&Epoch::head(self.held_out.is_some()))?;
        for epoch in 1..=epochs {
            let seen = self.learn(epoch, &mut pace)?;
            let tested = self.test(seen.last_step)?;
            let line = Epoch {
                epoch,
                train_loss: seen.loss / seen.rows as f64,
                train_accuracy: seen.accuracy / seen.rows as f64,
                test_loss: tested.as_ref().map(|tested| tested.loss),
                test_accuracy: tested.and_then(|tested| tested.accuracy),
                seconds: seen.time.as_secs_f64(),
            };
            self.progress.line(&line.line())?;
            report.push(line);
            steps = seen.last_step;
            samples += seen.rows;
            time += seen.time;
        }
        let last = Final {
            test_loss: report.last().and_then(|epoch| epoch.test_loss),
            test_accuracy: report.last().and_then(|epoch| epoch.test_accuracy),
            steps,
            seconds: time.as_secs_f64(),
            samples_per_second: samples as f64 / time.as_secs_f64(),
        };
        Ok((report, last))
    }

    /// One epoch of training.
    fn learn(&mut self, epoch: u32, pace: &mut Pace) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let mut left = self.data.steps_per_epoch();
        while left > 0 {
            let steps = pace.steps().min(left);
            let start = Instant::now();
            self.trainer.train(&mut self.data, steps)?;
            let metrics = ztilde::block_on(&self.device, self.trainer.metrics(steps))?;
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
                seen.last_step = step.step;
                loss = step.loss;
            }
            seen.time += time;
            left -= steps;
            let speed = (seen.rows - rows_before) as f64 / time.as_secs_f64();
            self.progress.advance(epoch, steps.into(), loss, speed);
        }
        Ok(seen)
    }

    /// The network as it is now, on the rows that were held out.
    fn test(&self, step: u64) -> Result<Option<Evaluation>, Failure> {
        let Some(held_out) = &self.held_out else {
            return Ok(None);
        };
        // A data set is row-major in memory.
        let inputs = held_out.inputs().as_slice().unwrap_or_default();
        let outputs =
            ztilde::block_on(&self.device, Inference::predict(self.trainer.network(), inputs))?;
        let shape = (held_out.rows() as usize, digits::CLASSES as usize);
        let outputs = Array2::from_shape_vec(shape, outputs)
            .map_err(|error| Failure::device(format!("the outputs: {error}")))?;
        let tested = ztilde::evaluate(&outputs, held_out.targets(), self.loss)?;
        if !tested.loss.is_finite() {
            return Err(self.diverged(step, tested.loss));
        }
        Ok(Some(tested))
    }

    fn diverged(&self, step: u64, loss: f64) -> Failure {
        match ztilde::block_on(&self.device, self.trainer.network().parameters()) {
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
    last_step: u64,
    time: Duration,
}
