//! Trainings against the reference, and against each other.

use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

pub(crate) use super::whole::cases as whole_steps;
use super::*;
use crate::gpu::testing::{PATIENCE, TestGpu};
use crate::gpu::{Gpu, block_on_for};
use crate::options::{NetworkOptions, Optimizer};
use crate::parameters::{BatchNorm, Layer, Parameters};
use crate::plan::DeviceClass;
use crate::reference;

/// Several leaves and slabs of rows, and no size a multiple of a tile's.
pub(super) const ROWS: u32 = 530;
pub(super) const SIZES: [u32; 4] = [9, 37, 70, 5];

/// The parameters after some steps that follow the plan which `pick` makes.
fn learned(
    gpu: &Gpu,
    class: DeviceClass,
    batch_norm: bool,
    steps: u32,
    pick: impl FnMut(usize) -> usize,
) -> (StepPlan, Vec<f32>) {
    let options = NetworkOptions { batch_norm, seed: 3, ..Default::default() };
    let network = Network::new(&gpu.device, &gpu.queue, &SIZES, options).expect("a network");
    let optimizer = Optimizer::adam(1e-3);
    let options = TrainerOptions { batch_size: ROWS, optimizer, ..Default::default() };
    let plan = StepPlan::picked(class, network.sizes(), &options, pick);
    let mut trainer = Trainer::with_plan(network, plan.clone(), options).expect("a trainer");
    let (inputs, classes) = batch();
    for _ in 0..steps {
        trainer.step(&inputs, classes.as_slice()).expect("a step");
    }
    (plan, numbers(&parameters(&trainer)))
}

/// Inputs, and a class for each row.
fn batch() -> (Vec<f32>, Vec<u32>) {
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let values = ROWS as usize * SIZES[0] as usize;
    let inputs = (0..values).map(|_| generator.random_range(-1.0..3.0)).collect();
    let classes = (0..ROWS).map(|_| generator.random_range(0..SIZES[3])).collect();
    (inputs, classes)
}

pub(super) fn parameters(trainer: &Trainer) -> Parameters {
    let device = &trainer.network().gpu().device;
    block_on_for(device, PATIENCE, trainer.network().parameters()).expect("the parameters")
}

/// All parameters, and the running statistics.
pub(super) fn numbers(parameters: &Parameters) -> Vec<f32> {
    let of_layer = |layer: &Layer| match layer {
        Layer::Linear { weights, biases } => weights.iter().chain(biases).copied().collect(),
        Layer::Normalized { weights, batch_norm } => {
            let BatchNorm { gamma, beta, running_mean, running_var, .. } = batch_norm;
            let vectors = [gamma, beta, running_mean, running_var];
            weights.iter().chain(vectors.into_iter().flatten()).copied().collect::<Vec<f32>>()
        }
    };
    parameters.layers.iter().flat_map(of_layer).collect()
}

/// With and without batch normalization, by plans that tuning might choose.
pub(crate) fn plans_give_the_same_bits(gpu: &mut TestGpu, class: DeviceClass) {
    for batch_norm in [true, false] {
        every_plan_gives_the_same_bits(gpu, class, batch_norm, [10, 6]);
    }
}

/// A training of some steps by several random plans. Returns how many of them differ from the first.
pub(super) fn every_plan_gives_the_same_bits(
    gpu: &TestGpu,
    class: DeviceClass,
    batch_norm: bool,
    [steps, plans]: [u32; 2],
) -> u32 {
    let mut generator = ChaCha8Rng::seed_from_u64(11);
    let (first_plan, first) = learned(&gpu.gpu, class, batch_norm, steps, |_| 0);
    let mut others = 0;
    for number in 0..plans {
        let pick = |count| generator.random_range(0..count);
        let (plan, parameters) = learned(&gpu.gpu, class, batch_norm, steps, pick);
        let what = format!("{steps} steps, {SIZES:?}, by plan {number}");
        gpu.compare_bits(&what, &parameters, &first);
        others += u32::from(plan != first_plan);
    }
    others
}

/// Twice the same training, by the plan that a user would get.
pub(crate) fn the_same_seed_gives_the_same_bits(gpu: &mut TestGpu) {
    for batch_norm in [true, false] {
        let learned = || {
            let mut trainer = trainer(&gpu.gpu, batch_norm, Optimizer::adam(1e-3));
            let (inputs, classes) = batch();
            for _ in 0..30 {
                trainer.step(&inputs, classes.as_slice()).expect("a step");
            }
            numbers(&parameters(&trainer))
        };
        let what = format!("30 steps, {SIZES:?}, batch normalization: {batch_norm}");
        gpu.compare_bits(&what, &learned(), &learned());
    }
}

fn trainer(gpu: &Gpu, batch_norm: bool, optimizer: Optimizer) -> Trainer {
    let options = NetworkOptions { batch_norm, seed: 3, ..Default::default() };
    let network = Network::new(&gpu.device, &gpu.queue, &SIZES, options).expect("a network");
    let options = TrainerOptions { batch_size: ROWS, optimizer, ..Default::default() };
    Trainer::new(network, options).expect("a trainer")
}

/// Losses and parameters of a short training.
pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
    const STEPS: usize = 10;
    // As in the tests of whole networks: relative to the value, or to 1.
    const BOUND: f64 = 5e-6;
    for batch_norm in [true, false] {
        let what = format!("{STEPS} steps, {SIZES:?}, batch normalization: {batch_norm}");
        let mut on_gpu = trainer(&gpu.gpu, batch_norm, Optimizer::momentum(0.05, 0.9));
        let on_cpu = reference::Network::from(&parameters(&on_gpu));
        let mut on_cpu = reference::Trainer::new(on_cpu, on_gpu.options());
        let (inputs, classes) = batch();
        let [rows, columns] = [ROWS, SIZES[0]].map(|size| size as usize);
        let values = inputs.iter().map(|&value| value.into()).collect();
        let values = Array2::from_shape_vec([rows, columns], values).expect("as many as that");
        let mut expected = Vec::new();
        for _ in 0..STEPS {
            on_gpu.step(&inputs, classes.as_slice()).expect("a step");
            expected.push(on_cpu.step(&values, &classes.as_slice().into()).0);
        }
        let metrics = on_gpu.metrics(STEPS as u32);
        let metrics = block_on_for(&gpu.gpu.device, PATIENCE, metrics).expect("the losses");
        let losses: Vec<f32> = metrics.iter().map(|metrics| metrics.loss).collect();
        gpu.compare(&format!("{what}: losses"), &losses, &expected, BOUND, BOUND);
        let expected = numbers(&Parameters::from(on_cpu.network()));
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let found = numbers(&parameters(&on_gpu));
        gpu.compare(&format!("{what}: parameters"), &found, &expected, BOUND, BOUND);
    }
}

/// A device that is destroyed in the middle of a training: each call is an error, and none hangs.
pub(crate) fn a_lost_device_is_an_error(gpu: &mut TestGpu) {
    let mut trainer = trainer(&gpu.gpu, true, Optimizer::adam(1e-3));
    let (inputs, classes) = batch();
    trainer.step(&inputs, classes.as_slice()).expect("a step");
    let device = gpu.gpu.device.clone();
    device.destroy();
    let is_lost = |error: Option<Error>| matches!(error, Some(Error::DeviceLost(_)));
    let step = trainer.step(&inputs, classes.as_slice());
    let loss = block_on_for(&device, PATIENCE, trainer.loss());
    let parameters = block_on_for(&device, PATIENCE, trainer.network().parameters());
    let network = Network::new(&device, &gpu.gpu.queue, &SIZES, NetworkOptions::default());
    for (what, error) in [
        ("a step", step.err()),
        ("the loss", loss.err()),
        ("the parameters", parameters.err()),
        ("a new network", network.err()),
    ] {
        let found = format!("{error:?}");
        assert!(is_lost(error), "{what} of a lost device: {found}, not a lost device");
    }
}
