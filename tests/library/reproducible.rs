//! The same seed gives the same bits, for any division of the steps into submissions.

use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::Buffer;
use ztilde::{
    Activation, Dataset, EpochMetrics, Loss, Network, NetworkOptions, Optimizer, Parameters,
    Remainder, Schedule, StepMetrics, Trainer, TrainerOptions, block_on,
};

use crate::fixtures::buffers::upload;
use crate::fixtures::data::{self, matrix};
use crate::fixtures::test_device;

const SIZES: [u32; 4] = [7, 70, 33, 5];
const ROWS: u32 = 101;
const BATCH_SIZE: u32 = 16;

/// The bits of every number of a network and of every loss.
#[derive(PartialEq)]
struct Bits {
    parameters: Vec<u8>,
    losses: Vec<u32>,
}

impl Bits {
    /// The bits after this many steps.
    fn of(trainer: &Trainer, steps: u32) -> Self {
        assert_eq!(trainer.steps(), u64::from(steps));
        let (device, _) = test_device::device();
        let parameters = block_on(&device, trainer.network().parameters()).unwrap();
        let metrics = block_on(&device, trainer.metrics(steps)).unwrap();
        assert!(metrics.iter().all(|step| step.loss.is_finite()), "{metrics:?}");
        // A file holds all numbers exactly.
        let parameters = parameters.to_bytes().unwrap();
        Self { parameters, losses: metrics.iter().map(|step| step.loss.to_bits()).collect() }
    }
}

#[track_caller]
fn assert_same(found: &Bits, expected: &Bits, what: &str) {
    let first = found.losses.iter().zip(&expected.losses).position(|(a, b)| a != b);
    assert_eq!(first, None, "{what}: the first loss that differs, counted from 0");
    assert_eq!(found.losses.len(), expected.losses.len(), "{what}");
    assert!(found.parameters == expected.parameters, "{what}: the parameters differ");
}

fn options() -> TrainerOptions {
    TrainerOptions {
        batch_size: BATCH_SIZE,
        optimizer: Optimizer {
            schedule: Schedule::Cosine { steps: 300, last: 0.1 },
            ..Optimizer::adamw(0.01, 0.01)
        },
        clip_norm: Some(1.0),
        remainder: Remainder::Keep,
        seed: 4,
        ..Default::default()
    }
}

fn trainer(network_seed: u64, options: TrainerOptions) -> Trainer {
    let (device, queue) = test_device::device();
    let network =
        NetworkOptions { activation: Activation::Gelu, seed: network_seed, ..Default::default() };
    Trainer::new(Network::new(&device, &queue, &SIZES, network).unwrap(), options).unwrap()
}

fn classes(generator: &mut ChaCha8Rng, rows: u32) -> Vec<u32> {
    (0..rows).map(|_| generator.random::<u32>() % SIZES[3]).collect()
}

fn dataset(seed: u64) -> Dataset {
    dataset_of(seed, ROWS)
}

fn dataset_of(seed: u64, rows: u32) -> Dataset {
    data::dataset(seed, rows, SIZES[0], SIZES[3], Loss::SoftmaxCrossEntropy)
}

/// 150 steps: more than two submissions, and more than 21 epochs of 7 steps.
fn train(trainer: &mut Trainer, at_once: &[u32]) -> Bits {
    let mut data = trainer.upload(&dataset(1)).unwrap();
    for &steps in at_once {
        trainer.train(&mut data, steps).unwrap();
    }
    assert_eq!((data.epoch(), data.position()), (22, 3));
    Bits::of(trainer, 150)
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let first = train(&mut trainer(3, options()), &[150]);
    assert_same(&train(&mut trainer(3, options()), &[150]), &first, "a second time");
    for (network_seed, seed) in [(2, 4), (3, 5)] {
        let other = train(&mut trainer(network_seed, TrainerOptions { seed, ..options() }), &[150]);
        assert!(other.losses != first.losses && other.parameters != first.parameters);
    }
}

#[test]
fn one_by_one_and_many_at_once_give_the_same_bits() {
    let at_once = train(&mut trainer(3, options()), &[150]);
    let found = train(&mut trainer(3, options()), &[1; 150]);
    assert_same(&found, &at_once, "one by one");
    let found = train(&mut trainer(3, options()), &[5, 100, 0, 1, 44]);
    assert_same(&found, &at_once, "some at once");
    let mut by_epochs = trainer(3, options());
    let mut data = by_epochs.upload(&dataset(1)).unwrap();
    let (device, _) = test_device::device();
    for _ in 0..21 {
        block_on(&device, by_epochs.epoch(&mut data)).unwrap();
    }
    by_epochs.train(&mut data, 3).unwrap();
    assert_same(&Bits::of(&by_epochs, 150), &at_once, "by epochs");
}

/// With more submissions in an epoch than are in flight at once, and starting in its middle.
#[test]
fn an_epoch_is_its_steps() {
    const STEPS: u32 = 301;
    let (device, _) = test_device::device();
    let dataset = dataset_of(1, (STEPS - 1) * BATCH_SIZE + 5);
    let mut by_epochs = trainer(3, options());
    let mut data = by_epochs.upload(&dataset).unwrap();
    by_epochs.train(&mut data, 3).unwrap();
    let epochs = [(); 2].map(|()| block_on(&device, by_epochs.epoch(&mut data)).unwrap());
    assert_eq!((data.epoch(), data.position()), (2, STEPS));

    let mut by_steps = trainer(3, options());
    let mut data = by_steps.upload(&dataset).unwrap();
    let expected = [3, STEPS - 3, STEPS].map(|steps| {
        let metrics: Vec<StepMetrics> = (0..steps)
            .map(|_| {
                by_steps.train(&mut data, 1).unwrap();
                block_on(&device, by_steps.metrics(1)).unwrap()[0]
            })
            .collect();
        let rows: f64 = metrics.iter().map(|step| f64::from(step.rows)).sum();
        let mean = |value: fn(&StepMetrics) -> f32| {
            metrics.iter().map(|step| f64::from(step.rows) * f64::from(value(step))).sum::<f64>()
                / rows
        };
        EpochMetrics {
            steps,
            skipped: 0,
            loss: mean(|step| step.loss),
            accuracy: Some(mean(|step| step.accuracy.unwrap())),
        }
    });
    assert_eq!(epochs[..], expected[1..]);
    let steps = 2 * STEPS;
    assert_same(&Bits::of(&by_epochs, steps), &Bits::of(&by_steps, steps), "by epochs");
}

/// A ring keeps the last 8192 steps. Their metrics are the same in one read or in several.
#[test]
fn metrics_are_kept_around_the_ring() {
    const KEPT: usize = 8192;
    let (device, queue) = test_device::device_with_subgroups();
    let network = Network::new(&device, &queue, &[7, 5], NetworkOptions::default()).unwrap();
    let mut trainer = Trainer::new(network, options()).unwrap();
    let mut data = trainer.upload(&dataset(1)).unwrap();
    let read = |trainer: &Trainer, steps| block_on(&device, trainer.metrics(steps)).unwrap();
    let mut expected = Vec::new();
    for _ in 0..9 {
        trainer.train(&mut data, 1000).unwrap();
        expected.extend(read(&trainer, 1000));
    }
    assert!(expected.iter().map(|step| step.step).eq(1..=9000));
    let (first, last) = (expected[0], expected[8192]);
    assert_ne!(first.loss, last.loss, "they share a place in the ring");
    for steps in [1, 700, 808, 809, 2000, KEPT] {
        assert_eq!(read(&trainer, steps as u32), expected[9000 - steps..], "{steps} steps");
    }
}

/// A data set's epochs visit every row, even if the trainer takes other steps in between.
#[test]
fn steps_in_between_do_not_move_a_data_sets_place() {
    let options = || TrainerOptions {
        // With a tiny learning rate the steps in between leave the parameters nearly unchanged.
        batch_size: BATCH_SIZE,
        remainder: Remainder::Keep,
        optimizer: Optimizer::gradient_descent(1e-30),
        ..Default::default()
    };
    let losses = |alternate: bool| {
        let mut trainer = trainer(3, options());
        let mut data = trainer.upload(&dataset(1)).unwrap();
        let mut other = trainer.upload(&dataset(2)).unwrap();
        let (device, _) = test_device::device();
        (0..20)
            .map(|_| {
                trainer.train(&mut data, 1).unwrap();
                let loss = block_on(&device, trainer.loss()).unwrap();
                if alternate {
                    trainer.train(&mut other, 1).unwrap();
                }
                loss
            })
            .collect::<Vec<f32>>()
    };
    assert_eq!(losses(true), losses(false));
}

struct Batch {
    inputs: Array2<f32>,
    classes: Vec<u32>,
    buffers: [Buffer; 2],
}

fn batches(count: u32) -> Vec<Batch> {
    let (device, _) = test_device::device();
    let mut generator = ChaCha8Rng::seed_from_u64(8);
    let make = || {
        let inputs = matrix(&mut generator, [BATCH_SIZE, SIZES[0]]);
        let classes = classes(&mut generator, BATCH_SIZE);
        let buffers = [upload(&device, inputs.as_slice().unwrap()), upload(&device, &classes)];
        Batch { inputs, classes, buffers }
    };
    std::iter::repeat_with(make).take(count as usize).collect()
}

#[test]
fn an_encoder_each_or_one_for_all_or_slices_give_the_same_bits() {
    let (device, queue) = test_device::device();
    let batches = batches(20);
    let mut from_slices = trainer(3, options());
    for Batch { inputs, classes, .. } in &batches {
        from_slices.step(inputs.as_slice().unwrap(), classes).unwrap();
    }
    let expected = Bits::of(&from_slices, 20);
    for steps_per_encoder in [1, 20] {
        let mut encoding = trainer(3, options());
        for batches in batches.chunks(steps_per_encoder) {
            let mut encoder = device.create_command_encoder(&Default::default());
            for Batch { buffers: [inputs, classes], .. } in batches {
                encoding.encode_step(&mut encoder, inputs, classes).unwrap();
            }
            queue.submit([encoder.finish()]);
        }
        let what = format!("{steps_per_encoder} step(s) per encoder");
        assert_same(&Bits::of(&encoding, 20), &expected, &what);
    }
}

/// Gradient descent has no state except the parameters, so a saved run that continues with the remaining
/// batches equals an uninterrupted run.
#[test]
fn a_saved_run_goes_on_as_if_uninterrupted() {
    let (device, queue) = test_device::device();
    let options = || TrainerOptions {
        batch_size: BATCH_SIZE,
        optimizer: Optimizer::gradient_descent(0.1),
        ..Default::default()
    };
    let batches = batches(20);
    let step = |trainer: &mut Trainer, batches: &[Batch]| {
        for Batch { inputs, classes, .. } in batches {
            trainer.step(inputs.as_slice().unwrap(), classes).unwrap();
        }
    };
    let mut uninterrupted = trainer(3, options());
    step(&mut uninterrupted, &batches);
    let expected = Bits::of(&uninterrupted, 20);

    let mut first = trainer(3, options());
    step(&mut first, &batches[..12]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    block_on(&device, first.network().parameters()).unwrap().save(&file).unwrap();
    let mut parameters = Parameters::load(&file).unwrap();
    "classes: cats and dogs".clone_into(&mut parameters.notes);
    let network = Network::from_parameters(&device, &queue, &parameters).unwrap();
    let mut second = Trainer::new(network, options()).unwrap();
    step(&mut second, &batches[12..]);
    let found = Bits::of(&second, 8);
    assert!(found.losses == expected.losses[12..], "the losses differ");
    let mut learned = block_on(&device, second.network().parameters()).unwrap();
    assert_eq!(std::mem::take(&mut learned.notes), parameters.notes);
    assert!(learned.to_bytes().unwrap() == expected.parameters, "the parameters differ");
}
