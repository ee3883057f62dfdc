//! `shaders/fused/narrow_forward.wgsl`: all layers of a narrow network in inference, each row by one
//! invocation.
//!
//! Its twin is [`crate::reference::network_forward`].

mod text;

use wgpu::Device;

use super::network_forward::{Layer, Tensors};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, largest_binding, uniform, workgroups};
use crate::kernels::activate;
use crate::options::Activation;
use crate::plan::{DeviceClass, Tile, Tiling};

const WORKGROUP_SIZE: u32 = 64;

/// The kernel, compiled for the layers of one network.
#[derive(Clone, Debug)]
pub(crate) struct NarrowForward {
    kernel: Kernel<Network>,
    inputs: u32,
    outputs: u32,
    is_normalized: bool,
}

uniform! {
    struct Network {
        rows: u32,
        inputs: u32,
        input_stride: u32,
        outputs: u32,
        output_stride: u32,
    }
}

impl NarrowForward {
    /// Compiles the kernel for a device and these tensors, or tensors at the same places of other buffers.
    pub(crate) fn new(
        device: &Device,
        tensors: Tensors<'_>,
        activation: Activation,
        epsilon: f32,
    ) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/narrow_forward.wgsl"),
            include_str!("../../shaders/shared/column.wgsl"),
            include_str!("../../shaders/shared/activation.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let entries: Vec<_> = tensors.layers.iter().map(|layer| entry(layer, tensors)).collect();
        let quads = [tensors.parameters, tensors.running].map(|all| (all.values() / 4) as u32);
        let tile = Tiling::single(DeviceClass::from(device)).tile;
        let text = text::text(&entries, quads, matches!(tile, Tile::Subgroup { .. }));
        let [_, activation, negative_slope] = activate::constants(activation);
        let size = ("WORKGROUP_SIZE", WORKGROUP_SIZE.into());
        let constants = [size, ("EPSILON", epsilon.into()), activation, negative_slope];
        let text = [source, &text].concat();
        Ok(Self {
            kernel: Kernel::trusted(device, "narrow_forward", &text, &constants)?,
            inputs: entries.first().map_or(0, |layer| layer.inputs),
            outputs: entries.last().map_or(0, |layer| layer.outputs),
            is_normalized: entries.iter().any(|layer| layer.normalization.is_some()),
        })
    }

    /// Whether the kernel can read inputs, or write outputs, where they are: a binding holds them, and their
    /// rows start at whole vectors.
    pub(crate) fn takes(device: &Device, matrix: &Matrix) -> bool {
        let size = text::vector(matrix.columns());
        let aligned = matrix.aligned(device);
        let places = [aligned.layout().first, aligned.stride()];
        places.iter().all(|place| place.is_multiple_of(size))
            && 4 * aligned.values() <= largest_binding(&device.limits())
    }

    /// Binds the kernel to `[parameters, running statistics]` and `[inputs, outputs]`, which it
    /// [takes](Self::takes).
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        [parameters, running]: [&Matrix; 2],
        [inputs, outputs]: [&Matrix; 2],
    ) -> Result<Dispatch> {
        let rows = inputs.rows();
        inputs.expect_rows("narrow_forward", "inputs", [rows, self.inputs])?;
        outputs.expect_rows("narrow_forward", "outputs", [rows, self.outputs])?;
        let [inputs, outputs] = [inputs, outputs].map(|matrix| matrix.aligned(device));
        let vectors = |matrix: &Matrix| {
            [matrix.layout().first, matrix.stride()]
                .map(|place| place / text::vector(matrix.columns()))
        };
        let [[first_input, input_stride], [first_output, output_stride]] =
            [vectors(&inputs), vectors(&outputs)];
        let network = Network {
            rows,
            inputs: first_input,
            input_stride,
            outputs: first_output,
            output_stride,
        };
        let mut matrices = vec![parameters, &inputs, &outputs];
        matrices.extend(self.is_normalized.then_some(running));
        let x = workgroups(rows.into(), WORKGROUP_SIZE);
        let y = rows.div_ceil(WORKGROUP_SIZE).div_ceil(x);
        self.kernel.bind(device, place, network, &matrices, [x, y, 1])
    }
}

fn entry(layer: &Layer<'_>, tensors: Tensors<'_>) -> text::Entry {
    let learned = |part: &Matrix| part.first_quad() - tensors.parameters.first_quad();
    let running = |part: &Matrix| part.first_quad() - tensors.running.first_quad();
    let normalization = layer.gamma.zip(layer.running).map(|(gamma, [mean, var])| {
        let (running_mean, running_var) = (running(mean), running(var));
        text::Normalization { gamma: learned(gamma), running_mean, running_var }
    });
    text::Entry {
        inputs: layer.weights.columns(),
        outputs: layer.weights.rows(),
        weights: learned(layer.weights),
        beta: learned(layer.beta),
        normalization,
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
