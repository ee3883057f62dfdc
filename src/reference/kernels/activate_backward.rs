use std::f64::consts::TAU;

use ndarray::{Array2, Zip};

use super::activate::{normal_distribution, sigmoid};
use crate::options::Activation;

/// `grad_outputs · activation′(inputs)`; the inputs are the values before the activation.
pub fn activate_backward(
    inputs: &Array2<f64>,
    grad_outputs: &Array2<f64>,
    activation: Activation,
) -> Array2<f64> {
    Zip::from(inputs)
        .and(grad_outputs)
        .map_collect(|&x, &grad_output| grad_output * derivative(x, activation))
}

fn derivative(x: f64, activation: Activation) -> f64 {
    match activation {
        _ if x.is_nan() => x,
        Activation::Relu if x > 0.0 => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu if x > 0.0 => 1.0,
        Activation::LeakyRelu => Activation::NEGATIVE_SLOPE.into(),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
        Activation::Gelu => normal_distribution(x) + x * (-0.5 * x * x).exp() / TAU.sqrt(),
        Activation::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
        Activation::Identity => 1.0,
    }
}
