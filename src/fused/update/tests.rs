//! Tests what the optimizer stops at.

use ndarray::Array1;

use super::cases::{compare, rate};
use super::*;
use crate::gpu::testing::TestGpu;

#[test]
fn matches_the_reference() {
    cases::matches_the_reference(&mut TestGpu::new());
}

/// `learned` parameters of two layers, followed by the stop.
fn stopping(
    gpu: &TestGpu,
    optimizer: &Optimizer,
    learned: u32,
) -> ([Matrix; 3], impl Fn(u32) + use<>) {
    let kernel = Update::new(&gpu.gpu.device, optimizer, false, false).unwrap();
    let length = learned + 40;
    let ones = (0..length).map(|index| f64::from(index < learned));
    let row = || gpu.upload_vector(&ones.clone().collect());
    let [parameters, gradients, velocity] = [row(), row(), gpu.zeros([1, length])];
    let (gpu, optimizer) = (gpu.gpu.clone(), *optimizer);
    let matrices = [parameters, gradients, velocity];
    let [parameters, gradients, velocity] = matrices.clone();
    let run = move |step: u32| {
        let gpu = TestGpu::on(gpu.clone());
        let table = rates(&optimizer, step.into()).map(f64::from);
        let buffers = Buffers {
            counts: &gpu.upload_integers(&[step, 0, rate(&optimizer), 0, 0, 0]),
            rates: &gpu.upload_vector(&Array1::from_iter(table)),
            clip_scale: &gpu.upload(&ndarray::array![[1.0]]),
            gradients: &gradients,
            slabs: &[],
            parameters: &parameters,
            learned,
            weights: 8,
            faults: 8,
            velocity: &velocity,
            mean_square: &velocity,
        };
        let bound = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
        gpu.run(&[&bound]);
    };
    (matrices, run)
}

/// A fault of a layer stops the learning for good: in its step, and in later ones without a fault. A
/// fault of the loss is noted alone.
#[test]
fn stops_where_a_layer_has_a_fault() {
    let gpu = TestGpu::new();
    let step = 5 * 65_536 + 17;
    // Values of the first layer's first fault, of the last one's second and last, and of the loss.
    for (noted, place) in [(16, 24), (16, 44), (16, 52), (40, 40)] {
        let ([parameters, gradients, velocity], run) =
            stopping(&gpu, &Optimizer::momentum(0.5, 0.5), 16);
        run(step - 1);
        let learned = [gpu.read(&parameters)[..16].to_vec(), gpu.read(&velocity)];
        assert_eq!(learned[0], [0.5; 16], "the step before");
        let write = |value: f32| {
            for place in [noted, place] {
                gpu.gpu.write(gradients.buffer(), place, &[value]).unwrap();
            }
        };
        write(1.0);
        run(step);
        write(0.0);
        run(step + 1);
        let found = gpu.read(&parameters);
        assert_eq!([found[..16].to_vec(), gpu.read(&velocity)], learned, "value {place}");
        let mut expected = [0.0; 40];
        expected[..3].copy_from_slice(&[1.0, 5.0, 17.0]);
        expected[place as usize - 16] = 1.0;
        assert_eq!(found[16..], expected, "value {place}");
    }
}

/// Parameters that the update would make infinite stay, and all others move, also those of workgroups
/// that run later; the next step moves nothing.
#[test]
fn stops_behind_an_update_that_overflows() {
    let gpu = TestGpu::new();
    let step = 3 * 65_536;
    for decays in [false, true] {
        // The weights are the first eight values. They overflow with and without decay.
        let weight_decay = if decays { 1e38 } else { 0.0 };
        let optimizer = Optimizer { weight_decay, ..Optimizer::gradient_descent(1e30) };
        let (matrices, run) = stopping(&gpu, &optimizer, 8192);
        let [parameters, gradients, _] = &matrices;
        let values: Vec<f32> = (0..8192).map(|i| if i < 8 { 1e12 } else { 1e-30 }).collect();
        gpu.gpu.write(gradients.buffer(), 0, &values).unwrap();
        run(step);
        run(step + 1);
        let found = gpu.read(parameters);
        let (learned, stop) = found.split_at(8192);
        assert_eq!(learned[..8], [1.0; 8], "{weight_decay}");
        let moved = learned[8..].iter().filter(|parameter| parameter.abs() < 1e-6).count();
        assert_eq!(moved, 8184, "{weight_decay}");
        assert_eq!(stop[..8], [1.0, 3.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], "{weight_decay}");
        assert_eq!(stop[8..], [0.0; 32], "{weight_decay}");
    }
}

#[test]
fn walks_more_parameters_than_invocations() {
    let length = QUAD * (SOFTWARE_QUADS * WORKGROUP_SIZE * MOST_WORKGROUPS + 9);
    compare(&mut TestGpu::new(), &Optimizer::adam(0.01), [1, length]);
}

/// Whole quads, and a state for every parameter where the method has it.
#[test]
fn refuses_what_does_not_fit() {
    let gpu = TestGpu::new();
    let device = &gpu.gpu.device;
    let [counts, one, rates] = [[1, COUNTS], [1, 1], [1, 4]].map(|shape| gpu.zeros(shape));
    let message = |optimizer: &Optimizer, length, weights, state| {
        let [gradients, parameters, velocity, mean_square] =
            [length, length, state, state].map(|length| gpu.zeros([1, length]));
        let buffers = Buffers {
            counts: &counts,
            rates: &rates,
            clip_scale: &one,
            gradients: &gradients,
            slabs: &[],
            parameters: &parameters,
            learned: length,
            weights,
            faults: 4,
            velocity: &velocity,
            mean_square: &mean_square,
        };
        let bound =
            Update::new(device, optimizer, false, false).unwrap().bind(device, "test", buffers);
        bound.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let adam = Optimizer::adam(0.01);
    let found = message(&adam, 1031, 4, 1031);
    assert!(found.contains("parameters holds 1031 values, but 1032 are needed"), "{found}");
    let found = message(&adam, 1032, 6, 1032);
    assert!(found.contains("parameters holds 6 values, but 8 are needed"), "{found}");
    let found = message(&adam, 1032, 4, 1028);
    assert!(found.contains("velocity is 1 × 1028, but 1 × 1032 is needed"), "{found}");
    let found = message(&Optimizer::rmsprop(0.01), 1032, 4, 1);
    assert!(found.contains("mean_square is 1 × 1, but 1 × 1032 is needed"), "{found}");
    assert_eq!(message(&Optimizer::gradient_descent(0.1), 1032, 4, 1), "");
}
