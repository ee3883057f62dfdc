mod bits;
mod columns;

use ndarray::{Array1, Array2, Axis, array};

use super::*;
use crate::gpu::testing::{TestGpu, assert_close, assert_within};
use crate::gpu::{KernelCache, MAX_WORKGROUPS};
use crate::plan::{DeviceClass, Tile};
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
struct Way {
    normalization: Normalization,
    activation: Activation,
    is_training: bool,
    is_divided: bool,
}

fn way(normalization: Normalization, activation: Activation, is_training: bool) -> Way {
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

fn batch() -> Way {
    way(Normalization::Batch, Activation::Tanh, true)
}

fn divided() -> Way {
    Way { is_divided: true, ..batch() }
}

fn kernel(
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

fn check_layer(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    [rows, columns, inner]: [u32; 3],
) {
    let layer = layer(gpu, way, [columns, inner]);
    let inputs = gpu.coarse([rows, inner]);
    // ẑ reaches 100 here; its roundings, that of the sum with beta, and the activation's.
    check(gpu, of, way, &inputs, &layer, Bounds::new(5e-6, 2e-6));
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

fn check(
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
    assert_close(&format!("{what}: outputs"), &found, &expected, absolute, relative);
    if is_training {
        let expected = if is_batch { &seen.sums } else { &seen.ztilde };
        assert_close(&format!("{what}: sums"), &gpu.read_inside(&sums), expected, 0.0, 0.0);
    }
    if let Some(running) = running {
        let mut moved = running.map(Array1::clone);
        let mut bounds = [Array1::zeros(columns as usize), Array1::zeros(columns as usize)];
        if let Some(expected) = seen.statistics.as_ref().filter(|_| is_batch) {
            assert_statistics(gpu, &what, expected, &statistics, bounds_of);
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
            assert_within(&what, now, &moved[index], &bounds[index]);
            let expected = running[index].iter().take(before.len());
            assert_close(&format!("{what} before"), before, expected, 0.0, 0.0);
        }
    }
}

fn assert_statistics(
    gpu: &TestGpu,
    what: &str,
    expected: &Statistics,
    found: &Matrix,
    allowed: Bounds,
) {
    let Statistics { mean, variance } = expected;
    let found = gpu.read_inside(&found.slice(0, 3).unwrap());
    let (mean_found, variance_found) = found.split_at(2 * mean.len());
    let (center, rest) = mean_found.split_at(mean.len());
    // The mean is as exact as it needs to be: against the deviation, not against itself.
    let bounds = allowed.mean * variance.mapv(f64::sqrt) + 1e-14 * mean.mapv(f64::abs) + 1e-38;
    for (column, (&center, &rest)) in center.iter().zip(rest).enumerate() {
        let found = f64::from(center) + f64::from(rest);
        let error = (found - mean[column]).abs();
        let is_close = error <= bounds[column];
        assert!(is_close, "{what}: mean of column {column} is {found}, not {}", mean[column]);
    }
    // Squares below the smallest normal float (1e-38) may count as zero.
    assert_close(&format!("{what}: variance"), variance_found, variance, 1e-37, allowed.variance);
}

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
        let _kernels = KernelCache::new(&gpu.gpu.device);
        for way in EVERY_WAY {
            for shape in LAYERS {
                check_layer(&mut gpu, (class, tiling), way(), shape);
            }
        }
    }
}

#[test]
fn walks_more_tiles_than_workgroups() {
    // A software adapter without subgroups takes minutes for patches of that size.
    let is_small = |tiling: Tiling| {
        let is_for_subgroups = matches!(tiling.tile, Tile::Subgroup { .. });
        is_for_subgroups || [tiling.down, tiling.across] == [1, 1]
    };
    let tilings = TestGpu::with_each_tiling().filter(|&(_, _, tiling)| is_small(tiling));
    for (mut gpu, class, tiling) in tilings {
        let columns = tiling.patch_columns() * MAX_WORKGROUPS + 5;
        check_layer(&mut gpu, (class, tiling), batch(), [2, columns, 1]);
        check_layer(&mut gpu, (class, tiling), divided(), [2, columns, 1]);
        let rows = tiling.patch_rows() * MAX_WORKGROUPS + 5;
        let running = way(Normalization::Running, Activation::Gelu, false);
        check_layer(&mut gpu, (class, tiling), running, [rows, 2, 1]);
    }
}

/// After a fault, the running statistics are those before its step.
#[test]
fn a_stop_brings_the_running_statistics_back() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
        for way in [batch(), divided()] {
            let [rows, columns, inner] = [70, 37, 5];
            let kernel = kernel(&gpu, (class, tiling), way, [columns, inner]);
            let [weights, vector] = [[columns, inner], [1, columns]].map(|shape| gpu.coarse(shape));
            let inputs = gpu.coarse([rows, inner]);
            let stop = array![[1.0, 0.0, 0.0, 0.0]];
            let (parameters, parts) = gpu.upload_packed(&[&weights, &vector, &vector, &stop]);
            let [mean, var] = [(); 2].map(|()| gpu.random([2, columns]));
            let (running_statistics, running) = gpu.upload_packed(&[&mean, &var]);
            let needed = kernel.plan.expect("it is for training").statistics_rows(rows);
            let buffers = Buffers {
                inputs: &gpu.upload_padded(&inputs),
                parameters: &parameters,
                weights: &parts[0],
                gamma: Some(&parts[1]),
                beta: &parts[2],
                running_statistics: &running_statistics,
                running: Some([&running[0], &running[1]]),
                stop: &parts[3],
                kept: Some(Kept {
                    sums: &gpu.garbage([rows, columns]),
                    statistics: &gpu.garbage([needed, columns]),
                }),
                outputs: &gpu.garbage([rows, columns]),
            };
            let dispatches = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
            gpu.run(&dispatches.iter().collect::<Vec<_>>());
            for (running, values) in running.iter().zip([&mean, &var]) {
                let before = values.row(1);
                let expected = before.iter().chain(&before);
                assert_close("running", &gpu.read_inside(running), expected, 0.0, 0.0);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let gpu = TestGpu::new();
    let of = (gpu.gpu.class, Tiling::single(gpu.gpu.class));
    let kernel = kernel(&gpu, of, batch(), [6, 3]);
    let [inputs, weights, outputs] = [[5, 3], [6, 3], [5, 6]].map(|shape| gpu.garbage(shape));
    let [vector, statistics, wrong] = [[1, 6], [3, 6], [2, 7]].map(|shape| gpu.garbage(shape));
    let [running, stop] = [[2, 6], [1, 4]].map(|shape| gpu.garbage(shape));
    let kept = Kept { sums: &outputs, statistics: &statistics };
    let right = Buffers {
        inputs: &inputs,
        parameters: &weights,
        weights: &weights,
        gamma: Some(&vector),
        beta: &vector,
        running_statistics: &running,
        running: Some([&running; 2]),
        stop: &stop,
        kept: Some(kept),
        outputs: &outputs,
    };
    kernel.bind(&gpu.gpu.device, "test", right).unwrap();
    let with = |kept| Buffers { kept: Some(kept), ..right };
    let dense = gpu.zeros([5, 6]);
    let refused = [
        (Buffers { inputs: &wrong, ..right }, "inputs is 2 × 7, but 2 × 3 is needed"),
        (Buffers { outputs: &wrong, ..right }, "outputs is 2 × 7, but 5 × 6 is needed"),
        (
            Buffers { beta: &wrong, ..right },
            "gamma, beta or the biases is 2 × 7, but 1 × 6 is needed",
        ),
        (
            Buffers { running: Some([&wrong, &running]), ..right },
            "running_mean is 2 × 7, but 2 × 6 is needed",
        ),
        (
            Buffers { running: Some([&running, &wrong]), ..right },
            "running_var is 2 × 7, but 2 × 6 is needed",
        ),
        (Buffers { stop: &vector, ..right }, "stop is 1 × 6, but 1 × 4 is needed"),
        (with(Kept { statistics: &wrong, ..kept }), "statistics is 2 × 7, but 3 × 6 is needed"),
        (with(Kept { sums: &wrong, ..kept }), "sums is 2 × 7, but 5 × 6 is needed"),
        (Buffers { outputs: &dense, ..right }, "outputs's rows of 6 values start 6 apart, not 8"),
    ];
    for (buffers, expected) in refused {
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.ends_with(&format!("layer_forward: {expected}")), "{error}");
    }

    let [inputs, outputs] = [[1, 3], [1, 6]].map(|shape| gpu.garbage(shape));
    let kept = Some(Kept { sums: &outputs, ..kept });
    let row = Buffers { inputs: &inputs, kept, outputs: &outputs, ..right };
    let error = kernel.bind(&gpu.gpu.device, "test", row).unwrap_err();
    assert!(matches!(error, Error::BatchTooSmall { rows: 1 }), "{error}");
}
