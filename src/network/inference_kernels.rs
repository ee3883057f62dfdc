//! The compiled kernels of inference.

use wgpu::Device;

use crate::error::Result;
use crate::fused::copy_rows::CopyRows;
use crate::fused::layer_forward::LayerForward;
use crate::fused::narrow_forward::NarrowForward;
use crate::fused::network_forward::{NetworkForward, Tensors};
use crate::gpu::side_by_side;
use crate::options::Activation;
use crate::parameters::{Layer, Parameters};
use crate::plan::{DeviceClass, InferencePlan, LayerSizes, Tiling};

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
    /// All layers in one dispatch, whose invocations own rows.
    Narrow(NarrowForward),
    /// All layers in one dispatch, whose workgroups own tiles of rows.
    InOne(NetworkForward),
    /// One dispatch per layer.
    Layers(Vec<LayerForward>),
}

impl InferenceKernels {
    /// Compiles the kernels of a plan that the device [can](plan) follow.
    pub(super) fn new(
        device: &Device,
        plan: InferencePlan,
        parameters: &Parameters,
        tensors: Tensors<'_>,
    ) -> Result<Self> {
        side_by_side(|| {
            let forward = Forward::new(device, plan, parameters, tensors)?;
            Ok(Self { forward, copy_rows: CopyRows::new(device)? })
        })
    }
}

impl Forward {
    fn new(
        device: &Device,
        plan: InferencePlan,
        parameters: &Parameters,
        tensors: Tensors<'_>,
    ) -> Result<Self> {
        let Parameters { activation, epsilon, layers, .. } = parameters;
        Ok(match plan {
            InferencePlan::Narrow => {
                Self::Narrow(NarrowForward::new(device, tensors, *activation, *epsilon)?)
            }
            InferencePlan::InOne => {
                Self::InOne(NetworkForward::new(device, *activation, *epsilon)?)
            }
            InferencePlan::Layers => {
                let last = layers.len() - 1;
                let tiling = Tiling::single(DeviceClass::from(device));
                let compile = |(number, layer): (usize, &Layer)| {
                    let activation =
                        if number == last { Activation::Identity } else { *activation };
                    let is_normalized = matches!(layer, Layer::Normalized { .. });
                    LayerForward::for_inference(device, tiling, is_normalized, activation, *epsilon)
                };
                Self::Layers(layers.iter().enumerate().map(compile).collect::<Result<_>>()?)
            }
        })
    }
}

/// The plan for these layers, if the device has the storage buffers that it takes, or else one for any device.
pub(crate) fn plan(device: &Device, layers: &[LayerSizes]) -> InferencePlan {
    match InferencePlan::new(DeviceClass::from(device), layers) {
        InferencePlan::InOne if !NetworkForward::fits(device) => InferencePlan::Layers,
        plan => plan,
    }
}
