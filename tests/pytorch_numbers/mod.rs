//! The numbers and the network of the tests against PyTorch. Their Python programs compute the same
//! numbers.

use ndarray::{Array1, Array2};
use ztilde::{Activation, BatchNorm, Layer, NetworkOptions, Parameters};

/// The numbers have 13 digits after the decimal point, which explains the largest difference seen:
/// 5e-14. The rest is a margin for other machines' exponentials, and for the rounding errors of five
/// steps, divided by a small deviation.
const TOLERANCE: f64 = 1e-12;

#[track_caller]
pub(crate) fn assert_close<'a>(
    what: &str,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
) {
    let found: Vec<f64> = found.into_iter().copied().collect();
    let expected: Vec<f64> = expected.into_iter().copied().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= TOLERANCE * (1.0 + expected.abs()),
            "{what}, value {index}: {found}, but PyTorch has {expected}: {difference:e} off"
        );
    }
}

/// The program's formula.
pub(crate) fn numbers(seed: usize, count: usize) -> Array1<f64> {
    let number = |i: usize| ((7 * i * i + 13 * i + 29 * seed) % 61) as f64 - 30.0;
    (0..count).map(|index| number(index) / 32.0).collect()
}

pub(crate) fn matrix(seed: usize, rows: usize, columns: usize) -> Array2<f64> {
    numbers(seed, rows * columns).into_shape_with_order((rows, columns)).unwrap()
}

/// The program's network: 4-5-3-2.
pub(crate) fn parameters(activation: Activation, batch_norm: bool) -> Parameters {
    let options = NetworkOptions::default();
    let single = |values: Array1<f64>| values.mapv(|value| value as f32);
    let layer = |(index, [inputs, outputs]): (usize, [usize; 2])| {
        let weights = matrix(index, outputs, inputs).mapv(|value| value as f32);
        let biases = single(numbers(20 + index, outputs));
        if !batch_norm || index == 2 {
            return Layer::Linear { weights, biases };
        }
        let batch_norm = BatchNorm {
            gamma: single(numbers(10 + index, outputs) / 2.0 + 1.0),
            beta: biases,
            running_mean: Array1::zeros(outputs),
            running_var: Array1::ones(outputs),
            batches: 0,
        };
        Layer::Normalized { weights, batch_norm }
    };
    let layers = [[4, 5], [5, 3], [3, 2]].into_iter().enumerate().map(layer).collect();
    Parameters {
        activation,
        epsilon: options.epsilon,
        momentum: options.momentum,
        layers,
        notes: String::new(),
    }
}
