//! The gradients of weights and biases against their twins.

use ndarray::{Array2, Axis};

use super::*;
use crate::gpu::KernelCache;
use crate::gpu::testing::TestGpu;
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
pub(super) struct Left {
    pub(super) slabs: Vec<[Vec<f32>; 2]>,
    pub(super) noted: Vec<bool>,
}

pub(super) fn run(
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

pub(super) fn compare(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    has_biases: bool,
    shape: [u32; 3],
) {
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
    gpu.compare_within(
        &format!("{what}: grad_weights"),
        &sum(0, expected.len()),
        &expected,
        bounds,
    );
    if has_biases {
        let bounds = 1e-6 * &size;
        gpu.compare_within(
            &format!("{what}: grad_biases"),
            &sum(1, biases.len()),
            &biases,
            &bounds,
        );
    }
    assert!(!left.noted.contains(&true), "{what}: {:?}", left.noted);
}

pub(crate) fn matches_the_reference(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    let _kernels = KernelCache::new(&gpu.gpu.device);
    for has_biases in [false, true] {
        for shape in LAYERS {
            compare(gpu, of, has_biases, shape);
        }
    }
}

/// The slabs, in any tiling of the class.
pub(crate) fn bits_are_the_same(gpu: &mut TestGpu, class: DeviceClass) {
    let [grad_sums, inputs] = several_slabs(gpu);
    let slabs = |tiling| run(gpu, (class, tiling), true, &grad_sums, &inputs).slabs;
    for tilings in Tiling::orders(class) {
        let first = slabs(tilings[0]);
        for tiling in tilings {
            let what = format!("{tiling:?}, {:?}", grad_sums.dim());
            gpu.compare_bits(&what, &slabs(tiling).concat().concat(), &first.concat().concat());
        }
    }
}

/// Gradients and inputs with more rows than a slab of some classes.
pub(super) fn several_slabs(gpu: &TestGpu) -> [Array2<f64>; 2] {
    let mut gpu = TestGpu::on(gpu.gpu.clone());
    [[1031, 70], [1031, 37]].map(|shape| gpu.random(shape))
}
