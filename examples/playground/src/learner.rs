//! A network in training: its trainer, its surface, and its progress.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ndarray::Array2;
use ztilde::{Dataset, Fault, Network, Result, StepMetrics, Targets, Trainer, TrainingData};

use crate::curve::Curve;
use crate::data_sets::Points;
use crate::graphics::Graphics;
use crate::look::Look;
use crate::settings::Settings;
use crate::surface::Surface;

/// The most steps whose metrics are read at once: the trainer keeps 8192.
const MOST_METRICS: u64 = 8000;

/// The least number of steps in a value of a curve: the loss of a single batch is noisy.
const STEPS_PER_VALUE: u64 = 10;

type PendingMetrics = dyn Future<Output = Result<(Vec<StepMetrics>, Option<Fault>)>>;

pub(crate) struct Learner {
    pub(crate) batch_norm: bool,
    pub(crate) surface: Arc<Surface>,
    pub(crate) progress: Progress,
    pub(crate) look: Look,
    trainer: Trainer,
    data: TrainingData,
    /// The fault that has stopped the training, if any.
    fault: Option<Fault>,
    /// The pending metrics of the last steps.
    metrics: Option<Pin<Box<PendingMetrics>>>,
    /// The steps whose metrics were requested.
    steps_seen: u64,
}

/// Loss and accuracy over the steps.
pub(crate) struct Progress {
    pub(crate) loss: Curve,
    pub(crate) accuracy: Curve,
    pub(crate) held_out_loss: Curve,
    pub(crate) held_out_accuracy: Curve,
}

impl Learner {
    pub(crate) fn new(graphics: &Graphics, settings: &Settings, batch_norm: bool) -> Result<Self> {
        let Graphics { device, queue, pipelines, .. } = graphics;
        let [learned, held_out] = settings.draw_points();
        let network = Network::new(
            device,
            queue,
            &settings.layer_sizes(),
            settings.network_options(batch_norm),
        )?;
        let trainer = Trainer::new(network, settings.trainer_options())?;
        let data = trainer.upload(&dataset(&learned)?)?;
        let surface = Surface::new(device, pipelines, trainer.network(), [&learned, &held_out])?;
        Ok(Self {
            batch_norm,
            surface: Arc::new(surface),
            progress: Progress {
                loss: Curve::new(STEPS_PER_VALUE),
                accuracy: Curve::new(STEPS_PER_VALUE),
                held_out_loss: Curve::new(STEPS_PER_VALUE),
                held_out_accuracy: Curve::new(STEPS_PER_VALUE),
            },
            look: Look::new(graphics, &trainer, &held_out, targets(&held_out))?,
            trainer,
            data,
            fault: None,
            metrics: None,
            steps_seen: 0,
        })
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.trainer.steps()
    }

    pub(crate) fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.trainer.set_learning_rate(learning_rate)
    }

    /// Submits this many steps; does not wait.
    pub(crate) fn train(&mut self, steps: u32) -> Result<()> {
        self.trainer.train(&mut self.data, steps)
    }

    /// Requests the current results, if the network has changed and no request is pending; does not
    /// wait.
    pub(crate) fn ask(&mut self, graphics: &Graphics) {
        let new_steps = (self.steps() - self.steps_seen).min(MOST_METRICS);
        if self.metrics.is_none() && new_steps > 0 {
            let metrics = self.trainer.metrics(new_steps as u32);
            let fault = self.trainer.fault();
            self.metrics = Some(Box::pin(async { Ok((metrics.await?, fault.await?)) }));
            self.steps_seen = self.steps();
        }
        self.look.ask(graphics, self.trainer.steps());
    }

    /// Takes the results that have arrived.
    pub(crate) fn collect(&mut self) -> Result<()> {
        let Self { metrics, progress, look, fault, .. } = self;
        if let Some(future) = metrics
            && let Poll::Ready(arrived) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            *metrics = None;
            let (steps, found) = arrived?;
            *fault = found;
            // Steps after a fault change no parameters, so their metrics are left out.
            let is_learned = |step: &StepMetrics| found.is_none_or(|fault| step.step < fault.step);
            for step in steps.into_iter().filter(is_learned) {
                progress.loss.push(step.step, step.loss.into());
                progress.accuracy.push(step.step, step.accuracy.map_or(f64::NAN, f64::from));
            }
        }
        if let Some((steps, evaluation)) = look.take()? {
            let accuracy = evaluation.accuracy.unwrap_or(f64::NAN);
            progress.held_out_loss.push(steps, evaluation.loss);
            progress.held_out_accuracy.push(steps, accuracy);
        }
        Ok(())
    }

    /// Whether results are pending, or have not been requested yet.
    pub(crate) fn is_waiting(&self) -> bool {
        let is_behind = self.steps_seen < self.steps() || self.look.is_behind(self.steps());
        self.metrics.is_some() || self.look.is_under_way() || is_behind
    }

    /// The fault that has stopped the training, if any.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }
}

fn dataset(points: &Points) -> Result<Dataset> {
    let places = points.places.iter().flatten().copied().collect();
    let inputs = Array2::from_shape_vec([points.places.len(), 2], places).expect("two columns");
    Dataset::new(inputs, targets(points))
}

fn targets(points: &Points) -> Targets<'static> {
    Targets::Values(points.classes.iter().map(|&class| class as f32).collect())
}
