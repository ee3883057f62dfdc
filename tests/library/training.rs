//! Whole networks on the GPU against the f64 reference: ten steps of every optimizer with every loss.

use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wasm_bindgen_test::wasm_bindgen_test;
use wgpu::{Buffer, Device, Queue};
use ztilde::{
    Activation, Dataset, Loss, Method, Network, NetworkOptions, Optimizer, Parameters, Remainder,
    Schedule, Targets, Trainer, TrainerOptions, reference,
};

use crate::fixtures::buffers::upload;
use crate::fixtures::data::numbers;
use crate::fixtures::devices::devices;

const ROWS: u32 = 37;
/// Rows of 36, 12 and 4 values are whole vectors of four; rows of 5 are padded.
const SIZES: [u32; 4] = [5, 36, 12, 4];
/// All rows are padded.
const ODD_SIZES: [u32; 4] = [7, 33, 6, 3];
/// A network that may take whole steps in one dispatch. Its kernel is compiled for each set of options.
const SMALL_SIZES: [u32; 4] = [5, 20, 12, 4];
const STEPS: u32 = 10;

/// Where the true gradient is 0 (for a shift that the next normalization cancels), Adam and RMSprop
/// divide by the root of a mere rounding error. This epsilon is far larger than such roots.
const EPSILON: f64 = 1e-3;

fn optimizers() -> [Optimizer; 8] {
    let adam = |decoupled| Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: EPSILON, decoupled };
    let rmsprop = Method::RmsProp { smoothing: 0.99, epsilon: EPSILON };
    let momentum = Optimizer::momentum(0.05, 0.9);
    [
        Optimizer::gradient_descent(0.1),
        momentum,
        Optimizer::nesterov(0.05, 0.9),
        Optimizer::new(rmsprop, 0.01),
        Optimizer::new(adam(false), 0.01),
        Optimizer { weight_decay: 0.1, ..Optimizer::new(adam(true), 0.01) },
        Optimizer {
            weight_decay: 0.01,
            schedule: Schedule::Step { every: 3, factor: 0.5 },
            ..momentum
        },
        Optimizer { schedule: Schedule::Cosine { steps: 8, last: 0.1 }, ..momentum },
    ]
}

struct Batch {
    inputs: Array2<f32>,
    targets: Targets<'static>,
}

fn batches(sizes: &[u32], rows: u32, loss: Loss, count: u32) -> Vec<Batch> {
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    let [features, outputs] = [sizes[0], sizes[sizes.len() - 1]];
    (0..count)
        .map(|_| {
            let inputs = Array2::from_shape_simple_fn([rows as usize, features as usize], || {
                generator.random::<f32>() * 4.0 - 2.0
            });
            let targets = if loss.has_class_targets() {
                let class = |_| generator.random::<u32>() % outputs;
                Targets::from((0..rows).map(class).collect::<Vec<u32>>())
            } else {
                let value = |_| generator.random::<f32>();
                Targets::from((0..rows * outputs).map(value).collect::<Vec<f32>>())
            };
            Batch { inputs, targets }
        })
        .collect()
}

/// Trains on both sides, step by step, and compares losses, accuracies and parameters.
///
/// The bound: a forward and backward pass rounds each number a few dozen times (sums of 5 to 37
/// products, the statistics, the activation), to about 1e-7 of its size; a step moves parameters by
/// `rate · gradient`, and ten steps pass the differences on, each a few times as large as before
/// through the normalizations. 5e-6 is ten times the largest error seen; a wrong formula is off by 1e-2.
async fn compare(sizes: &[u32], network: NetworkOptions, options: &TrainerOptions) {
    let parameters = Parameters::initialize(sizes, &network).unwrap();
    let what = format!("{sizes:?}, {network:?}, {options:?}");
    for (device, queue) in devices().await {
        compare_on(&device, &queue, &parameters, options, &what).await;
    }
}

async fn compare_on(
    device: &Device,
    queue: &Queue,
    parameters: &Parameters,
    options: &TrainerOptions,
    what: &str,
) {
    const BOUND: f64 = 5e-6;
    let on_cpu = reference::Network::from(parameters);
    let mut on_cpu = reference::Trainer::new(on_cpu, options);
    let on_gpu = Network::from_parameters(device, queue, parameters).unwrap();
    let mut on_gpu = Trainer::new(on_gpu, options.clone()).unwrap();
    let rows = options.batch_size;
    let batches = batches(&parameters.layer_sizes(), rows, options.loss, STEPS);
    for (step, Batch { inputs, targets }) in batches.into_iter().enumerate() {
        let values = inputs.as_slice().unwrap();
        if step % 2 == 0 {
            on_gpu.step(values, targets.clone()).unwrap();
        } else {
            let buffers = [upload(device, values), upload_targets(device, &targets)];
            let mut encoder = device.create_command_encoder(&Default::default());
            on_gpu.encode_step(&mut encoder, &buffers[0], &buffers[1]).unwrap();
            queue.submit([encoder.finish()]);
        }
        let (loss, accuracy) = on_cpu.step(&inputs.mapv(f64::from), &targets);
        let metrics = on_gpu.metrics(1).await.unwrap()[0];
        let error = (f64::from(metrics.loss) - loss).abs();
        assert!(error <= BOUND * loss.abs().max(1.0), "{what}: {metrics:?}, not loss {loss}");
        // One row may be on the other side of a tie.
        assert_eq!(metrics.accuracy.is_some(), options.loss.has_accuracy(), "{what}");
        if let Some(found) = metrics.accuracy {
            let error = (f64::from(found) - accuracy).abs();
            assert!(
                error <= 1.01 / f64::from(rows),
                "{what}: {metrics:?}, not accuracy {accuracy}"
            );
        }
    }
    let found = numbers(&on_gpu.network().parameters().await.unwrap());
    let expected = numbers(&Parameters::from(on_cpu.network()));
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        let error = f64::from((found - expected).abs());
        let bound = BOUND * f64::from(expected.abs()).max(1.0);
        assert!(error <= bound, "{what}: {name} is {found}, not {expected}");
    }
}

fn upload_targets(device: &Device, targets: &Targets<'_>) -> Buffer {
    match targets {
        Targets::Classes(classes) => upload(device, classes),
        Targets::Values(values) => upload(device, values),
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn every_optimizer_with_every_loss_follows_the_reference() {
    for optimizer in optimizers() {
        for loss in Loss::ALL {
            for batch_norm in [true, false] {
                let network = NetworkOptions {
                    activation: Activation::Tanh,
                    batch_norm,
                    ..Default::default()
                };
                let options =
                    TrainerOptions { batch_size: ROWS, loss, optimizer, ..Default::default() };
                compare(&SIZES, network, &options).await;
            }
        }
    }
}

/// The sign of a gradient is arbitrary if the gradient is 0 up to rounding, as that of a shift that the next
/// normalization cancels. So there is no batch normalization.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn lion_with_every_loss_follows_the_reference() {
    for loss in Loss::ALL {
        let activation = Activation::Tanh;
        let network = NetworkOptions { activation, batch_norm: false, ..Default::default() };
        let optimizer = Optimizer::lion(0.001, 0.1);
        let options = TrainerOptions { batch_size: ROWS, loss, optimizer, ..Default::default() };
        compare(&SIZES, network, &options).await;
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn every_activation_follows_the_reference() {
    for activation in Activation::ALL {
        for batch_norm in [true, false] {
            let network = NetworkOptions { activation, batch_norm, seed: 5, ..Default::default() };
            let optimizer = Optimizer::momentum(0.05, 0.9);
            let options = TrainerOptions { batch_size: ROWS, optimizer, ..Default::default() };
            compare(&SIZES, network, &options).await;
        }
    }
}

/// Each optimizer, with a loss and an activation of its own.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn every_optimizer_of_small_networks_follows_the_reference() {
    for (number, optimizer) in optimizers().into_iter().enumerate() {
        let activation = Activation::ALL[number % Activation::ALL.len()];
        let batch_norm = number % 3 != 0;
        let network = NetworkOptions { activation, batch_norm, ..Default::default() };
        let loss = Loss::ALL[number % Loss::ALL.len()];
        let options = TrainerOptions { batch_size: ROWS, loss, optimizer, ..Default::default() };
        compare(&SMALL_SIZES, network, &options).await;
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn clipping_follows_the_reference() {
    for clip_norm in [0.01, 0.5, 1e3] {
        let optimizer = Optimizer { weight_decay: 0.01, ..Optimizer::gradient_descent(0.5) };
        let options = TrainerOptions {
            batch_size: ROWS,
            optimizer,
            clip_norm: Some(clip_norm),
            ..Default::default()
        };
        let network = NetworkOptions { activation: Activation::Silu, ..Default::default() };
        compare(&SIZES, network, &options).await;
    }
}

/// Rows that are not whole vectors of four, for all ways to pass a batch; and output layers or batches
/// that are too large for one workgroup.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn every_shape_follows_the_reference() {
    let shapes: [(&[u32], u32, &[bool]); 4] = [
        (&ODD_SIZES, ROWS, &[true, false]),
        (&[2, 3], 130, &[false]),
        (&[6, 33, 35], ROWS, &[true]),
        (&[3, 10, 5], 259, &[true]),
    ];
    for (sizes, batch_size, batch_norms) in shapes {
        for loss in Loss::ALL {
            for &batch_norm in batch_norms {
                let activation = Activation::Tanh;
                let network = NetworkOptions { activation, batch_norm, ..Default::default() };
                let optimizer = Optimizer::momentum(0.05, 0.9);
                let clip_norm = Some(0.5);
                let options =
                    TrainerOptions { batch_size, loss, optimizer, clip_norm, ..Default::default() };
                compare(sizes, network, &options).await;
            }
        }
    }
}

/// Losses in one workgroup, row by row, and after a separate output layer.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn smoothed_labels_and_weighed_classes_follow_the_reference() {
    let shapes: [(&[u32], u32); 4] =
        [(&ODD_SIZES, ROWS), (&[3, 10, 5], 259), (&[6, 33, 35], ROWS), (&[4, 8, 1], ROWS)];
    for (sizes, batch_size) in shapes {
        for (label_smoothing, is_weighed) in [(0.125, false), (0.0, true), (0.3, true)] {
            let outputs = sizes[sizes.len() - 1];
            // Their sum over a batch overflows a float; some weights are 0.
            let weight = |class: u32| if class % 4 == 3 { 0.0 } else { 9e36 * (class + 1) as f32 };
            let options = TrainerOptions {
                batch_size,
                label_smoothing,
                class_weights: is_weighed.then(|| (0..outputs).map(weight).collect()),
                optimizer: Optimizer::momentum(0.05, 0.9),
                clip_norm: Some(0.5),
                ..Default::default()
            };
            let network = NetworkOptions { activation: Activation::Tanh, ..Default::default() };
            compare(sizes, network, &options).await;
        }
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn warm_up_and_the_decay_of_all_parameters_follow_the_reference() {
    for batch_norm in [true, false] {
        for decoupled in [true, false] {
            let method = Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: EPSILON, decoupled };
            let optimizer = Optimizer {
                weight_decay: 0.1,
                decays_all: true,
                warm_up: 3,
                schedule: Schedule::OneCycle { steps: 9 },
                ..Optimizer::new(method, 0.02)
            };
            let options = TrainerOptions { batch_size: ROWS, optimizer, ..Default::default() };
            let activation = Activation::Tanh;
            let network = NetworkOptions { activation, batch_norm, ..Default::default() };
            compare(&ODD_SIZES, network, &options).await;
        }
    }
}

/// No parameter becomes NaN, and none changes.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn a_batch_whose_classes_weigh_nothing_teaches_nothing() {
    let shapes: [(&[u32], u32); 3] = [(&ODD_SIZES, 8), (&[3, 10, 5], 259), (&[6, 33, 35], 8)];
    for (sizes, batch_size) in shapes {
        for label_smoothing in [0.0, 0.25] {
            for (device, queue) in devices().await {
                let options = NetworkOptions { batch_norm: false, ..Default::default() };
                let network = Network::new(&device, &queue, sizes, options).unwrap();
                let mut class_weights = vec![1.0; sizes[sizes.len() - 1] as usize];
                class_weights[1] = 0.0;
                let options = TrainerOptions {
                    batch_size,
                    label_smoothing,
                    class_weights: Some(class_weights),
                    optimizer: Optimizer::gradient_descent(0.5),
                    ..Default::default()
                };
                let mut trainer = Trainer::new(network, options).unwrap();
                let before = numbers(&trainer.network().parameters().await.unwrap());
                let unchanged = step_on_one_class(&mut trainer, 1).await;
                assert_eq!(unchanged, (0.0, before.clone()), "{sizes:?}, {label_smoothing}");
                let (loss, after) = step_on_one_class(&mut trainer, 0).await;
                assert!(loss > 0.1 && after != before, "{sizes:?}, {label_smoothing}: {loss}");
            }
        }
    }
}

/// The loss of a step whose rows are all of this class, and the network's numbers after the step.
async fn step_on_one_class(trainer: &mut Trainer, class: u32) -> (f32, Vec<(String, f32)>) {
    let rows = trainer.options().batch_size;
    let sizes = trainer.network().layer_sizes().to_vec();
    let inputs = batches(&sizes, rows, Loss::default(), 1).remove(0).inputs;
    trainer.step(inputs.as_slice().unwrap(), vec![class; rows as usize]).unwrap();
    let metrics = trainer.metrics(1).await.unwrap()[0];
    (metrics.loss, numbers(&trainer.network().parameters().await.unwrap()))
}

/// An epoch on the GPU's copy of a data set is the same as its batches, one by one, from the CPU.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn an_epoch_is_its_batches() {
    for (sizes, losses) in [(SIZES, &Loss::ALL[..]), (ODD_SIZES, &Loss::ALL[..1])] {
        for (number, &loss) in losses.iter().enumerate() {
            let remainder = [Remainder::Drop, Remainder::Keep][number % 2];
            let options = TrainerOptions { loss, remainder, ..Default::default() };
            compare_epochs(&sizes, options).await;
        }
        let class_weights = (1..=sizes[3]).map(|class| class as f32).collect();
        let options = TrainerOptions {
            class_weights: Some(class_weights),
            remainder: Remainder::Keep,
            ..Default::default()
        };
        compare_epochs(&sizes, options).await;
    }
}

async fn compare_epochs(sizes: &[u32], options: TrainerOptions) {
    let options = TrainerOptions { batch_size: 8, seed: 9, ..options };
    for (device, queue) in devices().await {
        compare_epochs_on(&device, &queue, sizes, &options).await;
    }
}

async fn compare_epochs_on(
    device: &Device,
    queue: &Queue,
    sizes: &[u32],
    options: &TrainerOptions,
) {
    let TrainerOptions { loss, remainder, .. } = *options;
    let parameters = Parameters::initialize(sizes, &NetworkOptions::default()).unwrap();
    let Batch { inputs, targets } = batches(sizes, ROWS, loss, 1).remove(0);
    let dataset = Dataset::new(inputs, targets).unwrap();
    let network = Network::from_parameters(device, queue, &parameters).unwrap();
    let mut resident = Trainer::new(network, options.clone()).unwrap();
    let mut data = resident.upload(&dataset).unwrap();
    let steps = if remainder == Remainder::Keep { 5 } else { 4 };
    assert_eq!(data.steps_per_epoch(), steps);
    resident.train(&mut data, 2 * steps).unwrap();
    assert_eq!((data.epoch(), data.position()), (2, steps));

    let on_cpu = reference::Network::from(&parameters);
    let mut reference = reference::Trainer::new(on_cpu, options);
    let metrics = resident.metrics(2 * steps).await.unwrap();
    let mut metrics = metrics.iter();
    for epoch in 0..2 {
        let order = ztilde::shuffled_order(ROWS, 9, epoch);
        let used = if remainder == Remainder::Keep { 37 } else { 32 };
        for rows in order[..used].chunks(8) {
            let batch = dataset.select(rows).unwrap();
            let inputs = batch.inputs().mapv(f64::from);
            let (loss, _) = reference.step(&inputs, batch.targets());
            let seen = metrics.next().unwrap();
            assert_eq!(seen.rows as usize, rows.len());
            let error = (f64::from(seen.loss) - loss).abs();
            assert!(error < 2e-4 * loss.max(1.0), "{sizes:?}: {seen:?}, not {loss}");
        }
    }
    assert!(metrics.next().is_none());
}
