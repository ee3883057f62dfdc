//! Values that are read now and then, without waiting: the network's outputs at held-out points, and the
//! activations of its hidden layers in the last step.

use std::collections::VecDeque;

use ndarray::Array2;
use wgpu::util::DeviceExt;
use wgpu::{Buffer, BufferUsages, CommandEncoderDescriptor, ComputePassDescriptor, Device};
use ztilde::kernels::activate::{self, Activate};
use ztilde::kernels::normalize::{self, Normalize};
use ztilde::kernels::{Dispatch, Matrix};
use ztilde::{
    Activation, Evaluation, HiddenLayer, Inference, Loss, NetworkOptions, Result, Targets, Trainer,
    evaluate,
};

use crate::data_sets::Points;
use crate::graphics::Graphics;
use crate::readback::Readback;

/// Rows of the last batches whose values are kept: enough for the shape of a distribution.
const KEPT_ROWS: usize = 512;

/// A look at a network during training.
pub(crate) struct Look {
    pub(crate) layers: Vec<LayerLook>,
    inference: Inference,
    targets: Targets<'static>,
    /// Encoded after the outputs.
    dispatches: Vec<Dispatch>,
    /// The buffers to copy, in this order: the outputs, then the matrices of each layer.
    sources: Vec<Buffer>,
    readback: Readback,
    /// The number of training steps when the last look was encoded.
    steps: Option<u64>,
}

/// The values of a hidden layer in the last batches.
pub(crate) struct LayerLook {
    pub(crate) units: usize,
    rows: usize,
    has_batch_norm: bool,
    /// The values in the order of the readback: pre-activations, ẑ and z̃, `[rows, units]`, then gamma
    /// and beta, `[units]`; without batch normalization only the pre-activations.
    batches: VecDeque<Vec<f32>>,
}

/// The values of a unit for the rows of the last batches.
pub(crate) struct UnitValues {
    /// The inputs of the normalization, or of the activation in a layer without normalization.
    pub(crate) sums: Vec<f32>,
    pub(crate) normalized: Option<NormalizedValues>,
}

pub(crate) struct NormalizedValues {
    /// ẑ.
    pub(crate) standardized: Vec<f32>,
    /// z̃.
    pub(crate) ztilde: Vec<f32>,
    pub(crate) gamma: f32,
    pub(crate) beta: f32,
}

impl Look {
    pub(crate) fn new(
        graphics: &Graphics,
        trainer: &Trainer,
        points: &Points,
        targets: Targets<'static>,
    ) -> Result<Self> {
        let device = &graphics.device;
        let rows = points.places.len() as u32;
        let inputs = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("playground/held-out points"),
            contents: bytemuck::cast_slice(&points.places),
            usage: BufferUsages::STORAGE,
        });
        let logits = storage(device, rows.into());
        let inference = Inference::new(trainer.network(), &inputs, &logits, rows)?;
        let (mut sources, mut dispatches, mut layers) = (vec![logits], Vec::new(), Vec::new());
        while let Some(layer) = trainer.hidden_layer(layers.len() + 1) {
            let kernels = LayerKernels::new(device)?;
            let (buffers, bound) = kernels.bind(device, &layer)?;
            sources.extend(buffers);
            dispatches.extend(bound);
            layers.push(LayerLook {
                units: layer.pre_activations.columns() as usize,
                rows: layer.pre_activations.rows() as usize,
                has_batch_norm: layer.batch_norm.is_some(),
                batches: VecDeque::new(),
            });
        }
        let bytes = sources.iter().map(Buffer::size).sum();
        let readback = Readback::new(device, "playground/look", bytes);
        Ok(Self { layers, inference, targets, dispatches, sources, readback, steps: None })
    }

    /// Whether a look is pending.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.readback.is_idle()
    }

    /// Whether the network has been trained since the last look.
    pub(crate) fn is_behind(&self, steps: u64) -> bool {
        self.steps != Some(steps)
    }

    /// Submits a look at the network after this many steps, if there were new steps and no look is pending.
    pub(crate) fn ask(&mut self, graphics: &Graphics, steps: u64) {
        if self.is_under_way() || !self.is_behind(steps) {
            return;
        }
        let label = Some("playground/look");
        let mut encoder =
            graphics.device.create_command_encoder(&CommandEncoderDescriptor { label });
        self.inference.encode(&mut encoder);
        let descriptor = ComputePassDescriptor { label, timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        for dispatch in &self.dispatches {
            dispatch.encode(&mut pass);
        }
        drop(pass);
        self.readback.encode(&mut encoder, &self.sources);
        graphics.queue.submit([encoder.finish()]);
        self.steps = Some(steps);
    }

    /// The results at the held-out points and the number of steps before them, once they have arrived.
    /// The layers then have their values, too.
    pub(crate) fn take(&mut self) -> Result<Option<(u64, Evaluation)>> {
        let (Some(values), Some(steps)) = (self.readback.take::<f32>()?, self.steps) else {
            return Ok(None);
        };
        let (logits, mut rest) = values.split_at(self.targets.len());
        // Before the first step there was no batch.
        for layer in self.layers.iter_mut().filter(|_| steps > 0) {
            let (batch, others) = rest.split_at(layer.values());
            layer.push(batch);
            rest = others;
        }
        let outputs = Array2::from_shape_vec([logits.len(), 1], logits.to_vec());
        let outputs = outputs.expect("one column");
        let evaluation = evaluate(&outputs, &self.targets, Loss::BinaryCrossEntropy)?;
        Ok(Some((steps, evaluation)))
    }
}

impl LayerLook {
    /// The number of values in a look.
    fn values(&self) -> usize {
        let batch = self.rows * self.units;
        if self.has_batch_norm { 3 * batch + 2 * self.units } else { batch }
    }

    fn push(&mut self, batch: &[f32]) {
        self.batches.push_back(batch.to_vec());
        while self.batches.len() > 1 && (self.batches.len() - 1) * self.rows >= KEPT_ROWS {
            self.batches.pop_front();
        }
    }

    /// The values of a unit in the last batches. None before the first.
    pub(crate) fn unit(&self, unit: usize) -> Option<UnitValues> {
        let last = self.batches.back()?;
        let size = self.rows * self.units;
        let column = |matrix: usize| {
            let matrices = self.batches.iter().map(|batch| &batch[matrix * size..][..size]);
            matrices.flat_map(|matrix| matrix[unit..].iter().step_by(self.units)).copied().collect()
        };
        let normalized = self.has_batch_norm.then(|| NormalizedValues {
            standardized: column(1),
            ztilde: column(2),
            gamma: last[3 * size + unit],
            beta: last[3 * size + self.units + unit],
        });
        Some(UnitValues { sums: column(0), normalized })
    }
}

/// The library's public kernels that copy a hidden layer into the playground's buffers.
struct LayerKernels {
    copy: Activate,
    normalize: Normalize,
}

impl LayerKernels {
    fn new(device: &Device) -> Result<Self> {
        let epsilon = NetworkOptions::default().epsilon;
        Ok(Self {
            copy: Activate::new(device, Activation::Identity)?,
            normalize: Normalize::new(device, epsilon)?,
        })
    }

    /// The buffers in the order of [`LayerLook::batches`], and the dispatches that fill them.
    fn bind(&self, device: &Device, layer: &HiddenLayer) -> Result<(Vec<Buffer>, Vec<Dispatch>)> {
        let (mut buffers, mut dispatches) = (Vec::new(), Vec::new());
        let sums = &layer.pre_activations;
        let mut copy = |inputs: &Matrix| {
            let (buffer, outputs) = matrix_like(device, inputs)?;
            let matrices = activate::Buffers { inputs, outputs: &outputs };
            dispatches.push(self.copy.bind(device, "playground/look", matrices)?);
            Ok(buffer)
        };
        buffers.push(copy(sums)?);
        let Some(batch_norm) = &layer.batch_norm else { return Ok((buffers, dispatches)) };
        let learned = [copy(&batch_norm.gamma)?, copy(&batch_norm.beta)?];
        let [ones, zeros] = [1.0, 0.0].map(|value| constant(device, value, sums.columns()));
        let (ones, zeros) = (ones?, zeros?);
        for [gamma, beta] in [[&ones, &zeros], [&batch_norm.gamma, &batch_norm.beta]] {
            let (buffer, outputs) = matrix_like(device, sums)?;
            let matrices = normalize::Buffers {
                inputs: sums,
                mean: &batch_norm.mean,
                variance: &batch_norm.variance,
                gamma,
                beta,
                outputs: &outputs,
            };
            dispatches.push(self.normalize.bind(device, "playground/look", matrices)?);
            buffers.push(buffer);
        }
        buffers.extend(learned);
        Ok((buffers, dispatches))
    }
}

fn matrix_like(device: &Device, other: &Matrix) -> Result<(Buffer, Matrix)> {
    let buffer = storage(device, u64::from(other.rows()) * u64::from(other.columns()));
    let matrix = Matrix::new(&buffer, 0, other.rows(), other.columns())?;
    Ok((buffer, matrix))
}

fn constant(device: &Device, value: f32, length: u32) -> Result<Matrix> {
    let buffer = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("playground/constant"),
        contents: bytemuck::cast_slice(&vec![value; length as usize]),
        usage: BufferUsages::STORAGE,
    });
    Matrix::vector(&buffer, 0, length)
}

fn storage(device: &Device, values: u64) -> Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("playground/look"),
        size: 4 * values,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}
