//! The division of a training into submissions changes no bit.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::data::Dataset;
use crate::error::Error;
use crate::gpu::testing::TestGpu;
use crate::gpu::{block_on, block_on_for};
use crate::network::Network;
use crate::options::{NetworkOptions, OnFault, Optimizer, Remainder, TrainerOptions};
use crate::plan::StepPlan;
use crate::snapshot::Snapshot;
use crate::trainer::cases::{ROWS, SIZES};
use crate::trainer::{Trainer, TrainingData};

/// A trainer of a small network, and 110 rows for it: the last batch of an epoch has 10.
fn divided(work: Option<f64>, streams: bool) -> (Trainer, TrainingData) {
    let gpu = TestGpu::new().gpu;
    let network = Network::new(&gpu.device, &gpu.queue, &SIZES, NetworkOptions::default());
    let options = TrainerOptions {
        batch_size: 20,
        optimizer: Optimizer::adam(1e-2),
        clip_norm: Some(1.0),
        on_fault: OnFault::SkipStep,
        remainder: Remainder::Keep,
        ..Default::default()
    };
    let mut trainer = Trainer::new(network.expect("a network"), options).expect("a trainer");
    if let Some(work) = work {
        trainer.in_flight.force(work);
    }
    let inputs = TestGpu::new().random([110, SIZES[0]]).mapv(|value| value as f32);
    let classes: Vec<u32> = (0..110).map(|row| row * row % SIZES[3]).collect();
    let dataset = Dataset::new(inputs, classes).expect("a data set");
    let data = if streams { trainer.stream(dataset) } else { trainer.upload(&dataset) };
    let data = data.expect("the data set fits");
    (trainer, data)
}

fn snapshot(trainer: &Trainer) -> Snapshot {
    block_on(&trainer.network.gpu().device, trainer.snapshot()).expect("a snapshot")
}

/// Each dispatch in a submission, several dispatches, whole steps; steps and epochs.
#[test]
fn every_division_into_submissions_gives_the_same_bits() {
    let learn = |work: f64, streams: bool| {
        let (mut trainer, mut data) = divided(Some(work), streams);
        let device = trainer.network.gpu().device.clone();
        trainer.train(&mut data, 4).expect("steps");
        // To the end of the first epoch, and the second.
        let epochs =
            [(); 2].map(|()| block_on(&device, trainer.epoch(&mut data)).expect("an epoch"));
        trainer.train(&mut data, 3).expect("steps");
        (snapshot(&trainer), epochs, trainer.in_flight.count())
    };
    let (expected, epochs, few) = learn(1e9, false);
    let mut counts = Vec::new();
    for work in [1e-9, 100.0, 300.0, 2000.0] {
        for streams in [false, true] {
            let (found, found_epochs, count) = learn(work, streams);
            assert!(found == expected, "{work} µs a submission, streams: {streams}");
            assert_eq!(found_epochs, epochs, "{work} µs a submission, streams: {streams}");
            counts.push(count);
        }
    }
    let (trainer, _) = divided(None, false);
    // 15 steps of at least 9 dispatches.
    assert!(counts[0] == 15 * trainer.step.units() as u64 && trainer.step.units() > 9);
    assert!(counts.is_sorted_by(|one, next| one >= next) && counts[7] >= few, "{counts:?}, {few}");
}

/// Every part of a dispatch in a submission, by the plan of a GPU.
#[test]
fn every_division_of_dispatches_gives_the_same_bits() {
    let (TestGpu { gpu, .. }, class) = TestGpu::nvidia();
    let learn = |work: f64, picked: usize| {
        let options = NetworkOptions { seed: 3, ..Default::default() };
        let network = Network::new(&gpu.device, &gpu.queue, &SIZES, options).expect("a network");
        let options = TrainerOptions { batch_size: ROWS, ..Default::default() };
        let plan = StepPlan::picked(class, network.sizes(), &options, |count| (picked * count) / 4);
        let mut trainer = Trainer::with_plan(network, plan, options).expect("a trainer");
        trainer.in_flight.force(work);
        let inputs = TestGpu::new().random([ROWS, SIZES[0]]).mapv(|value| value as f32);
        let classes: Vec<u32> = (0..ROWS).map(|row| row * row % SIZES[3]).collect();
        let dataset = Dataset::new(inputs, classes).expect("a data set");
        let mut data = trainer.upload(&dataset).expect("the data set fits");
        trainer.train(&mut data, 5).expect("steps");
        let parts = trainer.step.units() - trainer.plan().dispatches().len();
        (snapshot(&trainer), parts, trainer.in_flight.count())
    };
    for picked in 0..4 {
        let (expected, parts, _) = learn(1e9, picked);
        assert!(parts >= 3, "{parts} more units than dispatches");
        for work in [1e-9, 3.0, 30.0] {
            let (found, _, submissions) = learn(work, picked);
            assert!(found == expected, "{work} µs a submission, plan {picked}");
            assert!(submissions > 5, "{submissions} submissions");
        }
    }
}

/// A dropped future, and a wait that takes too long, leave no step half taken.
#[test]
fn a_step_that_has_begun_ends() {
    let (mut whole, mut data) = divided(Some(1e9), false);
    let mut expected = Vec::new();
    for _ in 0..3 {
        whole.train(&mut data, 1).expect("a step");
        expected.push(snapshot(&whole));
    }
    for streams in [false, true] {
        let (mut trainer, mut data) = divided(Some(1e-9), streams);
        let device = trainer.network.gpu().device.clone();
        {
            let epoch = pin!(trainer.epoch(&mut data));
            let mut context = Context::from_waker(Waker::noop());
            assert!(epoch.poll(&mut context).is_pending(), "three of many submissions");
        }
        let submissions = trainer.in_flight.count();
        assert_eq!(trainer.steps(), 1, "{submissions} submissions, streams: {streams}");
        assert!(snapshot(&trainer) == expected[0], "streams: {streams}");
        let training = async { trainer.train(&mut data, 1) };
        let answer = block_on_for(&device, Duration::ZERO, training);
        assert!(answer.is_ok() || matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
        let steps = trainer.steps() as usize;
        assert!(snapshot(&trainer) == expected[steps - 1], "{answer:?}, streams: {streams}");
    }
}
