//! A network that learns: its trainer, its surface, and what is known of its progress.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ndarray::Array2;
use wgpu::{Buffer, BufferUsages, CommandEncoderDescriptor};
use ztilde::{
    Dataset, Inference, Loss, Network, Result, StepMetrics, Targets, Trainer, TrainingData,
    evaluate,
};

use crate::curve::Curve;
use crate::data_sets::Points;
use crate::graphics::Graphics;
use crate::readback::Readback;
use crate::settings::Settings;
use crate::surface::Surface;

/// Steps whose metrics are read at once: the trainer keeps no more than 8192.
const MOST_METRICS: u64 = 8000;

/// Steps whose mean is the finest value of a curve: a single batch's loss says little.
const STEPS_PER_VALUE: u64 = 10;

pub(crate) struct Learner {
    pub(crate) batch_norm: bool,
    pub(crate) surface: Arc<Surface>,
    pub(crate) progress: Progress,
    trainer: Trainer,
    data: TrainingData,
    held_out: HeldOut,
    /// What the last steps saw, on its way.
    metrics: Option<Pin<Box<dyn Future<Output = Result<Vec<StepMetrics>>>>>>,
    /// Steps whose metrics were asked for.
    steps_seen: u64,
}

/// Loss and accuracy over the steps.
pub(crate) struct Progress {
    pub(crate) loss: Curve,
    pub(crate) accuracy: Curve,
    pub(crate) held_out_loss: Curve,
    pub(crate) held_out_accuracy: Curve,
}

/// The points that the network does not learn from, and what it answers there.
struct HeldOut {
    inference: Inference,
    logits: Buffer,
    readback: Readback,
    targets: Targets<'static>,
    /// Steps that the network had learned when its answers were asked for.
    steps: u64,
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
            held_out: HeldOut::new(graphics, trainer.network(), &held_out)?,
            trainer,
            data,
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

    /// Submits so many steps; does not wait.
    pub(crate) fn train(&mut self, steps: u32) -> Result<()> {
        self.trainer.train(&mut self.data, steps)
    }

    /// Asks how the network does by now, where the last answer has arrived; does not wait.
    pub(crate) fn ask(&mut self, graphics: &Graphics) {
        let new_steps = (self.steps() - self.steps_seen).min(MOST_METRICS);
        if self.metrics.is_none() && new_steps > 0 {
            self.metrics = Some(Box::pin(self.trainer.metrics(new_steps as u32)));
            self.steps_seen = self.steps();
        }
        if self.held_out.readback.is_idle() {
            self.held_out.ask(graphics, self.trainer.steps());
        }
    }

    /// Takes what has arrived.
    pub(crate) fn collect(&mut self) -> Result<()> {
        let Self { metrics, progress, held_out, .. } = self;
        if let Some(future) = metrics
            && let Poll::Ready(arrived) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            *metrics = None;
            for step in arrived? {
                progress.loss.push(step.step, step.loss.into());
                progress.accuracy.push(step.step, step.accuracy.into());
            }
        }
        if let Some(logits) = held_out.readback.take::<f32>() {
            let outputs = Array2::from_shape_vec([logits.len(), 1], logits).expect("one column");
            let evaluation = evaluate(&outputs, &held_out.targets, Loss::BinaryCrossEntropy)?;
            let accuracy = evaluation.accuracy.unwrap_or(f64::NAN);
            progress.held_out_loss.push(held_out.steps, evaluation.loss);
            progress.held_out_accuracy.push(held_out.steps, accuracy);
        }
        Ok(())
    }

    /// Whether an answer is on its way.
    pub(crate) fn is_waiting(&self) -> bool {
        self.metrics.is_some() || !self.held_out.readback.is_idle()
    }

    /// Whether the last loss is no number: the steps were too long.
    pub(crate) fn has_diverged(&self) -> bool {
        self.progress.loss.last().is_some_and(|loss| !loss.is_finite())
    }
}

impl HeldOut {
    fn new(graphics: &Graphics, network: &Network, points: &Points) -> Result<Self> {
        use wgpu::util::DeviceExt;
        let device = &graphics.device;
        let rows = points.places.len() as u32;
        let inputs = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("playground/held-out points"),
            contents: bytemuck::cast_slice(&points.places),
            usage: BufferUsages::STORAGE,
        });
        let logits = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("playground/held-out logits"),
            size: u64::from(4 * rows),
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Ok(Self {
            inference: Inference::new(network, &inputs, &logits, rows)?,
            readback: Readback::new(device, "playground/held-out logits", logits.size()),
            logits,
            targets: targets(points),
            steps: 0,
        })
    }

    fn ask(&mut self, graphics: &Graphics, steps: u64) {
        let label = Some("playground/held-out points");
        let mut encoder =
            graphics.device.create_command_encoder(&CommandEncoderDescriptor { label });
        self.inference.encode(&mut encoder);
        self.readback.encode(&mut encoder, &[(&self.logits, self.logits.size())]);
        graphics.queue.submit([encoder.finish()]);
        self.steps = steps;
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
