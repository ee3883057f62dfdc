//! The other public kernels against their twins.

use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;
use ztilde::kernels::loss;
use ztilde::reference::{self, LossGradient};
use ztilde::{Activation, Loss, Targets};

use super::{Batch, TINY, UNIT, batches, config, float, rounding, uniform, uniform_vector};
use crate::fixtures::comparisons::assert_within;
use crate::fixtures::public_kernels::Gpu;

fn magnitudes(matrix: &Array2<f64>) -> Array2<f64> {
    matrix.mapv(f64::abs)
}

fn losses_of_values() -> Vec<Loss> {
    Loss::ALL.into_iter().filter(|loss| !loss.has_class_targets()).collect()
}

fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL.to_vec())
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn products_are_the_twins(
        left in batches(1..130, 1..130),
        columns in 1..130_usize,
        transposed: [bool; 2],
        are_whole_vectors: bool,
        has_subgroups: bool,
    ) {
        // If rows are whole vectors of four, another kernel may be used.
        let whole = |length: usize| if are_whole_vectors { length.next_multiple_of(4) } else { length };
        let left = Batch { rows: whole(left.rows), columns: whole(left.columns), ..left };
        let right = uniform(!left.seed, [left.columns, whole(columns)]);
        let left = left.values();
        let gpu = if has_subgroups { Gpu::with_subgroups() } else { Gpu::get() };
        let found = gpu.matmul([&left, &right], transposed).unwrap();
        let expected = reference::matmul(left.view(), right.view());
        let bound = rounding(left.ncols()) * magnitudes(&left).dot(&magnitudes(&right)) + TINY;
        assert_within("matmul", &found, &expected, &bound);
    }

    #[test]
    fn sums_and_biases_are_the_twins(batch in batches(1..1500, 1..60), seed: u64) {
        let inputs = batch.values();
        let found = Gpu::get().column_sums(&inputs).unwrap();
        let expected = reference::column_sums(&inputs);
        let bound = rounding(batch.rows) * magnitudes(&inputs).sum_axis(Axis(0));
        assert_within("column_sums", &found, &expected, &bound);

        let biases = uniform_vector(seed, batch.columns);
        let found = Gpu::get().add_biases(&inputs, &biases);
        let expected = reference::add_biases(&inputs, &biases);
        let bound = UNIT * magnitudes(&expected) + TINY;
        assert_within("add_biases", &found, &expected, &bound);
    }

    /// Activations and slopes are right to a few units of the larger of 1 and the value: that of a
    /// polynomial's rounding at its last step, an exponential's, a quotient's.
    #[test]
    fn activations_and_their_slopes_are_the_twins(
        batch in batches(1..60, 1..60),
        activation in activations(),
        seed: u64,
    ) {
        let inputs = Batch { center: batch.center.clamp(-30.0, 30.0), ..batch }.values();
        let found = Gpu::get().activate(&inputs, activation);
        let expected = reference::activate(&inputs, activation);
        let bound = 5.0 * UNIT * (magnitudes(&expected) + 1.0);
        assert_within("activate", &found, &expected, &bound);

        let grad_outputs = uniform(seed, [inputs.nrows(), inputs.ncols()]);
        let found = Gpu::get().activate_backward(&inputs, &grad_outputs, activation);
        let expected = reference::activate_backward(&inputs, &grad_outputs, activation);
        let bound = 7.0 * UNIT * (magnitudes(&expected) + 1.0);
        assert_within("activate_backward", &found, &expected, &bound);
    }

    /// Rows of n classes: a sum of n exponentials, each with the rounding error of its exponent, then a
    /// sum of n weighted terms.
    #[test]
    fn cross_entropies_are_the_twins(
        batch in batches(1..200, 1..60),
        label_smoothing in prop::sample::select(vec![0.0_f32, 0.125, 0.5]),
        has_class_weights: bool,
    ) {
        let (rows, columns) = (batch.rows, batch.columns);
        let outputs = Batch { spread: batch.spread.min(50.0), ..batch }.values();
        let classes: Vec<u32> = (0..rows).map(|row| (row * 7 + 3) as u32 % columns as u32).collect();
        // Like weights after `weigh_classes`: about 1 on average, and sometimes 0.
        let class_weights = match has_class_weights {
            true => uniform_vector(batch.seed, columns).mapv(|x| float((1.0 + x).max(0.25) - 0.25)),
            false => Array1::ones(columns),
        };
        let mut targets = classes.clone();
        if has_class_weights {
            targets.extend(class_weights.iter().map(|&weight| (weight as f32).to_bits()));
        }
        let options =
            loss::Options { loss: Loss::SoftmaxCrossEntropy, label_smoothing, has_class_weights };
        let [results, grad_outputs] = Gpu::get().loss(options, &outputs, &targets).unwrap();
        let smoothing = f64::from(label_smoothing);
        let LossGradient { row_losses, row_accuracies, grad_outputs: expected } =
            reference::smoothed_cross_entropy(&outputs, &classes, smoothing, &class_weights);

        let roundings = rounding(2 * columns + 24);
        let mut bounds = Array1::zeros(rows);
        let mut grad_bounds = expected.clone();
        for (row, &class) in classes.iter().enumerate() {
            let largest = outputs.row(row).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let below = outputs.row(row).mapv(|output| largest - output);
            let sum = below.mapv(|below| (-below).exp()).sum();
            let weight = class_weights[class as usize];
            let mut wanted = Array1::from_elem(columns, weight * smoothing / columns as f64);
            wanted[class as usize] += weight * (1.0 - smoothing);
            bounds[row] = roundings * (&wanted * &(&below + (1.0 + sum.ln()))).sum() + TINY;
            let total = wanted.sum();
            let parts = below.mapv(|below| (1.0 + below) * (-below).exp() / sum * total) + &wanted;
            grad_bounds.row_mut(row).assign(&(parts * roundings / rows as f64 + TINY));
        }
        assert_within("losses", results.column(0), &row_losses, &bounds);
        assert_within("accuracies", results.column(1), &row_accuracies, &(&bounds * 0.0));
        assert_within("grad_outputs", &grad_outputs, &expected, &grad_bounds);
    }

    #[test]
    fn losses_of_values_are_the_twins(
        batch in batches(1..200, 1..40),
        loss in prop::sample::select(losses_of_values()),
        seed: u64,
    ) {
        let (rows, columns) = (batch.rows, batch.columns);
        let outputs = batch.values();
        let wanted = uniform(seed, [rows, columns]).mapv(|value| float(0.5 + 0.5 * value));
        let floats: Vec<f32> = wanted.iter().map(|&value| value as f32).collect();
        let bits: Vec<u32> = floats.iter().map(|value| value.to_bits()).collect();
        let [results, grad_outputs] = Gpu::get().loss(loss.into(), &outputs, &bits).unwrap();
        let expected = reference::loss(loss, &outputs, &Targets::from(&floats[..]));

        // A row's terms: functions of rounded differences, or the logarithm and the terms added to it.
        let terms = match loss.has_accuracy() {
            false => expected.row_losses.clone(),
            true => (magnitudes(&outputs) * 2.0 + 1.0).mean_axis(Axis(1)).unwrap(),
        };
        let bounds = rounding(columns + 12) * terms + TINY;
        assert_within("losses", results.column(0), &expected.row_losses, &bounds);
        let part = match loss.has_accuracy() {
            false => magnitudes(&expected.grad_outputs),
            true => wanted.mapv(|wanted| 1.0 + wanted) / (rows * columns) as f64,
        };
        let bounds = 12.0 * UNIT * part + TINY;
        assert_within("grad_outputs", &grad_outputs, &expected.grad_outputs, &bounds);
    }
}
