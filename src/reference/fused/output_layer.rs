use ndarray::Array2;

use crate::options::Activation;
use crate::reference::{Layer, LayerGradients, LossGradient, layer_backward, layer_forward};

/// The output layer of a batch: the loss of its outputs, and the gradients of its sums and of its
/// parameters.
pub fn output_layer(
    layer: &Layer,
    inputs: &Array2<f64>,
    loss: impl FnOnce(&Array2<f64>) -> LossGradient,
) -> (LossGradient, LayerGradients) {
    // Neither an activation nor a normalization, nor an epsilon then.
    let (activation, epsilon) = (Activation::Identity, 0.0);
    let (seen, outputs) = layer_forward(layer, inputs, None, activation, epsilon);
    let measured = loss(&outputs);
    let (_, gradients) = layer_backward(layer, &seen, &measured.grad_outputs, activation, epsilon);
    (measured, gradients)
}
