use ndarray::Array2;

use super::{Layer, LayerGradients, LossGradient, layer_backward, layer_forward, loss};
use crate::data::Targets;
use crate::options::{Activation, Loss};

/// The output layer of a batch: its loss, and the gradients of its sums and of what it learns.
pub fn output_layer(
    layer: &Layer,
    inputs: &Array2<f64>,
    targets: &Targets<'_>,
    kind: Loss,
) -> (LossGradient, LayerGradients) {
    // Neither an activation nor a normalization, nor an epsilon then.
    let (activation, epsilon) = (Activation::Identity, 0.0);
    let (seen, outputs) = layer_forward(layer, inputs, None, activation, epsilon);
    let measured = loss(kind, &outputs, targets);
    let (_, gradients) = layer_backward(layer, &seen, &measured.grad_outputs, activation, epsilon);
    (measured, gradients)
}
