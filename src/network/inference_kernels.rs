//! The compiled kernels of inference.

use wgpu::Device;

use crate::error::Result;
use crate::fused::copy_rows::CopyRows;
use crate::fused::layer_forward::LayerForward;
use crate::fused::network_forward::NetworkForward;
use crate::options::Activation;
use crate::parameters::{Layer, Parameters};
use crate::plan::{DeviceClass, Tiling};

/// The kernels of inference, without the kernels that only training runs.
#[derive(Clone, Debug)]
pub(crate) struct InferenceKernels {
    pub(crate) forward: Forward,
    /// Copies rows that are not whole vectors of four from the app's buffers and to them.
    pub(crate) copy_rows: CopyRows,
}

/// How inference divides the layers into dispatches.
#[derive(Clone, Debug)]
pub(crate) enum Forward {
    /// All layers in one dispatch, if that is faster.
    InOne(NetworkForward),
    /// One dispatch per layer.
    Layers(Vec<LayerForward>),
}

impl InferenceKernels {
    pub(super) fn new(device: &Device, parameters: &Parameters) -> Result<Self> {
        let Parameters { activation, epsilon, layers, .. } = parameters;
        let forward = if NetworkForward::serves(device, &parameters.layer_sizes()) {
            Forward::InOne(NetworkForward::new(device, *activation, *epsilon)?)
        } else {
            let last = layers.len() - 1;
            let tiling = Tiling::single(DeviceClass::from(device));
            let compile = |(number, layer): (usize, &Layer)| {
                let activation = if number == last { Activation::Identity } else { *activation };
                let is_normalized = matches!(layer, Layer::Normalized { .. });
                LayerForward::for_inference(device, tiling, is_normalized, activation, *epsilon)
            };
            Forward::Layers(layers.iter().enumerate().map(compile).collect::<Result<_>>()?)
        };
        Ok(Self { forward, copy_rows: CopyRows::new(device)? })
    }
}
