//! The losses against their twins, on ordinary outputs.

use ndarray::{Array1, Array2};

use super::*;
use crate::gpu::testing::{SHAPES, TestGpu};
use crate::reference::{self, LossGradient};

pub(super) fn run(
    gpu: &TestGpu,
    loss: impl Into<Options>,
    outputs: &Array2<f64>,
    targets: &Matrix,
) -> [Vec<f32>; 2] {
    run_as(gpu, gpu.gpu.class, loss.into(), outputs, targets)
}

/// As on devices of this class.
pub(super) fn run_as(
    gpu: &TestGpu,
    class: DeviceClass,
    options: Options,
    outputs: &Array2<f64>,
    targets: &Matrix,
) -> [Vec<f32>; 2] {
    let kernel = Loss::of_class(&gpu.gpu.device, class, options).unwrap();
    let outputs = gpu.upload(outputs);
    let results = gpu.zeros([outputs.rows(), 2]);
    let grad_outputs = gpu.zeros([outputs.rows(), outputs.columns()]);
    let buffers =
        Buffers { outputs: &outputs, targets, results: &results, grad_outputs: &grad_outputs };
    gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
    [gpu.read(&results), gpu.read(&grad_outputs)]
}

pub(super) fn compare(
    gpu: &TestGpu,
    what: &str,
    [results, grad_outputs]: &[Vec<f32>; 2],
    expected: &LossGradient,
) {
    let column =
        |column: usize| -> Vec<f32> { results.iter().copied().skip(column).step_by(2).collect() };
    // A row's sum has one rounding per column, of values of its own size; the largest output
    // here is 100.
    gpu.compare(&format!("{what}: losses"), &column(0), &expected.row_losses, 1e-12, 3e-6);
    let accuracies = &expected.row_accuracies;
    gpu.compare(&format!("{what}: accuracies"), &column(1), accuracies, 0.0, 1e-6);
    let rows = expected.row_losses.len() as f64;
    let bound = 5e-7 / rows;
    gpu.compare(
        &format!("{what}: grad_outputs"),
        grad_outputs,
        &expected.grad_outputs,
        bound,
        1e-6,
    );
}

pub(super) fn compare_classes(gpu: &mut TestGpu, shape: [u32; 2], scale: f64) {
    let outputs = gpu.random(shape).mapv(|value| f64::from((scale * value) as f32));
    let classes: Vec<u32> = (0..shape[0]).map(|row| (row * 7 + 3) % shape[1]).collect();
    let loss = options::Loss::SoftmaxCrossEntropy;
    let found = run(gpu, loss, &outputs, &gpu.upload_integers(&classes));
    let expected = reference::softmax_cross_entropy(&outputs, &classes);
    compare(gpu, &format!("softmax cross-entropy {shape:?} × {scale}"), &found, &expected);
}

/// Every loss, also with smoothed labels and weighed classes.
pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
    softmax_cross_entropy(gpu);
    smoothed_and_weighted_cross_entropy(gpu);
    losses_of_values(gpu);
}

fn softmax_cross_entropy(gpu: &mut TestGpu) {
    for shape in SHAPES.into_iter().chain([[5, 1000]]) {
        for scale in [1.0, 100.0] {
            compare_classes(gpu, shape, scale);
        }
    }
}

/// Weights as they are after weighing: about 1 on average, and 0 here and there.
fn smoothed_and_weighted_cross_entropy(gpu: &mut TestGpu) {
    for shape in SHAPES.into_iter().chain([[5, 1000]]) {
        for (label_smoothing, has_class_weights) in [(0.125, false), (0.0, true), (0.125, true)] {
            let loss = options::Loss::SoftmaxCrossEntropy;
            let options = Options { loss, label_smoothing, has_class_weights };
            let outputs = gpu.random(shape).mapv(|value| f64::from((10.0 * value) as f32));
            let classes: Vec<u32> = (0..shape[0]).map(|row| (row * 7 + 3) % shape[1]).collect();
            let weights = match has_class_weights {
                true => gpu.random_vector(shape[1]).mapv(|weight| (1.0 + weight).max(0.25) - 0.25),
                false => Array1::ones(shape[1] as usize),
            };
            let weights = weights.mapv(|weight| f64::from(weight as f32));
            let mut targets = classes.clone();
            if has_class_weights {
                targets.extend(weights.iter().map(|&weight| (weight as f32).to_bits()));
            }
            let found = run(gpu, options, &outputs, &gpu.upload_integers(&targets));
            let smoothing = label_smoothing.into();
            let expected =
                reference::smoothed_cross_entropy(&outputs, &classes, smoothing, &weights);
            compare(gpu, &format!("{options:?} {shape:?}"), &found, &expected);
        }
    }
}

pub(super) fn kinds_of_values() -> impl Iterator<Item = options::Loss> {
    options::Loss::ALL.into_iter().filter(|loss| !loss.has_class_targets())
}

fn losses_of_values(gpu: &mut TestGpu) {
    for loss in kinds_of_values() {
        for shape in SHAPES {
            for scale in [1.0, 100.0] {
                let outputs = gpu.random(shape).mapv(|value| f64::from((scale * value) as f32));
                // Probabilities, for the losses that need them.
                let targets = gpu.random(shape).mapv(|target| (0.5 + 0.5 * target) as f32);
                let on_gpu = gpu.upload(&targets.mapv(f64::from));
                let found = run(gpu, loss, &outputs, &on_gpu);
                let targets = targets.into_raw_vec_and_offset().0;
                let expected = reference::loss(loss, &outputs, &targets.into());
                // The gradient of the mean squared error grows with the outputs.
                compare(gpu, &format!("{loss:?} {shape:?} × {scale}"), &found, &expected);
            }
        }
    }
}
