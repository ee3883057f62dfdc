//! Neither a tiling, which decides who computes a sum, nor the division into submissions changes a bit.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::data::Dataset;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Gpu, block_on, block_on_for};
use crate::options::{NetworkOptions, OnFault, Optimizer, Remainder};
use crate::parameters::Parameters;
use crate::plan::DeviceClass;
use crate::snapshot::Snapshot;

/// Several leaves and slabs of rows, and no size a multiple of a tile's.
const ROWS: u32 = 530;
const SIZES: [u32; 4] = [9, 37, 70, 5];

/// The parameters after some steps that follow the plan which `pick` makes.
fn learned(
    gpu: &Gpu,
    class: DeviceClass,
    batch_norm: bool,
    steps: u32,
    pick: impl FnMut(usize) -> usize,
) -> (StepPlan, Parameters) {
    let options = NetworkOptions { batch_norm, seed: 3, ..Default::default() };
    let network = Network::new(&gpu.device, &gpu.queue, &SIZES, options).expect("a network");
    let optimizer = Optimizer::adam(1e-3);
    let options = TrainerOptions { batch_size: ROWS, optimizer, ..Default::default() };
    let plan = StepPlan::picked(class, network.sizes(), &options, pick);
    let mut trainer = Trainer::with_plan(network, plan.clone(), options).expect("a trainer");
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let values = ROWS as usize * SIZES[0] as usize;
    let inputs: Vec<f32> = (0..values).map(|_| generator.random_range(-1.0..3.0)).collect();
    let classes: Vec<u32> = (0..ROWS).map(|_| generator.random_range(0..SIZES[3])).collect();
    for _ in 0..steps {
        trainer.step(&inputs, classes.as_slice()).expect("a step");
    }
    let parameters = block_on(&gpu.device, trainer.network().parameters());
    (plan, parameters.expect("the parameters"))
}

/// Trains by several random plans, which all have to give the same bits.
fn check(gpu: &Gpu, class: DeviceClass, batch_norm: bool, steps: u32) {
    const PLANS: u32 = 6;
    let mut generator = ChaCha8Rng::seed_from_u64(11);
    let (first_plan, first) = learned(gpu, class, batch_norm, steps, |_| 0);
    let mut others = 0;
    for _ in 0..PLANS {
        let pick = |count| generator.random_range(0..count);
        let (plan, parameters) = learned(gpu, class, batch_norm, steps, pick);
        assert!(parameters == first, "after {steps} steps by\n{plan}\nnot as by\n{first_plan}");
        others += u32::from(plan != first_plan);
    }
    assert!(others > PLANS / 2, "only {others} other plans");
}

/// The plans of a GPU can run on any adapter.
fn check_on_gpu(batch_norm: bool, steps: u32) {
    let class = DeviceClass::named("nvidia").expect("a class");
    check(&TestGpu::new().gpu, class, batch_norm, steps);
}

#[test]
fn every_plan_of_a_gpu_gives_the_same_bits() {
    check_on_gpu(true, 500);
}

#[test]
fn every_plan_without_batch_norm_gives_the_same_bits() {
    check_on_gpu(false, 50);
}

#[test]
fn every_plan_of_a_software_adapter_gives_the_same_bits() {
    let gpu = TestGpu::with_subgroups().gpu;
    check(&gpu, gpu.class, true, 500);
    check(&gpu, gpu.class, false, 50);
}

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
    let class = DeviceClass::named("nvidia").expect("a class");
    let gpu = TestGpu::new().gpu;
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
