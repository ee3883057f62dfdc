//! Numbers that are not finite: the GPU notices them, leaves the parameters unchanged, and the error
//! names them.

use ndarray::Array2;
use wgpu::{Device, Queue};
use ztilde::{
    Activation, Dataset, Error, Fault, Inference, Layer, Loss, Network, NetworkOptions, Optimizer,
    Parameters, Quantity, Remainder, Schedule, Snapshot, Trainer, TrainerOptions, TrainingData,
    block_on,
};

use crate::fixtures::buffers::step;
use crate::fixtures::devices::both_devices;
use crate::fixtures::test_device;

const ROWS: usize = 8;
const FEATURES: usize = 3;
const CLASSES: usize = 2;

/// A training, and the step at which it stops.
struct Case {
    batch_norm: bool,
    loss: Loss,
    optimizer: Optimizer,
    /// Sets some parameters to unusual values.
    alter: fn(&mut Parameters),
    /// Spoils the third batch: its inputs and targets, in rows.
    spoil: fn(&mut [f32], &mut [f32]),
    expected: Fault,
}

impl Case {
    const fn new(layer: usize, quantity: Quantity) -> Self {
        Self {
            batch_norm: true,
            loss: Loss::MeanSquaredError,
            optimizer: Optimizer::adam(0.01),
            alter: |_| {},
            spoil: |_, _| {},
            expected: Fault { step: 3, layer: Some(layer), quantity },
        }
    }

    fn trainer(&self, (device, queue): &(Device, Queue)) -> Trainer {
        let activation = if self.batch_norm { Activation::Tanh } else { Activation::Identity };
        let options =
            NetworkOptions { batch_norm: self.batch_norm, activation, ..Default::default() };
        let sizes = [FEATURES, 5, 4, CLASSES].map(|size| size as u32);
        let mut parameters = Parameters::initialize(&sizes, &options).unwrap();
        (self.alter)(&mut parameters);
        let network = Network::from_parameters(device, queue, &parameters).unwrap();
        let options = TrainerOptions {
            batch_size: ROWS as u32,
            loss: self.loss,
            optimizer: self.optimizer,
            ..Default::default()
        };
        Trainer::new(network, options).unwrap()
    }

    /// Step `number`: on a good batch, or on the spoiled one.
    fn step(&self, gpu: &(Device, Queue), trainer: &mut Trainer, number: u64) {
        let value = |index: usize| (1.3 * index as f32 + number as f32).sin();
        let mut inputs: Vec<f32> = (0..ROWS * FEATURES).map(value).collect();
        let mut targets: Vec<f32> = (0..ROWS * CLASSES).map(|index| value(7 * index)).collect();
        if number == self.expected.step {
            (self.spoil)(&mut inputs, &mut targets);
        }
        let classes: Vec<u32> =
            targets[..ROWS].iter().map(|&target| (target > 0.0).into()).collect();
        match self.loss.has_class_targets() {
            true => step(gpu, trainer, &inputs, &classes),
            false => step(gpu, trainer, &inputs, &targets),
        }
    }
}

/// Enlarges a parameter of the output layer, and so the gradient that it passes back.
fn enlarge(parameters: &mut Parameters) {
    match parameters.layers.last_mut() {
        Some(Layer::Linear { weights, .. }) => weights[[0, 0]] = 1e20,
        _ => unreachable!("the output layer is linear"),
    }
}

fn cases() -> Vec<Case> {
    let linear = |layer, quantity| Case { batch_norm: false, ..Case::new(layer, quantity) };
    let classes = |case| Case { loss: Loss::SoftmaxCrossEntropy, ..case };
    let at_once = |case: Case| Case { expected: Fault { step: 1, ..case.expected }, ..case };
    let statistics = Case::new(1, Quantity::BatchStatistics);
    let hidden_weights = Case::new(2, Quantity::BatchStatistics);
    vec![
        Case { spoil: |inputs, _| inputs[4] = f32::NAN, ..Case::new(1, Quantity::BatchStatistics) },
        Case { spoil: |inputs, _| inputs[23] = 1e30, ..statistics },
        at_once(Case {
            alter: |parameters| match &mut parameters.layers[1] {
                Layer::Normalized { weights, .. } => weights[[3, 2]] = 1e30,
                Layer::Linear { .. } => unreachable!("it is normalized"),
            },
            ..hidden_weights
        }),
        Case { spoil: |inputs, _| inputs[0] = f32::INFINITY, ..linear(3, Quantity::Loss) },
        Case { spoil: |_, targets| targets[15] = 1e30, ..Case::new(3, Quantity::Loss) },
        Case { spoil: |_, targets| targets[15] = f32::NAN, ..linear(3, Quantity::Loss) },
        // The loss is 1e33, and finite; the gradient is above 2⁵⁰.
        Case { spoil: |_, targets| targets[0] = 1e17, ..Case::new(3, Quantity::GradBiases) },
        // The inputs of the output layer are large; the gradient of its biases is below 1.
        Case { spoil: |inputs, _| inputs.fill(1e17), ..classes(linear(3, Quantity::GradWeights)) },
        at_once(Case { alter: enlarge, ..classes(linear(2, Quantity::GradWeights)) }),
        at_once(Case { alter: enlarge, ..classes(Case::new(2, Quantity::GradGamma)) }),
    ]
}

fn snapshot((device, _): &(Device, Queue), trainer: &Trainer) -> Snapshot {
    block_on(device, trainer.snapshot()).unwrap()
}

fn fault((device, _): &(Device, Queue), trainer: &Trainer) -> Option<Fault> {
    block_on(device, trainer.fault()).unwrap()
}

/// The network's outputs for some rows.
fn outputs((device, _): &(Device, Queue), network: &Network) -> Vec<f32> {
    let inputs: Vec<f32> = (0..8 * network.inputs()).map(|index| (index as f32).cos()).collect();
    block_on(device, Inference::predict(network, &inputs)).unwrap()
}

/// A stopped trainer equals one that took only the steps before, bit for bit.
#[track_caller]
fn assert_as_before(gpu: &(Device, Queue), stopped: &Trainer, before: &Trainer, what: &str) {
    let [found, expected] = [stopped, before].map(|trainer| snapshot(gpu, trainer));
    assert_eq!(found, expected, "{what}");
    assert_eq!(found.to_bytes().unwrap(), expected.to_bytes().unwrap(), "{what}");
    let parameters = block_on(&gpu.0, stopped.network().parameters()).unwrap();
    assert_eq!(parameters, *expected.parameters(), "{what}");
}

#[test]
fn what_was_not_finite_first_is_named_and_not_learned_from() {
    for gpu in both_devices() {
        for case in cases() {
            let Fault { step, .. } = case.expected;
            let what = case.expected.to_string();
            let [mut stopped, mut before] = [(); 2].map(|()| case.trainer(&gpu));
            for number in 1..step {
                case.step(&gpu, &mut stopped, number);
                case.step(&gpu, &mut before, number);
                assert_eq!(fault(&gpu, &stopped), None, "{what}, in step {number}");
            }
            case.step(&gpu, &mut stopped, step);
            for number in step + 1..step + 4 {
                assert_eq!(fault(&gpu, &stopped), Some(case.expected), "before step {number}");
                assert_as_before(&gpu, &stopped, &before, &what);
                case.step(&gpu, &mut stopped, number);
                // Later steps see good batches, and an app's inference is unaffected.
                let [found, expected] =
                    [&stopped, &before].map(|trainer| outputs(&gpu, trainer.network()));
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}

/// An update that overflows leaves such parameters unchanged, and is reported at once.
#[test]
fn an_update_that_overflows_leaves_nothing_infinite() {
    let expected = Fault { step: 1, layer: None, quantity: Quantity::Update };
    for gpu in both_devices() {
        for optimizer in [Optimizer::gradient_descent(1e30), Optimizer::momentum(1e30, 0.9)] {
            let optimizer = Optimizer { weight_decay: 1e30, ..optimizer };
            let case = Case { optimizer, expected, ..Case::new(1, Quantity::Loss) };
            let [mut trainer, untrained] = [(); 2].map(|()| case.trainer(&gpu));
            for number in 1..4 {
                case.step(&gpu, &mut trainer, number);
                assert_eq!(fault(&gpu, &trainer), Some(expected), "{optimizer:?}");
                let [found, untrained] =
                    [&trainer, &untrained].map(|trainer| snapshot(&gpu, trainer));
                assert_eq!(found.steps(), 1, "{optimizer:?}");
                found.parameters().check().unwrap();
                for (found, untrained) in
                    found.parameters().layers.iter().zip(&untrained.parameters().layers)
                {
                    assert_eq!(found.weights(), untrained.weights(), "{optimizer:?}");
                }
            }
        }
    }
}

/// Enough rows for batches that are divided.
fn dataset(rows: usize) -> Dataset {
    let inputs =
        Array2::from_shape_fn([rows, 4], |(row, column)| ((7 * row + column) as f32).sin());
    let targets = (0..rows).map(|row| 1e3 * (0.7 * row as f32).cos()).collect::<Vec<f32>>();
    Dataset::new(inputs, targets).unwrap()
}

/// A training whose learning rate grows tenfold every few steps, until it is too large.
fn growing(
    (device, queue): &(Device, Queue),
    options: &TrainerOptions,
    batch_norm: bool,
) -> Trainer {
    let network = NetworkOptions { batch_norm, seed: 3, ..Default::default() };
    let network = Network::new(device, queue, &[4, 9, 33, 1], network).unwrap();
    let schedule = Schedule::Step { every: 4, factor: 10.0 };
    let optimizer = Optimizer { schedule, ..options.optimizer };
    let loss = Loss::MeanSquaredError;
    Trainer::new(network, TrainerOptions { loss, optimizer, ..options.clone() }).unwrap()
}

fn data(trainer: &Trainer, rows: usize, is_streamed: bool) -> TrainingData {
    match is_streamed {
        false => trainer.upload(&dataset(rows)).unwrap(),
        true => trainer.stream(dataset(rows)).unwrap(),
    }
}

/// Any number of steps may be in flight when the fault happens.
fn check_growing(gpu: &(Device, Queue), batch_norm: bool, options: &TrainerOptions, rows: usize) {
    let is_streamed = options.optimizer.method.has_mean_square();
    let what = format!("{:?}, batch norm {batch_norm}, {rows} rows", options.optimizer);
    let training = || {
        let trainer = growing(gpu, options, batch_norm);
        let data = data(&trainer, rows, is_streamed);
        (trainer, data)
    };
    let (mut stopped, mut data) = training();
    let found = loop {
        stopped.train(&mut data, 60).unwrap();
        if let Some(fault) = fault(gpu, &stopped) {
            break fault;
        }
        assert!(stopped.steps() < 1_000, "{what}: it does not diverge");
    };
    assert!(found.step > 1, "{what}: {found}");
    stopped.train(&mut data, 1).unwrap();
    let (mut before, mut data) = training();
    before.train(&mut data, found.step as u32 - 1).unwrap();
    assert_as_before(gpu, &stopped, &before, &what);

    // An epoch returns the error as soon as it reads the fault.
    let (mut trainer, mut data) = training();
    let error = loop {
        if let Err(error) = block_on(&gpu.0, trainer.epoch(&mut data)) {
            break error;
        }
        assert!(trainer.steps() < 1_000, "{what}: no epoch says it");
    };
    assert!(matches!(error, Error::Diverged(fault) if fault == found), "{error}, not {found}");
    assert!(trainer.steps() < found.step + 4 * 64, "{what}: {} steps", trainer.steps());
}

/// Within an epoch and after its end, on uploaded and streamed rows, in batches with and without chunks.
#[test]
fn many_steps_after_a_fault_change_nothing() {
    let optimizers = [
        Optimizer::gradient_descent(0.1),
        Optimizer::nesterov(0.1, 0.9),
        Optimizer::rmsprop(0.1),
        Optimizer::adamw(0.1, 0.01),
    ];
    for (number, optimizer) in optimizers.into_iter().enumerate() {
        let is_even = number % 2 == 0;
        let [plain, with_subgroups] = both_devices();
        let clip_norm = is_even.then_some(1e20);
        let remainder = Remainder::Keep;
        let options = TrainerOptions { optimizer, clip_norm, remainder, ..Default::default() };
        // An epoch of 15 batches, and one of 3 divided batches.
        let small = TrainerOptions { batch_size: 16, ..options.clone() };
        check_growing(&plain, is_even, &small, 243);
        check_growing(&with_subgroups, !is_even, &small, 243);
        let large = TrainerOptions { batch_size: 1_056, ..options };
        check_growing(&plain, true, &large, 2_200);
    }
}

/// The state before the fault can be resumed, and trains on the next batches as if the bad batch had
/// never existed.
#[test]
fn a_snapshot_of_a_stopped_training_goes_on() {
    let gpu = test_device::device_with_subgroups();
    let spoil: fn(&mut [f32], &mut [f32]) = |inputs, _| inputs[4] = f32::NAN;
    let case = Case { spoil, ..Case::new(1, Quantity::BatchStatistics) };
    let [mut stopped, mut without] = [(); 2].map(|()| case.trainer(&gpu));
    for number in 1..6 {
        case.step(&gpu, &mut stopped, number);
        if number < 3 {
            case.step(&gpu, &mut without, number);
        }
    }
    let mut restored = Trainer::restore(&gpu.0, &gpu.1, &snapshot(&gpu, &stopped)).unwrap();
    for number in 6..9 {
        case.step(&gpu, &mut restored, number);
        case.step(&gpu, &mut without, number);
    }
    assert_eq!(fault(&gpu, &restored), None);
    assert_as_before(&gpu, &restored, &without, "restored");
    // The next trainer of a stopped network reports the stop; a new network with its parameters can be
    // trained.
    let mut next = Trainer::new(stopped.into_network(), restored.options().clone()).unwrap();
    for number in 6..12 {
        case.step(&gpu, &mut next, number);
        assert_eq!(fault(&gpu, &next), Some(Fault { step: 0, ..case.expected }), "{number}");
    }
    let parameters = block_on(&gpu.0, next.network().parameters()).unwrap();
    let network = Network::from_parameters(&gpu.0, &gpu.1, &parameters).unwrap();
    let mut next = Trainer::new(network, next.options().clone()).unwrap();
    case.step(&gpu, &mut next, 6);
    assert_eq!(fault(&gpu, &next), None);
}
