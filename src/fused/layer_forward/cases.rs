//! The layer against its twin, in any way through the shader.

pub(crate) mod bits;
pub(crate) mod columns;

use ndarray::{Array1, Array2, Axis, array};

use super::*;
use crate::gpu::KernelCache;
use crate::gpu::testing::TestGpu;
use crate::plan::DeviceClass;
use crate::reference::{self, Layer, Statistics};

/// Rows, columns, and features of the inputs.
const LAYERS: [[u32; 3]; 15] = [
    [2, 1, 1],
    [2, 130, 4],
    [3, 3, 5],
    [3, 4, 4],
    [31, 5, 3],
    [32, 10, 1],
    [33, 31, 10],
    [60, 32, 31],
    [63, 4, 32],
    [64, 64, 33],
    [65, 33, 65],
    [131, 65, 130],
    [1000, 3, 3],
    [1031, 130, 5],
    [2049, 10, 17],
];

const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// A way through the shader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    normalization: Normalization,
    activation: Activation,
    is_training: bool,
    is_divided: bool,
}

pub(super) fn way(normalization: Normalization, activation: Activation, is_training: bool) -> Way {
    Way { normalization, activation, is_training, is_divided: false }
}

const EVERY_WAY: [fn() -> Way; 6] = [
    || way(Normalization::None, Activation::Relu, true),
    || Way { is_divided: true, ..way(Normalization::None, Activation::Relu, true) },
    // Of zeros in its place, the sigmoid makes halves.
    || way(Normalization::None, Activation::Sigmoid, false),
    || way(Normalization::Running, Activation::Gelu, false),
    batch,
    divided,
];

pub(super) fn batch() -> Way {
    way(Normalization::Batch, Activation::Tanh, true)
}

pub(super) fn divided() -> Way {
    Way { is_divided: true, ..batch() }
}

pub(super) fn kernel(
    gpu: &TestGpu,
    (class, tiling): (DeviceClass, Tiling),
    way: Way,
    [columns, inner]: [u32; 2],
) -> LayerForward {
    let Way { normalization, activation, is_training, is_divided } = way;
    let device = &gpu.gpu.device;
    let is_normalized = normalization != Normalization::None;
    if !is_training {
        return LayerForward::for_inference(device, tiling, is_normalized, activation, EPSILON)
            .unwrap();
    }
    let plan = LayerPlan::test(class, tiling, [inner, columns], is_normalized, is_divided);
    let options = Options { activation, epsilon: EPSILON, momentum: MOMENTUM };
    LayerForward::for_training(device, plan, options).unwrap()
}

/// A layer with numbers of which the sums are exact, so that all that is compared comes after.
fn layer(gpu: &mut TestGpu, way: Way, [columns, inner]: [u32; 2]) -> Layer {
    let weights = gpu.coarse([columns, inner]);
    let mut vector = || gpu.coarse([1, columns]).row(0).to_owned();
    match way.normalization {
        Normalization::None => Layer::Linear { weights, biases: vector() },
        _ => Layer::Normalized {
            weights,
            gamma: vector(),
            beta: vector(),
            running_mean: vector(),
            running_var: vector().mapv(|value| value.abs() + 1.0 / 64.0),
            batches: 0,
        },
    }
}

pub(super) fn compare_layer(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    [rows, columns, inner]: [u32; 3],
) {
    let layer = layer(gpu, way, [columns, inner]);
    let inputs = gpu.coarse([rows, inner]);
    // ẑ reaches 100 here; its roundings, that of the sum with beta, and the activation's.
    compare(gpu, of, way, &inputs, &layer, Bounds::new(5e-6, 2e-6));
}

/// The allowed errors: of the outputs, absolute and relative; of the mean, relative to the standard
/// deviation; of the variance, relative.
#[derive(Clone, Copy)]
struct Bounds {
    outputs: [f64; 2],
    mean: f64,
    variance: f64,
}

impl Bounds {
    fn new(absolute: f64, relative: f64) -> Self {
        Self { outputs: [absolute, relative], mean: 1e-6, variance: 2e-6 }
    }
}

fn compare(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    inputs: &Array2<f64>,
    layer: &Layer,
    bounds_of: Bounds,
) {
    let [absolute, relative] = bounds_of.outputs;
    let Way { normalization, activation, is_training, .. } = way;
    let [rows, columns] = [inputs.nrows() as u32, layer.weights().nrows() as u32];
    let kernel = kernel(gpu, of, way, [columns, inputs.ncols() as u32]);
    let what = format!("{:?}, {way:?}, {rows} × {columns} × {}", of.1, inputs.ncols());
    let row = |vector: &Array1<f64>| vector.clone().insert_axis(Axis(0));
    // Without normalization gamma is not read.
    let none = Array1::from_elem(columns as usize, f64::NAN);
    let (vectors, running) = match layer {
        Layer::Linear { biases, .. } => ([&none, biases], None),
        Layer::Normalized { gamma, beta, running_mean, running_var, .. } => {
            ([gamma, beta], Some([running_mean, running_var]))
        }
    };
    let [gamma, beta] = vectors.map(row);
    let is_batch = normalization == Normalization::Batch;
    let goes_on = array![[0.0, 1.0, 1.0, 1.0]];
    let (parameters, parts) = gpu.upload_packed(&[layer.weights(), &gamma, &beta, &goes_on]);
    // Of a batch the second row becomes what the first one was.
    let rows_of_running = if is_batch { 2 } else { 1 };
    let rows_of = |vector: &Array1<f64>| {
        let mut values = Array2::from_elem([rows_of_running, vector.len()], f64::NAN);
        values.row_mut(0).assign(vector);
        values
    };
    let values = running.map_or(Vec::new(), |running| running.map(rows_of).to_vec());
    let (running_statistics, on_gpu) =
        gpu.upload_packed_filled_up(&values.iter().collect::<Vec<_>>(), f32::NAN);
    let statistics_rows = kernel.plan.map_or(3, |plan| plan.statistics_rows(rows));
    let [sums, statistics] = [rows, statistics_rows].map(|rows| gpu.garbage([rows, columns]));
    let kept = Kept { sums: &sums, statistics: &statistics };
    let outputs = gpu.garbage([rows, columns]);
    let buffers = Buffers {
        inputs: &gpu.upload_padded(inputs),
        parameters: &parameters,
        weights: &parts[0],
        gamma: running.map(|_| &parts[1]),
        beta: &parts[2],
        running_statistics: &running_statistics,
        running: running.map(|_| [&on_gpu[0], &on_gpu[1]]),
        stop: &parts[3],
        kept: is_training.then_some(kept),
        outputs: &outputs,
    };
    let dispatches = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
    gpu.run(&dispatches.iter().collect::<Vec<_>>());

    let known = running.filter(|_| !is_batch);
    let known =
        known.map(|[mean, variance]| Statistics { mean: mean.clone(), variance: variance.clone() });
    let (seen, expected) =
        reference::layer_forward(layer, inputs, known, activation, EPSILON.into());
    let found = gpu.read_padded(&format!("{what}: outputs"), &outputs);
    gpu.compare(&format!("{what}: outputs"), &found, &expected, absolute, relative);
    if is_training {
        let expected = if is_batch { &seen.sums } else { &seen.ztilde };
        gpu.compare(&format!("{what}: sums"), &gpu.read_inside(&sums), expected, 0.0, 0.0);
    }
    if let Some(running) = running {
        let mut moved = running.map(Array1::clone);
        let mut bounds = [Array1::zeros(columns as usize), Array1::zeros(columns as usize)];
        if let Some(expected) = seen.statistics.as_ref().filter(|_| is_batch) {
            compare_statistics(gpu, &what, expected, &statistics, bounds_of);
            let [mean, var] = &mut moved;
            expected.move_running(rows as usize, MOMENTUM.into(), mean, var);
            // Old and new may cancel: the rounding is that of the larger one. The batch's mean is
            // as exact as its deviation asks for.
            let size = running[0].mapv(f64::abs) + expected.mean.mapv(f64::abs);
            let deviation = expected.variance.mapv(f64::sqrt);
            let share = f64::from(MOMENTUM) * bounds_of.mean;
            bounds = [3e-7 * size + share * deviation, bounds_of.variance * &moved[1] + 1e-37];
        }
        for index in 0..2 {
            let what = format!("{what}: {}", ["running_mean", "running_var"][index]);
            let found = gpu.read_inside(&on_gpu[index]);
            let (now, before) = found.split_at(columns as usize);
            gpu.compare_within(&what, now, &moved[index], &bounds[index]);
            let expected = running[index].iter().take(before.len());
            gpu.compare(&format!("{what} before"), before, expected, 0.0, 0.0);
        }
    }
}

fn compare_statistics(
    gpu: &TestGpu,
    what: &str,
    expected: &Statistics,
    found: &Matrix,
    allowed: Bounds,
) {
    let Statistics { mean, variance } = expected;
    let found = gpu.read_inside(&found.slice(0, 3).unwrap());
    let (mean_found, variance_found) = found.split_at(2 * mean.len());
    // The mean is as exact as it needs to be: against the deviation, not against itself.
    let bounds = allowed.mean * variance.mapv(f64::sqrt) + 1e-14 * mean.mapv(f64::abs) + 1e-38;
    gpu.compare_means(&format!("{what}: mean"), mean_found, mean, &bounds);
    // Squares below the smallest normal float (1e-38) may count as zero.
    gpu.compare(&format!("{what}: variance"), variance_found, variance, 1e-37, allowed.variance);
}

pub(crate) fn matches_the_reference(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    let _kernels = KernelCache::new(&gpu.gpu.device);
    for way in EVERY_WAY {
        for shape in LAYERS {
            compare_layer(gpu, of, way(), shape);
        }
    }
}
