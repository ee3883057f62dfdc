use crate::options::{Method, Optimizer};

/// A step of a parameter that decays or does not; the step is counted from 1. `mean` is the velocity, if
/// the method calls it so.
pub fn update(
    optimizer: &Optimizer,
    step: u64,
    decays: bool,
    mut gradient: f64,
    parameter: &mut f64,
    [mean, mean_square]: [&mut f64; 2],
) {
    let rate = optimizer.learning_rate_at(step);
    let weight_decay = if decays { optimizer.weight_decay } else { 0.0 };
    if optimizer.method.is_decoupled() {
        *parameter -= rate * weight_decay * *parameter;
    } else {
        gradient += weight_decay * *parameter;
    }
    match optimizer.method {
        Method::GradientDescent => gradient_descent(parameter, gradient, rate),
        Method::Momentum { momentum: kept, nesterov } => {
            momentum(parameter, gradient, mean, rate, kept, nesterov);
        }
        Method::RmsProp { smoothing, epsilon } => {
            rmsprop(parameter, gradient, mean_square, rate, smoothing, epsilon);
        }
        Method::Adam { beta1, beta2, epsilon, decoupled: _ } => {
            adam(parameter, gradient, mean, mean_square, rate, beta1, beta2, epsilon, step);
        }
        Method::Lion { beta1, beta2 } => lion(parameter, gradient, mean, rate, beta1, beta2),
    }
}

/// `p −= rate · g`.
pub fn gradient_descent(parameter: &mut f64, gradient: f64, learning_rate: f64) {
    *parameter -= learning_rate * gradient;
}

/// `v = momentum · v + g`, then `p −= rate · v`; with `nesterov`, `p −= rate · (g + momentum · v)`.
pub fn momentum(
    parameter: &mut f64,
    gradient: f64,
    velocity: &mut f64,
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
) {
    *velocity = momentum * *velocity + gradient;
    let direction = if nesterov { gradient + momentum * *velocity } else { *velocity };
    *parameter -= learning_rate * direction;
}

/// `s = smoothing · s + (1 − smoothing) · g²`, then `p −= rate · g / (√s + epsilon)`.
pub fn rmsprop(
    parameter: &mut f64,
    gradient: f64,
    mean_square: &mut f64,
    learning_rate: f64,
    smoothing: f64,
    epsilon: f64,
) {
    *mean_square = smoothing * *mean_square + (1.0 - smoothing) * gradient * gradient;
    *parameter -= learning_rate * gradient / (mean_square.sqrt() + epsilon);
}

/// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, then
/// `p −= rate / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + epsilon)`, with the step t counted from 1
/// (Kingma and Ba, arXiv 1412.6980).
#[expect(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn adam(
    parameter: &mut f64,
    gradient: f64,
    mean: &mut f64,
    mean_square: &mut f64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    step: u64,
) {
    *mean = beta1 * *mean + (1.0 - beta1) * gradient;
    *mean_square = beta2 * *mean_square + (1.0 - beta2) * gradient * gradient;
    let corrected_mean = *mean / (1.0 - beta1.powf(step as f64));
    let corrected_square = *mean_square / (1.0 - beta2.powf(step as f64));
    *parameter -= learning_rate * corrected_mean / (corrected_square.sqrt() + epsilon);
}

/// `p −= rate · sign(β₁·m + (1 − β₁)·g)`, then `m = β₂·m + (1 − β₂)·g` (Chen et al., arXiv 2302.06675). The
/// sign of 0 is 0.
pub fn lion(
    parameter: &mut f64,
    gradient: f64,
    mean: &mut f64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
) {
    let push = beta1 * *mean + (1.0 - beta1) * gradient;
    let direction = if push == 0.0 { 0.0 } else { push.signum() };
    *parameter -= learning_rate * direction;
    *mean = beta2 * *mean + (1.0 - beta2) * gradient;
}
