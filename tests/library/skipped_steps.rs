//! With `OnFault::SkipStep` a step that is not finite is as if it had never been encoded, and is counted.

use ndarray::Array2;
use wgpu::{Device, Queue};
use ztilde::{
    Dataset, Error, Fault, Inference, Loss, Network, NetworkOptions, OnFault, Optimizer, Quantity,
    Skipped, Snapshot, Trainer, TrainerOptions, block_on,
};

use crate::fixtures::buffers::step;
use crate::fixtures::devices::both_devices;
use crate::fixtures::test_device;

const ROWS: usize = 8;

struct Case {
    sizes: Vec<u32>,
    batch_norm: bool,
    loss: Loss,
    optimizer: Optimizer,
    clip_norm: Option<f64>,
}

impl Case {
    fn trainer(&self, (device, queue): &(Device, Queue), on_fault: OnFault) -> Trainer {
        let options = NetworkOptions { batch_norm: self.batch_norm, ..Default::default() };
        let network = Network::new(device, queue, &self.sizes, options).unwrap();
        let options = TrainerOptions {
            batch_size: ROWS as u32,
            loss: self.loss,
            optimizer: self.optimizer,
            clip_norm: self.clip_norm,
            on_fault,
            ..Default::default()
        };
        Trainer::new(network, options).unwrap()
    }

    /// Inputs and targets of a batch, in rows.
    fn batch(&self, number: usize) -> [Vec<f32>; 2] {
        let outputs = *self.sizes.last().unwrap() as usize;
        let values = |columns: usize, scale: f32| {
            (0..ROWS * columns).map(|i| scale * (1.3 * (i + 7 * number) as f32).sin()).collect()
        };
        [values(self.sizes[0] as usize, 1.0), values(outputs, 0.5)]
    }

    /// Trains on these batches, some of which may be spoiled.
    fn learn(
        &self,
        gpu: &(Device, Queue),
        trainer: &mut Trainer,
        batches: &[(usize, Spoil)],
    ) -> Snapshot {
        for (number, spoil) in batches {
            let [mut inputs, mut targets] = self.batch(*number);
            spoil(&mut inputs, &mut targets);
            step(gpu, trainer, &inputs, &targets);
        }
        block_on(&gpu.0, trainer.snapshot()).unwrap()
    }

    fn predict(&self, (device, _): &(Device, Queue), trainer: &Trainer) -> Vec<f32> {
        let [inputs, _] = self.batch(100);
        block_on(device, Inference::predict(trainer.network(), &inputs)).unwrap()
    }
}

type Spoil = fn(&mut [f32], &mut [f32]);

fn cases() -> Vec<Case> {
    let case = |sizes: &[u32], batch_norm, optimizer| Case {
        sizes: sizes.to_vec(),
        batch_norm,
        loss: Loss::MeanSquaredError,
        optimizer,
        clip_norm: None,
    };
    vec![
        case(&[3, 5, 4, 2], true, Optimizer::adam(0.01)),
        case(&[3, 5, 4, 2], false, Optimizer::nesterov(0.01, 0.9)),
        case(&[6, 2], true, Optimizer::gradient_descent(0.1)),
        Case { clip_norm: Some(0.5), ..case(&[5, 9, 3], true, Optimizer::rmsprop(0.01)) },
        // An output layer that takes several dispatches.
        case(&[4, 70, 150], true, Optimizer::adamw(0.01, 0.1)),
    ]
}

#[test]
fn a_skipped_step_is_as_if_it_had_never_been() {
    let good: Spoil = |_, _| {};
    let spoils: [Spoil; 4] = [
        |inputs, _| inputs[4] = f32::NAN,
        |inputs, _| inputs[1] = 1e30,
        |_, targets| targets[3] = f32::INFINITY,
        |_, targets| targets.fill(f32::NAN),
    ];
    for gpu in both_devices() {
        for case in cases() {
            let what = format!("{:?}, {}", case.sizes, case.batch_norm);
            let mut expected = case.trainer(&gpu, OnFault::SkipStep);
            let batches = [(0, good), (1, good), (2, good), (3, good)];
            let learned = case.learn(&gpu, &mut expected, &batches);
            let mut found = case.trainer(&gpu, OnFault::SkipStep);
            let [a, b, c, d] = spoils;
            let batches =
                [(9, a), (0, good), (8, b), (7, c), (1, good), (2, good), (6, d), (3, good)];
            assert_eq!(case.learn(&gpu, &mut found, &batches), learned, "{what}");

            let metrics = [&found, &expected].map(|trainer| {
                let parameters = block_on(&gpu.0, trainer.network().parameters()).unwrap();
                (parameters, block_on(&gpu.0, trainer.metrics(4)).unwrap())
            });
            assert_eq!(metrics[0], metrics[1], "{what}");
            assert_eq!(case.predict(&gpu, &found), case.predict(&gpu, &expected), "{what}");
            let Skipped { steps, last } = block_on(&gpu.0, found.skipped()).unwrap();
            assert_eq!([steps, last.unwrap().step], [4, 7], "{what}");
            assert_eq!([found.steps(), expected.steps()], [4, 4], "{what}");
            assert_eq!(block_on(&gpu.0, found.fault()).unwrap(), None, "{what}");
            let none = block_on(&gpu.0, expected.skipped()).unwrap();
            assert_eq!(none, Skipped::default(), "{what}");
            // Without skipping, training stops at the first batch, which is spoiled.
            let mut stopped = case.trainer(&gpu, OnFault::Stop);
            let untouched = case.learn(&gpu, &mut stopped, &batches);
            assert_eq!(untouched.steps(), 0, "{what}");
        }
    }
}

/// The layer and the quantity are those of the last skipped step, even right after another one.
#[test]
fn the_last_skipped_step_is_named() {
    let gpu = test_device::device();
    let case = &cases()[0];
    let mut trainer = case.trainer(&gpu, OnFault::SkipStep);
    let spoils: [(Spoil, Quantity, usize); 3] = [
        (|inputs, _| inputs[0] = 1e30, Quantity::BatchStatistics, 1),
        (|_, targets| targets[0] = f32::NAN, Quantity::Loss, 3),
        (|_, targets| targets[0] = 1e18, Quantity::GradBiases, 3),
    ];
    for (number, (spoil, quantity, layer)) in (1..).zip(spoils) {
        case.learn(&gpu, &mut trainer, &[(0, spoil)]);
        let expected = Fault { step: number, layer: Some(layer), quantity };
        let found = block_on(&gpu.0, trainer.skipped()).unwrap();
        assert_eq!(found, Skipped { steps: number, last: Some(expected) });
    }
}

/// A training that skips steps stops where an update overflows, and still names the step that it skipped.
#[test]
fn an_overflow_leaves_the_name_of_the_last_skipped_step() {
    let gpu = test_device::device();
    let optimizer = Optimizer { weight_decay: 1e30, ..Optimizer::gradient_descent(1e30) };
    let case = Case { optimizer, ..cases().swap_remove(0) };
    let mut trainer = case.trainer(&gpu, OnFault::SkipStep);
    let good: Spoil = |_, _| {};
    case.learn(&gpu, &mut trainer, &[(0, |inputs, _| inputs[0] = 1e30), (1, good), (2, good)]);
    let fault = Fault { step: 1, layer: None, quantity: Quantity::Update };
    assert_eq!(block_on(&gpu.0, trainer.fault()).unwrap(), Some(fault));
    let last = Fault { step: 1, layer: Some(1), quantity: Quantity::BatchStatistics };
    let found = block_on(&gpu.0, trainer.skipped()).unwrap();
    assert_eq!(found, Skipped { steps: 1, last: Some(last) });
}

/// An epoch counts its skipped steps, and its loss is the mean of the other steps.
#[test]
fn an_epoch_goes_on() {
    let gpu @ (device, _) = &test_device::device();
    let case = &cases()[0];
    let mut inputs =
        Array2::from_shape_fn([40, 3], |(row, column)| (row + 3 * column) as f32 * 0.1);
    inputs[[17, 1]] = 1e30;
    let targets: Vec<f32> = (0..80).map(|value| (value as f32).cos()).collect();
    let dataset = Dataset::new(inputs, targets).unwrap();
    for on_fault in [OnFault::SkipStep, OnFault::Stop] {
        let mut trainer = case.trainer(gpu, on_fault);
        for mut data in
            [trainer.upload(&dataset).unwrap(), trainer.stream(dataset.clone()).unwrap()]
        {
            let epoch = block_on(device, trainer.epoch(&mut data));
            if on_fault == OnFault::Stop {
                assert!(matches!(epoch, Err(Error::Diverged(_))), "{epoch:?}");
                continue;
            }
            let epoch = epoch.unwrap();
            assert_eq!([epoch.steps, epoch.skipped], [4, 1]);
            assert!(epoch.loss > 0.0 && epoch.loss < 10.0, "{epoch:?}");
        }
    }
}

#[test]
fn a_restored_trainer_goes_on_skipping() {
    let gpu @ (device, queue) = &test_device::device();
    let case = &cases()[0];
    let spoil: Spoil = |inputs, _| inputs[4] = f32::NAN;
    let good: Spoil = |_, _| {};
    let mut trainer = case.trainer(gpu, OnFault::SkipStep);
    let snapshot = case.learn(gpu, &mut trainer, &[(0, good), (1, spoil)]);
    assert_eq!([snapshot.steps(), snapshot.parameters().layers.len() as u64], [1, 3]);
    let mut restored = Trainer::restore(device, queue, &snapshot).unwrap();
    let rest = [(2, spoil), (3, good), (4, good)];
    let found = case.learn(gpu, &mut restored, &rest);
    assert_eq!(found, case.learn(gpu, &mut trainer, &rest));
    assert_eq!(found.steps(), 3);
    assert_eq!(block_on(device, restored.skipped()).unwrap().steps, 1);
}

/// Values on the CPU are checked before anything is submitted, as those of a data set are.
#[test]
fn a_batch_from_the_cpu_has_to_be_finite() {
    let gpu @ (device, _) = &test_device::device();
    let case = &cases()[0];
    for on_fault in [OnFault::Stop, OnFault::SkipStep] {
        let mut trainer = case.trainer(gpu, on_fault);
        let before = block_on(device, trainer.snapshot()).unwrap();
        for (spoiled, what, row, column) in [(0, "inputs", 5, 2), (1, "targets", 7, 1)] {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut batch = case.batch(0);
                let columns = [3, 2][spoiled];
                batch[spoiled][row * columns + column] = wrong;
                let error = trainer.step(&batch[0], &batch[1][..]).unwrap_err();
                let place = [row as u64, column as u64];
                let Error::NotFinite { what: found, row, column, value } = error else {
                    panic!("{error}");
                };
                assert_eq!((found, [row, column]), (what, place));
                assert_eq!(value.to_bits(), wrong.to_bits());
            }
        }
        assert_eq!(trainer.steps(), 0);
        assert_eq!(block_on(device, trainer.snapshot()).unwrap(), before);
    }
}
