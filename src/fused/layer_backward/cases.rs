//! The layer's gradients against their twins, in any way through the shader.

pub(crate) mod bits;
mod bounds;
pub(crate) mod columns;

use ndarray::{Array1, Array2, Axis, s};

use super::*;
use crate::gpu::KernelCache;
use crate::gpu::testing::TestGpu;
use crate::kernels::normalize::cases::hard_columns;
use crate::plan::{DeviceClass, Slabs, Tiling, WeightsPlan};
use crate::reference::{self, LayerGradients, LayerPass, Statistics};
use bounds::Bounds;

pub(super) const EPSILON: f32 = 1e-5;

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
pub(super) struct Given {
    pub(super) inputs: Array2<f64>,
    pub(super) sums: Array2<f64>,
    gamma: Array1<f64>,
    beta: Array1<f64>,
    pub(super) next_grad_sums: Array2<f64>,
    pub(super) next_weights: Array2<f64>,
    /// The next layer's inputs.
    outputs: Array2<f64>,
}

/// A way through the shader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    activation: Activation,
    pub(super) batch_norm: bool,
    pub(super) is_divided: bool,
    weights: GradWeights,
}

/// Whose weights' gradients the kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GradWeights {
    OfLayer,
    OfNext { has_biases: bool },
    None,
}

pub(super) fn whole(activation: Activation, batch_norm: bool) -> Way {
    Way { activation, batch_norm, is_divided: false, weights: GradWeights::OfLayer }
}

pub(super) fn divided(way: Way, weights: GradWeights) -> Way {
    Way { is_divided: true, weights, ..way }
}

pub(super) fn every_way() -> [Way; 10] {
    let [linear, normalized] = [whole(Activation::Gelu, false), whole(Activation::Tanh, true)];
    let of_next = |has_biases| GradWeights::OfNext { has_biases };
    [
        linear,
        Way { weights: GradWeights::None, ..linear },
        divided(linear, GradWeights::None),
        divided(linear, of_next(true)),
        whole(Activation::Relu, true),
        normalized,
        Way { weights: GradWeights::None, ..normalized },
        Way { weights: of_next(true), ..normalized },
        divided(normalized, GradWeights::None),
        divided(normalized, of_next(false)),
    ]
}

/// The plans of a layer and of the next one.
pub(super) fn plans(
    of: (DeviceClass, Tiling),
    way: Way,
    [columns, next, inner]: [u32; 3],
) -> [LayerPlan; 2] {
    let (class, tiling) = of;
    let plan = LayerPlan::test(class, tiling, [inner, columns], way.batch_norm, way.is_divided);
    let place = match way.weights {
        GradWeights::OfLayer => Place::WithLayer,
        GradWeights::OfNext { .. } | GradWeights::None => Place::Alone,
    };
    let weights = WeightsPlan { place, tiling };
    let has_biases = way.weights == GradWeights::OfNext { has_biases: true };
    let takes_next = matches!(way.weights, GradWeights::OfNext { .. });
    let plan = LayerPlan { weights, takes_next, ..plan };
    [plan, LayerPlan::test(class, tiling, [columns, next], !has_biases, false)]
}

/// `sums`, and `next_grad_sums` and `next_weights` of which the products are exact, so that all
/// that is compared comes after.
pub(super) fn given(gpu: &mut TestGpu, [rows, columns, next, inner]: [u32; 4]) -> Given {
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
pub(super) fn statistics(sums: &Array2<f64>) -> Statistics {
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
pub(super) struct Left {
    grad_sums: Matrix,
    /// Packed like the parameters, and then the slabs.
    gradients: Matrix,
    slabs: Slabs,
    /// How many slabs the weights have.
    count: u32,
    /// The next layer's weights, the weights, gamma, beta or the biases, the stop, the faults, the next layer's
    /// biases and its faults.
    parts: Vec<Matrix>,
}

impl Left {
    /// A part of the gradients.
    pub(super) fn part(&self, index: usize) -> Matrix {
        let part = &self.parts[index];
        self.at(4 * u64::from(part.first_quad()), part)
    }

    /// A part of a slab: the weights, or the biases behind them.
    fn part_of_slab(&self, slab: u32, index: usize, weights: usize) -> Matrix {
        if slab == 0 {
            return self.part(index);
        }
        let [part, weights_part] = [&self.parts[index], &self.parts[weights]];
        let behind = u64::from(weights_part.rows()) * u64::from(weights_part.stride());
        let behind = if index == weights { 0 } else { behind };
        self.at(self.slabs.first + u64::from(slab - 1) * self.slabs.length + behind, part)
    }

    fn at(&self, first: u64, shape: &Matrix) -> Matrix {
        Matrix::padded(self.gradients.buffer(), first, shape.rows(), shape.columns()).unwrap()
    }
}

pub(super) fn run(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    given: &Given,
    statistics: &Statistics,
) -> Left {
    let Given { inputs, sums, gamma, beta, next_grad_sums, next_weights, outputs } = given;
    let [rows, columns, inner] = [inputs.nrows(), sums.ncols(), inputs.ncols()];
    let sizes = [columns, next_weights.nrows(), inner].map(|size| size as u32);
    let [plan, next] = plans(of, way, sizes);
    let options = Options { activation: way.activation, epsilon: EPSILON };
    let kernel = LayerBackward::new(&gpu.gpu.device, plan, next, options).unwrap();
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
    let is_of_next = matches!(way.weights, GradWeights::OfNext { .. });
    let of_weights = if is_of_next { next } else { plan };
    let count = of_weights.order(rows as u32).slabs();
    let part = &parts[usize::from(!is_of_next)];
    let length = (part.rows() * part.stride() + part.rows().next_multiple_of(4)).into();
    let slabs = Slabs { first: parameters.columns().into(), length };
    let gradients = gpu.garbage([1, parameters.columns() + (count - 1) * length as u32]);
    let grad_sums = gpu.garbage([rows as u32, columns as u32]);
    let Statistics { mean, variance } = statistics;
    let center = mean.mapv(|mean| f64::from(mean as f32));
    let on_gpu = ndarray::stack![Axis(0), center, mean - &center, *variance];
    let needed = plan.statistics_rows(rows as u32) as usize;
    let leaves = Array2::from_elem([needed - 3, columns], f64::NAN);
    let on_gpu = ndarray::concatenate![Axis(0), on_gpu, leaves];
    let on_gpu = [sums, &on_gpu].map(|matrix| gpu.upload_filled_up(matrix, f32::NAN));
    let [inputs, outputs] = [inputs, outputs].map(|matrix| gpu.upload_padded(matrix));
    let targets = |weights, biases, faults: usize| Targets {
        parameters: &parameters,
        weights: &parts[weights],
        biases,
        faults: &parts[faults],
        slabs,
    };
    let buffers = Buffers {
        next_grad_sums: &gpu.upload_padded(next_grad_sums),
        next_weights: &parts[0],
        parameters: &parameters,
        gamma: way.batch_norm.then_some(&parts[2]),
        beta: way.batch_norm.then_some(&parts[3]),
        stop: [&parts[4], &parts[5]],
        sums: &on_gpu[0],
        statistics: &on_gpu[1],
        weights: match way.weights {
            GradWeights::OfLayer => {
                Some((&inputs, targets(1, (!way.batch_norm).then_some(&parts[3]), 5)))
            }
            GradWeights::OfNext { has_biases } => {
                Some((&outputs, targets(0, has_biases.then_some(&parts[6]), 7)))
            }
            GradWeights::None => None,
        },
        grad_sums: &grad_sums,
        gradients: &gradients,
    };
    let dispatches = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
    gpu.run(&dispatches.iter().collect::<Vec<_>>());
    Left { grad_sums, gradients, slabs, count, parts }
}

pub(super) fn compare(gpu: &mut TestGpu, of: (DeviceClass, Tiling), way: Way, given: &Given) {
    let Given { inputs, sums, gamma, beta, next_grad_sums, next_weights, outputs } = given;
    let Way { activation, batch_norm, .. } = way;
    let [rows, columns, inner] = [inputs.nrows(), sums.ncols(), inputs.ncols()];
    let what = format!("{:?}, {way:?}, {rows} × {columns} × {inner}", of.1);
    let grad_outputs = reference::matmul(next_grad_sums.view(), next_weights.view());
    let statistics = statistics(sums);
    let left = run(gpu, of, way, given, &statistics);

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
    let bounds = Bounds::new(&grad_outputs, &grad_ztilde, &statistics, gamma, way);
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
    gpu.compare_within(&format!("{what}: grad_sums"), &found, &expected, per_row);

    // Parts of the gradients, and the weights of whose slabs they are a part.
    let of_layer = way.weights == GradWeights::OfLayer;
    let mut expected = Vec::new();
    let grad_weights = match learned {
        LayerGradients::Linear { grad_weights, grad_biases } => {
            let biases = (3, Some(1), column(&grad_biases), bounds.grad_beta);
            expected.extend(of_layer.then_some(biases));
            grad_weights
        }
        LayerGradients::Normalized { grad_weights, grad_gamma, grad_beta } => {
            expected.push((2, None, column(&grad_gamma), bounds.grad_gamma));
            expected.push((3, None, column(&grad_beta), bounds.grad_beta));
            grad_weights
        }
    };
    expected.extend(of_layer.then_some((1, Some(1), grad_weights, bounds.grad_weights)));
    if let GradWeights::OfNext { has_biases } = way.weights {
        let of_next = |outputs| reference::matmul(next_grad_sums.t(), outputs);
        let size = next_grad_sums.mapv(f64::abs).sum_axis(Axis(0));
        expected.push((0, Some(0), of_next(outputs.view()), 2e-6 * &size));
        let biases = of_next(Array2::ones([rows, 1]).view());
        expected.extend(has_biases.then(|| (6, Some(0), biases, 1e-6 * &size)));
    }
    for index in 0..left.parts.len() {
        let what = format!("{what}: part {index} of the gradients");
        let Some((_, weights, expected, bounds)) = expected.iter().find(|of| of.0 == index) else {
            let found = gpu.read_all(&left.part(index));
            assert!(found.iter().all(|value| value.is_nan()), "{what} changed");
            continue;
        };
        let bounds = bounds.view().insert_axis(Axis(1));
        let bounds = bounds.broadcast(expected.raw_dim()).expect("a bound per column");
        let shares = (0..if weights.is_some() { left.count } else { 1 }).map(|slab| {
            gpu.read_padded(&what, &left.part_of_slab(slab, index, weights.unwrap_or(index)))
        });
        let add = |a: Vec<f32>, b: Vec<f32>| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
        let found = shares.reduce(add).expect("one slab or more");
        gpu.compare_within(&what, &found, expected, bounds);
    }
}

fn column(vector: &Array1<f64>) -> Array2<f64> {
    vector.clone().insert_axis(Axis(1))
}

/// Whether the driver's loops go through all rows of a strip.
fn can_walk(gpu: &TestGpu, tiling: Tiling, [rows, next, inner]: [u32; 3]) -> bool {
    let patches = u64::from(tiling.row_patches(rows)) * tiling.rounds_of_patch(next);
    let weights = 2 * u64::from(tiling.strips(inner)) * tiling.rounds_of_patch(rows);
    gpu.gpu.class.can_loop(patches + weights)
}

pub(crate) fn matches_the_reference(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    match_the_reference(gpu, of, every_way());
}

pub(super) fn match_the_reference(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    ways: impl IntoIterator<Item = Way>,
) {
    let _kernels = KernelCache::new(&gpu.gpu.device);
    for way in ways {
        for shape in LAYERS {
            let [rows, _, next, inner] = shape;
            if way.is_divided || can_walk(gpu, of.1, [rows, next, inner]) {
                let given = given(gpu, shape);
                compare(gpu, of, way, &given);
            }
        }
    }
}
