mod faults;
mod shapes;

use ndarray::{Array1, Array2, Axis, s};

use super::*;
use crate::gpu::MAX_WORKGROUPS;
use crate::gpu::testing::{TestGpu, assert_within};
use crate::kernels::normalize::tests::hard_columns;
use crate::reference::{self, LayerGradients, LayerPass, Statistics};

const EPSILON: f32 = 1e-5;

/// Rows, columns, the next layer's columns, and features of the inputs.
const LAYERS: [[u32; 4]; 13] = [
    [2, 1, 1, 1],
    [2, 3, 5, 10],
    [3, 4, 4, 4],
    [31, 5, 3, 4],
    [32, 10, 31, 5],
    [33, 31, 10, 3],
    [60, 32, 32, 32],
    [64, 33, 1, 65],
    [65, 65, 33, 31],
    [131, 10, 130, 33],
    [1000, 3, 65, 130],
    [1031, 130, 4, 10],
    [2049, 17, 2, 64],
];

/// The inputs of the kernel.
struct Given {
    inputs: Array2<f64>,
    sums: Array2<f64>,
    gamma: Array1<f64>,
    beta: Array1<f64>,
    next_grad_sums: Array2<f64>,
    next_weights: Array2<f64>,
    /// The next layer's inputs.
    outputs: Array2<f64>,
}

fn hidden(activation: Activation, batch_norm: bool) -> Options {
    let layer = Position::Hidden { activation, batch_norm, epsilon: EPSILON };
    Options { layer, division: Division::Strips, leaves_weights: false, next: None }
}

fn last() -> Options {
    Options { layer: Position::Last, division: Division::Strips, leaves_weights: false, next: None }
}

/// The options of each way through the shader.
fn every_way() -> [Options; 13] {
    let divided = |options| Options { division: Division::Rows, ..options };
    let weights_apart = |options| Options { division: Division::Weights, ..options };
    let leaving = |options| Options { leaves_weights: true, ..options };
    let with_next =
        |options, has_biases| Options { next: Some(NextLayer { has_biases }), ..options };
    let [linear, normalized] = [hidden(Activation::Gelu, false), hidden(Activation::Tanh, true)];
    [
        last(),
        weights_apart(last()),
        divided(last()),
        linear,
        weights_apart(linear),
        divided(linear),
        leaving(with_next(divided(linear), true)),
        hidden(Activation::Relu, true),
        normalized,
        weights_apart(normalized),
        with_next(weights_apart(normalized), true),
        divided(normalized),
        leaving(with_next(divided(normalized), false)),
    ]
}

/// `sums`, and `next_grad_sums` and `next_weights` of which the products are exact, so that all
/// that is compared comes after.
fn given(gpu: &mut TestGpu, [rows, columns, next, inner]: [u32; 4]) -> Given {
    let sums = gpu.random([rows, columns]);
    let gamma = gpu.random_vector(columns);
    Given {
        inputs: gpu.coarse([rows, inner]),
        beta: away_from_the_kink(gpu, &sums, &gamma),
        sums,
        gamma,
        next_grad_sums: gpu.coarse([rows, next]),
        next_weights: gpu.coarse([next, columns]),
        outputs: gpu.coarse([rows, columns]),
    }
}

/// Shifts with which no z̃ is so near 0 that rounding decides on which side of ReLU's kink it is.
fn away_from_the_kink(gpu: &mut TestGpu, sums: &Array2<f64>, gamma: &Array1<f64>) -> Array1<f64> {
    let scaled = ztilde(sums, gamma, &Array1::zeros(gamma.len()));
    let mut shift = |column: ndarray::ArrayView1<'_, f64>| {
        loop {
            let beta = gpu.random_vector(1)[0];
            if column.iter().all(|scaled| (scaled + beta).abs() > 1e-5) {
                return beta;
            }
        }
    };
    scaled.columns().into_iter().map(&mut shift).collect()
}

/// The statistics as the GPU gets them: the mean in two floats, the variance in one.
fn statistics(sums: &Array2<f64>) -> Statistics {
    let Statistics { mean, variance } = reference::batch_statistics(sums);
    Statistics { mean, variance: variance.mapv(|variance| f64::from(variance as f32)) }
}

fn ztilde(sums: &Array2<f64>, gamma: &Array1<f64>, beta: &Array1<f64>) -> Array2<f64> {
    let Statistics { mean, variance } = statistics(sums);
    reference::normalize(sums, &mean, &variance, gamma, beta, EPSILON.into())
}

fn row(vector: &Array1<f64>) -> Array2<f64> {
    vector.clone().insert_axis(Axis(0))
}

/// The results of the kernel, and the matrices that hold them.
struct Left {
    grad_sums: Matrix,
    /// As many slabs of as many values as the parameters.
    gradients: Matrix,
    parameters: Matrix,
    /// The next layer's weights, the weights, gamma, beta, the stop, the faults, the next layer's biases and
    /// its faults.
    parts: Vec<Matrix>,
}

impl Left {
    /// A part of a slab of the gradients.
    fn part(&self, slab: u32, index: usize) -> Matrix {
        let part = &self.parts[index];
        let first = slab * self.parameters.columns() / 4 + part.first_quad();
        let (buffer, first) = (self.gradients.buffer(), 4 * u64::from(first));
        Matrix::padded(buffer, first, part.rows(), part.columns()).unwrap()
    }
}

fn run(
    gpu: &mut TestGpu,
    kernel: &LayerBackward,
    options: Options,
    given: &Given,
    statistics: &Statistics,
) -> Left {
    let Given { inputs, sums, gamma, beta, next_grad_sums, next_weights, outputs } = given;
    let (batch_norm, is_last) = match options.layer {
        Position::Last => (false, true),
        Position::Hidden { batch_norm, .. } => (batch_norm, false),
    };
    let [rows, columns, inner] = [inputs.nrows(), sums.ncols(), inputs.ncols()];
    // The weights themselves are not read.
    let weights = Array2::from_elem([columns, inner], f64::NAN);
    let [stop, faults] = [1, 4].map(|quads| Array2::from_elem([quads, 4], f64::NAN));
    let next_biases = Array2::from_elem([1, next_weights.nrows()], f64::NAN);
    let (parameters, parts) = gpu.upload_packed(&[
        next_weights,
        &weights,
        &row(gamma),
        &row(beta),
        &stop,
        &faults,
        &next_biases,
        &faults,
    ]);
    let has_slabs = options.division != Division::Strips;
    let slabs = if has_slabs { rows.div_ceil(50).min(5) as u32 } else { 1 };
    let gradients = gpu.garbage([slabs, parameters.columns()]);
    let grad_sums = match is_last {
        true => gpu.upload_padded(&reference::matmul(next_grad_sums.view(), next_weights.view())),
        false => gpu.garbage([rows as u32, columns as u32]),
    };
    let Statistics { mean, variance } = statistics;
    let center = mean.mapv(|mean| f64::from(mean as f32));
    let on_gpu = ndarray::stack![Axis(0), center, mean - &center, *variance];
    let divides_rows = options.division == Division::Rows;
    let needed = statistics_rows(kernel.core, rows as u32, divides_rows) as usize;
    let chunks = Array2::from_elem([needed - 3, columns], f64::NAN);
    let on_gpu = ndarray::concatenate![Axis(0), on_gpu, chunks];
    let on_gpu = [sums, &on_gpu].map(|matrix| gpu.upload_filled_up(matrix, f32::NAN));
    let next_on_gpu = gpu.upload_padded(next_grad_sums);
    let outputs_on_gpu = gpu.upload_padded(outputs);
    let hidden = (!is_last).then_some(Hidden {
        next_grad_sums: &next_on_gpu,
        next_weights: &parts[0],
        sums: &on_gpu[0],
        next: kernel.takes_next().then_some(NextWeights {
            outputs: &outputs_on_gpu,
            biases: &parts[6],
            faults: &parts[7],
        }),
    });
    let buffers = Buffers {
        inputs: &gpu.upload_padded(inputs),
        parameters: &parameters,
        weights: &parts[1],
        vectors: [&parts[2], &parts[3]],
        stop: [&parts[4], &parts[5]],
        hidden,
        grad_sums: &grad_sums,
        gradients: &gradients,
        statistics: (batch_norm || divides_rows).then_some(&on_gpu[1]),
    };
    let dispatches = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
    gpu.run(&dispatches.iter().collect::<Vec<_>>());
    Left { grad_sums, gradients, parameters, parts }
}

fn check(gpu: &mut TestGpu, kernel: &LayerBackward, options: Options, given: &Given) {
    let Given { inputs, sums, gamma, beta, next_grad_sums, next_weights, outputs } = given;
    let (activation, batch_norm) = match options.layer {
        Position::Last => (Activation::Identity, false),
        Position::Hidden { activation, batch_norm, .. } => (activation, batch_norm),
    };
    let [rows, columns, inner] = [inputs.nrows(), sums.ncols(), inputs.ncols()];
    let what = format!("{:?}, {options:?}, {rows} × {columns} × {inner}", kernel.core);
    let grad_outputs = reference::matmul(next_grad_sums.view(), next_weights.view());
    let statistics = statistics(sums);
    let left = run(gpu, kernel, options, given, &statistics);

    let Statistics { mean, variance } = &statistics;
    let weights = Array2::zeros([columns, inner]);
    let layer = if batch_norm {
        let [gamma, beta] = [gamma.clone(), beta.clone()];
        let [running_mean, running_var] = [mean.clone(), variance.clone()];
        reference::Layer::Normalized { weights, gamma, beta, running_mean, running_var, batches: 0 }
    } else {
        reference::Layer::Linear { weights, biases: beta.clone() }
    };
    let ztilde = if batch_norm { ztilde(sums, gamma, beta) } else { sums.clone() };
    let grad_ztilde = reference::activate_backward(&ztilde, &grad_outputs, activation);
    let bounds = Bounds::new(&grad_outputs, &grad_ztilde, &statistics, gamma, options);
    let seen = LayerPass {
        inputs: inputs.clone(),
        sums: sums.clone(),
        statistics: batch_norm.then_some(statistics),
        ztilde,
    };
    let (expected, learned) =
        reference::layer_backward(&layer, &seen, &grad_outputs, activation, EPSILON.into());
    let found = gpu.read_padded(&format!("{what}: grad_sums"), &left.grad_sums);
    let per_row = bounds.grad_sums.broadcast([rows, columns]).expect("a bound per column");
    assert_within(&format!("{what}: grad_sums"), &found, &expected, per_row);

    // Parts of the gradients, and which of them slabs have shares of.
    let is_apart = options.division != Division::Strips;
    let of_next = |outputs| reference::matmul(next_grad_sums.t(), outputs);
    let (grad_weights, mut expected) = match learned {
        LayerGradients::Linear { grad_weights, grad_biases } => {
            (grad_weights, vec![(3, is_apart, column(&grad_biases), bounds.grad_beta)])
        }
        LayerGradients::Normalized { grad_weights, grad_gamma, grad_beta } => {
            let gamma = (2, false, column(&grad_gamma), bounds.grad_gamma);
            (grad_weights, vec![gamma, (3, false, column(&grad_beta), bounds.grad_beta)])
        }
    };
    let is_linear = expected.len() == 1;
    if options.leaves_weights {
        expected.retain(|_| !is_linear);
    } else {
        expected.push((1, is_apart, grad_weights, bounds.grad_weights));
    }
    if let Some(NextLayer { has_biases }) = options.next {
        let size = next_grad_sums.mapv(f64::abs).sum_axis(Axis(0));
        expected.push((0, true, of_next(outputs.view()), 2e-6 * &size));
        let biases = of_next(Array2::ones([rows, 1]).view());
        expected.extend(has_biases.then(|| (6, true, biases, 1e-6 * &size)));
    }
    let slabs = rows.div_ceil(slab_rows(rows as u32, &left.gradients) as usize) as u32;
    for index in 0..left.parts.len() {
        let what = format!("{what}: part {index} of the gradients");
        let Some((_, has_shares, expected, bounds)) = expected.iter().find(|of| of.0 == index)
        else {
            let found = gpu.read_all(&left.part(0, index));
            assert!(found.iter().all(|value| value.is_nan()), "{what} changed");
            continue;
        };
        let bounds = bounds.view().insert_axis(Axis(1));
        let bounds = bounds.broadcast(expected.raw_dim()).expect("a bound per column");
        let shares = (0..if *has_shares { slabs } else { 1 })
            .map(|slab| gpu.read_padded(&what, &left.part(slab, index)));
        let add = |a: Vec<f32>, b: Vec<f32>| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
        let found = shares.reduce(add).expect("one slab or more");
        assert_within(&what, &found, expected, bounds);
    }
}

fn column(vector: &Array1<f64>) -> Array2<f64> {
    vector.clone().insert_axis(Axis(1))
}

/// How far off the gradients of each column may be.
struct Bounds {
    grad_sums: Array1<f64>,
    grad_gamma: Array1<f64>,
    /// Or of the biases.
    grad_beta: Array1<f64>,
    grad_weights: Array1<f64>,
}

impl Bounds {
    /// Against what the gradients are made of. Inputs are not above 1.
    fn new(
        grad_outputs: &Array2<f64>,
        grad_ztilde: &Array2<f64>,
        statistics: &Statistics,
        gamma: &Array1<f64>,
        options: Options,
    ) -> Self {
        let rows = grad_outputs.nrows() as f64;
        let size = grad_outputs.mapv(f64::abs).sum_axis(Axis(0));
        let most = |matrix: &Array2<f64>| {
            matrix.map_axis(Axis(0), |column| column.fold(0.0, |most: f64, x| most.max(x.abs())))
        };
        // Of the activation's slope; those of ReLU and identity are exact.
        let exact = [Activation::Relu, Activation::Identity];
        let is_inexact = |activation| !exact.contains(&activation);
        let slope = match options.layer {
            Position::Hidden { activation, .. } if is_inexact(activation) => 2e-6,
            Position::Hidden { .. } | Position::Last => 0.0,
        };
        let from_slopes = slope * most(grad_outputs);
        let Position::Hidden { batch_norm: true, .. } = options.layer else {
            let [grad_gamma, grad_beta] = [size.clone(), 1e-6 * &size];
            let grad_weights = rows * &from_slopes + 2e-6 * size;
            return Self { grad_sums: from_slopes, grad_gamma, grad_beta, grad_weights };
        };
        let center = grad_ztilde.sum_axis(Axis(0)) / rows;
        let centered = grad_ztilde - &center;
        let spread = centered.mapv(f64::abs).sum_axis(Axis(0));
        let inverse_std = statistics.variance.mapv(|x| (x + f64::from(EPSILON)).sqrt().recip());
        let scale = gamma.mapv(f64::abs) * inverse_std;
        // Two floats hold 48 bits of the mean that is taken out, less what a tile's sum rounds.
        let grad_sums =
            &scale * (1e-5 * most(&centered) + from_slopes + 1e-13 * center.mapv(f64::abs));
        Self {
            // The last part: `center`'s rounding times that of the mean of `normalized`.
            grad_gamma: 3e-6 * &spread + slope * &size + 3e-14 * &size,
            // A sum of as many terms as there are rows, whose roundings mostly cancel.
            grad_beta: 1e-6 * size,
            grad_weights: rows * &grad_sums + 2e-6 * scale * spread,
            grad_sums,
        }
    }
}

#[test]
fn matches_the_reference() {
    for (mut gpu, core) in TestGpu::with_each_core() {
        for options in every_way() {
            let kernel = LayerBackward::new(&gpu.gpu.device, core, options).unwrap();
            for shape in LAYERS {
                let [rows, _, next, inner] = shape;
                if options.division != Division::Rows && !kernel.core.can_walk(rows, inner, next) {
                    continue;
                }
                let given = given(&mut gpu, shape);
                check(&mut gpu, &kernel, options, &given);
            }
        }
    }
}

/// Hard sums with easy gradients; then gradients with means that are large against their deviations,
/// on easy sums. Through identity weights, so that `next_grad_sums` are the gradients of the outputs.
#[test]
fn hard_columns_keep_their_digits() {
    for (mut gpu, core) in TestGpu::with_each_core() {
        let whole = hidden(Activation::Identity, true);
        let ways = [whole, Options { division: Division::Rows, ..whole }]
            .map(|options| (LayerBackward::new(&gpu.gpu.device, core, options).unwrap(), options));
        let rows = [2, 3, 33, 60, 1000, 20_000];
        for (rows, (kernel, options)) in
            rows.into_iter().flat_map(|rows| ways.iter().map(move |way| (rows, way)))
        {
            let hard = hard_columns(&mut gpu, rows);
            let columns = hard.ncols();
            if options.division != Division::Rows && !kernel.core.can_walk(rows, 3, columns as u32)
            {
                continue;
            }
            let easy = given(&mut gpu, [rows, columns as u32, columns as u32, 3]);
            let next_weights = Array2::eye(columns);
            let sums = hard.clone();
            check(&mut gpu, kernel, *options, &Given { sums, next_weights, ..easy });

            let easy = given(&mut gpu, [rows, columns as u32, columns as u32, 3]);
            let next_weights = Array2::eye(columns);
            let next_grad_sums = hard.mapv(|value| value.clamp(-1e6, 1e6));
            check(&mut gpu, kernel, *options, &Given { next_grad_sums, next_weights, ..easy });
        }
    }
}

/// The gradients of a normalized column's sums have mean 0. A mean left by rounding is multiplied by the
/// number of rows and the mean of the inputs in the gradients of the weights. Here the first rows, with
/// which all are compared, are unlike the others.
#[test]
fn gradients_of_a_long_column_keep_no_mean() {
    const ROWS: u32 = 20_000;
    const COLUMNS: u32 = 9;
    const SHIFT: f64 = 10.0;
    for (mut gpu, core) in TestGpu::with_each_core() {
        for division in [Division::Strips, Division::Rows] {
            let options = Options { division, ..hidden(Activation::Identity, true) };
            let kernel = LayerBackward::new(&gpu.gpu.device, core, options).unwrap();
            if division != Division::Rows && !kernel.core.can_walk(ROWS, 1, COLUMNS) {
                continue;
            }
            let mut given = given(&mut gpu, [ROWS, COLUMNS, COLUMNS, 1]);
            given.next_weights = Array2::eye(COLUMNS as usize);
            given.next_grad_sums = gpu.random([ROWS, COLUMNS]);
            given.next_grad_sums.slice_mut(s![..64, ..]).mapv_inplace(|value| value + SHIFT);
            let statistics = statistics(&given.sums);
            let left = run(&mut gpu, &kernel, options, &given, &statistics);
            let found = gpu.read_padded("grad_sums", &left.grad_sums);
            for (column, variance) in statistics.variance.iter().enumerate() {
                let rows = found.iter().skip(column).step_by(COLUMNS as usize);
                let mean = rows.map(|&value| f64::from(value)).sum::<f64>() / f64::from(ROWS);
                let scale = given.gamma[column].abs() / (variance + f64::from(EPSILON)).sqrt();
                // The subtracted mean is off by half a unit in the last place, 5e-8. The sums of lanes
                // and of chunks round by up to 4e-8 each, which mostly cancels: 4e-8 on average.
                let bound = 1.5e-7 * SHIFT * scale;
                assert!(mean.abs() <= bound, "{core:?}, {division:?}: {mean:e}, above {bound:e}");
            }
        }
    }
}

/// On the core that the adapter likes: a software one takes ten times as long with the other.
#[test]
fn walks_more_strips_than_workgroups() {
    let mut gpu = TestGpu::with_subgroups();
    let core = Core::for_device(&gpu.gpu.device);
    let options = hidden(Activation::Tanh, true);
    let kernel = LayerBackward::new(&gpu.gpu.device, core, options).unwrap();
    let columns = 4 * kernel.core.patch()[1] * MAX_WORKGROUPS + 5;
    let given = given(&mut gpu, [2, columns, 1, 1]);
    check(&mut gpu, &kernel, options, &given);
}
