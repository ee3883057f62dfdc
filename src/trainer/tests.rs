//! Trainings against the reference and against each other, on the devices of the tests.

mod submissions;

use super::cases::*;
use crate::gpu::testing::{TestGpu, own_gpu};
use crate::plan::DeviceClass;

/// A long training by a random plan, and a short one by more.
fn check(gpu: &TestGpu, class: DeviceClass) {
    for [steps, plans] in [[500, 1], [10, 6]] {
        let others = every_plan_gives_the_same_bits(gpu, class, true, [steps, plans]);
        assert!(2 * others > plans, "only {others} of {plans} plans differ from the first");
    }
    every_plan_gives_the_same_bits(gpu, class, false, [10, 3]);
}

/// The plans of a GPU can run on any adapter.
#[test]
fn every_plan_of_a_gpu_gives_the_same_bits() {
    let (gpu, class) = TestGpu::nvidia();
    check(&gpu, class);
}

#[test]
fn every_plan_of_a_software_adapter_gives_the_same_bits() {
    let gpu = TestGpu::with_subgroups();
    check(&gpu, gpu.gpu.class);
}

#[test]
fn a_training_matches_the_reference_and_itself() {
    for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
        matches_the_reference(&mut gpu);
        the_same_seed_gives_the_same_bits(&mut gpu);
    }
}

#[test]
fn a_lost_device_is_an_error_in_a_training() {
    a_lost_device_is_an_error(&mut TestGpu::on(own_gpu()));
}
