//! Whole steps against their twin, and against the steps of many dispatches.

use ndarray::Array2;

use super::super::{Trainer, TrainingData};
use super::with_buffers;
use crate::data::{Dataset, Targets};
use crate::error::Fault;
use crate::fused::whole_steps::levels;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Gpu, block_on};
use crate::network::Network;
use crate::options::{
    Activation, Loss, Method, NetworkOptions, OnFault, Optimizer, TrainerOptions,
};
use crate::parameters::Parameters;
use crate::plan::{DeviceClass, StepPlan};
use crate::reference;

/// A training of some steps.
#[derive(Clone)]
struct Case {
    sizes: Vec<u32>,
    network: NetworkOptions,
    options: TrainerOptions,
}

impl Case {
    fn new(sizes: &[u32], rows: u32, loss: Loss, optimizer: Optimizer) -> Self {
        let network =
            NetworkOptions { activation: Activation::Tanh, seed: 3, ..Default::default() };
        let options = TrainerOptions { batch_size: rows, loss, optimizer, ..Default::default() };
        Self { sizes: sizes.to_vec(), network, options }
    }

    fn trainer(&self, gpu: &Gpu, class: DeviceClass, is_whole: bool) -> Trainer {
        let network = Network::new(&gpu.device, &gpu.queue, &self.sizes, self.network.clone());
        let network = network.expect("a network");
        let plan = match is_whole {
            true => StepPlan::of_layers(class, network.sizes(), &self.options),
            false => StepPlan::picked(class, network.sizes(), &self.options, |_| 0),
        };
        assert_eq!(plan.whole().is_some(), is_whole, "{:?}", self.sizes);
        Trainer::with_plan(network, plan, self.options.clone()).expect("a trainer")
    }

    /// Rows of `steps` full batches. Columns are far from 0 against their spread.
    fn dataset(&self, steps: u32) -> Dataset {
        let rows = (steps * self.options.batch_size) as usize;
        let [features, outputs] =
            [self.sizes[0], *self.sizes.last().expect("outputs")].map(|size| size as usize);
        let value = |row: usize, column: usize| {
            let wave = (0.7 * row as f64 + 1.9 * column as f64).sin() + 0.3 * (row % 7) as f64;
            wave as f32 + 3.0 * column as f32
        };
        let inputs = Array2::from_shape_fn([rows, features], |(row, column)| value(row, column));
        let targets = match self.options.loss.has_class_targets() {
            true => Targets::from(
                (0..rows)
                    .map(|row| (value(row, 0).abs() * 7.0) as u32 % outputs as u32)
                    .collect::<Vec<_>>(),
            ),
            false => Targets::from(
                (0..rows * outputs)
                    .map(|i| 0.5 + 0.5 * (value(i / outputs, i % outputs)).sin())
                    .collect::<Vec<_>>(),
            ),
        };
        Dataset::new(inputs, targets).expect("a data set")
    }
}

/// Each way, with its device and class: on lanes only where the adapter has them.
fn ways() -> Vec<(TestGpu, DeviceClass, bool)> {
    let gpu = TestGpu::with_subgroups();
    let class = gpu.gpu.class;
    let on_lanes = class.lanes().map(|_| (gpu, class, true));
    let nvidia = DeviceClass::named("nvidia").expect("a class");
    on_lanes.into_iter().chain([(TestGpu::new(), nvidia, false)]).collect()
}

fn parameters(trainer: &Trainer) -> Parameters {
    let device = &trainer.network().gpu().device;
    block_on(device, trainer.network().parameters()).expect("the parameters")
}

fn values(network: &mut reference::Network) -> Vec<f64> {
    network.learned_mut().into_iter().map(|(value, _)| *value).collect()
}

/// Batches in the order in which the data set has its rows.
fn batches(case: &Case, data: &Dataset) -> Vec<(Array2<f64>, Targets<'static>)> {
    let rows = case.options.batch_size as usize;
    let steps = data.rows() as usize / rows;
    let batch = |step: usize| {
        let of = step * rows..(step + 1) * rows;
        let inputs = data.inputs().slice(ndarray::s![of.clone(), ..]).mapv(f64::from);
        let targets = match data.targets() {
            Targets::Classes(classes) => Targets::from(classes[of].to_vec()),
            Targets::Values(values) => {
                let width = values.len() / data.rows() as usize;
                Targets::from(values[of.start * width..of.end * width].to_vec())
            }
        };
        (inputs, targets)
    };
    (0..steps).map(batch).collect()
}

/// Steps by `Trainer::step`, and by the twin.
fn check(gpu: &TestGpu, class: DeviceClass, case: &Case) {
    const STEPS: u32 = 4;
    let what = format!("{:?} {:?} {:?}", case.sizes, case.network.activation, case.options);
    let mut trainer = case.trainer(&gpu.gpu, class, true);
    let first = parameters(&trainer);
    let mut twin = reference::Trainer::new(reference::Network::from(&first), &case.options);
    let batches = batches(case, &case.dataset(STEPS));
    for (inputs, targets) in &batches {
        let inputs: Vec<f32> = inputs.iter().map(|&value| value as f32).collect();
        trainer.step(&inputs, targets.clone()).expect("a step");
    }
    let metrics = block_on(&gpu.gpu.device, trainer.metrics(STEPS)).expect("the metrics");
    let expected = reference::whole_steps(&mut twin, &batches);
    assert_eq!(metrics.len(), expected.len(), "{what}");
    for (found, (loss, accuracy)) in metrics.iter().zip(&expected) {
        let error = (f64::from(found.loss) - loss).abs();
        assert!(error <= 2e-5 * (1.0 + loss), "{what}: a loss of {}, not {loss}", found.loss);
        let of_row = f64::from(found.accuracy.unwrap_or(0.0)) - accuracy;
        assert!(of_row.abs() <= 1e-6, "{what}: {:?}, not {accuracy}", found.accuracy);
    }
    let [mut found, mut expected] =
        [reference::Network::from(&parameters(&trainer)), twin.network().clone()];
    let pairs = values(&mut found).into_iter().zip(values(&mut expected));
    for (index, (found, expected)) in pairs.enumerate() {
        // The largest difference on Mesa 22 is 6e-6.
        let error = (found - expected).abs();
        assert!(error <= 3e-5 * (1.0 + expected.abs()), "{what}: {index}: {found}, not {expected}");
    }
    for (found, expected) in found.layers.iter().zip(&expected.layers) {
        let (
            reference::Layer::Normalized { running_mean, running_var, .. },
            reference::Layer::Normalized { running_mean: mean, running_var: var, .. },
        ) = (found, expected)
        else {
            continue;
        };
        let all = running_mean.iter().zip(mean).chain(running_var.iter().zip(var));
        for (found, expected) in all {
            let error = (found - expected).abs();
            assert!(error <= 3e-5 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
        }
    }
}

/// Every optimizer. Epsilons are above the default, and the batch is odd: the gradient of a parameter that is 0
/// but for rounding would become a whole step.
fn optimizers() -> Vec<Optimizer> {
    let adam = Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-2, decoupled: false };
    let adamw = Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-2, decoupled: true };
    let methods = [
        Method::GradientDescent,
        Method::Momentum { momentum: 0.9, nesterov: false },
        Method::Momentum { momentum: 0.9, nesterov: true },
        Method::RmsProp { smoothing: 0.9, epsilon: 1e-2 },
        adam,
        adamw,
    ];
    let with = |method| Optimizer { weight_decay: 0.1, ..Optimizer::usual(method) };
    methods.into_iter().map(with).collect()
}

#[test]
fn lanes_match_the_twin() {
    let ways = ways();
    let Some((gpu, class, _)) = ways.iter().find(|(_, _, on_lanes)| *on_lanes) else { return };
    let shapes: [(u32, &[u32]); 8] = [
        (2, &[1, 1, 1]),
        (2, &[3, 5, 1]),
        (63, &[5, 3, 2]),
        (7, &[2, 4, 4, 3]),
        (256, &[2, 16, 16, 3]),
        (257, &[4, 9, 3]),
        (1019, &[7, 12, 2]),
        (65, &[20, 9, 13]),
    ];
    let optimizers = optimizers();
    for (index, (rows, sizes)) in shapes.into_iter().enumerate() {
        let loss = Loss::ALL[index % Loss::ALL.len()];
        let optimizer = optimizers[index % optimizers.len()];
        let mut case = Case::new(sizes, rows, loss, optimizer);
        case.network.batch_norm = index % 3 != 1;
        case.network.activation = Activation::ALL[2 + index % 8];
        case.options.clip_norm = (index % 2 == 1).then_some(0.5);
        case.options.label_smoothing = if loss.has_class_targets() { 0.1 } else { 0.0 };
        check(gpu, *class, &case);
    }
}

/// Narrow layers, which a software adapter compiles in seconds.
#[test]
fn workgroups_match_the_twin() {
    let ways = ways();
    let (gpu, class, _) = ways.last().expect("that of a GPU");
    let optimizers = optimizers();
    for (index, (rows, sizes)) in [(63, &[3, 4, 2][..]), (300, &[2, 7, 1])].into_iter().enumerate()
    {
        let case = Case::new(sizes, rows, Loss::ALL[1 - index], optimizers[4 - index]);
        check(gpu, *class, &case);
    }
}

/// Trains on a data set, in pieces of these numbers of steps.
fn trained(case: &Case, trainer: &mut Trainer, pieces: &[u32], streams: bool) -> Parameters {
    let dataset = case.dataset(pieces.iter().sum());
    let mut data: TrainingData = match streams {
        true => trainer.stream(dataset).expect("the data"),
        false => trainer.upload(&dataset).expect("the data"),
    };
    for &steps in pieces {
        trainer.train(&mut data, steps).expect("steps");
    }
    parameters(trainer)
}

#[test]
fn the_division_of_steps_among_dispatches_changes_no_bit() {
    for (gpu, class, on_lanes) in ways() {
        let sizes: &[u32] = if on_lanes { &[2, 16, 16, 3] } else { &[3, 4, 2] };
        let mut case = Case::new(sizes, 33, Loss::MeanSquaredError, Optimizer::adam(1e-2));
        case.options.clip_norm = Some(0.3);
        let learned = |pieces: &[u32], streams| {
            trained(&case, &mut case.trainer(&gpu.gpu, class, true), pieces, streams)
        };
        let together = learned(&[64], false);
        assert!(learned(&[1; 64], false) == together, "one after the other");
        assert!(learned(&[37, 2, 25], false) == together, "some together");
        assert!(learned(&[64], true) == together, "streamed");
    }
}

/// What is known after steps of which some see values that are not finite.
#[derive(Debug, PartialEq)]
struct Outcome {
    steps: u64,
    fault: Option<Fault>,
    skipped: (u64, Option<Fault>),
    metrics: usize,
    batches: u64,
}

/// The outcome, and whether the last step changed the parameters.
fn outcome(gpu: &Gpu, case: &Case, class: DeviceClass, is_whole: bool) -> (Outcome, Parameters) {
    let mut trainer = case.trainer(gpu, class, is_whole);
    // An overflow: errors of 1e30 have squares that are infinite. Each dispatch has several steps.
    let mut dataset = case.dataset(24);
    let spoiled: Vec<f32> = match dataset.targets() {
        Targets::Values(values) => {
            let of = |(i, &value)| if i % 97 == 60 { 1e30 } else { value };
            values.iter().enumerate().map(of).collect()
        }
        Targets::Classes(_) => unreachable!("values are errors"),
    };
    dataset = Dataset::new(dataset.inputs().to_owned(), spoiled).expect("a data set");
    let mut data = trainer.upload(&dataset).expect("the data");
    for steps in [16, 5, 3] {
        trainer.train(&mut data, steps).expect("steps");
    }
    let device = &gpu.device;
    let fault = block_on(device, trainer.fault()).expect("the fault");
    let skipped = block_on(device, trainer.skipped()).expect("the skipped steps");
    let taken = trainer.steps() as u32;
    let metrics = block_on(device, trainer.metrics(taken)).expect("the metrics");
    let parameters = parameters(&trainer);
    let batches = match &parameters.layers[0] {
        crate::parameters::Layer::Normalized { batch_norm, .. } => batch_norm.batches,
        crate::parameters::Layer::Linear { .. } => 0,
    };
    let outcome = Outcome {
        steps: trainer.steps(),
        fault,
        skipped: (skipped.steps, skipped.last),
        metrics: metrics.len(),
        batches,
    };
    (outcome, parameters)
}

#[test]
fn faults_stop_or_skip_as_in_many_dispatches() {
    for (gpu, class, _) in ways() {
        for on_fault in [OnFault::Stop, OnFault::SkipStep] {
            let mut case = Case::new(&[3, 4, 2], 9, Loss::MeanSquaredError, Optimizer::adam(1e-2));
            case.options.on_fault = on_fault;
            let [(whole, learned), (divided, expected)] =
                [true, false].map(|is_whole| outcome(&gpu.gpu, &case, class, is_whole));
            assert_eq!(whole, divided, "{on_fault:?}");
            let is_stopped = on_fault == OnFault::Stop;
            assert_eq!(whole.fault.is_some(), is_stopped, "{on_fault:?}");
            assert_eq!(whole.skipped.0 > 2, !is_stopped, "{whole:?}");
            let [mut learned, mut expected] =
                [learned, expected].map(|found| reference::Network::from(&found));
            for (found, expected) in values(&mut learned).into_iter().zip(values(&mut expected)) {
                assert!((found - expected).abs() < 1e-3, "{on_fault:?}: {found}, not {expected}");
            }
        }
    }
}

/// A hidden layer after a step shows that step, also after several steps in a dispatch.
#[test]
fn hidden_layers_show_the_last_step() {
    for (gpu, class, on_lanes) in ways() {
        let sizes: &[u32] = if on_lanes { &[2, 6, 5, 3] } else { &[3, 4, 2] };
        let case = Case::new(sizes, 33, Loss::MeanSquaredError, Optimizer::adam(1e-2));
        let shown = |is_whole| {
            let mut trainer = case.trainer(&gpu.gpu, class, is_whole);
            trained(&case, &mut trainer, &[8], false);
            let layer = trainer.hidden_layer(1).expect("a hidden layer");
            let batch_norm = layer.batch_norm.expect("it is normalized");
            let found =
                [layer.pre_activations, layer.outputs, batch_norm.mean, batch_norm.variance];
            let [sums, outputs, mean, variance] = found.map(|matrix| gpu.read_inside(&matrix));
            // Each way has a center of its own.
            let (center, rest) = mean.split_at(variance.len());
            let mean = center.iter().zip(rest).map(|(center, rest)| center + rest).collect();
            [sums, outputs, mean, variance]
        };
        for (matrix, (found, expected)) in shown(true).iter().zip(&shown(false)).enumerate() {
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).abs();
                let what = format!("{on_lanes}, matrix {matrix}, value {index}");
                assert!(error < 2e-4 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
            }
        }
    }
}

/// `tests/library/shaders.rs` checks the kernel's text with the constants in that file.
#[test]
fn the_shaders_are_checked_with_such_levels() {
    let class = DeviceClass::named("nvidia").expect("a class");
    let case = Case::new(&[5, 6, 3, 2], 8, Loss::MeanSquaredError, Optimizer::adam(1e-2));
    let trainer = case.trainer(&TestGpu::new().gpu, class, true);
    let plan = trainer.plan().whole().expect("whole steps");
    let found =
        with_buffers(&trainer.network, &trainer.memory, 8, 1, |buffers| levels(plan, buffers));
    let constants = plan.constants();
    let (_, constants) = constants.split_once('\n').expect("a line about the way");
    let text = format!("{constants}{}", found.expect("the levels"));
    assert_eq!(text, include_str!("levels.wgsl"), "{text}");
}
