use ndarray::Array2;

use crate::options::Activation;
use crate::reference::{Layer, Statistics, layer_forward};

/// All layers in inference: with the running statistics, and linear at the end.
pub fn network_forward(
    layers: &[Layer],
    inputs: &Array2<f64>,
    activation: Activation,
    epsilon: f64,
) -> Array2<f64> {
    let mut outputs = inputs.clone();
    for (index, layer) in layers.iter().enumerate() {
        let running = match layer {
            Layer::Linear { .. } => None,
            Layer::Normalized { running_mean: mean, running_var: variance, .. } => {
                Some(Statistics { mean: mean.clone(), variance: variance.clone() })
            }
        };
        let is_last = index + 1 == layers.len();
        let activation = if is_last { Activation::Identity } else { activation };
        (_, outputs) = layer_forward(layer, &outputs, running, activation, epsilon);
    }
    outputs
}
