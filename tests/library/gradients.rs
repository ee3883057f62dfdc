//! The reference's gradients against finite differences: for every number that a small network
//! learns, with each activation and each loss, with and without batch normalization.

use std::borrow::Cow;

use ndarray::{Array1, Array2, Axis};
use ztilde::{
    Activation, Loss, Targets, TrainerOptions,
    reference::{
        Layer, Network, Statistics, Trainer, batch_statistics, column_sums, normalize,
        normalize_backward, normalize_gradients,
    },
};

use crate::fixtures::comparisons::assert_close;

const ROWS: usize = 6;
const LAYER_SIZES: [usize; 4] = [3, 5, 4, 2];

/// The step of the finite differences.
const STEP: f64 = 1e-5;

/// The error of a central difference has two parts. One is STEP² / 6 times the third derivative: about
/// 1e-11 times a number that can reach 100 after batch normalization over 6 rows. The other is the
/// rounding of two losses of about 1, divided by the step: 2e-16 / 1e-5 = 2e-11. The largest error seen
/// is 8e-10.
const TOLERANCE: f64 = 1e-8;

/// The least distance of a pre-activation from 0, where some activations have a kink. Pre-activations
/// move by less than 100 times the step.
const FROM_KINK: f64 = 1e-3;

/// Numbers between −1 and 1 without a relevant pattern.
fn numbers(count: usize, seed: u32) -> Array1<f64> {
    (0..count).map(|index| (f64::from(seed) + 1.7 * index as f64 * index as f64).sin()).collect()
}

fn matrix(rows: usize, columns: usize, seed: u32) -> Array2<f64> {
    numbers(rows * columns, seed).into_shape_with_order((rows, columns)).unwrap()
}

fn network(activation: Activation, batch_norm: bool) -> Network {
    let layer = |index: usize| {
        let [inputs, outputs] = [LAYER_SIZES[index], LAYER_SIZES[index + 1]];
        let seed = 10 * index as u32;
        let weights = matrix(outputs, inputs, seed);
        if !batch_norm || index + 2 == LAYER_SIZES.len() {
            return Layer::Linear { weights, biases: numbers(outputs, seed + 1) };
        }
        Layer::Normalized {
            weights,
            gamma: numbers(outputs, seed + 1) + 1.5,
            beta: numbers(outputs, seed + 2),
            running_mean: Array1::zeros(outputs),
            running_var: Array1::ones(outputs),
            batches: 0,
        }
    };
    let layers = (0..LAYER_SIZES.len() - 1).map(layer).collect();
    Network { activation, epsilon: 1e-5, momentum: 0.1, layers }
}

fn targets(loss: Loss) -> Targets<'static> {
    if loss.has_class_targets() {
        return Targets::Classes(Cow::Borrowed(&[0, 1, 1, 0, 1, 0]));
    }
    // Between 0 and 1, as binary cross-entropy requires.
    let values = numbers(ROWS * 2, 70).mapv(|value| (0.5 + 0.5 * value) as f32);
    Targets::Values(Cow::Owned(values.to_vec()))
}

/// The bound of a gradient.
fn bound(gradient: f64) -> f64 {
    TOLERANCE * (1.0 + gradient.abs())
}

#[test]
fn every_gradient_is_how_the_loss_changes() {
    for activation in Activation::ALL {
        for loss in Loss::ALL {
            for batch_norm in [false, true] {
                let options = TrainerOptions { loss, ..TrainerOptions::default() };
                check_network(activation, &options, batch_norm);
            }
        }
    }
}

/// The rows of the second class weigh more than the others, or are the only ones that count.
#[test]
fn every_gradient_of_smoothed_labels_and_weighed_classes_is_how_the_loss_changes() {
    for label_smoothing in [0.0, 0.3] {
        for class_weights in [None, Some(vec![0.5, 3.0]), Some(vec![0.0, 1.0])] {
            let options =
                TrainerOptions { label_smoothing, class_weights, ..TrainerOptions::default() };
            check_network(Activation::Tanh, &options, true);
        }
    }
}

fn check_network(activation: Activation, options: &TrainerOptions, batch_norm: bool) {
    let loss = options.loss;
    let what = format!("{}, {options:?}, batch norm {batch_norm}", activation.name());
    let targets = targets(loss);
    let loss_of = |network: &Network, inputs: &Array2<f64>| {
        Trainer::new(network.clone(), options).gradients(inputs, &targets).0
    };
    let inputs = matrix(ROWS, LAYER_SIZES[0], 41);
    let network = network(activation, batch_norm);
    for seen in network.pass(&inputs).layers.iter().rev().skip(1) {
        let nearest = seen.ztilde.iter().fold(f64::INFINITY, |nearest, x| nearest.min(x.abs()));
        assert!(nearest > FROM_KINK, "{what}: {nearest} is too near to a kink; take other numbers");
    }
    let (_loss, gradients) = Trainer::new(network.clone(), options).gradients(&inputs, &targets);

    for (index, &gradient) in gradients.learned().iter().enumerate() {
        let [up, down] = [STEP, -STEP].map(|step| {
            let mut moved = network.clone();
            *moved.learned_mut()[index].0 += step;
            loss_of(&moved, &inputs)
        });
        assert_close(
            &format!("{what}, number {index}"),
            [gradient],
            [(up - down) / (2.0 * STEP)],
            bound,
        );
    }
    for (index, &gradient) in gradients.grad_inputs.indexed_iter() {
        let [up, down] = [STEP, -STEP].map(|step| {
            let mut moved = inputs.clone();
            moved[index] += step;
            loss_of(&network, &moved)
        });
        assert_close(
            &format!("{what}, input {index:?}"),
            [gradient],
            [(up - down) / (2.0 * STEP)],
            bound,
        );
    }
}

struct Normalized {
    inputs: Array2<f64>,
    gamma: Array1<f64>,
    beta: Array1<f64>,
    /// A loss in place of the layers after this one: `Σ grad_outputs · outputs`.
    grad_outputs: Array2<f64>,
}

const EPSILON: f64 = 1e-5;

impl Normalized {
    fn new() -> Self {
        Self {
            inputs: matrix(ROWS, 4, 50) * 3.0 + 2.0,
            gamma: numbers(4, 51) + 1.5,
            beta: numbers(4, 52),
            grad_outputs: matrix(ROWS, 4, 53),
        }
    }

    fn outputs(&self, inputs: &Array2<f64>) -> Array2<f64> {
        let Statistics { mean, variance } = batch_statistics(inputs);
        normalize(inputs, &mean, &variance, &self.gamma, &self.beta, EPSILON)
    }

    fn grad_inputs(&self, inputs: &Array2<f64>) -> Array2<f64> {
        let Statistics { mean, variance } = batch_statistics(inputs);
        let grad_outputs = &self.grad_outputs;
        let gradients = normalize_gradients(inputs, &mean, &variance, grad_outputs, EPSILON);
        let gamma = &self.gamma;
        normalize_backward(inputs, &mean, &variance, gamma, &gradients, grad_outputs, EPSILON)
    }
}

#[test]
fn the_gradient_through_a_normalization_is_how_its_outputs_change() {
    let layer = Normalized::new();
    for (index, &gradient) in layer.grad_inputs(&layer.inputs).indexed_iter() {
        let [up, down] = [STEP, -STEP].map(|step| {
            let mut moved = layer.inputs.clone();
            moved[index] += step;
            (layer.outputs(&moved) * &layer.grad_outputs).sum()
        });
        assert_close(&format!("input {index:?}"), [gradient], [(up - down) / (2.0 * STEP)], bound);
    }
}

#[test]
fn a_bias_before_batch_normalization_changes_nothing() {
    let layer = Normalized::new();
    let biased = &layer.inputs + &Array1::from(vec![-20.0, 0.3, 5.0, 100.0]);
    let largest = |matrix: Array2<f64>| matrix.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    // A bias of 100 takes 7 of the 53 bits: an error of 100 · 2e-16, with a small margin.
    let bound = 1e-12;
    let forward = largest(layer.outputs(&biased) - layer.outputs(&layer.inputs));
    assert!(forward < bound, "forward, a bias changes {forward:e}");

    let grad_inputs = layer.grad_inputs(&layer.inputs);
    let backward = largest(layer.grad_inputs(&biased) - &grad_inputs);
    assert!(backward < bound, "backward, a bias changes {backward:e}");
    let grad_biases = largest(column_sums(&grad_inputs).insert_axis(Axis(0)));
    assert!(grad_biases < 1e-15 * ROWS as f64, "the gradient by the biases is {grad_biases:e}");
    let grad_column = largest(grad_inputs);
    assert!(grad_column > 0.1, "the gradient itself is only {grad_column}");
}
