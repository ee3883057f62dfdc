//! Properties of batch normalization alone.

use ndarray::{Array1, Array2, Axis, Zip, stack};
use proptest::prelude::*;
use ztilde::reference::{self, Statistics};

use super::{Batch, TINY, UNIT, batches, config, float, rounding, uniform, uniform_vector};
use crate::fixtures::comparisons::assert_within;
use crate::fixtures::public_kernels::{Arrangement, Gpu, Measured};

const MOMENTUM: f32 = 0.1;

/// The rounding errors of 1 / √(variance + epsilon), if the root and the quotients are as exact as WGSL
/// requires: half a unit from the sum, 4 from the inverse root, 5 from each of two quotients.
const INVERSE_ROOT: f64 = 15.0;

/// The sequential additions in a column's sum, which at least 16 lanes share.
fn additions(rows: usize) -> usize {
    rows.div_ceil(16) + 8
}

fn arrangements() -> impl Strategy<Value = (u8, u32, u32)> {
    (0..3_u8, 0..9_u32, 0..7_u32)
}

/// Images whose number of samples divides the rows.
fn arrange((kind, first, between): (u8, u32, u32), rows: usize) -> Arrangement {
    let rows = rows as u32;
    match kind {
        0 => Arrangement::DENSE,
        1 => Arrangement::Rows { first, between },
        _ => {
            let divisors: Vec<u32> =
                (1..=rows).filter(|&samples| rows.is_multiple_of(samples)).collect();
            let samples = divisors[(first + between) as usize % divisors.len()];
            Arrangement::Images { first, samples }
        }
    }
}

fn epsilons() -> impl Strategy<Value = f32> {
    prop::sample::select(vec![1e-5_f32, 1e-3, 0.1])
}

/// The mean in two floats.
fn in_two(mean: &Array1<f64>) -> Array2<f64> {
    let first = mean.mapv(float);
    stack![Axis(0), first, (mean - &first).mapv(float)]
}

/// The error bounds of the kernel's mean and variance.
///
/// The difference of a value from the center is rounded once, then summed and divided: the mean's error
/// is that share of the differences' average magnitude. The variance's error is the square of the
/// mean's, plus the roundings of each difference (which count twice in its square), plus those of the
/// sum.
fn bounds(inputs: &Array2<f64>, mean: &Array2<f64>) -> [Array1<f64>; 2] {
    let rows = inputs.nrows();
    let sum = rounding(additions(rows) + 8);
    let columns = inputs.columns().into_iter().zip(mean.columns());
    let (means, variances) = columns
        .map(|(column, mean)| {
            let average = |value: &dyn Fn(f64) -> f64| column.mapv(value).sum() / rows as f64;
            let off = sum * average(&|x| (x - mean[0]).abs()) + TINY;
            let left = |x: f64| (x - mean[0]) - mean[1];
            let rounded = |x: f64| 2.0 * UNIT * ((x - mean[0]).abs() + left(x).abs());
            let squares = average(&|x| left(x) * left(x));
            let differences = average(&|x| (2.0 * left(x).abs() + rounded(x)) * rounded(x));
            (off, off * off + differences + sum * (squares + differences) + TINY)
        })
        .unzip::<f64, f64, Vec<_>, Vec<_>>();
    [Array1::from(means), Array1::from(variances)]
}

/// The error bound of each ẑ: the rounding of its difference from the center, plus a share of ẑ.
fn bound_of_normalized(
    inputs: &Array2<f64>,
    mean: &Array2<f64>,
    variance: &Array1<f64>,
    epsilon: f64,
) -> Array2<f64> {
    let mut bounds = inputs.clone();
    for (column, mut bounds) in bounds.columns_mut().into_iter().enumerate() {
        let inverse_root = (variance[column] + epsilon).sqrt().recip();
        let [first, rest] = [mean[[0, column]], mean[[1, column]]];
        bounds.mapv_inplace(|x| {
            let difference = x - first;
            let rounded = difference.abs() + (INVERSE_ROOT + 3.0) * (difference - rest).abs();
            1.01 * UNIT * inverse_root * rounded + TINY
        });
    }
    bounds
}

fn measure(inputs: &Array2<f64>, arrangement: Arrangement) -> Measured {
    let zeros = Array1::zeros(inputs.ncols());
    Gpu::get().batch_statistics(inputs, arrangement, MOMENTUM, [&zeros; 2]).unwrap()
}

/// ẑ as the GPU computes it from its own statistics, and the error bound of each: it also contains the
/// errors of the mean and of the variance, which the root halves.
fn normalize(
    inputs: &Array2<f64>,
    arrangement: Arrangement,
    epsilon: f32,
) -> (Array2<f64>, Array2<f64>) {
    let Measured { mean, variance, .. } = measure(inputs, arrangement);
    let [ones, zeros] = [1.0, 0.0].map(|value| Array1::from_elem(inputs.ncols(), value));
    let vectors = [&variance, &ones, &zeros];
    let found = Gpu::get().normalize(inputs, arrangement, &mean, vectors, epsilon);
    let [off_mean, off_variance] = bounds(inputs, &mean);
    let epsilon = f64::from(epsilon);
    let mut bound = bound_of_normalized(inputs, &mean, &variance, epsilon);
    for (column, mut bound) in bound.columns_mut().into_iter().enumerate() {
        // The smallest possible variance.
        let least = (variance[column] - off_variance[column]).max(0.0) + epsilon;
        let of_the_mean = off_mean[column] / least.sqrt();
        let of_the_variance = 0.51 * off_variance[column] / least;
        Zip::from(&mut bound).and(found.column(column)).for_each(|bound, normalized| {
            *bound += of_the_mean + 1.01 * of_the_variance * normalized.abs();
        });
    }
    (found, bound)
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn statistics_are_the_twins(
        batch in batches(2..1500, 1..40),
        arrangement in arrangements(),
        seed: u64,
    ) {
        let inputs = batch.values();
        let arrangement = arrange(arrangement, batch.rows);
        let [old_mean, old_var] = [1, 2].map(|turn| uniform_vector(seed ^ turn, batch.columns));
        let old_var = old_var.mapv(f64::abs);
        let found = Gpu::get()
            .batch_statistics(&inputs, arrangement, MOMENTUM, [&old_mean, &old_var])
            .unwrap();
        let expected = reference::batch_statistics(&inputs);
        let [off_mean, off_variance] = bounds(&inputs, &found.mean);
        let mean = &found.mean.row(0) + &found.mean.row(1);
        assert_within("mean", &mean, &expected.mean, &off_mean);
        assert_within("variance", &found.variance, &expected.variance, &off_variance);

        let [mut running_mean, mut running_var] = [old_mean.clone(), old_var.clone()];
        let momentum = f64::from(MOMENTUM);
        expected.move_running(batch.rows, momentum, &mut running_mean, &mut running_var);
        let unbias = batch.rows as f64 / (batch.rows as f64 - 1.0);
        // Half a dozen roundings of the old and the new value, which may cancel.
        let moved = |old: &Array1<f64>, new: &Array1<f64>, off: &Array1<f64>| {
            6.0 * UNIT * (old.mapv(f64::abs) + momentum * new.mapv(f64::abs)) + momentum * off
        };
        let bound = moved(&old_mean, &expected.mean, &off_mean);
        assert_within("running_mean", &found.running_mean, &running_mean, &bound);
        let bound = moved(&old_var, &(unbias * expected.variance), &(unbias * off_variance));
        assert_within("running_var", &found.running_var, &running_var, &bound);
    }

    #[test]
    fn normalized_batches_are_the_twins(
        batch in batches(1..700, 1..40),
        arrangement in arrangements(),
        epsilon in epsilons(),
        seed: u64,
    ) {
        let inputs = batch.values();
        let Statistics { mean, variance } = reference::batch_statistics(&inputs);
        let (mean, variance) = (in_two(&mean), variance.mapv(float));
        let [gamma, beta] = [1, 2].map(|turn| uniform_vector(seed ^ turn, batch.columns));
        let arrangement = arrange(arrangement, batch.rows);
        let vectors = [&variance, &gamma, &beta];
        let found = Gpu::get().normalize(&inputs, arrangement, &mean, vectors, epsilon);
        let (exact, epsilon) = (&mean.row(0) + &mean.row(1), f64::from(epsilon));
        let expected = reference::normalize(&inputs, &exact, &variance, &gamma, &beta, epsilon);
        let bound = bound_of_normalized(&inputs, &mean, &variance, epsilon) * gamma.mapv(f64::abs)
            + 2.0 * UNIT * (&(&expected - &beta).mapv(f64::abs) + &expected.mapv(f64::abs));
        assert_within("normalize", &found, &expected, &bound);
    }

    /// The mean is 0 and the variance is `variance / (variance + epsilon)`, within the error bound of ẑ.
    #[test]
    fn normalized_columns_have_mean_0_and_variance_1(
        batch in batches(2..700, 1..40),
        arrangement in arrangements(),
        epsilon in epsilons(),
    ) {
        let inputs = batch.values();
        let (found, bound) = normalize(&inputs, arrange(arrangement, batch.rows), epsilon);
        let exact = reference::batch_statistics(&inputs).variance;
        let Statistics { mean, variance } = reference::batch_statistics(&found);
        let rows = batch.rows as f64;
        for column in 0..batch.columns {
            let (normalized, bound) = (found.column(column), bound.column(column));
            let off = bound.sum() / rows + 1e-13;
            assert!(mean[column].abs() <= off, "the mean is {}, not 0 ± {off:e}", mean[column]);
            let wanted = exact[column] / (exact[column] + f64::from(epsilon));
            let products = Zip::from(&normalized)
                .and(&bound)
                .fold(0.0, |sum, z, off| sum + (2.0 * z.abs() + off) * off);
            let off = products / rows + off * off + 1e-13;
            let error = (variance[column] - wanted).abs();
            assert!(error <= off, "the variance is {}, not {wanted} ± {off:e}", variance[column]);
        }
    }

    /// Multiples of 1/64, shifted by whole numbers and scaled by powers of two: the results are exact.
    #[test]
    fn shifts_and_scales_leave_normalized_values_alone(
        (rows, columns) in (2..400_usize, 1..30_usize),
        shift in -4096..4096_i32,
        exponent in -6..7_i32,
        epsilon in epsilons(),
        seed: u64,
    ) {
        let inputs = uniform(seed, [rows, columns]).mapv(|value| (value * 64.0).round() / 64.0);
        let scale = 2_f64.powi(exponent);
        let moved = inputs.mapv(|value| (value + f64::from(shift)) * scale);
        let [(found, bound), (moved, moved_bound)] =
            [&inputs, &moved].map(|inputs| normalize(inputs, Arrangement::DENSE, epsilon));
        // Epsilon is not scaled.
        let epsilon = f64::from(epsilon);
        let variance = reference::batch_statistics(&inputs).variance;
        let factor = variance.mapv(|variance| {
            ((variance + epsilon) / (variance + epsilon / (scale * scale))).sqrt()
        });
        let bound = bound * &factor + moved_bound + 1e-13;
        assert_within("moved", &moved, &(found * &factor), &bound);
    }

    /// The gradient of the inputs also adds up to 0 in each column.
    #[test]
    fn gradients_through_a_normalization_are_the_twins_and_add_up_to_0(
        batch in batches(2..700, 1..40),
        grads in batches(1..2, 1..2),
        arrangement in arrangements(),
        epsilon in epsilons(),
        seed: u64,
    ) {
        let (rows, columns) = (batch.rows, batch.columns);
        let inputs = batch.values();
        let grad_outputs = Batch { rows, columns, ..grads }.values();
        let Statistics { mean, variance } = reference::batch_statistics(&inputs);
        let (mean, variance) = (in_two(&mean), variance.mapv(float));
        let gamma = uniform_vector(seed, columns);
        let arrangement = arrange(arrangement, rows);
        let found = Gpu::get().normalize_backward(
            [&inputs, &grad_outputs],
            arrangement,
            &mean,
            [&variance, &gamma],
            epsilon,
        );
        let found = found.unwrap();
        let off_normalized = bound_of_normalized(&inputs, &mean, &variance, epsilon.into());
        let (exact, epsilon) = (&mean.row(0) + &mean.row(1), f64::from(epsilon));
        let twin =
            reference::normalize_gradients(&inputs, &exact, &variance, &grad_outputs, epsilon);
        let expected = reference::normalize_backward(
            &inputs, &exact, &variance, &gamma, &twin, &grad_outputs, epsilon,
        );
        let [ones, zeros] = [1.0, 0.0].map(|value| Array1::from_elem(columns, value));
        let normalized =
            reference::normalize(&inputs, &exact, &variance, &ones, &zeros, epsilon);

        let (sum, count) = (rounding(additions(rows) + 9), rows as f64);
        for column in 0..columns {
            let center = found.grad_mean[[0, column]];
            let grads = grad_outputs.column(column);
            let (normalized, off) = (normalized.column(column), off_normalized.column(column));
            let left = grads.mapv(|grad| grad - center);
            let lefts = left.mapv(f64::abs).sum();
            // A sum of the differences, and the product to which it is added.
            let bound = sum * lefts + 3.0 * UNIT * (count * center.abs() + left.sum().abs()) + TINY;
            let error = (found.grad_beta[column] - twin.grad_beta[column]).abs();
            assert!(error <= bound, "grad_beta of column {column}: {error:e}, beyond {bound:e}");
            // A sum of products of inexact ẑ. The kernel relies on Σ ẑ = 0, which holds only up to
            // rounding.
            let products = (&left * &normalized).mapv(f64::abs).sum();
            let off_gamma = sum * products
                + (left.mapv(f64::abs) * (&off + 2.0 * UNIT * normalized.mapv(f64::abs))).sum()
                + center.abs() * normalized.sum().abs()
                + TINY;
            let error = (found.grad_gamma[column] - twin.grad_gamma[column]).abs();
            let bound = 1.01 * off_gamma;
            assert!(error <= bound, "grad_gamma of column {column}: {error:e}, beyond {bound:e}");

            // gamma / √(…) times the difference, minus ẑ times the mean product: each with its
            // roundings.
            let scale = gamma[column].abs() / (variance[column] + epsilon).sqrt();
            let slope = twin.grad_gamma[column].abs() / count;
            let off_slope = 1.01 * off_gamma / count + 6.0 * UNIT * slope;
            let off_mean = sum * lefts / count;
            let mean = grads.sum() / count;
            let bounds: Array1<f64> = Zip::from(&grads).and(&normalized).and(&off).map_collect(
                |grad, normalized, off| {
                    let centered = (grad - mean).abs();
                    let product = normalized.abs() * slope;
                    let parts = UNIT * (grad - center).abs()
                        + off_mean
                        + off * (slope + off_slope)
                        + normalized.abs() * off_slope
                        + (INVERSE_ROOT + 6.0) * UNIT * (centered + product);
                    1.01 * scale * parts + TINY
                },
            );
            let what = format!("grad_inputs of column {column}");
            let (found, expected) = (found.grad_inputs.column(column), expected.column(column));
            assert_within(&what, &found, &expected, &bounds);
            // In double precision it is 0, up to the rounding of the statistics.
            let left_over = expected.sum().abs();
            let total = found.sum().abs();
            assert!(total <= bounds.sum() + left_over, "{what} add up to {total:e}");
            let sizes = scale * (lefts + products.abs() + normalized.mapv(f64::abs).sum() * slope);
            assert!(left_over <= 1e-7 * sizes + TINY, "the twin's add up to {left_over:e}");
        }
    }
}
