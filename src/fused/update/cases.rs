//! The optimizers against their twins.

use ndarray::{Array1, Array2, Axis, Zip, concatenate, s};

use super::*;
use crate::gpu::testing::TestGpu;
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

pub(super) fn rate(optimizer: &Optimizer) -> u32 {
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

pub(super) fn compare(gpu: &mut TestGpu, optimizer: &Optimizer, [slabs, length]: [u32; 2]) {
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
    gpu.compare(&what, &learned(&on_gpu), &parameters, 1e-6, 0.0);
    if optimizer.method.has_velocity() {
        // The sum of a few gradients, each with the roundings of up to 16 slabs.
        gpu.compare(&what, &learned(&state[0]), &velocity, 1e-5, 1e-6);
    }
    if optimizer.method.has_mean_square() {
        // Where slabs cancel each other, the roundings of their sum stay.
        let bound = 1e-12 + 1e-10 * f64::from(slabs - 1);
        gpu.compare(&what, &learned(&state[1]), &mean_square, bound, 1e-6);
    }
}

pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
    for optimizer in optimizers() {
        for shape in [[1, 4], [1, 8], [1, 252], [2, 256], [1, 260], [16, 1028]] {
            compare(gpu, &optimizer, shape);
        }
    }
}
