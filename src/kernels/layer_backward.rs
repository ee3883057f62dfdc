//! `shaders/layer_backward.wgsl`: the gradients of a layer, from those of the sums of the next one.
//!
//! Its twin is [`crate::reference::layer_backward`].

use wgpu::Device;

use super::activate;
use crate::error::Result;
use crate::gpu::{Core, Dispatch, Kernel, Matrix};
use crate::options::Activation;

const FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/layer_backward.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/strip_gradients.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
);
const FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/layer_backward.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/strip_gradients.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
);

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct LayerBackward {
    kernel: Kernel,
    core: Core,
}

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Options {
    /// The output layer, whose gradients come from the loss.
    Last,
    /// A hidden layer.
    Hidden { activation: Activation, batch_norm: bool, epsilon: f32 },
}

/// What the kernel reads and writes. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`: of the layer.
    pub(crate) inputs: &'a Matrix,
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// `[outputs, inputs]`: a part of the parameters, as are the vectors.
    pub(crate) weights: &'a Matrix,
    /// Gamma and beta; or twice the biases. One per output.
    pub(crate) vectors: [&'a Matrix; 2],
    /// What a hidden layer needs besides.
    pub(crate) hidden: Option<Hidden<'a>>,
    /// `[rows, outputs]`: written, or read if the layer is the last.
    pub(crate) grad_sums: &'a Matrix,
    /// The gradients, packed like the parameters.
    pub(crate) gradients: &'a Matrix,
}

/// What the kernel reads for a hidden layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden<'a> {
    /// `[rows, next outputs]`: the gradients of the next layer's sums.
    pub(crate) next_grad_sums: &'a Matrix,
    /// `[next outputs, outputs]`: a part of the parameters.
    pub(crate) next_weights: &'a Matrix,
    /// `[rows, outputs]`: from [`super::layer_forward`].
    pub(crate) sums: &'a Matrix,
    /// `[3, outputs]`: from [`super::layer_forward`], if the layer is normalized.
    pub(crate) statistics: Option<&'a Matrix>,
}

impl LayerBackward {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, options: Options) -> Result<Self> {
        let core = Core::for_device(device);
        let (is_last, activation, batch_norm, epsilon) = match options {
            Options::Last => (true, Activation::Identity, false, 0.0),
            Options::Hidden { activation, batch_norm, epsilon } => {
                (false, activation, batch_norm, epsilon)
            }
        };
        let [_, activation, negative_slope] = activate::constants(activation);
        let constants = [
            ("IS_LAST", f64::from(u8::from(is_last))),
            ("BATCH_NORM", f64::from(u8::from(batch_norm))),
            ("EPSILON", epsilon.into()),
            activation,
            negative_slope,
        ];
        let source = core.choose(FOR_SUBGROUPS, FOR_WORKGROUPS);
        let kernel = Kernel::trusted(device, "layer_backward", source, &constants)?;
        Ok(Self { kernel, core })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { inputs, parameters, weights, vectors, hidden, grad_sums, gradients } =
            buffers;
        let kernel = "layer_backward";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        gradients.expect_shape(kernel, "gradients", [1, parameters.columns()])?;
        for vector in vectors {
            vector.expect_padded(kernel, "gamma, beta or the biases", [1, columns])?;
        }
        if let Some(Hidden { next_grad_sums, next_weights, sums, statistics }) = hidden {
            let next = next_weights.rows();
            next_grad_sums.expect_padded(kernel, "next_grad_sums", [rows, next])?;
            next_weights.expect_padded(kernel, "next_weights", [next, columns])?;
            sums.expect_padded(kernel, "sums", [rows, columns])?;
            if let Some(statistics) = statistics {
                statistics.expect_padded(kernel, "statistics", [3, columns])?;
            }
        }
        let first = |part: &Matrix| part.first_quad() - parameters.first_quad();
        let uniform = [
            rows,
            columns,
            hidden.map_or(0, |hidden| hidden.next_weights.rows()),
            inner,
            hidden.map_or(0, |hidden| first(hidden.next_weights)),
            first(vectors[0]),
            first(vectors[1]),
            first(weights),
        ];
        // What is not read has to be bound all the same.
        let next_grad_sums = hidden.map_or(inputs, |hidden| hidden.next_grad_sums);
        let sums = hidden.map_or(inputs, |hidden| hidden.sums);
        let statistics = hidden.and_then(|hidden| hidden.statistics).unwrap_or(inputs);
        self.kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[next_grad_sums, parameters, sums, statistics, inputs, grad_sums, gradients],
            [self.core.strips(columns), 1, 1],
        )
    }
}
