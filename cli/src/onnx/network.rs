//! A network's layers as ONNX operators.

use ndarray::{Array1, Array2};
use ztilde::{Activation, BatchNorm, Layer, Parameters};

use super::{Graph, Setting};

/// Appends the layers. Constants have the names of a model file, as PyTorch numbers them. Returns the
/// name of the linear outputs.
pub(crate) fn append_network(graph: &mut Graph, parameters: &Parameters, inputs: &str) -> String {
    let mut values = inputs.to_owned();
    let mut module = 0;
    let last = parameters.layers.len() - 1;
    for (number, layer) in parameters.layers.iter().enumerate() {
        values = match layer {
            Layer::Linear { weights, biases } => {
                append_linear(graph, module, &values, weights, Some(biases))
            }
            Layer::Normalized { weights, batch_norm } => {
                let sums = append_linear(graph, module, &values, weights, None);
                module += 1;
                append_batch_norm(graph, module, &sums, batch_norm, parameters)
            }
        };
        module += 1;
        if number < last {
            values = append_activation(graph, module, &values, parameters.activation);
            module += 1;
        }
    }
    values
}

/// `inputs · weightsᵀ + biases`.
fn append_linear(
    graph: &mut Graph,
    module: usize,
    inputs: &str,
    weights: &Array2<f32>,
    biases: Option<&Array1<f32>>,
) -> String {
    let shape = [weights.nrows(), weights.ncols()];
    let weights = graph.floats(&format!("{module}.weight"), &shape, weights.iter().copied());
    let biases = biases.map(|biases| vector(graph, &format!("{module}.bias"), biases));
    let operands: Vec<&str> = [inputs, &weights].into_iter().chain(biases.as_deref()).collect();
    graph.node(&format!("{module}.linear"), "Gemm", &operands, &[("transB", Setting::Integer(1))])
}

/// Batch normalization with the running statistics.
fn append_batch_norm(
    graph: &mut Graph,
    module: usize,
    sums: &str,
    batch_norm: &BatchNorm,
    parameters: &Parameters,
) -> String {
    let BatchNorm { gamma, beta, running_mean, running_var, .. } = batch_norm;
    let vectors = [
        ("weight", gamma),
        ("bias", beta),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ]
    .map(|(name, values)| vector(graph, &format!("{module}.{name}"), values));
    let [gamma, beta, running_mean, running_var] = vectors.each_ref().map(String::as_str);
    let settings = [
        ("epsilon", Setting::Float(parameters.epsilon)),
        // ONNX's momentum is the weight of the old value.
        ("momentum", Setting::Float(1.0 - parameters.momentum)),
    ];
    let inputs = [sums, gamma, beta, running_mean, running_var];
    graph.node(&format!("{module}.batch_norm"), "BatchNormalization", &inputs, &settings)
}

fn append_activation(
    graph: &mut Graph,
    module: usize,
    inputs: &str,
    activation: Activation,
) -> String {
    let name = &format!("{module}.{}", activation.name());
    match activation {
        Activation::Relu => graph.node(name, "Relu", &[inputs], &[]),
        Activation::LeakyRelu => {
            let slope = Setting::Float(Activation::NEGATIVE_SLOPE);
            graph.node(name, "LeakyRelu", &[inputs], &[("alpha", slope)])
        }
        Activation::Tanh => graph.node(name, "Tanh", &[inputs], &[]),
        Activation::Sigmoid => graph.node(name, "Sigmoid", &[inputs], &[]),
        Activation::Gelu => graph.node(name, "Gelu", &[inputs], &[]),
        Activation::Silu => {
            let sigmoid = graph.node(&format!("{module}.sigmoid"), "Sigmoid", &[inputs], &[]);
            graph.node(name, "Mul", &[inputs, &sigmoid], &[])
        }
        Activation::Identity => graph.node(name, "Identity", &[inputs], &[]),
        Activation::Mish => graph.node(name, "Mish", &[inputs], &[]),
        Activation::Elu => graph.node(name, "Elu", &[inputs], &[("alpha", Setting::Float(1.0))]),
        Activation::Softplus => graph.node(name, "Softplus", &[inputs], &[]),
        Activation::GeluTanh => {
            graph.node(name, "Gelu", &[inputs], &[("approximate", Setting::Text("tanh"))])
        }
    }
}

fn vector(graph: &mut Graph, name: &str, values: &Array1<f32>) -> String {
    graph.floats(name, &[values.len()], values.iter().copied())
}
