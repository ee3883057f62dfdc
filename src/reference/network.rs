//! The whole network: forward in training and in inference, and backward.

use ndarray::{Array1, Array2};

use super::{
    Layer, LayerGradients, LayerPass, layer_backward, layer_forward, matmul, network_forward,
};
use crate::{
    options::Activation,
    parameters::{self, Parameters},
};

/// [`Parameters`] in f64, and their forward and backward passes.
///
/// ```
/// use ztilde::{Activation, ndarray::array, reference::{Layer, Network}};
///
/// let hidden = Layer::Normalized {
///     weights: array![[1.0]],
///     gamma: array![4.0],
///     beta: array![1.0],
///     running_mean: array![0.0],
///     running_var: array![1.0],
///     batches: 0,
/// };
/// let output = Layer::Linear { weights: array![[2.0]], biases: array![0.5] };
/// let layers = vec![hidden, output];
/// // With this epsilon the normalized values are ±½: √(4 + 12) = 4. 1e-5 is usual.
/// let activation = Activation::Relu;
/// let mut network = Network { activation, epsilon: 12.0, momentum: 0.1, layers };
///
/// let pass = network.forward(&array![[1.0], [5.0]]);
/// assert_eq!(pass.layers[0].ztilde, array![[-1.0], [3.0]]);
/// assert_eq!(pass.outputs, array![[0.5], [6.5]]);
///
/// let gradients = network.backward(&pass, &array![[1.0], [1.0]]);
/// // The hidden layer's weights, gamma and beta, then the output layer's weights and biases.
/// assert_eq!(gradients.learned(), array![3.0, 1.0, 2.0, 3.0, 2.0]);
/// assert_eq!(gradients.grad_inputs, array![[-0.75], [0.75]]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The function after each layer but the last.
    pub activation: Activation,
    /// Added to the variance, inside the root.
    pub epsilon: f64,
    /// The weight of the batch's statistics in the running ones:
    /// `running = (1 − momentum) · running + momentum · batch`.
    pub momentum: f64,
    /// The hidden layers, then the output layer.
    pub layers: Vec<Layer>,
}

/// The results of the forward pass that the backward pass needs.
///
/// See the example of [`Network`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// The intermediate results of each layer, in the order of the layers.
    pub layers: Vec<LayerPass>,
    /// `[rows, outputs]`: the outputs of the network.
    pub outputs: Array2<f64>,
}

/// The gradient of the loss by the parameters of the network, and by its inputs.
///
/// See the example of [`Network`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// One for each layer, in the order of the layers.
    pub layers: Vec<LayerGradients>,
    /// `[rows, inputs]`: the gradient by the network's inputs.
    pub grad_inputs: Array2<f64>,
}

impl Network {
    /// The outputs in inference, `[rows, outputs]`, from inputs of `[rows, inputs]`: normalized with the
    /// running statistics, and linear at the end.
    pub fn infer(&self, inputs: &Array2<f64>) -> Array2<f64> {
        network_forward(&self.layers, inputs, self.activation, self.epsilon)
    }

    /// A training pass: normalizes with the batch's own statistics, and moves the running ones.
    ///
    /// # Panics
    ///
    /// If a layer is normalized and the batch has fewer than 2 rows.
    pub fn forward(&mut self, inputs: &Array2<f64>) -> Pass {
        let pass = self.pass(inputs);
        for (layer, seen) in self.layers.iter_mut().zip(&pass.layers) {
            if let Layer::Normalized { running_mean, running_var, batches, .. } = layer
                && let Some(statistics) = &seen.statistics
            {
                statistics.move_running(inputs.nrows(), self.momentum, running_mean, running_var);
                *batches += 1;
            }
        }
        pass
    }

    /// A training pass that does not change the running statistics.
    pub fn pass(&self, inputs: &Array2<f64>) -> Pass {
        let mut outputs = inputs.clone();
        let mut layers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let activation = self.activation_after(index);
            let seen;
            (seen, outputs) = layer_forward(layer, &outputs, None, activation, self.epsilon);
            layers.push(seen);
        }
        Pass { layers, outputs }
    }

    /// The backward pass of a training pass, from the gradient of the loss by its outputs.
    pub fn backward(&self, pass: &Pass, grad_outputs: &Array2<f64>) -> Gradients {
        let mut grad = grad_outputs.clone();
        let mut layers = Vec::new();
        for (index, (layer, seen)) in self.layers.iter().zip(&pass.layers).enumerate().rev() {
            let activation = self.activation_after(index);
            let (grad_sums, gradients) =
                layer_backward(layer, seen, &grad, activation, self.epsilon);
            grad = matmul(grad_sums.view(), layer.weights().view());
            layers.push(gradients);
        }
        layers.reverse();
        Gradients { layers, grad_inputs: grad }
    }

    fn activation_after(&self, layer: usize) -> Activation {
        if layer + 1 < self.layers.len() { self.activation } else { Activation::Identity }
    }

    /// Every parameter, and whether it is a weight. Layer by layer: the weights row by row, then the biases,
    /// or gamma and then beta. Only weights decay, unless
    /// [`Optimizer::decays_all`](crate::Optimizer::decays_all) is set.
    pub fn learned_mut(&mut self) -> Vec<(&mut f64, bool)> {
        let mut learned = Vec::new();
        for layer in &mut self.layers {
            match layer {
                Layer::Linear { weights, biases } => {
                    learned.extend(weights.iter_mut().map(|weight| (weight, true)));
                    learned.extend(biases.iter_mut().map(|bias| (bias, false)));
                }
                Layer::Normalized { weights, gamma, beta, .. } => {
                    learned.extend(weights.iter_mut().map(|weight| (weight, true)));
                    learned.extend(gamma.iter_mut().chain(beta).map(|value| (value, false)));
                }
            }
        }
        learned
    }
}

impl Layer {
    /// The weights, `[outputs, inputs]`: a row is one neuron.
    pub fn weights(&self) -> &Array2<f64> {
        match self {
            Self::Linear { weights, .. } | Self::Normalized { weights, .. } => weights,
        }
    }
}

impl Gradients {
    /// The gradients by all parameters, in the order of [`Network::learned_mut`].
    pub fn learned(&self) -> Array1<f64> {
        let mut learned = Vec::new();
        for layer in &self.layers {
            match layer {
                LayerGradients::Linear { grad_weights, grad_biases } => {
                    learned.extend(grad_weights.iter().chain(grad_biases));
                }
                LayerGradients::Normalized { grad_weights, grad_gamma, grad_beta } => {
                    learned.extend(grad_weights.iter().chain(grad_gamma).chain(grad_beta));
                }
            }
        }
        Array1::from(learned)
    }
}

impl From<&Parameters> for Network {
    fn from(parameters: &Parameters) -> Self {
        let layer = |layer: &parameters::Layer| match layer {
            parameters::Layer::Linear { weights, biases } => {
                Layer::Linear { weights: weights.mapv(f64::from), biases: biases.mapv(f64::from) }
            }
            parameters::Layer::Normalized { weights, batch_norm } => Layer::Normalized {
                weights: weights.mapv(f64::from),
                gamma: batch_norm.gamma.mapv(f64::from),
                beta: batch_norm.beta.mapv(f64::from),
                running_mean: batch_norm.running_mean.mapv(f64::from),
                running_var: batch_norm.running_var.mapv(f64::from),
                batches: batch_norm.batches,
            },
        };
        Self {
            activation: parameters.activation,
            epsilon: parameters.epsilon.into(),
            momentum: parameters.momentum.into(),
            layers: parameters.layers.iter().map(layer).collect(),
        }
    }
}

impl From<&Network> for Parameters {
    /// Rounds every number to f32.
    fn from(network: &Network) -> Self {
        let round = |x: f64| x as f32;
        let layer = |layer: &Layer| match layer {
            Layer::Linear { weights, biases } => parameters::Layer::Linear {
                weights: weights.mapv(round),
                biases: biases.mapv(round),
            },
            Layer::Normalized { weights, gamma, beta, running_mean, running_var, batches } => {
                parameters::Layer::Normalized {
                    weights: weights.mapv(round),
                    batch_norm: parameters::BatchNorm {
                        gamma: gamma.mapv(round),
                        beta: beta.mapv(round),
                        running_mean: running_mean.mapv(round),
                        running_var: running_var.mapv(round),
                        batches: *batches,
                    },
                }
            }
        };
        Self {
            activation: network.activation,
            epsilon: round(network.epsilon),
            momentum: round(network.momentum),
            layers: network.layers.iter().map(layer).collect(),
            notes: String::new(),
        }
    }
}
