//! Batches of thousands of rows against the f64 reference: on most devices their rows are divided among
//! workgroups, in chunks whose statistics are combined, and in slabs whose gradients are added up. Also
//! an output layer that is wider than a tile.

use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ztilde::{
    Activation, Dataset, Loss, Network, NetworkOptions, Optimizer, Parameters, Remainder, Targets,
    Trainer, TrainerOptions, block_on, reference,
};

use crate::fixtures::comparisons::assert_close;
use crate::fixtures::data::numbers;
use crate::fixtures::devices::both_devices;

/// Rows that do not fill tiles, chunks or slabs; and a last batch with fewer slabs and chunks.
const BATCH_SIZE: u32 = 4099;
const LAST_BATCH: u32 = 1301;

fn dataset(loss: Loss, rows: u32, sizes: &[u32]) -> Dataset {
    let [inputs, outputs] = [sizes[0], sizes[sizes.len() - 1]];
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    // A mean that is large against the deviation, and varies from row to row.
    let inputs = Array2::from_shape_fn([rows as usize, inputs as usize], |(row, _)| {
        10.0 + (row % 5) as f32 + generator.random::<f32>()
    });
    let targets = if loss.has_class_targets() {
        Targets::from((0..rows).map(|row| row % outputs).collect::<Vec<u32>>())
    } else {
        let count = rows * outputs;
        Targets::from((0..count).map(|_| generator.random::<f32>()).collect::<Vec<f32>>())
    };
    Dataset::new(inputs, targets).unwrap()
}

#[test]
fn large_batches_follow_the_reference() {
    for (loss, batch_norm) in [
        (Loss::SoftmaxCrossEntropy, true),
        (Loss::MeanSquaredError, true),
        (Loss::MeanSquaredError, false),
    ] {
        // Without normalization the large inputs would saturate the first layer.
        let learning_rate = if batch_norm { 0.1 } else { 1e-3 };
        let options = TrainerOptions {
            batch_size: BATCH_SIZE,
            loss,
            optimizer: Optimizer::momentum(learning_rate, 0.9),
            remainder: Remainder::Keep,
            seed: 4,
            clip_norm: Some(1.0),
            ..Default::default()
        };
        let network =
            NetworkOptions { activation: Activation::Tanh, batch_norm, ..Default::default() };
        compare(&network, &options, 2 * BATCH_SIZE + LAST_BATCH, &[7, 34, 9, 3]);
    }
}

#[test]
fn large_batches_of_weighed_classes_follow_the_reference() {
    let options = TrainerOptions {
        batch_size: BATCH_SIZE,
        label_smoothing: 0.125,
        class_weights: Some(vec![0.25, 3.0, 1.0]),
        optimizer: Optimizer::momentum(0.1, 0.9),
        remainder: Remainder::Keep,
        ..Default::default()
    };
    let network = NetworkOptions { activation: Activation::Tanh, ..Default::default() };
    compare(&network, &options, BATCH_SIZE + LAST_BATCH, &[7, 34, 9, 3]);
}

/// More rows than the rounds of a software adapter's loop, which would end silently.
#[test]
fn very_large_batches_follow_the_reference() {
    let options = TrainerOptions {
        batch_size: 50_000,
        optimizer: Optimizer::momentum(0.1, 0.9),
        ..Default::default()
    };
    compare(&NetworkOptions::default(), &options, options.batch_size, &[3, 8, 2]);
}

#[test]
fn a_wide_output_layer_follows_the_reference() {
    for batch_size in [50, 1100] {
        let options = TrainerOptions {
            batch_size,
            optimizer: Optimizer::momentum(0.1, 0.9),
            remainder: Remainder::Keep,
            ..Default::default()
        };
        let rows = 2 * batch_size + 17;
        compare(&NetworkOptions::default(), &options, rows, &[6, 9, 41]);
    }
}

#[track_caller]
fn compare(network: &NetworkOptions, options: &TrainerOptions, rows: u32, sizes: &[u32]) {
    const EPOCHS: u64 = 2;
    let what = format!("{network:?}, {:?}", options.loss);
    let dataset = dataset(options.loss, rows, sizes);
    let parameters = Parameters::initialize(sizes, network).unwrap();
    let mut on_cpu = reference::Trainer::new(reference::Network::from(&parameters), options);
    let mut losses = Vec::new();
    for epoch in 0..EPOCHS {
        let order = ztilde::shuffled_order(rows, options.seed, epoch);
        for rows in order.chunks(options.batch_size as usize) {
            let batch = dataset.select(rows).unwrap();
            losses.push(on_cpu.step(&batch.inputs().mapv(f64::from), batch.targets()).0);
        }
    }
    let expected = numbers(&Parameters::from(on_cpu.network()));

    for (device, queue) in both_devices() {
        let on_gpu = Network::from_parameters(&device, &queue, &parameters).unwrap();
        let mut trainer = Trainer::new(on_gpu, options.clone()).unwrap();
        let mut data = trainer.upload(&dataset).unwrap();
        let steps = losses.len() as u32;
        trainer.train(&mut data, steps).unwrap();
        let metrics = block_on(&device, trainer.metrics(steps)).unwrap();
        for (seen, loss) in metrics.iter().zip(&losses) {
            // Sums over thousands of rows, whose roundings mostly cancel.
            let error = (f64::from(seen.loss) - loss).abs();
            assert!(error <= 1e-6 * loss.max(1.0), "{what}: {seen:?}, not {loss}");
        }
        let found = numbers(&block_on(&device, trainer.network().parameters()).unwrap());
        // Running means are off by as much as the weights are, times inputs of 10 to 15: at most 3.8e-6 was
        // seen.
        let bound = |number: f64| 1e-5 * number.abs().max(1.0);
        let [found, expected] =
            [&found, &expected].map(|numbers| numbers.iter().map(|(_, number)| number));
        assert_close(&what, found, expected, bound);
    }
}
