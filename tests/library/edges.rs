//! Sizes beyond a limit of a device: more rows than a software adapter's loops have rounds, more than a
//! dispatch has workgroups, more than a binding has bytes; layers of one neuron and of ten thousand; a
//! thousand classes; batches of two and of a hundred thousand.
//!
//! Work that a software adapter would not finish is refused there, so no result is wrong.

use ndarray::{Array1, Array2};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::DeviceType;
use ztilde::kernels::loss;
use ztilde::{
    Activation, Dataset, Error, Inference, Layer, Loss, Network, NetworkOptions, Optimizer,
    Parameters, Targets, Trainer, TrainerOptions, block_on, reference,
};

use crate::fixtures::comparisons;
use crate::fixtures::public_kernels::{Arrangement, Gpu};

const EPSILON: f32 = 1e-5;

/// Values between 2 and 4 that floats hold.
fn random(seed: u64, [rows, columns]: [usize; 2]) -> Array2<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn([rows, columns], || {
        f64::from(2.0 + 2.0 * generator.random::<f32>())
    })
}

/// Checks that each error is within `relative` times the largest value.
#[track_caller]
fn assert_close<'a>(
    what: &str,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64, IntoIter: Clone>,
    relative: f64,
) {
    let expected = expected.into_iter();
    let largest = expected.clone().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    comparisons::assert_close(what, found, expected, |_| relative * largest);
}

/// The result, or `None` if a software adapter refuses loops of this length.
#[track_caller]
fn answer<T>(gpu: &Gpu, what: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(Error::TooMany { unit, allowed, .. })
            if gpu.device.adapter_info().device_type == DeviceType::Cpu =>
        {
            assert_eq!((unit, allowed), ("rounds of a loop", 65_535), "{what}");
            None
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// The sums over this many rows are rounded at most once per row of a lane, and most roundings cancel.
fn sum_bound(rows: usize) -> f64 {
    f64::from(f32::EPSILON) * (rows as f64 / 16.0 + 10.0).sqrt() * 4.0
}

/// Three passes over a column exceed the rounds from 349,525 rows on.
#[test]
fn statistics_of_very_many_rows_are_right_or_refused() {
    let gpu = Gpu::get();
    for (rows, columns, must) in [(349_000, 2, true), (360_000, 17, true), (5_700_000, 1, false)] {
        let inputs = random(1, [rows, columns]);
        let zeros = Array1::zeros(columns);
        for arrangement in [Arrangement::DENSE, Arrangement::Rows { first: 3, between: 2 }] {
            let what = format!("{rows} rows, {arrangement:?}");
            let found = gpu.batch_statistics(&inputs, arrangement, 0.1, [&zeros; 2]);
            let Some(found) = answer(gpu, &what, found) else {
                assert!(!must, "{what}: refused");
                continue;
            };
            let expected = reference::batch_statistics(&inputs);
            let mean = &found.mean.row(0) + &found.mean.row(1);
            assert_close(&format!("mean of {what}"), &mean, &expected.mean, 1e-6);
            let bound = sum_bound(rows);
            assert_close(
                &format!("variance of {what}"),
                &found.variance,
                &expected.variance,
                bound,
            );
        }
    }
}

/// Two passes exceed the rounds from 524,280 rows on.
#[test]
fn gradients_of_very_many_rows_are_right() {
    let gpu = Gpu::get();
    let rows = 600_000;
    let [inputs, grad_outputs] = [random(1, [rows, 2]), random(2, [rows, 2])];
    let statistics = reference::batch_statistics(&inputs);
    // Rounded to floats, like the kernel's inputs.
    let round = |vector: &Array1<f64>| vector.mapv(|value| f64::from(value as f32));
    let (mean, variance) = (round(&statistics.mean), round(&statistics.variance));
    let rest = round(&(&statistics.mean - &mean));
    let both = ndarray::stack![ndarray::Axis(0), mean, rest];
    let gamma = Array1::from_elem(2, 1.5);
    let vectors = [&variance, &gamma];
    let found = gpu.normalize_backward(
        [&inputs, &grad_outputs],
        Arrangement::DENSE,
        &both,
        vectors,
        EPSILON,
    );
    let found = found.unwrap();
    let (mean, epsilon) = (mean + rest, EPSILON.into());
    let gradients =
        reference::normalize_gradients(&inputs, &mean, &variance, &grad_outputs, epsilon);
    let expected = reference::normalize_backward(
        &inputs,
        &mean,
        &variance,
        &gamma,
        &gradients,
        &grad_outputs,
        epsilon,
    );
    // Relative to the sum of the magnitudes, because the sum itself nearly cancels.
    let bound = 1e-6 * rows as f64;
    for column in 0..2 {
        let error = (found.grad_gamma[column] - gradients.grad_gamma[column]).abs();
        assert!(error <= bound, "grad_gamma: {} and {}", found.grad_gamma, gradients.grad_gamma);
    }
    assert_close("grad_beta", &found.grad_beta, &gradients.grad_beta, 1e-6);
    assert_close("grad_inputs", &found.grad_inputs, &expected, 1e-5);
}

/// From 1,048,500 rows on.
#[test]
fn sums_of_very_many_rows_are_right() {
    let inputs = random(1, [1_200_000, 3]);
    let found = Gpu::get().column_sums(&inputs).unwrap();
    let expected = reference::column_sums(&inputs);
    assert_close("column_sums", &found, &expected, sum_bound(1_200_000));
}

/// A sum of more than 65,500 products, or of four times as many if rows are whole vectors of four.
#[test]
fn products_of_very_long_sums_are_right_or_refused() {
    for gpu in [Gpu::get(), Gpu::with_subgroups()] {
        for (inner, columns, must) in
            [(65_000, 3, true), (70_000, 3, false), (260_000, 4, true), (300_000, 4, false)]
        {
            for transposed in [[false, true], [true, false]] {
                let what = format!("sums of {inner} products, {transposed:?}");
                let factors = [random(1, [4, inner]), random(2, [inner, columns])];
                match answer(gpu, &what, gpu.matmul(factors.each_ref(), transposed)) {
                    Some(found) => {
                        assert_close(&what, &found, &factors[0].dot(&factors[1]), 2e-5);
                    }
                    None => assert!(!must, "{what}: refused"),
                }
            }
        }
    }
}

/// A thousand classes, and the most that a software adapter can finish; then more.
#[test]
fn losses_of_very_many_classes_are_right_or_refused() {
    let gpu = Gpu::get();
    for (columns, must) in [(1000, true), (16_000, true), (25_000, false), (70_000, false)] {
        let outputs = random(1, [3, columns]);
        for label_smoothing in [0.0, 0.125] {
            let loss = Loss::SoftmaxCrossEntropy;
            let options = loss::Options { loss, label_smoothing, has_class_weights: false };
            let what = format!("{columns} classes, smoothing {label_smoothing}");
            let classes = [1, columns as u32 - 1, 0];
            let found = gpu.loss(options, &outputs, &classes);
            let Some([results, grad_outputs]) = answer(gpu, &what, found) else {
                assert!(!must, "{what}: refused");
                continue;
            };
            let expected = reference::smoothed_cross_entropy(
                &outputs,
                &classes,
                label_smoothing.into(),
                &Array1::ones(columns),
            );
            // One row's sum of many similar terms.
            let bound = sum_bound(16 * columns);
            assert_close(&what, results.column(0), &expected.row_losses, bound);
            assert_close(&what, &grad_outputs, &expected.grad_outputs, bound);
        }
    }
}

/// One step of gradient descent, and inference, which agree with the reference or are refused.
#[track_caller]
fn check_network(gpu: &Gpu, sizes: &[u32], rows: u32, must: bool) {
    let what = format!("{sizes:?}, {rows} rows");
    let network = NetworkOptions { activation: Activation::Tanh, ..Default::default() };
    let parameters = Parameters::initialize(sizes, &network).unwrap();
    let optimizer = Optimizer::gradient_descent(0.1);
    let options = TrainerOptions { batch_size: rows, optimizer, ..Default::default() };
    let network = Network::from_parameters(&gpu.device, &gpu.queue, &parameters).unwrap();
    let inputs = random(3, [rows as usize, sizes[0] as usize]);
    let floats: Vec<f32> = inputs.iter().map(|&value| value as f32).collect();
    let outputs = sizes[sizes.len() - 1];
    let classes: Vec<u32> = (0..rows).map(|row| row % 7 % outputs).collect();

    let predicted = block_on(&gpu.device, Inference::predict(&network, &floats));
    let predicted = answer(gpu, &what, predicted);
    let Some(mut trainer) = answer(gpu, &what, Trainer::new(network, options.clone())) else {
        assert!(!must, "{what}: refused");
        return;
    };
    let mut on_cpu = reference::Trainer::new(reference::Network::from(&parameters), &options);
    if let Some(predicted) = predicted {
        let predicted: Vec<f64> = predicted.into_iter().map(f64::from).collect();
        assert_close(&what, &predicted, &on_cpu.network().infer(&inputs), 1e-4);
    }
    trainer.step(&floats, &classes[..]).unwrap();
    let found = block_on(&gpu.device, trainer.loss()).unwrap();
    let (expected, _) = on_cpu.step(&inputs, &Targets::from(&classes[..]));
    assert_close(&format!("loss of {what}"), &[f64::from(found)], &[expected], 1e-5);
    let found = block_on(&gpu.device, trainer.network().parameters()).unwrap();
    let expected = Parameters::from(on_cpu.network());
    for (index, (found, expected)) in found.layers.iter().zip(&expected.layers).enumerate() {
        let numbers = |layer: &Layer| layer.weights().mapv(f64::from);
        let what = format!("weights of layer {index} of {what}");
        // Before a normalization, sums over few rows nearly cancel.
        let bound = f64::max(1e-4, 4.0 * sum_bound(16 * sizes[0] as usize));
        assert_close(&what, &numbers(found), &numbers(expected), bound);
    }
}

#[test]
fn layers_of_one_neuron_and_of_ten_thousand_follow_the_reference() {
    for gpu in [Gpu::get(), Gpu::with_subgroups()] {
        for sizes in [&[1, 1, 1][..], &[3, 1, 1, 2], &[1, 1], &[3, 10_000, 3]] {
            for rows in [2, 9] {
                check_network(gpu, sizes, rows, true);
            }
        }
        check_network(gpu, &[10_000, 4, 2], 2, true);
        check_network(gpu, &[4, 10_000, 1, 2], 9, true);
        check_network(gpu, &[4, 16, 1000], 50, true);
        check_network(gpu, &[3, 5, 2], 100_000, true);
    }
}

/// Unusually large sizes. A software adapter with subgroups finishes some of them only because it uses
/// another kernel.
#[test]
fn layers_of_very_many_inputs_and_outputs_follow_the_reference_or_are_refused() {
    let gpu = Gpu::with_subgroups();
    check_network(gpu, &[120_000, 3], 256, true);
    check_network(gpu, &[70_000, 120, 3], 4, true);
    for gpu in [Gpu::get(), gpu] {
        check_network(gpu, &[270_000, 4, 2], 6, false);
        check_network(gpu, &[5, 4, 70_000], 6, false);
    }
}

/// More bytes of inputs than a binding may have, in slices that on a software adapter have 65,536 tiles, one more
/// than a dispatch has workgroups.
#[test]
fn inference_walks_rows_beyond_a_binding() {
    const ROWS: u32 = 8_500_000;
    const FEATURES: u32 = 4;
    let gpu = Gpu::with_subgroups();
    let options = NetworkOptions { batch_norm: false, ..Default::default() };
    let mut parameters = Parameters::initialize(&[FEATURES, 1], &options).unwrap();
    let Layer::Linear { weights, biases } = &mut parameters.layers[0] else {
        panic!("the output layer is linear");
    };
    // Exact: the outputs are whole numbers below 2²⁴.
    weights.fill(3.0);
    biases.fill(-5.0);
    let network = Network::from_parameters(&gpu.device, &gpu.queue, &parameters).unwrap();
    let value = |place: u32| (place % 100_003) as f32;
    let inputs: Vec<f32> = (0..ROWS * FEATURES).map(value).collect();
    let allowed = gpu.device.limits().max_storage_buffer_binding_size;
    assert!(4 * inputs.len() as u64 > allowed, "all rows fit one binding of {allowed} bytes");
    let found = block_on(&gpu.device, Inference::predict(&network, &inputs)).unwrap();
    let expected = inputs.chunks(FEATURES as usize).map(|row| 3.0 * row.iter().sum::<f32>() - 5.0);
    let first = found.iter().zip(expected).position(|(&found, expected)| found != expected);
    assert_eq!((found.len(), first), (ROWS as usize, None), "the first row that is wrong");
}

/// Steps on a data set in two bindings equal steps on batches from the CPU, bit for bit.
#[test]
fn training_takes_rows_beyond_a_binding() {
    const ROWS: u32 = 1_100_000;
    let gpu = Gpu::get();
    let inputs = Array2::from_shape_fn([ROWS as usize, 32], |(row, column)| {
        ((row % 1009) * (column + 1) % 17) as f32 - 8.0
    });
    assert!(4 * inputs.len() as u64 > gpu.device.limits().max_storage_buffer_binding_size);
    let classes: Vec<u32> = (0..ROWS).map(|row| row % 1009 % 3).collect();
    let dataset = std::sync::Arc::new(Dataset::new(inputs, classes).unwrap());
    let train = |is_streamed: bool| {
        let sizes = [32, 8, 3];
        let network = Network::new(&gpu.device, &gpu.queue, &sizes, NetworkOptions::default());
        let options = TrainerOptions { batch_size: 50_000, ..Default::default() };
        let mut trainer = Trainer::new(network.unwrap(), options).unwrap();
        let mut data = match is_streamed {
            true => trainer.stream(dataset.clone()).unwrap(),
            false => trainer.upload(&dataset).unwrap(),
        };
        trainer.train(&mut data, 4).unwrap();
        let metrics = block_on(&gpu.device, trainer.metrics(4)).unwrap();
        (metrics, block_on(&gpu.device, trainer.network().parameters()).unwrap())
    };
    let [(resident, at_the_end), (streamed, expected)] = [false, true].map(train);
    assert_eq!(resident, streamed, "what the steps saw");
    assert!(at_the_end == expected, "the parameters at the end differ");
}
