//! A trained network on rows that are in memory.

use ndarray::Array2;
use wgpu::Device;
use ztilde::{Inference, Network};

use crate::failure::Failure;

/// Outputs that are looked at together.
const OUTPUTS: usize = 1 << 22;

/// How many rows are looked at together.
pub(crate) fn rows_at_once(network: &Network) -> u32 {
    (OUTPUTS / network.outputs() as usize).max(1) as u32
}

/// The outputs for rows one behind the other, a row each.
pub(crate) fn outputs(
    device: &Device,
    network: &Network,
    inputs: &[f32],
) -> Result<Array2<f32>, Failure> {
    let outputs = ztilde::block_on(device, Inference::predict(network, inputs))?;
    let shape = (inputs.len() / network.inputs() as usize, network.outputs() as usize);
    Array2::from_shape_vec(shape, outputs)
        .map_err(|error| Failure::device(format!("the outputs: {error}")))
}
