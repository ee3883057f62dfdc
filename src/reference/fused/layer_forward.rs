use ndarray::Array2;

use crate::options::Activation;
use crate::reference::{
    Layer, LayerPass, Statistics, activate, add_biases, batch_statistics, matmul, normalize,
};

/// The forward pass of a layer: its intermediate results, and its outputs.
///
/// A normalized layer takes `running`, or the batch's own statistics if there are none.
pub fn layer_forward(
    layer: &Layer,
    inputs: &Array2<f64>,
    running: Option<Statistics>,
    activation: Activation,
    epsilon: f64,
) -> (LayerPass, Array2<f64>) {
    let sums = matmul(inputs.view(), layer.weights().t());
    let (statistics, ztilde) = match layer {
        Layer::Linear { biases, .. } => (None, add_biases(&sums, biases)),
        Layer::Normalized { gamma, beta, .. } => {
            let statistics = running.unwrap_or_else(|| batch_statistics(&sums));
            let Statistics { mean, variance } = &statistics;
            let ztilde = normalize(&sums, mean, variance, gamma, beta, epsilon);
            (Some(statistics), ztilde)
        }
    };
    let outputs = activate(&ztilde, activation);
    (LayerPass { inputs: inputs.clone(), sums, statistics, ztilde }, outputs)
}
