//! How much memory a network takes, and what a device must allow for it.

use super::FEWEST_ROWS;
use crate::layout::{LearnedLayout, RunningLayout};
use crate::options::NetworkOptions;
use crate::plan::{LayerSizes, Slabs};

/// The limits that a device needs to train a network of these sizes on batches of `batch_size` rows:
/// WebGPU's defaults, with larger buffers and bindings if the network needs them.
///
/// Apps pass them to `request_device`. They also suffice for [`Inference`](crate::Inference) on any
/// number of rows. [`Inference::required_limits`](crate::Inference::required_limits) are lower, for
/// inference alone.
///
/// ```
/// use ztilde::required_limits;
/// use wgpu::{DeviceDescriptor, Limits};
///
/// assert_eq!(required_limits(&[64, 128, 10], 256), Limits::default());
/// let required_limits = required_limits(&[16_384, 16_384, 10], 256); // A gibibyte of weights.
/// assert!(required_limits.max_buffer_size > Limits::default().max_buffer_size);
/// let descriptor = DeviceDescriptor { required_limits, ..Default::default() };
/// ```
pub fn required_limits(layer_sizes: &[u32], batch_size: u32) -> wgpu::Limits {
    let bytes = largest_matrix(layer_sizes, batch_size);
    let defaults = wgpu::Limits::default();
    wgpu::Limits {
        max_buffer_size: defaults.max_buffer_size.max(bytes),
        max_storage_buffer_binding_size: defaults.max_storage_buffer_binding_size.max(bytes),
        ..defaults
    }
}

/// The bytes of the largest matrix that depends on the sizes and the batch.
pub(crate) fn largest_matrix(layer_sizes: &[u32], batch_size: u32) -> u64 {
    // More vectors than without batch normalization.
    let sizes = LayerSizes::of_network(layer_sizes, true);
    let learned = Slabs::most_values(&sizes, batch_size).saturating_mul(4);
    let widest = layer_sizes.iter().copied().max().unwrap_or(0);
    learned.max(padded_bytes(batch_size.max(FEWEST_ROWS), widest))
}

/// The bytes of a matrix whose rows are whole vectors of four.
pub(crate) fn padded_bytes(rows: u32, columns: u32) -> u64 {
    let values = u64::from(rows).saturating_mul(u64::from(columns).next_multiple_of(4));
    values.saturating_mul(4)
}

/// The GPU memory that will be needed, in bytes, by purpose. [`Trainer::planned_bytes`] and
/// [`Inference::planned_bytes`] compute it before anything is allocated.
///
/// Memory that does not grow with network, batch or data is left out: a few kilobytes per kernel.
///
/// [`Trainer::planned_bytes`]: crate::Trainer::planned_bytes
/// [`Inference::planned_bytes`]: crate::Inference::planned_bytes
///
/// ```
/// use ztilde::{Optimizer, Trainer, TrainerOptions};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let plan = |optimizer| {
///     let options = TrainerOptions { batch_size: 1024, optimizer, ..Default::default() };
///     Trainer::planned_bytes(&device, &[784, 512, 10], &Default::default(), &options)
/// };
/// let [plain, adam] = [Optimizer::gradient_descent(0.1), Optimizer::adam(0.001)].map(plan);
/// assert!(adam.parameters > plain.parameters, "Adam keeps two more values for each parameter");
/// println!("{:.1} MiB", adam.total() as f64 / f64::from(1 << 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBytes {
    /// The parameters and running statistics; in training also the gradients and the optimizer's state.
    pub parameters: u64,
    /// The matrices that have a row for each row of a batch, and the batch's statistics.
    pub batch: u64,
    /// The learning rates and losses of the last steps.
    pub history: u64,
}

impl PlannedBytes {
    /// The memory of a network alone.
    pub(crate) fn of_network(layer_sizes: &[u32], options: &NetworkOptions) -> Self {
        let shapes = LayerSizes::of_network(layer_sizes, options.batch_norm);
        let running = RunningLayout::new(&shapes).length().saturating_mul(4);
        let parameters = LearnedLayout::new(&shapes).bytes().saturating_add(running);
        Self { parameters, batch: 0, history: 0 }
    }

    /// The total.
    pub fn total(&self) -> u64 {
        self.parameters.saturating_add(self.batch).saturating_add(self.history)
    }
}
