//! The values of a hidden layer after a training step, for apps that inspect or show them.

use super::Trainer;
use super::memory::{Kept, LayerMemory};
use crate::gpu::Matrix;
use crate::layout::Learned;

/// The values of a hidden layer after the last step, on the GPU: views of the trainer's own memory, for the
/// public [`kernels`](crate::kernels) to read. A view holds its memory, not the trainer.
///
/// The values are those of a batch from the submission of its step to that of the next step: kernels
/// that an app encodes after a step, in the same encoder or in a later submission, see that step. After
/// an epoch's last, smaller batch, the rows past its end hold values of earlier batches.
///
/// [`Normalize`](crate::kernels::normalize::Normalize) with the network's
/// [epsilon](crate::Network::epsilon) computes z̃ from the pre-activations, in a matrix of the app. With a
/// gamma of ones and a beta of zeros it computes ẑ.
///
/// ```
/// use ztilde::kernels::{Matrix, normalize};
/// # use ztilde::{Network, Trainer};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// # let network = Network::new(&device, &queue, &[2, 8, 2], Default::default())?;
/// # let mut trainer = Trainer::new(network, Default::default())?;
/// # trainer.step(&[0.5; 64 * 2], &[1_u32; 64])?;
/// # let (label, size) = (None, 64 * 8 * 4);
/// # let usage = wgpu::BufferUsages::STORAGE;
/// # let buffer =
/// #     device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false });
/// let layer = trainer.hidden_layer(1).expect("the network has a hidden layer");
/// let batch_norm = layer.batch_norm.as_ref().expect("it is normalized");
/// let ztilde = Matrix::new(&buffer, 0, layer.pre_activations.rows(), layer.pre_activations.columns())?;
/// let buffers = normalize::Buffers {
///     inputs: &layer.pre_activations,
///     mean: &batch_norm.mean,
///     variance: &batch_norm.variance,
///     gamma: &batch_norm.gamma,
///     beta: &batch_norm.beta,
///     outputs: &ztilde,
/// };
/// let normalize = normalize::Normalize::new(&device, trainer.network().epsilon())?;
/// let look = normalize.bind(&device, "look", buffers)?; // Bound once, encoded every frame.
/// let mut encoder = device.create_command_encoder(&Default::default());
/// look.encode(&mut encoder.begin_compute_pass(&Default::default()));
/// queue.submit([encoder.finish()]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HiddenLayer {
    /// `[batch_size, width]`: the inputs times the weights, which the normalization reads. In a layer without
    /// normalization, the same with the biases, which the activation reads.
    pub pre_activations: Matrix,
    /// The other inputs of the normalization, if the layer has batch normalization.
    pub batch_norm: Option<HiddenBatchNorm>,
    /// `[batch_size, width]`: the outputs of the activation.
    pub outputs: Matrix,
}

/// The inputs of a hidden layer's normalization: the statistics of the batch, and gamma and beta.
///
/// See the example of [`HiddenLayer`].
#[derive(Clone, Debug)]
pub struct HiddenBatchNorm {
    /// `[2, width]`: the batch's mean, as the sum of two rows.
    pub mean: Matrix,
    /// `[1, width]`: the batch's variance, which divides by the number of rows.
    pub variance: Matrix,
    /// `[1, width]`: the scale, after the step's update. The step itself used the previous value.
    pub gamma: Matrix,
    /// `[1, width]`: the shift, also after the step's update.
    pub beta: Matrix,
}

impl Trainer {
    /// The values of a hidden layer, counted from 1, after the last step. None for the output layer, for
    /// 0, and beyond the last layer.
    pub fn hidden_layer(&self, layer: usize) -> Option<HiddenLayer> {
        let index = layer.checked_sub(1)?;
        let (_, hidden) = self.network.learned().split_last()?;
        let learned = hidden.get(index)?;
        let LayerMemory { outputs, kept, .. } = self.memory.batch.layers.get(index)?;
        let Kept { sums, statistics: of_batch } = kept.as_ref()?;
        let batch_norm = match learned {
            Learned::Linear { .. } => None,
            Learned::Normalized { gamma, beta, .. } => {
                let statistics = |first, rows| {
                    let part = of_batch.slice(first, rows);
                    part.expect("the statistics have three rows or more")
                };
                Some(HiddenBatchNorm {
                    mean: statistics(0, 2),
                    variance: statistics(2, 1),
                    gamma: gamma.clone(),
                    beta: beta.clone(),
                })
            }
        };
        let (pre_activations, outputs) = (sums.clone(), outputs.clone());
        Some(HiddenLayer { pre_activations, batch_norm, outputs })
    }
}
