//! Whole steps against their twin, and against each other.

use ndarray::Array2;

use super::super::{Trainer, TrainingData};
use crate::data::{Dataset, Targets};
use crate::gpu::testing::{PATIENCE, TestGpu};
use crate::gpu::{Gpu, block_on_for};
use crate::network::Network;
use crate::options::{Activation, Loss, Method, NetworkOptions, Optimizer, TrainerOptions};
use crate::parameters::Parameters;
use crate::plan::{DeviceClass, StepPlan};
use crate::reference;
use crate::trainer::cases::{numbers, parameters};

/// A training of some steps.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) sizes: Vec<u32>,
    pub(super) network: NetworkOptions,
    pub(super) options: TrainerOptions,
}

impl Case {
    pub(super) fn new(sizes: &[u32], rows: u32, loss: Loss, optimizer: Optimizer) -> Self {
        let network =
            NetworkOptions { activation: Activation::Tanh, seed: 3, ..Default::default() };
        let options = TrainerOptions { batch_size: rows, loss, optimizer, ..Default::default() };
        Self { sizes: sizes.to_vec(), network, options }
    }

    /// Whether the class takes it in one workgroup.
    fn is_taken(&self, class: DeviceClass) -> bool {
        StepPlan::new(class, &self.sizes, &self.network, &self.options).whole().is_some()
    }

    pub(super) fn trainer(&self, gpu: &Gpu, class: DeviceClass, is_whole: bool) -> Trainer {
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
    pub(super) fn dataset(&self, steps: u32) -> Dataset {
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
fn compare(gpu: &TestGpu, class: DeviceClass, case: &Case) {
    const STEPS: u32 = 4;
    let Case { sizes, network, options } = case;
    let what = format!("{sizes:?}, {network:?}, {options:?}");
    let mut trainer = case.trainer(&gpu.gpu, class, true);
    let first = reference::Network::from(&parameters(&trainer));
    let mut twin = reference::Trainer::new(first, options);
    let batches = batches(case, &case.dataset(STEPS));
    for (inputs, targets) in &batches {
        let inputs: Vec<f32> = inputs.iter().map(|&value| value as f32).collect();
        trainer.step(&inputs, targets.clone()).expect("a step");
    }
    let metrics = trainer.metrics(STEPS);
    let metrics = block_on_for(&gpu.gpu.device, PATIENCE, metrics).expect("the metrics");
    let (losses, accuracies): (Vec<f64>, Vec<f64>) =
        reference::whole_steps(&mut twin, &batches).into_iter().unzip();
    let found: Vec<f32> = metrics.iter().map(|metrics| metrics.loss).collect();
    gpu.compare(&format!("losses, {what}"), &found, &losses, 2e-5, 2e-5);
    if options.loss.has_accuracy() {
        let found: Vec<f32> = metrics.iter().filter_map(|metrics| metrics.accuracy).collect();
        gpu.compare(&format!("accuracies, {what}"), &found, &accuracies, 1e-6, 0.0);
    }
    let expected = numbers(&Parameters::from(twin.network()));
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    // The largest difference on Mesa 22 is 6e-6.
    let found = numbers(&parameters(&trainer));
    gpu.compare(&format!("parameters, {what}"), &found, &expected, 3e-5, 3e-5);
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

/// The class whose plan is run: on a software adapter without lanes, that of a GPU.
fn class_of_plan(class: DeviceClass) -> DeviceClass {
    let is_own = !class.is_software() || class.lanes().is_some();
    if is_own { class } else { DeviceClass::named("nvidia").expect("a class") }
}

/// The rows and sizes that a class takes in one workgroup. A software adapter without lanes only gets narrow ones,
/// which it compiles in seconds.
pub(super) fn shapes(class: DeviceClass) -> Vec<(u32, &'static [u32])> {
    let narrow: &[(u32, &[u32])] = &[(63, &[3, 4, 2]), (300, &[2, 7, 1])];
    let wide: &[(u32, &[u32])] = &[
        (2, &[1, 1, 1]),
        (2, &[3, 5, 1]),
        (63, &[5, 3, 2]),
        (7, &[2, 4, 4, 3]),
        (256, &[2, 16, 16, 3]),
        (257, &[4, 9, 3]),
        (1019, &[7, 12, 2]),
        (65, &[20, 9, 13]),
    ];
    let shapes = if class_of_plan(class) == class { wide } else { narrow };
    let is_taken = |&(rows, sizes): &(u32, &'static [u32])| {
        let case = Case::new(sizes, rows, Loss::MeanSquaredError, Optimizer::adam(1e-2));
        case.is_taken(class_of_plan(class))
    };
    shapes.iter().copied().filter(is_taken).collect()
}

/// Every loss and optimizer, in the shapes that the device's class takes.
pub(crate) fn matches_the_reference(gpu: &mut TestGpu, class: DeviceClass) {
    let optimizers = optimizers();
    for (index, (rows, sizes)) in shapes(class).into_iter().enumerate() {
        let loss = Loss::ALL[index % Loss::ALL.len()];
        let optimizer = optimizers[index % optimizers.len()];
        let mut case = Case::new(sizes, rows, loss, optimizer);
        case.network.batch_norm = index % 3 != 1;
        case.network.activation = Activation::ALL[2 + index % 8];
        case.options.clip_norm = (index % 2 == 1).then_some(0.5);
        case.options.label_smoothing = if loss.has_class_targets() { 0.1 } else { 0.0 };
        compare(gpu, class_of_plan(class), &case);
    }
}

/// Trains on a data set, in pieces of these numbers of steps.
pub(super) fn train(case: &Case, trainer: &mut Trainer, pieces: &[u32], streams: bool) -> Vec<f32> {
    let dataset = case.dataset(pieces.iter().sum());
    let mut data: TrainingData = match streams {
        true => trainer.stream(dataset).expect("the data"),
        false => trainer.upload(&dataset).expect("the data"),
    };
    for &steps in pieces {
        trainer.train(&mut data, steps).expect("steps");
    }
    numbers(&parameters(trainer))
}

/// One step after the other, some at once, or from a stream.
pub(crate) fn any_division_gives_the_same_bits(gpu: &mut TestGpu, class: DeviceClass) {
    let has_lanes = class.lanes().is_some();
    let class = class_of_plan(class);
    let sizes: &[u32] = if has_lanes { &[2, 16, 16, 3] } else { &[3, 4, 2] };
    let mut case = Case::new(sizes, 33, Loss::MeanSquaredError, Optimizer::adam(1e-2));
    case.options.clip_norm = Some(0.3);
    let learned = |pieces: &[u32], streams| {
        train(&case, &mut case.trainer(&gpu.gpu, class, true), pieces, streams)
    };
    let together = learned(&[64], false);
    gpu.compare_bits("one after the other", &learned(&[1; 64], false), &together);
    gpu.compare_bits("some together", &learned(&[37, 2, 25], false), &together);
    gpu.compare_bits("streamed", &learned(&[64], true), &together);
    if has_lanes {
        // As many rounds of loops as a software adapter's invocation has.
        let case = Case::new(sizes, 1024, Loss::MeanSquaredError, Optimizer::adam(1e-2));
        let learned =
            |pieces: &[u32]| train(&case, &mut case.trainer(&gpu.gpu, class, true), pieces, false);
        gpu.compare_bits("many rows", &learned(&[1; 64]), &learned(&[64]));
    }
}
