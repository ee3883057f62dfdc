use ndarray::Array2;

use crate::options::Activation;
use crate::reference::{
    Layer, LayerGradients, LayerPass, NormalizeGradients, Statistics, activate_backward,
    grad_weights, normalize_backward, normalize_gradients,
};

/// The backward pass of a layer: from the gradient of its outputs to the gradients of its sums and of its
/// parameters.
pub fn layer_backward(
    layer: &Layer,
    seen: &LayerPass,
    grad_outputs: &Array2<f64>,
    activation: Activation,
    epsilon: f64,
) -> (Array2<f64>, LayerGradients) {
    let LayerPass { inputs, sums, statistics, ztilde } = seen;
    let grad_ztilde = activate_backward(ztilde, grad_outputs, activation);
    match (layer, statistics) {
        (Layer::Normalized { gamma, .. }, Some(Statistics { mean, variance })) => {
            let gradients = normalize_gradients(sums, mean, variance, &grad_ztilde, epsilon);
            let grad_sums =
                normalize_backward(sums, mean, variance, gamma, &gradients, &grad_ztilde, epsilon);
            let (grad_weights, _) = grad_weights(&grad_sums, inputs);
            let NormalizeGradients { grad_gamma, grad_beta } = gradients;
            (grad_sums, LayerGradients::Normalized { grad_weights, grad_gamma, grad_beta })
        }
        _ => {
            let (grad_weights, grad_biases) = grad_weights(&grad_ztilde, inputs);
            (grad_ztilde, LayerGradients::Linear { grad_weights, grad_biases })
        }
    }
}
