//! What is learned, on the CPU: the hinge between GPU, file and reference.

use ndarray::{Array1, Array2};

use crate::options::Activation;

/// Everything that a network is: its layers, and what it computes between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The function after each hidden layer.
    pub activation: Activation,
    /// Added to the variance, inside the root.
    pub epsilon: f32,
    /// The weight of the new value in the running statistics.
    pub momentum: f32,
    /// The hidden layers, then the output layer, which is [`Layer::Linear`].
    pub layers: Vec<Layer>,
}

/// One layer's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// `inputs · weightsᵀ + biases`.
    Linear {
        /// `[outputs, inputs]`: a row is one neuron.
        weights: Array2<f32>,
        /// One per output.
        biases: Array1<f32>,
    },
    /// `inputs · weightsᵀ`, normalized over the batch, then scaled and shifted.
    Normalized {
        /// `[outputs, inputs]`: a row is one neuron.
        weights: Array2<f32>,
        /// One of each per output.
        batch_norm: BatchNorm,
    },
}

/// What batch normalization learns and remembers for each feature of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// The scale.
    pub gamma: Array1<f32>,
    /// The shift.
    pub beta: Array1<f32>,
    /// The mean that inference uses.
    pub running_mean: Array1<f32>,
    /// The variance that inference uses; it was averaged from variances that divide by n − 1.
    pub running_var: Array1<f32>,
    /// How many batches the running statistics have seen; PyTorch's `num_batches_tracked`.
    pub batches: u64,
}

impl Layer {
    /// `[outputs, inputs]`: a row is one neuron.
    pub fn weights(&self) -> &Array2<f32> {
        match self {
            Self::Linear { weights, .. } | Self::Normalized { weights, .. } => weights,
        }
    }
}
