//! Trainings against the reference and against each other, on the devices of the tests.

mod submissions;

use super::cases::*;
use crate::gpu::testing::{TestGpu, own_gpu};
use crate::plan::DeviceClass;

fn check(gpu: &TestGpu, class: DeviceClass, batch_norm: bool, steps: u32) {
    let others = every_plan_gives_the_same_bits(gpu, class, batch_norm, steps);
    assert!(others > PLANS / 2, "only {others} other plans");
}

/// The plans of a GPU can run on any adapter.
fn check_on_gpu(batch_norm: bool, steps: u32) {
    let (gpu, class) = TestGpu::nvidia();
    check(&gpu, class, batch_norm, steps);
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
    let gpu = TestGpu::with_subgroups();
    check(&gpu, gpu.gpu.class, true, 500);
    check(&gpu, gpu.gpu.class, false, 50);
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
