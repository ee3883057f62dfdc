use ndarray::{Array2, Zip};

use super::activate::derivative;
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
