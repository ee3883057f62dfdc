use std::f64::consts::{FRAC_2_PI, TAU};

use ndarray::Array2;

use crate::options::Activation;

/// The activation of every value.
pub fn activate(inputs: &Array2<f64>, activation: Activation) -> Array2<f64> {
    inputs.mapv(|x| value(x, activation))
}

fn value(x: f64, activation: Activation) -> f64 {
    match activation {
        // Not `max`, which makes 0 of NaN.
        Activation::Relu if x > 0.0 || x.is_nan() => x,
        Activation::Relu => 0.0,
        Activation::LeakyRelu if x > 0.0 => x,
        Activation::LeakyRelu => f64::from(Activation::NEGATIVE_SLOPE) * x,
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Gelu => x * normal_distribution(x),
        Activation::Silu => x * sigmoid(x),
        Activation::Identity => x,
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Elu if x > 0.0 => x,
        Activation::Elu => x.exp_m1(),
        Activation::Softplus => softplus(x),
        Activation::GeluTanh => x * sigmoid(gelu_argument(x)),
    }
}

/// The derivative at x, the value before the activation.
pub(super) fn derivative(x: f64, activation: Activation) -> f64 {
    if x.is_nan() {
        return x;
    }
    match activation {
        Activation::Relu if x > 0.0 => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu if x > 0.0 => 1.0,
        Activation::LeakyRelu => Activation::NEGATIVE_SLOPE.into(),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
        Activation::Gelu => normal_distribution(x) + x * (-0.5 * x * x).exp() / TAU.sqrt(),
        Activation::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
        Activation::Identity => 1.0,
        Activation::Mish => {
            let factor = softplus(x).tanh();
            factor + x * (1.0 - factor * factor) * sigmoid(x)
        }
        Activation::Elu if x > 0.0 => 1.0,
        Activation::Elu => x.exp(),
        Activation::Softplus => sigmoid(x),
        Activation::GeluTanh => {
            let argument = gelu_argument(x);
            let argument_slope = 2.0 * FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            sigmoid(argument) + x * sigmoid(argument) * sigmoid(-argument) * argument_slope
        }
    }
}

/// `1 / (1 + exp(−x))`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))`, whose exponential cannot overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `2 · √(2/π) · (x + 0.044715 · x³)`, whose sigmoid is `0.5 · (1 + tanh(…))` of its half.
fn gelu_argument(x: f64) -> f64 {
    2.0 * FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))
}

/// Φ: how much of the standard normal distribution lies below x.
fn normal_distribution(x: f64) -> f64 {
    // As 1 + erf(x/√2) this would cancel where x is far below 0.
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}
