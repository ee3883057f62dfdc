//! `shaders/output_layer.wgsl`: the output layer of a small batch, from its inputs to its gradients.
//!
//! Its twin is [`crate::reference::output_layer`].

use wgpu::Device;

use super::loss;
use crate::error::Result;
use crate::gpu::{Core, Dispatch, Kernel, Matrix};
use crate::options;

const FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/output_layer.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/grad_weights.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/row_loss.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
);
const FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/output_layer.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/grad_weights.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/row_loss.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
);

/// Rows up to which one workgroup is faster than several dispatches.
const MOST_ROWS: u32 = 256;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct OutputLayer {
    kernel: Kernel,
    loss: options::Loss,
}

/// What the kernel reads and writes. All rows but those of the last three are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`.
    pub(crate) inputs: &'a Matrix,
    /// The packed parameters, of which the following two are parts.
    pub(crate) parameters: &'a Matrix,
    /// `[outputs, inputs]`.
    pub(crate) weights: &'a Matrix,
    /// One per output.
    pub(crate) biases: &'a Matrix,
    /// `[rows, outputs]`: the gradient of the loss by the outputs.
    pub(crate) grad_sums: &'a Matrix,
    /// The gradients, packed like the parameters.
    pub(crate) gradients: &'a Matrix,
    /// As [`super::loss`] takes them.
    pub(crate) targets: &'a Matrix,
    /// As [`super::record_step`] takes it.
    pub(crate) step: &'a Matrix,
    /// As [`super::record_step`] takes it.
    pub(crate) history: &'a Matrix,
}

impl OutputLayer {
    /// Whether the kernel takes a layer of this shape.
    pub(crate) fn serves(device: &Device, rows: u32, columns: u32) -> bool {
        rows <= MOST_ROWS && Core::for_device(device).strips(columns) == 1
    }

    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, loss: options::Loss) -> Result<Self> {
        let source = Core::for_device(device).choose(FOR_SUBGROUPS, FOR_WORKGROUPS);
        let constants = [("LOSS", loss::number(loss))];
        let kernel = Kernel::trusted(device, "output_layer", source, &constants)?;
        Ok(Self { kernel, loss })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { inputs, parameters, weights, biases, grad_sums, gradients, .. } = buffers;
        let Buffers { targets, step, history, .. } = buffers;
        let kernel = "output_layer";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        biases.expect_padded(kernel, "biases", [1, columns])?;
        grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        let slabs = gradients.rows();
        gradients.expect_padded(kernel, "gradients", [slabs, parameters.columns()])?;
        let target_shape = if self.loss.has_class_targets() { [1, rows] } else { [rows, columns] };
        targets.expect(kernel, "targets", target_shape)?;
        step.expect(kernel, "step", [1, 1])?;
        history.expect(kernel, "history", [history.rows(), 2])?;
        let first = |part: &Matrix| part.first_quad() - parameters.first_quad();
        let [weights, biases] = [first(weights), first(biases)];
        let uniform = [rows, columns, inner, weights, biases, history.rows(), rows, 0];
        self.kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[inputs, parameters, targets, grad_sums, gradients, step, history],
            [1, 1, 1],
        )
    }
}
