//! Batch normalization folded into weights and biases: the same outputs within rounding.

use ndarray::{Array1, Array2};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ztilde::{
    Activation, Inference, Layer, Network, NetworkOptions, Parameters, block_on, reference,
};

use crate::fixtures::comparisons::assert_within;
use crate::fixtures::devices::both_devices;
use crate::fixtures::folding::bounds;

const ROWS: u32 = 130;

/// Inputs whose mean is large against their deviation.
fn inputs(columns: u32) -> Array2<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let shape = [ROWS as usize, columns as usize];
    Array2::from_shape_simple_fn(shape, || 30.0 + generator.random::<f32>())
}

/// A network whose running statistics are those of the inputs, and awkward: variances from 1e-12 to 1e6
/// in one layer, and in the first layer means that are large against the deviation.
fn parameters(sizes: &[u32], activation: Activation) -> Parameters {
    let options = NetworkOptions { activation, momentum: 1.0, seed: 3, ..Default::default() };
    let mut parameters = Parameters::initialize(sizes, &options).unwrap();
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let mut random = || generator.random::<f32>() * 2.0 - 1.0;
    for layer in &mut parameters.layers {
        match layer {
            Layer::Linear { biases, .. } => biases.mapv_inplace(|_| random()),
            Layer::Normalized { weights, batch_norm } => {
                batch_norm.gamma.mapv_inplace(|_| random());
                batch_norm.beta.mapv_inplace(|_| random());
                let scales = [1e-6, 1e-3, 1.0, 1e3];
                for (mut row, scale) in weights.rows_mut().into_iter().zip(scales.iter().cycle()) {
                    row *= *scale;
                }
            }
        }
    }
    let mut network = reference::Network::from(&parameters);
    network.forward(&inputs(sizes[0]).mapv(f64::from));
    Parameters::from(&network)
}

/// In double precision the only difference is one rounding of each weight and bias.
#[test]
fn folding_follows_the_reference() {
    for activation in Activation::ALL {
        let parameters = parameters(&[5, 37, 66, 3], activation);
        let inputs = inputs(5).mapv(f64::from);
        let infer = |parameters: &Parameters| reference::Network::from(parameters).infer(&inputs);
        let bounds = bounds(&parameters, &inputs, |_| 1.0);
        let [folded, expected] = [&parameters.folded(), &parameters].map(infer);
        assert_within(&format!("{activation:?}"), &folded, &expected, &bounds);
        assert!(folded != expected, "the bound was not needed");
    }
}

/// One number by hand: (0.5 · 3 / 2, and 7 − 5 · 3 / 2), with 3.75 + 0.25 under the root.
#[test]
fn the_formula_is_the_documented_one() {
    let options = NetworkOptions { epsilon: 0.25, ..Default::default() };
    let mut parameters = Parameters::initialize(&[1, 1, 1], &options).unwrap();
    let Layer::Normalized { weights, batch_norm } = &mut parameters.layers[0] else {
        panic!("a hidden layer is normalized");
    };
    weights.fill(0.5);
    batch_norm.gamma.fill(3.0);
    batch_norm.beta.fill(7.0);
    batch_norm.running_mean.fill(5.0);
    batch_norm.running_var.fill(3.75);
    let folded = parameters.folded();
    let expected = Layer::Linear {
        weights: Array2::from_elem([1, 1], 0.75),
        biases: Array1::from_elem(1, -0.5),
    };
    assert_eq!(folded.layers, [expected, parameters.layers[1].clone()]);
}

#[test]
fn what_is_folded_is_a_network_of_the_same_sizes() {
    let sizes = [5, 37, 66, 3];
    let parameters = parameters(&sizes, Activation::Gelu);
    let folded = parameters.folded();
    folded.check().unwrap();
    assert!(parameters.has_batch_norm() && !folded.has_batch_norm());
    assert_eq!(folded.layer_sizes(), sizes);
    let settings =
        |parameters: &Parameters| (parameters.activation, parameters.epsilon, parameters.momentum);
    assert_eq!(settings(&folded), settings(&parameters));
    assert_eq!(folded.folded(), folded, "there is nothing left to fold");

    let options = NetworkOptions { batch_norm: false, ..Default::default() };
    let plain = Parameters::initialize(&sizes, &options).unwrap();
    assert_eq!(plain.folded(), plain);
}

/// Runs the kernel that computes all layers at once and the kernels that compute one. Each may round once per
/// term of a sum, and a dozen times after the sum; the bound adds both.
#[test]
fn folded_and_unfolded_inference_agree() {
    for (device, queue) in both_devices() {
        for sizes in [[5, 37, 66, 3], [6, 140, 33, 4]] {
            for activation in [Activation::Relu, Activation::Sigmoid] {
                let parameters = parameters(&sizes, activation);
                let inputs = inputs(sizes[0]);
                let infer = |parameters: &Parameters| {
                    let network = Network::from_parameters(&device, &queue, parameters).unwrap();
                    let predicted = Inference::predict(&network, inputs.as_slice().unwrap());
                    let shape = [ROWS as usize, sizes[3] as usize];
                    let outputs = block_on(&device, predicted).unwrap();
                    Array2::from_shape_vec(shape, outputs).unwrap().mapv(f64::from)
                };
                let [folded, running] = [&parameters.folded(), &parameters].map(infer);
                let inputs = inputs.mapv(f64::from);
                let bounds = bounds(&parameters, &inputs, |terms| 2.0 * (terms as f64 + 12.0));
                assert_within(&format!("{sizes:?}, {activation:?}"), &folded, &running, &bounds);
            }
        }
    }
}
