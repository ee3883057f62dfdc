use ndarray::Array1;

use super::cases::{compare, compare_classes, kinds_of_values, run, run_as};
use super::*;
use crate::gpu::rough;
use crate::gpu::testing::{TestGpu, assert_close};
use crate::reference;

#[test]
fn matches_the_reference() {
    cases::matches_the_reference(&mut TestGpu::new());
}

#[test]
fn walks_more_rows_than_invocations() {
    let many_rows = WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 3;
    for scale in [1.0, 100.0] {
        compare_classes(&mut TestGpu::new(), [many_rows, 1], scale);
    }
}

/// A NaN output or target makes loss and gradient NaN; an infinite output gives the twin's result.
#[test]
fn values_that_are_not_finite_give_the_twins_kinds() {
    let gpu = TestGpu::new();
    for loss in kinds_of_values().filter(|loss| !loss.has_accuracy()) {
        for (output, target) in [
            (f32::NAN, 0.0),
            (0.0, f32::NAN),
            (f32::INFINITY, 0.0),
            (f32::NEG_INFINITY, 0.0),
            (f32::INFINITY, f32::INFINITY),
            (5e37, -5e37),
        ] {
            let on_gpu = gpu.upload_integers(&[output, 1.0].map(f32::to_bits));
            let targets = gpu.upload_integers(&[target, 1.0].map(f32::to_bits));
            let [outputs, on_gpu_targets] =
                [&on_gpu, &targets].map(|matrix| Matrix::new(matrix.buffer(), 0, 1, 2).unwrap());
            let kernel = Loss::new(&gpu.gpu.device, loss).unwrap();
            let [results, grad_outputs] = [(); 2].map(|()| gpu.zeros([1, 2]));
            let buffers = Buffers {
                outputs: &outputs,
                targets: &on_gpu_targets,
                results: &results,
                grad_outputs: &grad_outputs,
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            let outputs = ndarray::array![[output.into(), 1.0]];
            let expected = reference::loss(loss, &outputs, &vec![target, 1.0].into());
            let kinds =
                |values: &[f32]| values.iter().map(|value| value.classify()).collect::<Vec<_>>();
            let single = |values: Vec<f64>| {
                kinds(&values.into_iter().map(|value| value as f32).collect::<Vec<_>>())
            };
            let what = format!("{loss:?} of {output} and {target}");
            let losses = single(expected.row_losses.to_vec());
            assert_eq!(kinds(&gpu.read(&results)[..1]), losses, "{what}");
            let grads = single(expected.grad_outputs.into_raw_vec_and_offset().0);
            assert_eq!(kinds(&gpu.read(&grad_outputs)), grads, "{what}, gradient");
        }
    }
}

#[test]
fn outputs_as_large_as_floats_overflow_nothing() {
    let gpu = TestGpu::new();
    let outputs = ndarray::array![[1e30, -1e30, 0.0], [-1e30, -1e30, -1e30]];
    let [results, grads] =
        run(&gpu, options::Loss::SoftmaxCrossEntropy, &outputs, &gpu.upload_integers(&[0, 2]));
    assert_close("losses", &[results[0], results[2]], &[0.0, 3_f64.ln()], 1e-6, 1e-6);
    assert!(grads.iter().all(|grad| grad.is_finite()), "{grads:?}");
}

/// In several modes of arithmetic: Adam would turn any rounding error of a quotient into large steps.
#[test]
fn outputs_that_are_certain_and_right_have_no_gradient_on_any_gpu() {
    let gpu = TestGpu::new();
    let certain = ndarray::array![[200.0, -200.0, 0.0], [-200.0, 7.0, 200.0]];
    let classes = gpu.upload_integers(&[0, 2]);
    let shares = gpu.upload_integers(&[1.0_f32, 0.0, 0.5, 0.0, 1.0, 1.0].map(f32::to_bits));
    let shares = Matrix::new(shares.buffer(), 0, 2, 3).unwrap();
    for mode in rough::Mode::EACH_DIRECTION {
        rough::with(mode, || {
            let loss = options::Loss::SoftmaxCrossEntropy;
            let [_, grads] = run(&gpu, loss, &certain, &classes);
            assert_eq!(grads, [0.0; 6], "classes, {mode:?}");
            let [_, grads] = run(&gpu, loss, &ndarray::array![[3.0]], &gpu.upload_integers(&[0]));
            assert_eq!(grads, [0.0], "one class, {mode:?}");
            let [_, grads] = run(&gpu, options::Loss::BinaryCrossEntropy, &certain, &shares);
            let certain = [grads[0], grads[1], grads[2], grads[3], grads[5]];
            assert_eq!(certain, [0.0; 5], "shares, {mode:?}");
        });
    }
}

#[test]
fn an_invalid_class_makes_its_loss_nan_and_does_no_harm() {
    let gpu = TestGpu::new();
    let outputs = ndarray::array![[1.0, 2.0], [0.5, 0.25]];
    let loss = options::Loss::SoftmaxCrossEntropy;
    let [results, grads] = run(&gpu, loss, &outputs, &gpu.upload_integers(&[2, 1]));
    assert!(results[0].is_nan() && results[2].is_finite(), "{results:?}");
    assert_eq!(grads[..2], [0.0, 0.0]);
    assert_ne!(grads[2..], [0.0, 0.0]);
}

#[test]
fn a_target_that_is_no_probability_shows_and_does_no_harm() {
    let gpu = TestGpu::new();
    let outputs = ndarray::array![[1.0, 2.0], [0.5, 0.25]];
    let loss = options::Loss::BinaryCrossEntropy;
    for bad in [-1e-30_f32, 1.000_000_1, f32::NAN, f32::INFINITY] {
        let targets = [1.0, bad, 0.0, 1.0].map(f32::to_bits);
        let targets = gpu.upload_integers(&targets);
        let targets = Matrix::new(targets.buffer(), 0, 2, 2).unwrap();
        let [results, grads] = run(&gpu, loss, &outputs, &targets);
        assert!(results[0].is_nan() && results[2].is_finite(), "{bad}: {results:?}");
        assert_eq!(grads[..2], [0.0, 0.0]);
        assert!(grads[2..].iter().all(|grad| *grad != 0.0));
    }
}

/// With the same values, invocations that share a row find what one alone finds: the first largest output, also
/// if several are equal, and what is not a number, in any column.
#[test]
fn rows_that_workgroups_share_match_the_reference() {
    let mut gpu = TestGpu::new();
    let nvidia = DeviceClass::named("nvidia").unwrap();
    assert_eq!([63, 64].map(|columns| lanes_of_row(nvidia, columns)), [1, WORKGROUP_SIZE]);
    let smoothed = Options { label_smoothing: 0.125, ..options::Loss::SoftmaxCrossEntropy.into() };
    for shape in [[1, 64], [2, 65], [255, 100], [3, 1000], [crate::gpu::MAX_WORKGROUPS + 6, 70]] {
        let outputs = gpu.random(shape).mapv(|value| f64::from((4.0 * value).round() as f32));
        let classes: Vec<u32> = (0..shape[0]).map(|row| (row * 7 + 3) % shape[1]).collect();
        let integers = gpu.upload_integers(&classes);
        let ones = Array1::ones(shape[1] as usize);
        for options in [options::Loss::SoftmaxCrossEntropy.into(), smoothed] {
            let found = run_as(&gpu, nvidia, options, &outputs, &integers);
            let smoothing = options.label_smoothing.into();
            let expected = reference::smoothed_cross_entropy(&outputs, &classes, smoothing, &ones);
            compare(&gpu, &format!("shared, {options:?} {shape:?}"), &found, &expected);
        }
        for loss in kinds_of_values() {
            let targets = gpu.random(shape).mapv(|target| (0.5 + 0.5 * target) as f32);
            let on_gpu = gpu.upload(&targets.mapv(f64::from));
            let found = run_as(&gpu, nvidia, loss.into(), &outputs, &on_gpu);
            let targets = targets.into_raw_vec_and_offset().0;
            let expected = reference::loss(loss, &outputs, &targets.into());
            compare(&gpu, &format!("shared, {loss:?} {shape:?}"), &found, &expected);
        }
    }
}

#[test]
fn shared_rows_show_what_is_wrong_with_them() {
    let mut gpu = TestGpu::new();
    let nvidia = DeviceClass::named("nvidia").unwrap();
    for place in [0, 63, 64, 99] {
        let mut outputs = gpu.random([2, 100]);
        // The class of the second row would have the largest output.
        outputs[[1, 5]] = 10.0;
        outputs[[1, place]] = f64::NAN;
        // The first row has a class that does not exist.
        let classes = gpu.upload_integers(&[100, 5]);
        let options = options::Loss::SoftmaxCrossEntropy.into();
        let [results, gradients] = run_as(&gpu, nvidia, options, &outputs, &classes);
        assert!(results[0].is_nan() && results[2].is_nan(), "{place}: {results:?}");
        assert_eq!([results[1], results[3]], [0.0; 2], "{place}");
        assert!(gradients[..100].iter().all(|&gradient| gradient == 0.0), "{place}");
        assert!(gradients[100..].iter().any(|gradient| gradient.is_nan()), "{place}");

        let mut targets = gpu.random([1, 100]).mapv(f64::abs);
        targets[[0, place]] = 1.5;
        let outputs = gpu.random([1, 100]);
        let options = options::Loss::BinaryCrossEntropy.into();
        let [results, gradients] = run_as(&gpu, nvidia, options, &outputs, &gpu.upload(&targets));
        assert!(results[0].is_nan(), "{place}: {results:?}");
        assert!(gradients.iter().all(|&gradient| gradient == 0.0), "{place}");
    }
}
