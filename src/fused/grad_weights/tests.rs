use ndarray::{Array2, Axis};

use super::*;
use crate::gpu::testing::{TestGpu, assert_within};
use crate::gpu::{KernelCache, MAX_WORKGROUPS};
use crate::plan::{DeviceClass, Tiling};
use crate::reference;

/// Rows, columns, and features of the inputs.
const LAYERS: [[u32; 3]; 9] = [
    [1, 1, 1],
    [3, 5, 4],
    [33, 31, 10],
    [64, 65, 33],
    [131, 10, 130],
    [256, 4, 7],
    // Several slabs on a GPU.
    [517, 33, 66],
    [1031, 130, 5],
    [2049, 3, 17],
];

/// The gradients of weights and biases for each slab, and the stop with the faults.
struct Left {
    slabs: Vec<[Vec<f32>; 2]>,
    noted: Vec<bool>,
}

fn run(
    gpu: &TestGpu,
    (class, tiling): (DeviceClass, Tiling),
    has_biases: bool,
    grad_sums: &Array2<f64>,
    inputs: &Array2<f64>,
) -> Left {
    let [rows, columns, inner] = [grad_sums.nrows(), grad_sums.ncols(), inputs.ncols()];
    let sizes = [inner, columns].map(|size| size as u32);
    let plan = LayerPlan::test(class, tiling, sizes, !has_biases, false);
    let kernel = GradWeights::new(&gpu.gpu.device, plan).unwrap();
    // The weights themselves are not read.
    let packed = [[columns, inner], [1, columns], [1, 4], [4, 4]]
        .map(|shape| Array2::from_elem(shape, f64::NAN));
    let (parameters, parts) = gpu.upload_packed(&packed.each_ref());
    let weights = u64::from(parts[0].rows()) * u64::from(parts[0].stride());
    let length = weights + (columns as u64).next_multiple_of(4);
    let slabs = Slabs { first: parameters.columns().into(), length };
    let count = plan.order(rows as u32).slabs();
    let gradients = gpu.garbage([1, parameters.columns() + (count - 1) * length as u32]);
    let buffers = Buffers {
        inputs: &gpu.upload_padded(inputs),
        grad_sums: &gpu.upload_padded(grad_sums),
        targets: Targets {
            parameters: &parameters,
            weights: &parts[0],
            biases: has_biases.then_some(&parts[1]),
            faults: &parts[3],
            slabs,
        },
        stop: &parts[2],
        gradients: &gradients,
    };
    gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
    let part = |first: u64, shape: &Matrix| {
        let part = Matrix::padded(gradients.buffer(), first, shape.rows(), shape.columns());
        part.unwrap()
    };
    // A value that is not finite makes the padding NaN, too.
    let is_finite = grad_sums.iter().chain(inputs).all(|value| value.is_finite());
    let read_part = |what: &str, part: &Matrix| match is_finite {
        true => gpu.read_padded(what, part),
        false => gpu.read_inside(part),
    };
    let first = |index: usize| 4 * u64::from(parts[index].first_quad());
    let read = |slab: u32| {
        let behind = slabs.first + u64::from(slab.saturating_sub(1)) * slabs.length;
        let places = if slab == 0 { [first(0), first(1)] } else { [behind, behind + weights] };
        let weights = read_part("grad_weights", &part(places[0], &parts[0]));
        let biases = part(places[1], &parts[1]);
        if !has_biases {
            let changed = gpu.read_all(&biases).iter().any(|value| !value.is_nan());
            assert!(!changed, "the gradient of biases that the layer lacks");
            return [weights, Vec::new()];
        }
        [weights, read_part("grad_biases", &biases)]
    };
    let notes = gpu.read_all(&Matrix::vector(gradients.buffer(), first(2), 20).unwrap());
    let (quads, _) = notes.as_chunks::<4>();
    let noted = quads.iter().map(|quad| *quad == [1.0; 4]).collect();
    Left { slabs: (0..count).map(read).collect(), noted }
}

fn check(gpu: &mut TestGpu, of: (DeviceClass, Tiling), has_biases: bool, shape: [u32; 3]) {
    let [rows, columns, inner] = shape;
    let [grad_sums, inputs] = [[rows, columns], [rows, inner]].map(|shape| gpu.random(shape));
    let what = format!("{:?}, {rows} × {columns} × {inner}", of.1);
    let left = run(gpu, of, has_biases, &grad_sums, &inputs);
    let (expected, biases) = reference::grad_weights(&grad_sums, &inputs);
    let sum = |index: usize, length: usize| {
        let mut sum = vec![0.0_f32; length];
        for slab in &left.slabs {
            sum.iter_mut().zip(&slab[index]).for_each(|(sum, value)| *sum += value);
        }
        sum
    };
    // Inputs are not above 1.
    let size = grad_sums.mapv(f64::abs).sum_axis(Axis(0));
    let bounds = (2e-6 * &size).insert_axis(Axis(1));
    let bounds = bounds.broadcast(expected.raw_dim()).expect("a bound per column");
    assert_within(&format!("{what}: grad_weights"), &sum(0, expected.len()), &expected, bounds);
    if has_biases {
        let bounds = 1e-6 * &size;
        assert_within(&format!("{what}: grad_biases"), &sum(1, biases.len()), &biases, &bounds);
    }
    assert!(!left.noted.contains(&true), "{what}: {:?}", left.noted);
}

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
        let _kernels = KernelCache::new(&gpu.gpu.device);
        for has_biases in [false, true] {
            for shape in LAYERS {
                check(&mut gpu, (class, tiling), has_biases, shape);
            }
        }
    }
}

#[test]
fn slabs_are_summed_up_in_the_same_order_in_any_tiling() {
    let mut found: Vec<((DeviceClass, bool), Vec<Vec<u32>>)> = Vec::new();
    for (gpu, class, tiling) in TestGpu::with_each_tiling() {
        let mut gpu = TestGpu::on(gpu.gpu.clone());
        let [grad_sums, inputs] = [[1031, 70], [1031, 37]].map(|shape| gpu.random(shape));
        let left = run(&gpu, (class, tiling), true, &grad_sums, &inputs);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let bits: Vec<_> = left.slabs.into_iter().flatten().map(bits).collect();
        let order = (class, tiling.is_split());
        match found.iter().find(|(of, _)| *of == order) {
            Some((_, expected)) => assert!(bits == *expected, "{tiling:?}"),
            None => found.push((order, bits)),
        }
    }
    assert!(found.iter().any(|(_, slabs)| slabs.len() > 2), "no class has several slabs");
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
    let gpu = TestGpu::new();
    // With biases, and several slabs.
    const ROWS: u32 = 1031;
    let class = DeviceClass::named("nvidia").expect("a class");
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
    check(&mut gpu, of, true, [2, columns, 1]);
}
