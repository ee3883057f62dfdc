//! Compares the optimizer with its twins, and tests what it stops at.

use ndarray::{Array1, Array2, Axis, Zip, concatenate, s};

use super::*;
use crate::gpu::testing::{TestGpu, assert_close};
use crate::reference;

const CLIP_SCALE: f64 = 0.75;

fn optimizers() -> Vec<Optimizer> {
    let plain = Method::ALL.map(Optimizer::usual);
    let decaying = plain.map(|optimizer| Optimizer { weight_decay: 0.01, ..optimizer });
    let decaying_all = decaying.map(|optimizer| Optimizer { decays_all: true, ..optimizer });
    plain.into_iter().chain(decaying).chain(decaying_all).collect()
}

/// One step of the twin, on the parameters and on the optimizer's state.
fn step_on_cpu(
    optimizer: &Optimizer,
    step: u64,
    weights: usize,
    [parameters, velocity, mean_square]: [&mut Array1<f64>; 3],
    gradients: &Array1<f64>,
) {
    let mut index = 0;
    Zip::from(parameters).and(gradients).and(velocity).and(mean_square).for_each(
        |parameter, &gradient, velocity, square| {
            let decays = index < weights || optimizer.decays_all;
            index += 1;
            let gradient = CLIP_SCALE * gradient;
            reference::update(optimizer, step, decays, gradient, parameter, [velocity, square]);
        },
    );
}

fn rate(optimizer: &Optimizer) -> u32 {
    (optimizer.learning_rate as f32).to_bits()
}

/// A row, then a stop and the faults of one layer.
fn with_stop(values: &Array1<f64>) -> Array1<f64> {
    concatenate![Axis(0), values.view(), Array1::zeros(24)]
}

/// The gradients of some slabs of `length` values: the first row, a stop and faults, the other rows; and the
/// ranges for them. Between two ranges, where these have room, is one with a single slab.
pub(in crate::fused) fn slabs(
    gpu: &mut TestGpu,
    [slabs, length]: [u32; 2],
) -> (Array1<f64>, Array1<f64>, Vec<SlabRange>) {
    let mut of_slabs = gpu.random([slabs, length]);
    let quads = length / QUAD;
    let [first, second] = [quads / 3, quads / 2];
    let between = 4 * first as usize..4 * second as usize;
    of_slabs.slice_mut(s![1.., between]).fill(0.0);
    let mut packed = with_stop(&of_slabs.row(0).to_owned()).to_vec();
    packed.extend(of_slabs.iter().skip(length as usize));
    let shift = quads + 6;
    let range = |end, slabs| SlabRange { end, slabs, length: quads, shift };
    let ranges = [range(first, slabs), range(second, 1), range(quads, slabs)];
    let mut ranges: Vec<_> = ranges.into_iter().filter(|range| range.end > 0).collect();
    ranges.dedup_by_key(|range| range.end);
    ranges.retain(|_| slabs > 1);
    (packed.into(), of_slabs.sum_axis(Axis(0)), ranges)
}

fn check(gpu: &mut TestGpu, optimizer: &Optimizer, [slabs, length]: [u32; 2]) {
    const STEPS: u32 = 4;
    let weights = length / 8 * 4;
    let kernel = Update::new(&gpu.gpu.device, optimizer, false, slabs > 1).unwrap();
    let mut parameters = gpu.random_vector(length);
    let [mut velocity, mut mean_square] = [(); 2].map(|()| Array1::zeros(length as usize));
    let on_gpu = gpu.upload_vector(&with_stop(&parameters));
    let state = |has: bool| gpu.zeros([1, if has { on_gpu.columns() } else { 1 }]);
    let state = [state(optimizer.method.has_velocity()), state(optimizer.method.has_mean_square())];
    let table = (1..=STEPS).flat_map(|step| rates(optimizer, step.into()).map(f64::from));
    let table = Array2::from_shape_vec([STEPS as usize, 4], table.collect()).unwrap();
    let [table, clip_scale] = [gpu.upload(&table), gpu.upload(&ndarray::array![[CLIP_SCALE]])];
    for step in 1..=STEPS {
        let (packed, gradients, ranges) = self::slabs(gpu, [slabs, length]);
        let buffers = Buffers {
            counts: &gpu.upload_integers(&[step, 0, rate(optimizer), 0, 0, 0]),
            rates: &table,
            clip_scale: &clip_scale,
            gradients: &gpu.upload_vector(&packed),
            slabs: &ranges,
            parameters: &on_gpu,
            learned: length,
            weights,
            faults: 4,
            velocity: &state[0],
            mean_square: &state[1],
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        let on_cpu = [&mut parameters, &mut velocity, &mut mean_square];
        step_on_cpu(optimizer, step.into(), weights as usize, on_cpu, &gradients);
    }
    let what = format!("{optimizer:?}, {slabs} × {length} gradients");
    // A handful of roundings of each step's change, and one of the parameter for each step.
    let learned = |matrix: &Matrix| gpu.read(matrix)[..length as usize].to_vec();
    assert_close(&what, &learned(&on_gpu), &parameters, 1e-6, 0.0);
    if optimizer.method.has_velocity() {
        // The sum of a few gradients, each with the roundings of up to 16 slabs.
        assert_close(&what, &learned(&state[0]), &velocity, 1e-5, 1e-6);
    }
    if optimizer.method.has_mean_square() {
        // Where slabs cancel each other, the roundings of their sum stay.
        let bound = 1e-12 + 1e-10 * f64::from(slabs - 1);
        assert_close(&what, &learned(&state[1]), &mean_square, bound, 1e-6);
    }
}

#[test]
fn matches_the_reference() {
    let mut gpu = TestGpu::new();
    for optimizer in optimizers() {
        for shape in [[1, 4], [1, 8], [1, 252], [2, 256], [1, 260], [16, 1028]] {
            check(&mut gpu, &optimizer, shape);
        }
    }
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
    check(&mut TestGpu::new(), &Optimizer::adam(0.01), [1, length]);
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
