//! Whole networks on the GPU: their gradients, and permutations of the rows of a batch.

use std::ops::Range;

use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;
use ztilde::kernels::activate;
use ztilde::{
    Activation, Inference, Layer, Loss, Network, NetworkOptions, Optimizer, Parameters, Targets,
    Trainer, TrainerOptions, block_on, reference,
};

use super::{UNIT, config, float, rounding, uniform, uniform_vector};
use crate::fixtures::comparisons::assert_within;
use crate::fixtures::public_kernels::Gpu;

/// A network with its batch.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) sizes: Vec<u32>,
    pub(crate) rows: usize,
    pub(crate) activation: Activation,
    pub(crate) batch_norm: bool,
    pub(crate) loss: Loss,
    pub(crate) seed: u64,
}

/// Networks of up to four layers.
pub(crate) fn cases(rows: Range<usize>, widest: u32) -> impl Strategy<Value = Case> {
    let sizes = prop::collection::vec(1..=widest, 2..6);
    let activation = prop::sample::select(Activation::ALL.to_vec());
    let loss = prop::sample::select(Loss::ALL.to_vec());
    (sizes, rows, activation, any::<bool>(), loss, any::<u64>()).prop_map(
        |(sizes, rows, activation, batch_norm, loss, seed)| Case {
            sizes,
            rows,
            activation,
            batch_norm,
            loss,
            seed,
        },
    )
}

impl Case {
    /// A network in which no parameter has its initial value.
    pub(crate) fn parameters(&self) -> Parameters {
        let options = NetworkOptions {
            activation: self.activation,
            batch_norm: self.batch_norm,
            seed: self.seed,
            ..Default::default()
        };
        let mut parameters = Parameters::initialize(&self.sizes, &options).unwrap();
        for (layer, seed) in parameters.layers.iter_mut().zip(self.seed / 2..) {
            let mut turn = 0;
            let mut change = |vector: &mut Array1<f32>| {
                turn += 1;
                let by = uniform_vector(seed.wrapping_add(1000 * turn), vector.len());
                vector.zip_mut_with(&by, |value, by| *value += (0.5 * by) as f32);
            };
            match layer {
                Layer::Linear { biases, .. } => change(biases),
                Layer::Normalized { batch_norm, .. } => {
                    change(&mut batch_norm.gamma);
                    change(&mut batch_norm.beta);
                    change(&mut batch_norm.running_mean);
                    change(&mut batch_norm.running_var);
                }
            }
        }
        parameters
    }

    pub(crate) fn inputs(&self) -> Array2<f64> {
        let shape = [self.rows, self.sizes[0] as usize];
        uniform(self.seed ^ 1, shape).mapv(|value| float(1.0 + 2.0 * value))
    }

    pub(crate) fn targets(&self) -> Targets<'static> {
        let outputs = self.sizes[self.sizes.len() - 1] as usize;
        if self.loss.has_class_targets() {
            let class = |row| (row * 7 + 3) as u32 % outputs as u32;
            return (0..self.rows).map(class).collect::<Vec<u32>>().into();
        }
        let values = uniform(self.seed ^ 2, [self.rows, outputs]);
        values.iter().map(|value| (0.5 + 0.5 * value) as f32).collect::<Vec<f32>>().into()
    }

    /// The network on the GPU.
    pub(crate) fn network(&self) -> Network {
        let Gpu { device, queue, .. } = self.gpu();
        Network::from_parameters(device, queue, &self.parameters()).unwrap()
    }

    pub(crate) fn gpu(&self) -> &'static Gpu {
        if self.seed.is_multiple_of(2) { Gpu::get() } else { Gpu::with_subgroups() }
    }

    pub(crate) fn options(&self, learning_rate: f64) -> TrainerOptions {
        TrainerOptions {
            batch_size: self.rows as u32,
            loss: self.loss,
            optimizer: Optimizer::gradient_descent(learning_rate),
            ..Default::default()
        }
    }

    /// A trainer that has taken a step.
    fn step(&self, learning_rate: f64, inputs: &Array2<f64>, targets: Targets<'_>) -> Trainer {
        let options = self.options(learning_rate);
        let mut trainer = Trainer::new(self.network(), options).unwrap();
        trainer.step(&floats(inputs), targets).unwrap();
        trainer
    }
}

pub(crate) fn floats(matrix: &Array2<f64>) -> Vec<f32> {
    matrix.iter().map(|&value| value as f32).collect()
}

/// A step of gradient descent, divided by its length, gives the gradients. The step is long enough to make
/// the rounding of the parameters negligible.
const LEARNING_RATE: f64 = (1_u64 << 30) as f64;

fn gradients_on_gpu(case: &Case, inputs: &Array2<f64>, targets: Targets<'_>) -> Array1<f64> {
    let trainer = case.step(LEARNING_RATE, inputs, targets);
    let after = block_on(&case.gpu().device, trainer.network().parameters()).unwrap();
    let learned = |parameters: &Parameters| {
        let mut network = reference::Network::from(parameters);
        network.learned_mut().into_iter().map(|(number, _)| *number).collect::<Array1<f64>>()
    };
    (learned(&case.parameters()) - learned(&after)) / LEARNING_RATE
}

/// A result, and its change when each of its inputs has the rounding error of a sum of this many terms.
fn spread(
    case: &Case,
    terms: usize,
    result: impl Fn(&reference::Network, &Array2<f64>) -> Array1<f64>,
) -> (Array1<f64>, Array1<f64>) {
    const TRIALS: u64 = 6;
    let network = reference::Network::from(&case.parameters());
    let inputs = case.inputs();
    let expected = result(&network, &inputs);
    let mut most = Array1::<f64>::zeros(expected.len());
    for trial in 0..TRIALS {
        let mut network = network.clone();
        let learned = network.learned_mut();
        let by = uniform_vector(case.seed.wrapping_add(trial), learned.len());
        for ((number, _), by) in learned.into_iter().zip(&by) {
            *number *= 1.0 + rounding(terms) * by.signum();
        }
        let by = uniform(case.seed.wrapping_add(77 + trial), [inputs.nrows(), inputs.ncols()]);
        let inputs = &inputs * &by.mapv(|by| 1.0 + rounding(terms) * by.signum());
        let off = (result(&network, &inputs) - &expected).mapv(f64::abs);
        most.zip_mut_with(&off, |most, &off| *most = most.max(off));
    }
    (expected, most)
}

/// The number of roundings in sequence that a number passes through: in the sums of the widest layer, down
/// the columns of a batch, and a few dozen in each layer.
fn terms(case: &Case) -> usize {
    *case.sizes.iter().max().unwrap() as usize + case.rows / 16 + 16 * case.sizes.len()
}

fn gradients(case: &Case, network: &reference::Network, inputs: &Array2<f64>) -> Array1<f64> {
    let options = case.options(1.0);
    let trainer = reference::Trainer::new(network.clone(), &options);
    trainer.gradients(inputs, &case.targets()).1.learned()
}

/// Whether a kink is so near that rounding could move a value across it.
fn is_near_a_kink(case: &Case) -> bool {
    let has_kink = matches!(case.activation, Activation::Relu | Activation::LeakyRelu);
    let pass = reference::Network::from(&case.parameters()).pass(&case.inputs());
    let hidden = pass.layers.len() - 1;
    let mut values = pass.layers[..hidden].iter().flat_map(|layer| &layer.ztilde);
    has_kink && values.any(|value| value.abs() < 1e-3)
}

/// The gradients without cancellation: every sum is a sum of magnitudes. The rounding error of a
/// gradient is a share of these values.
fn magnitudes(case: &Case, network: &reference::Network, inputs: &Array2<f64>) -> Vec<Magnitudes> {
    let pass = network.pass(inputs);
    let reference::LossGradient { grad_outputs, .. } =
        reference::loss(case.loss, &pass.outputs, &case.targets());
    // The two terms of an output's gradient may cancel: each is a probability, or an error.
    let mut grads = grad_outputs.mapv(|grad| grad.abs() + 1.0 / grad_outputs.len() as f64);
    let mut found = Vec::new();
    for (index, (layer, seen)) in network.layers.iter().zip(&pass.layers).enumerate().rev() {
        let mut vectors = vec![grads.sum_axis(Axis(0))];
        if let (reference::Layer::Normalized { gamma, .. }, Some(statistics)) =
            (layer, &seen.statistics)
        {
            let inverse_root = statistics.variance.mapv(|x| (x + network.epsilon).sqrt().recip());
            let normalized = ((&seen.sums - &statistics.mean) * &inverse_root).mapv(f64::abs);
            let [mean, slope] = [&grads, &(&grads * &normalized)]
                .map(|matrix| matrix.mean_axis(Axis(0)).expect("there are rows"));
            vectors.insert(0, (&grads * &normalized).sum_axis(Axis(0)));
            grads = (&grads + &mean + normalized * slope) * (gamma.mapv(f64::abs) * inverse_root);
        }
        let weights = grads.t().dot(&seen.inputs.mapv(f64::abs));
        found.push(Magnitudes { weights, vectors, grad_sums: grads.sum_axis(Axis(0)) });
        if index > 0 {
            // No activation is steeper.
            grads = grads.dot(&layer.weights().mapv(f64::abs)) * 1.13;
        }
    }
    found.reverse();
    found
}

struct Magnitudes {
    weights: Array2<f64>,
    vectors: Vec<Array1<f64>>,
    /// Averaged over the batch.
    grad_sums: Array1<f64>,
}

/// The error bound of gradients: a share of their magnitudes for each rounding, and the effect of errors in
/// the forward pass, which is similar throughout a tensor.
fn bounds(case: &Case, off: &Array1<f64>) -> Array1<f64> {
    let network = reference::Network::from(&case.parameters());
    let mut bounds = Vec::new();
    for Magnitudes { weights, vectors, .. } in magnitudes(case, &network, &case.inputs()) {
        let weights = weights.iter().copied().collect();
        for magnitudes in std::iter::once(weights).chain(vectors) {
            let part = bounds.len()..bounds.len() + magnitudes.len();
            let largest = part.map(|index| off[index]).fold(0.0, f64::max);
            let bound = |magnitude: &f64| 8.0 * largest + rounding(terms(case)) * magnitude + 1e-9;
            bounds.extend(magnitudes.iter().map(bound));
        }
    }
    Array1::from(bounds)
}

proptest! {
    #![proptest_config(config(16))]

    /// With eight rows or more: with two or three rows, a normalized layer's gradients cancel except for
    /// epsilon.
    #[test]
    fn gradients_on_the_gpu_are_the_references(case in cases(8..150, 40)) {
        prop_assume!(!is_near_a_kink(&case));
        let found = gradients_on_gpu(&case, &case.inputs(), case.targets());
        let (expected, off) =
            spread(&case, terms(&case), |network, inputs| gradients(&case, network, inputs));
        assert_within("gradients", &found, &expected, &bounds(&case, &off));
    }

    /// An input that is the same in all rows shifts the pre-activations of a normalized layer equally,
    /// so the gradient of its weights is 0. This gradient is the sum of the pre-activations' gradients
    /// over the batch.
    #[test]
    fn gradients_of_sums_add_up_to_0_over_the_batch(case in cases(8..150, 40)) {
        let case = Case { batch_norm: true, ..case };
        prop_assume!(case.sizes.len() > 2);
        let mut inputs = case.inputs();
        inputs.column_mut(0).fill(1.0);
        let found = gradients_on_gpu(&case, &inputs, case.targets());
        let network = reference::Network::from(&case.parameters());
        let gradients = gradients(&case, &network, &inputs);
        let width = case.sizes[0] as usize;
        let sums = &magnitudes(&case, &network, &inputs)[0].grad_sums;
        for (neuron, sum) in sums.iter().enumerate() {
            let [gradient, exact] = [found[neuron * width], gradients[neuron * width]];
            let bound = 4.0 * rounding(terms(&case)) * sum + 1e-9;
            assert!(gradient.abs() <= bound, "neuron {neuron}: {gradient:e}, beyond {bound:e}");
            assert!(exact.abs() <= 1e-12 * (sum + 1.0), "the reference's, neuron {neuron}: {exact:e}");
        }
    }

    /// The order of the rows changes the order of the sums over them, and so only the rounding.
    #[test]
    fn permuted_batches_have_permuted_outputs_and_the_same_gradients(case in cases(8..150, 40)) {
        prop_assume!(!is_near_a_kink(&case));
        let order = ztilde::shuffled_order(case.rows as u32, case.seed, 0);
        let inputs = case.inputs();
        let permuted = reference::gather_rows(&inputs, &order);
        let targets = match case.targets() {
            Targets::Classes(classes) => {
                order.iter().map(|&row| classes[row as usize]).collect::<Vec<u32>>().into()
            }
            Targets::Values(values) => {
                let columns = values.len() / case.rows;
                let row = |row: &u32| values[*row as usize * columns..][..columns].to_vec();
                Targets::from(order.iter().flat_map(row).collect::<Vec<f32>>())
            }
        };
        let found = gradients_on_gpu(&case, &permuted, targets.clone());
        let (expected, off) =
            spread(&case, terms(&case), |network, inputs| gradients(&case, network, inputs));
        assert_within("gradients", &found, &expected, &bounds(&case, &off));

        prop_assume!(case.sizes.len() > 2);
        let last = case.sizes.len() - 3;
        let [straight, permuted] = [(&inputs, case.targets()), (&permuted, targets)]
            .map(|(inputs, targets)| hidden_outputs(&case, &case.step(1e-3, inputs, targets), last));
        let (expected, off) = spread(&case, terms(&case), |network, inputs| {
            network.pass(inputs).layers[last + 1].inputs.iter().copied().collect()
        });
        let largest = |values: &Array1<f64>| values.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let bound = 8.0 * largest(&off) + rounding(terms(&case)) * (largest(&expected) + 1e-3);
        let wanted = reference::gather_rows(&straight, &order);
        assert_within("outputs", &permuted, &wanted, &wanted.mapv(|_| 2.0 * bound));
    }

    /// In inference a row's outputs do not depend on its position, bit for bit.
    #[test]
    fn permuted_rows_have_bit_identical_permuted_predictions(case in cases(1..300, 150)) {
        let device = &case.gpu().device;
        let order = ztilde::shuffled_order(case.rows as u32, case.seed, 0);
        let inputs = case.inputs();
        let network = case.network();
        let [straight, permuted] = [&inputs, &reference::gather_rows(&inputs, &order)]
            .map(|inputs| block_on(device, Inference::predict(&network, &floats(inputs))).unwrap());
        let outputs = case.sizes[case.sizes.len() - 1] as usize;
        for (place, &row) in order.iter().enumerate() {
            let bits = |values: &[f32], row: usize| -> Vec<u32> {
                values[row * outputs..][..outputs].iter().map(|value| value.to_bits()).collect()
            };
            assert_eq!(bits(&permuted, place), bits(&straight, row as usize), "row {row}");
        }
    }

    /// Hidden layers, computed by the fused kernels of training: without an activation, and with the
    /// initial gammas and betas, their outputs are the ẑ of their pre-activations.
    #[test]
    fn hidden_layers_have_mean_0_and_variance_1(
        (inputs, width, rows) in (1..60_u32, 1..80_u32, 2..1500_usize),
        seed: u64,
    ) {
        let case = Case {
            sizes: vec![inputs, width, 2],
            rows,
            activation: Activation::Identity,
            batch_norm: true,
            loss: Loss::MeanSquaredError,
            seed,
        };
        let Gpu { device, queue, .. } = case.gpu();
        let options = NetworkOptions { activation: case.activation, seed, ..Default::default() };
        let network = Network::new(device, queue, &case.sizes, options).unwrap();
        let mut trainer = Trainer::new(network, case.options(1e-3)).unwrap();
        trainer.step(&floats(&case.inputs()), case.targets()).unwrap();
        let layer = trainer.hidden_layer(1).unwrap();
        let [sums, found] = [&layer.pre_activations, &layer.outputs].map(|matrix| copy(&case, matrix));
        let exact = reference::batch_statistics(&sums);
        let statistics = reference::batch_statistics(&found);
        for column in 0..width as usize {
            let sums = sums.column(column);
            let (mean, variance) = (exact.mean[column], exact.variance[column]);
            let least = variance + f64::from(1e-5_f32);
            // The differences of the pre-activations from their rounded mean are added up. The error of
            // this sum enters the mean and each ẑ once, and the variance twice.
            let left = sums.mapv(|sum| (sum - mean).abs() + UNIT * mean.abs());
            let off = rounding(rows + 24) * left.sum() / rows as f64 / least.sqrt() + 1e-9;
            let share = 24.0 * UNIT;
            assert!(
                statistics.mean[column].abs() <= off + share,
                "the mean is {}, not 0 ± {:e}",
                statistics.mean[column],
                off + share
            );
            let squares = left.mapv(|left| left * left).sum() / rows as f64 / least;
            let off = 2.0 * rounding(rows + 24) * squares + 2.0 * share * squares + 1e-9;
            let error = (statistics.variance[column] - variance / least).abs();
            assert!(error <= off, "the variance is {error:e} off, beyond {off:e}");
        }
    }
}

/// A hidden layer's outputs after a step.
fn hidden_outputs(case: &Case, trainer: &Trainer, index: usize) -> Array2<f64> {
    copy(case, &trainer.hidden_layer(index + 1).expect("there is a hidden layer").outputs)
}

fn copy(case: &Case, inputs: &ztilde::kernels::Matrix) -> Array2<f64> {
    let gpu = case.gpu();
    let outputs = gpu.zeros([inputs.rows(), inputs.columns()]);
    let kernel = activate::Activate::new(&gpu.device, Activation::Identity).unwrap();
    let buffers = activate::Buffers { inputs, outputs: &outputs.matrix };
    gpu.run(&[&kernel.bind(&gpu.device, "copy", buffers).unwrap()]);
    gpu.read(&outputs)
}
