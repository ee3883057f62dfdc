//! One layer: its parameters, its intermediate results, and its gradients.

use ndarray::{Array1, Array2};

use super::Statistics;

/// One layer's parameters, as in [`ztilde::Layer`](crate::Layer).
///
/// See the example of [`Network`](super::Network).
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the layers of Parameters")]
pub enum Layer {
    /// `inputs · weightsᵀ + biases`.
    Linear { weights: Array2<f64>, biases: Array1<f64> },
    /// `inputs · weightsᵀ`, normalized over the batch, then scaled and shifted.
    Normalized {
        weights: Array2<f64>,
        gamma: Array1<f64>,
        beta: Array1<f64>,
        running_mean: Array1<f64>,
        running_var: Array1<f64>,
        batches: u64,
    },
}

/// The intermediate results of one layer in a training pass.
///
/// See the example of [`Network`](super::Network).
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPass {
    /// `[rows, inputs]`: the inputs of the layer.
    pub inputs: Array2<f64>,
    /// `[rows, outputs]`: `inputs · weightsᵀ`.
    pub sums: Array2<f64>,
    /// The sums' mean and variance over the batch, if the layer is normalized.
    pub statistics: Option<Statistics>,
    /// `[rows, outputs]`: the pre-activations, which are the sums with their biases, or the sums normalized,
    /// scaled and shifted.
    pub ztilde: Array2<f64>,
}

/// The gradient of the loss by the parameters of one layer.
///
/// See the example of [`Network`](super::Network).
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the gradient by what its name says")]
pub enum LayerGradients {
    /// The gradients of a [`Layer::Linear`].
    Linear { grad_weights: Array2<f64>, grad_biases: Array1<f64> },
    /// The gradients of a [`Layer::Normalized`].
    Normalized { grad_weights: Array2<f64>, grad_gamma: Array1<f64>, grad_beta: Array1<f64> },
}
