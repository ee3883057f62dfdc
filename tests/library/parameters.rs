//! The initial parameters of a network, and invalid networks.

use ndarray::{Array1, array};
use ztilde::{Activation, BatchNorm, Error, Layer, NetworkOptions, Parameters};

fn options(activation: Activation, batch_norm: bool, seed: u64) -> NetworkOptions {
    NetworkOptions { activation, batch_norm, seed, ..Default::default() }
}

#[test]
fn a_network_starts_with_the_documented_numbers() {
    let parameters =
        Parameters::initialize(&[3, 5, 2], &options(Activation::Relu, true, 0)).unwrap();
    assert_eq!(parameters.layer_sizes(), [3, 5, 2]);
    assert!(parameters.has_batch_norm());
    parameters.check().unwrap();
    let Layer::Normalized { batch_norm, .. } = &parameters.layers[0] else {
        panic!("hidden layers are normalized");
    };
    let expected = BatchNorm {
        gamma: Array1::ones(5),
        beta: Array1::zeros(5),
        running_mean: Array1::zeros(5),
        running_var: Array1::ones(5),
        batches: 0,
    };
    assert_eq!(*batch_norm, expected);
    let Layer::Linear { biases, .. } = &parameters.layers[1] else {
        panic!("the outputs are linear");
    };
    assert_eq!(*biases, array![0.0, 0.0]);

    let plain = Parameters::initialize(&[3, 5, 2], &options(Activation::Relu, false, 0)).unwrap();
    assert!(!plain.has_batch_norm());
    for (plain, normalized) in plain.layers.iter().zip(&parameters.layers) {
        assert!(matches!(plain, Layer::Linear { .. }));
        assert_eq!(plain.weights(), normalized.weights(), "the two can be compared");
    }
}

/// Samples of a uniform distribution come close to its bounds, and has a third of their square as
/// variance.
#[test]
fn weights_fill_the_bounds_of_he_and_glorot() {
    let (he, glorot) = ((6.0_f64 / 200.0).sqrt(), (6.0_f64 / 350.0).sqrt());
    for activation in Activation::ALL {
        let options = options(activation, true, 1);
        let parameters = Parameters::initialize(&[200, 150, 200], &options).unwrap();
        let hidden = match activation {
            Activation::Tanh
            | Activation::Sigmoid
            | Activation::Identity
            | Activation::Softplus => glorot,
            _ => he,
        };
        for (layer, bound) in parameters.layers.iter().zip([hidden, glorot]) {
            let weights = layer.weights().mapv(f64::from);
            let largest = weights.iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
            let variance = weights.pow2().mean().unwrap();
            assert!(largest <= bound * (1.0 + 1e-7), "{activation:?}: {largest} > {bound}");
            // 30,000 weights: the chance of none beyond 0.999 of the bound is e⁻³⁰, and four
            // standard errors of the variance are 2.1 %.
            assert!(largest > 0.999 * bound, "{activation:?}: {largest} < {bound}");
            assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.021, "{variance}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_weights_everywhere() {
    let with = |seed| Parameters::initialize(&[2, 2], &options(Activation::Relu, true, seed));
    assert_eq!(with(7).unwrap(), with(7).unwrap());
    assert_ne!(with(7).unwrap(), with(8).unwrap());
    let expected = array![[0.250_889_4, 0.280_944_85], [-1.166_736_8, 0.616_899_5]];
    assert_eq!(*with(7).unwrap().layers[0].weights(), expected);
}

#[test]
fn sizes_that_make_no_network_are_refused() {
    let refused: [(&[u32], &[&str]); 5] = [
        (&[], &["0 layer size(s)", "at least 2"]),
        (&[3], &["1 layer size(s) [3]", "at least 2"]),
        (&[3, 0, 2], &["[3, 0, 2]"]),
        (&[0, 1], &["[0, 1]"]),
        (&[u32::MAX, u32::MAX], &["4294967295 × 4294967295"]),
    ];
    for (sizes, words) in refused {
        let error = Parameters::initialize(sizes, &NetworkOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Architecture(_)), "{error:?}");
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    }
    let options = NetworkOptions { epsilon: f32::NAN, ..Default::default() };
    let error = Parameters::initialize(&[1, 1], &options).unwrap_err();
    assert!(matches!(error, Error::Option { option: "epsilon", .. }), "{error:?}");
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let new = || Parameters::initialize(&[3, 4, 2], &NetworkOptions::default()).unwrap();
    let message = |parameters: Parameters| parameters.check().unwrap_err().to_string();

    let mut parameters = new();
    parameters.layers.truncate(1);
    assert!(message(parameters).contains("the last of the 1 layer(s)"));

    let mut parameters = new();
    parameters.layers.clear();
    assert!(parameters.layer_sizes().is_empty());
    assert!(message(parameters).contains("the last of the 0 layer(s)"));

    let mut parameters = new();
    let Layer::Normalized { batch_norm, .. } = &mut parameters.layers[0] else {
        panic!("hidden layers are normalized");
    };
    batch_norm.running_var = Array1::ones(5);
    let found = message(parameters);
    assert!(found.contains("1.running_var holds 5 values"), "{found}");
    assert!(found.contains("0.weight has 4 outputs"), "{found}");

    let mut parameters = new();
    parameters.layers.remove(0);
    parameters.layers.insert(0, new().layers[1].clone());
    let found = message(parameters);
    assert!(found.contains("2.weight takes 4 inputs, but 0.weight has 2 outputs"), "{found}");

    let mut parameters = new();
    parameters.momentum = -0.5;
    assert!(message(parameters).contains("momentum is -0.5"));
}
