use ndarray::Array2;

use super::cases::{compare, run};
use super::*;
use crate::gpu::MAX_WORKGROUPS;
use crate::gpu::testing::TestGpu;
use crate::plan::Tiling;

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
        cases::matches_the_reference(&mut gpu, (class, tiling));
    }
}

#[test]
fn slabs_are_summed_up_in_the_same_order_in_any_tiling() {
    for (mut gpu, class) in TestGpu::with_each_class() {
        cases::bits_are_the_same(&mut gpu, class);
    }
    let (gpu, class) = TestGpu::nvidia();
    let [grad_sums, inputs] = cases::several_slabs(&gpu);
    let left = run(&gpu, (class, Tiling::single(class)), true, &grad_sums, &inputs);
    assert!(left.slabs.len() > 1, "no class has several slabs");
}

/// The stop, then the faults of biases and of weights.
#[test]
fn notes_what_is_not_finite() {
    for (gpu, class, tiling) in TestGpu::with_each_tiling() {
        for (grad, input, expected) in [
            (1.0, 1.0, [false, false, false, false, false]),
            (f64::INFINITY, 0.5, [true, false, true, false, true]),
            (1.0, 1e30, [true, false, false, false, true]),
            (f64::NAN, 0.5, [true, false, true, false, true]),
        ] {
            let [mut grad_sums, mut inputs] = [[600, 5], [600, 9]].map(Array2::<f64>::zeros);
            grad_sums[[599, 4]] = grad;
            inputs[[599, 8]] = input;
            let left = run(&gpu, (class, tiling), true, &grad_sums, &inputs);
            assert_eq!(left.noted, expected, "{tiling:?}: {grad}, {input}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (gpu, class) = TestGpu::nvidia();
    // With biases, and several slabs.
    const ROWS: u32 = 1031;
    let plan = LayerPlan::test(class, Tiling::single(class), [3, 6], false, false);
    let kernel = GradWeights::new(&gpu.gpu.device, plan).unwrap();
    let packed = [[6, 3], [1, 6], [1, 4], [4, 4]].map(Array2::<f64>::zeros);
    let (parameters, parts) = gpu.upload_packed(&packed.each_ref());
    let slabs = Slabs { first: parameters.columns().into(), length: 6 * 4 + 8 };
    let further = plan.order(ROWS).slabs() - 1;
    assert!(further > 0);
    let needed = parameters.columns() + further * slabs.length as u32;
    let targets = Targets {
        parameters: &parameters,
        weights: &parts[0],
        biases: Some(&parts[1]),
        faults: &parts[3],
        slabs,
    };
    let [inputs, grad_sums, wrong] = [[ROWS, 3], [ROWS, 6], [2, 7]].map(|shape| gpu.garbage(shape));
    let [gradients, short] = [needed, needed - 1].map(|length| gpu.garbage([1, length]));
    let (stop, gradients) = (&parts[2], &gradients);
    let right = Buffers { inputs: &inputs, grad_sums: &grad_sums, targets, stop, gradients };
    kernel.bind(&gpu.gpu.device, "test", right).unwrap();
    let with = |targets| Buffers { targets, ..right };
    let too_short = format!("gradients holds {} values, but {needed} are needed", needed - 1);
    for (buffers, expected) in [
        (Buffers { inputs: &wrong, ..right }, "inputs is 2 × 7, but 2 × 3 is needed"),
        (Buffers { grad_sums: &wrong, ..right }, "grad_sums is 2 × 7, but 1031 × 6 is needed"),
        (Buffers { stop: &parts[3], ..right }, "the stop is 4 × 4, but 1 × 4 is needed"),
        (with(Targets { biases: Some(&wrong), ..targets }), "biases is 2 × 7, but 1 × 6 is needed"),
        (
            with(Targets { faults: &parts[2], ..targets }),
            "the matrix of faults is 1 × 4, but 4 × 4 is needed",
        ),
        (Buffers { gradients: &short, ..right }, &too_short),
    ] {
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// More patches of the weights than a grid has workgroups.
#[test]
fn walks_more_patches_than_workgroups() {
    let mut gpu = TestGpu::with_subgroups();
    let of = (gpu.gpu.class, Tiling::single(gpu.gpu.class));
    let columns = of.1.patch_rows() * MAX_WORKGROUPS + 5;
    compare(&mut gpu, of, true, [2, columns, 1]);
}
