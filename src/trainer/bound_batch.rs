//! One step on a batch in the app's buffers, in the app's encoder.

use wgpu::{BufferUsages, CommandEncoder};

use super::{Memory, Trainer};
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Matrix, Rows};
#[cfg(doc)]
use crate::options::OnFault;

/// A batch in the app's buffers, bound to the trainer that [bound](Trainer::bind_batch) it.
///
/// A step reads the values that the buffers hold when it runs.
///
/// ```
/// use wgpu::BufferUsages;
/// use ztilde::{Network, Rows, Trainer, TrainerOptions};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[3, 8, 2], Default::default())?;
/// let mut trainer = Trainer::new(network, TrainerOptions { batch_size: 10, ..Default::default() })?;
/// // Records of 16 bytes: three inputs, then a class.
/// # let usage = BufferUsages::STORAGE;
/// # let (label, size) = (None, 10 * 16);
/// # let samples =
/// #     device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false });
/// let part = |offset| Rows { buffer: &samples, offset, stride: Some(16) };
/// let batch = trainer.bind_batch(part(0), part(12))?;
///
/// // In each frame, after the pass that writes the samples:
/// let mut encoder = device.create_command_encoder(&Default::default());
/// trainer.encode_bound_step(&mut encoder, &batch)?;
/// queue.submit([encoder.finish()]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Debug)]
pub struct BoundBatch {
    /// Copies the rows to the trainer's own batch.
    arrival: Vec<Dispatch>,
    /// The inputs of the trainer's own batch, which identify the trainer.
    batch_inputs: Matrix,
}

impl Trainer {
    /// One step on a batch in the app's buffers, in the app's encoder.
    ///
    /// `inputs` are `batch_size` contiguous rows of `f32`, from the beginning of the buffer or from an
    /// offset on; so are targets that are values, while class indices are one `u32` per row.
    /// Rows some distance apart can be [bound](Trainer::bind_batch). Both buffers need
    /// `BufferUsages::COPY_SRC`.
    ///
    /// A class index without a class, or a target of binary cross-entropy outside 0 to 1, makes the
    /// step's loss NaN, which stops the learning ([`Trainer::fault`]) or skips the step ([`OnFault`]).
    ///
    /// The step is taken when the encoder is submitted. A dropped encoder is as if its step had never been
    /// encoded: learning rates, losses, counts and places follow the steps that the GPU has taken. Up to
    /// 7,000 steps may wait in encoders that were not submitted.
    ///
    /// ```
    /// use wgpu::util::{BufferInitDescriptor, DeviceExt};
    /// use wgpu::BufferUsages;
    /// use ztilde::{Network, Trainer, TrainerOptions, block_on};
    ///
    /// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    /// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    /// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    /// let network = Network::new(&device, &queue, &[2, 8, 2], Default::default())?;
    /// let mut trainer = Trainer::new(network, TrainerOptions { batch_size: 4, ..Default::default() })?;
    /// # let buffer = |contents: &[u8]| {
    /// #     let usage = BufferUsages::COPY_SRC;
    /// #     device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
    /// # };
    /// let points = buffer(bytemuck::cast_slice(&[[0.0_f32, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]));
    /// let classes = buffer(bytemuck::cast_slice(&[1_u32, 1, 0, 0]));
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// trainer.encode_step(&mut encoder, &points, &classes)?;
    /// queue.submit([encoder.finish()]);
    /// assert!(block_on(&device, trainer.loss())? > 0.0);
    /// # Ok::<(), ztilde::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if a buffer is too short, [`Error::Usage`] if it lacks the usage,
    /// [`Error::Placement`] if an offset is not a multiple of 4, or if rows are some distance apart.
    /// Nothing is encoded then. Errors that wgpu finds only when the encoder is finished or submitted, such
    /// as a buffer of another device or one that was destroyed, are reported by those calls.
    pub fn encode_step<'a>(
        &mut self,
        encoder: &mut CommandEncoder,
        inputs: impl Into<Rows<'a>>,
        targets: impl Into<Rows<'a>>,
    ) -> Result<()> {
        let Memory { dense_inputs, batch, .. } = &self.memory;
        let inputs = source("the buffer of inputs", inputs.into(), dense_inputs)?;
        let targets = source("the buffer of targets", targets.into(), &batch.targets)?;
        self.announce(1)?;
        let Memory { dense_inputs, batch, .. } = &self.memory;
        for (source, matrix) in [(inputs, dense_inputs), (targets, &batch.targets)] {
            let [from, to] = [source.first(), matrix.first()].map(|first| 4 * first);
            let length = 4 * matrix.values();
            encoder.copy_buffer_to_buffer(source.buffer(), from, matrix.buffer(), to, length);
        }
        self.encode(encoder, &self.arrival);
        self.count_encoded();
        Ok(())
    }

    /// Binds the rows of a batch in the app's buffers, any distance apart, for any number of
    /// [steps](Trainer::encode_bound_step). Inputs and targets may be in the same buffer.
    ///
    /// Rows are as in [`Trainer::encode_step`], but both buffers need `BufferUsages::STORAGE`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if a buffer is too short, [`Error::Usage`] if it lacks the usage,
    /// [`Error::Placement`] if an offset or a stride is not a multiple of 4, or if rows overlap, and errors
    /// of wgpu.
    pub fn bind_batch<'a>(
        &self,
        inputs: impl Into<Rows<'a>>,
        targets: impl Into<Rows<'a>>,
    ) -> Result<BoundBatch> {
        let batch = &self.memory.batch;
        let bind = |what, place, rows: Rows<'_>, matrix: &Matrix| {
            let rows = rows.matrix(what, BufferUsages::STORAGE, matrix.rows(), matrix.columns())?;
            self.copy_rows.bind(&self.network.gpu().device, place, &rows, matrix)
        };
        let mut arrival = bind("the buffer of inputs", "inputs", inputs.into(), &batch.inputs)?;
        let targets = targets.into();
        arrival.extend(bind("the buffer of targets", "targets", targets, &batch.targets)?);
        Ok(BoundBatch { arrival, batch_inputs: batch.inputs.clone() })
    }

    /// One step on a batch that was bound, in the app's encoder: as [`Trainer::encode_step`].
    ///
    /// # Errors
    ///
    /// [`Error::OtherTrainer`] if another trainer bound it, and errors of wgpu. Nothing is encoded
    /// then.
    pub fn encode_bound_step(
        &mut self,
        encoder: &mut CommandEncoder,
        batch: &BoundBatch,
    ) -> Result<()> {
        if batch.batch_inputs.buffer() != self.memory.batch.inputs.buffer() {
            return Err(Error::OtherTrainer);
        }
        self.announce(1)?;
        self.encode(encoder, &batch.arrival);
        self.count_encoded();
        Ok(())
    }
}

/// The rows that are copied to a matrix, if they are contiguous.
fn source(what: &'static str, rows: Rows<'_>, matrix: &Matrix) -> Result<Matrix> {
    let source = rows.matrix(what, BufferUsages::COPY_SRC, matrix.rows(), matrix.columns())?;
    let [length, stride] = [source.columns(), source.stride()].map(|values| 4 * u64::from(values));
    if stride != length {
        let apart = format!("rows of {length} bytes start {stride} apart");
        let reason = format!("{apart}: Trainer::bind_batch takes such rows");
        return Err(Error::Placement { what: what.to_owned(), reason });
    }
    Ok(source)
}
