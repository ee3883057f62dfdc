//! A tiling decides who computes a sum, and changes no bit of it.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Gpu, block_on};
use crate::options::{NetworkOptions, Optimizer};
use crate::parameters::Parameters;
use crate::plan::DeviceClass;

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
