//! Training from a snapshot is bit-identical to uninterrupted training.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::{Device, Limits, Queue};
use ztilde::{
    Dataset, Error, KernelCache, Loss, Network, NetworkOptions, Optimizer, Remainder, Schedule,
    Snapshot, Trainer, TrainerOptions, TrainingData, block_on,
};

use crate::fixtures::buffers::upload;
use crate::fixtures::data;
use crate::fixtures::devices::own_device;
use crate::fixtures::test_device;

const SIZES: [u32; 4] = [7, 20, 9, 5];
/// Seven batches per epoch if the last, smaller one is kept.
const ROWS: u32 = 101;
const BATCH_SIZE: u32 = 16;

fn optimizers() -> [Optimizer; 7] {
    let decaying =
        Optimizer { weight_decay: 0.01, decays_all: true, ..Optimizer::momentum(0.05, 0.9) };
    let falling = Schedule::Cosine { steps: 40, last: 0.1 };
    let stepping = Schedule::Step { every: 10, factor: 0.5 };
    [
        Optimizer { schedule: stepping, warm_up: 20, ..Optimizer::gradient_descent(0.1) },
        decaying,
        Optimizer { schedule: falling, ..Optimizer::nesterov(0.05, 0.9) },
        Optimizer { schedule: Schedule::OneCycle { steps: 40 }, ..Optimizer::rmsprop(0.01) },
        Optimizer::adam(0.01),
        Optimizer { schedule: falling, ..Optimizer::adamw(0.01, 0.1) },
        Optimizer::lion(0.001, 0.1),
    ]
}

/// The options of a run.
#[derive(Clone, Debug)]
struct Run {
    batch_norm: bool,
    options: TrainerOptions,
    feed: Feed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Feed {
    Uploaded,
    Streamed,
    StepByStep,
    Encoded,
}

/// A trainer, and its data if the library holds it.
struct Training {
    device: Device,
    queue: Queue,
    trainer: Trainer,
    data: Option<TrainingData>,
}

impl Training {
    fn new(run: &Run) -> Self {
        let (device, queue) = test_device::device();
        let options = NetworkOptions { batch_norm: run.batch_norm, seed: 3, ..Default::default() };
        let network = Network::new(&device, &queue, &SIZES, options).unwrap();
        Self::of(run, device, queue, Trainer::new(network, run.options.clone()).unwrap())
    }

    fn restored(run: &Run, (device, queue): (Device, Queue), snapshot: &Snapshot) -> Self {
        let trainer = Trainer::restore(&device, &queue, snapshot).unwrap();
        Self::of(run, device, queue, trainer)
    }

    fn of(run: &Run, device: Device, queue: Queue, trainer: Trainer) -> Self {
        let data = match run.feed {
            Feed::Uploaded => Some(trainer.upload(&dataset(ROWS)).unwrap()),
            Feed::Streamed => Some(trainer.stream(dataset(ROWS)).unwrap()),
            Feed::StepByStep | Feed::Encoded => None,
        };
        Self { device, queue, trainer, data }
    }

    fn train(&mut self, feed: Feed, steps: u32) {
        let Self { device, queue, trainer, data } = self;
        if let Some(data) = data {
            return trainer.train(data, steps).unwrap();
        }
        let mut encoder = device.create_command_encoder(&Default::default());
        for _ in 0..steps {
            let (inputs, classes) = batch(trainer.steps());
            match feed {
                Feed::Encoded => {
                    let [inputs, classes] = [upload(device, &inputs), upload(device, &classes)];
                    trainer.encode_step(&mut encoder, &inputs, &classes).unwrap();
                }
                _ => trainer.step(&inputs, classes).unwrap(),
            }
        }
        queue.submit([encoder.finish()]);
    }

    fn snapshot(&self) -> Snapshot {
        block_on(&self.device, self.trainer.snapshot()).unwrap()
    }

    /// The losses of the last steps.
    fn losses(&self, steps: u32) -> Vec<(u64, u32)> {
        let metrics = block_on(&self.device, self.trainer.metrics(steps)).unwrap();
        assert!(metrics.iter().all(|step| step.loss.is_finite()), "{metrics:?}");
        metrics.iter().map(|step| (step.step, step.loss.to_bits())).collect()
    }
}

fn batch(number: u64) -> (Vec<f32>, Vec<u32>) {
    let mut generator = ChaCha8Rng::seed_from_u64(number);
    let inputs = (0..BATCH_SIZE * SIZES[0]).map(|_| generator.random::<f32>() * 4.0 - 2.0);
    let inputs = inputs.collect();
    (inputs, (0..BATCH_SIZE).map(|_| generator.random::<u32>() % SIZES[3]).collect())
}

fn dataset(rows: u32) -> Dataset {
    data::dataset(1, rows, SIZES[0], SIZES[3], Loss::SoftmaxCrossEntropy)
}

/// The snapshot after writing and reading a file.
fn saved(snapshot: &Snapshot) -> Snapshot {
    let loaded = Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap();
    assert!(loaded == *snapshot);
    loaded
}

/// Each optimizer with each feed, and each of these pairs with half of the other options.
fn runs() -> Vec<Run> {
    const FEEDS: [Feed; 4] = [Feed::Uploaded, Feed::Streamed, Feed::StepByStep, Feed::Encoded];
    let mut runs = Vec::new();
    for (number, optimizer) in optimizers().into_iter().enumerate() {
        for (column, feed) in FEEDS.into_iter().enumerate() {
            let is_even = |number: usize| number.is_multiple_of(2);
            let keeps = is_even(number / 2 + column);
            let options = TrainerOptions {
                batch_size: BATCH_SIZE,
                optimizer,
                label_smoothing: if keeps { 0.1 } else { 0.0 },
                class_weights: is_even(column).then(|| vec![1.0, 2.0, 0.5, 3.0, 1.0]),
                clip_norm: is_even(number + column / 2).then_some(0.5),
                remainder: if keeps { Remainder::Keep } else { Remainder::Drop },
                seed: 4,
                ..Default::default()
            };
            runs.push(Run { batch_norm: is_even(number + column), options, feed });
        }
    }
    runs
}

/// Snapshots in the middle of an epoch, at its end, and before the first step, restored on another
/// device; and snapshots of restored trainers.
#[test]
fn a_restored_training_is_bit_identical() {
    const STEPS: u32 = 40;
    let other_device = own_device(Limits::default());
    let _kernels = KernelCache::new(&other_device.0);
    for (number, run) in runs().into_iter().enumerate() {
        let mut whole = Training::new(&run);
        whole.train(run.feed, STEPS);
        let steps_per_epoch = whole.data.as_ref().map_or(7, TrainingData::steps_per_epoch);
        let all = [[0, 9], [3 * steps_per_epoch, 4 * steps_per_epoch], [17, 31]];
        // Two of them for each run, so that each feed has all.
        for stops in [all[number % 3], all[(number + 1) % 3]] {
            let mut training = Training::new(&run);
            let mut before = 0;
            for stop in stops {
                training.train(run.feed, stop - before);
                before = stop;
                let snapshot = saved(&training.snapshot());
                assert_eq!(snapshot.steps(), u64::from(stop));
                training = Training::restored(&run, other_device.clone(), &snapshot);
                // No parameter has changed.
                assert!(training.snapshot() == snapshot, "{stops:?}, {run:?}");
            }
            training.train(run.feed, STEPS - before);
            let losses = training.losses(STEPS - before);
            assert_eq!(losses, whole.losses(STEPS - before), "{stops:?}, {run:?}");
            let [found, expected] = [training.snapshot(), whole.snapshot()];
            assert_eq!(found.place(), expected.place());
            assert_eq!(found.place().is_some(), training.data.is_some());
            assert!(
                found.to_bytes().unwrap() == expected.to_bytes().unwrap(),
                "the end is another: {stops:?}, {run:?}"
            );
        }
    }
}

fn run(feed: Feed) -> Run {
    let remainder = Remainder::Keep;
    let options = TrainerOptions { batch_size: BATCH_SIZE, remainder, ..Default::default() };
    Run { batch_norm: true, options, feed }
}

/// A snapshot keeps the learning rate that the app set, and all other options.
#[test]
fn a_changed_learning_rate_is_kept() {
    let run = run(Feed::Uploaded);
    let mut whole = Training::new(&run);
    whole.train(run.feed, 10);
    whole.trainer.set_learning_rate(0.004).unwrap();
    whole.train(run.feed, 3);
    let snapshot = whole.snapshot();
    assert_eq!(snapshot.options(), whole.trainer.options());
    whole.train(run.feed, 10);
    let mut restored = Training::restored(&run, test_device::device(), &snapshot);
    restored.train(run.feed, 10);
    assert!(restored.snapshot() == whole.snapshot());
}

/// The snapshot is copied at once, by one submission; later steps do not change it.
#[test]
fn later_steps_do_not_show_in_a_snapshot() {
    let run = run(Feed::Uploaded);
    let mut training = Training::new(&run);
    training.train(run.feed, 11);
    let expected = training.snapshot();
    let future = training.trainer.snapshot();
    training.train(run.feed, 100);
    let found = block_on(&training.device, future).unwrap();
    assert!(found == expected);
    assert!(training.snapshot() != expected);
}

/// A snapshot contains and counts exactly the submitted steps.
#[test]
fn steps_that_were_not_submitted_are_not_in_a_snapshot() {
    let run = run(Feed::Encoded);
    let mut training = Training::new(&run);
    training.train(run.feed, 3);
    let expected = training.snapshot();
    let Training { device, queue, trainer, .. } = &mut training;
    let (inputs, classes) = batch(3);
    let [inputs, classes] = [upload(device, &inputs), upload(device, &classes)];
    let mut encoder = device.create_command_encoder(&Default::default());
    trainer.encode_step(&mut encoder, &inputs, &classes).unwrap();
    assert!(block_on(device, trainer.snapshot()).unwrap() == expected);
    queue.submit([encoder.finish()]);
    let found = block_on(device, trainer.snapshot()).unwrap();
    assert_eq!(found.steps(), 4);
    let mut whole = Training::new(&run);
    whole.train(run.feed, 4);
    assert!(found == whole.snapshot());
}

/// Two data sets alternate, and the app keeps their places.
#[test]
fn the_app_may_keep_the_places_of_several_data_sets() {
    let (device, queue) = test_device::device();
    let [first, second] = [dataset(ROWS), dataset(83)];
    let turn = |trainer: &mut Trainer, [first, second]: [&mut TrainingData; 2]| {
        trainer.train(first, 9).unwrap();
        trainer.train(second, 4).unwrap();
    };
    let mut whole = Training::new(&run(Feed::Encoded)).trainer;
    let mut data = [whole.upload(&first).unwrap(), whole.stream(second.clone()).unwrap()];
    turn(&mut whole, data.each_mut());
    let places = [data[0].place(), data[1].place()];
    let mut snapshot = block_on(&device, whole.snapshot()).unwrap();
    assert_eq!(snapshot.take_place(), Some(places[1]));
    turn(&mut whole, data.each_mut());

    let mut restored = Trainer::restore(&device, &queue, &snapshot).unwrap();
    // The streamed data is now uploaded, and vice versa.
    let mut data = [restored.stream(first).unwrap(), restored.upload(&second).unwrap()];
    for (data, place) in data.iter_mut().zip(places) {
        assert_eq!((data.epoch(), data.position()), (0, 0));
        data.go_to(place).unwrap();
    }
    turn(&mut restored, data.each_mut());
    let [found, expected] =
        [&restored, &whole].map(|trainer| block_on(&device, trainer.snapshot()));
    assert!(found.unwrap() == expected.unwrap());
}

/// An app may also go back to an earlier epoch, and to the very beginning.
#[test]
fn data_goes_to_any_of_its_places() {
    let run = run(Feed::Uploaded);
    let mut training = Training::new(&run);
    let mut places = Vec::new();
    for steps in [0, 3, 7] {
        training.train(run.feed, steps);
        places.push(training.data.as_ref().unwrap().place());
    }
    let found: Vec<_> = places.iter().map(|place| (place.epoch(), place.position())).collect();
    assert_eq!(found, [(0, 0), (1, 3), (2, 3)]);
    let step_at = |training: &mut Training, place| {
        let data = training.data.as_mut().unwrap();
        data.go_to(place).unwrap();
        assert_eq!(data.place(), place);
        training.train(run.feed, 1);
        training.losses(1)[0].1
    };
    for place in places {
        // The parameters are the same; used data starts at the same place as new data.
        let mut new = Training::restored(&run, test_device::device(), &training.snapshot());
        let before = training.snapshot();
        assert_eq!(step_at(&mut training, place), step_at(&mut new, place), "{place:?}");
        assert!(training.snapshot() == new.snapshot() && training.snapshot() != before);
    }
}

#[test]
fn data_that_does_not_fit_the_place_is_refused() {
    let run = run(Feed::Uploaded);
    let mut training = Training::new(&run);
    training.train(run.feed, 10);
    let (device, queue) = test_device::device();
    let mut restored = Trainer::restore(&device, &queue, &training.snapshot()).unwrap();
    let errors = [
        restored.upload(&dataset(ROWS + 1)).unwrap_err(),
        restored.stream(dataset(ROWS + 1)).unwrap_err(),
    ];
    for error in errors {
        let message = error.to_string();
        assert!(matches!(error, Error::Length { found: 102, needed: 101, .. }), "{message}");
    }
    // After its first step on one data set, other data sets start at their beginning.
    let mut data = restored.upload(&dataset(ROWS)).unwrap();
    assert_eq!((data.epoch(), data.position()), (2, 3));
    restored.train(&mut data, 1).unwrap();
    assert_eq!(restored.upload(&dataset(ROWS + 1)).unwrap().epoch(), 0);

    // A place for smaller batches.
    let options = TrainerOptions { batch_size: 3, ..run.options.clone() };
    let mut smaller = Training::new(&Run { options, ..run.clone() });
    smaller.train(run.feed, 20);
    let error = data.go_to(smaller.data.unwrap().place()).unwrap_err();
    assert!(matches!(error, Error::Length { found: 7, needed: 20, .. }), "{error}");
}

/// This also holds for a place from a file. `Place::for_any_data` and `take_place` allow other data.
#[test]
fn other_data_and_rows_in_another_order_are_refused() {
    let run = run(Feed::Uploaded);
    let mut training = Training::new(&run);
    training.train(run.feed, 10);
    let bytes = training.snapshot().to_bytes().unwrap();
    let mut snapshot = Snapshot::from_bytes(&bytes).unwrap();
    let place = snapshot.place().unwrap();
    let data = dataset(ROWS);
    assert_eq!(place.data(), Some(data.fingerprint()));
    let order: Vec<u32> = (0..ROWS).rev().collect();
    let mut inputs = data.inputs().clone();
    inputs[[50, 3]] += 1.0;
    let other_value = Dataset::new(inputs, data.targets().clone()).unwrap();

    let (device, queue) = test_device::device();
    let mut restored = Trainer::restore(&device, &queue, &snapshot).unwrap();
    for other in [data.select(&order).unwrap(), other_value] {
        let streamed = restored.stream(other.clone()).unwrap_err();
        for error in [restored.upload(&other).unwrap_err(), streamed] {
            let [found, needed] = [&other, &data].map(Dataset::fingerprint);
            let is_expected = matches!(
                error,
                Error::OtherData { found: f, needed: n } if [f, n] == [found, needed]
            );
            assert!(is_expected, "{error}");
        }
    }
    // The refusals change nothing: training continues with the same rows.
    let mut same = restored.upload(&data).unwrap();
    restored.train(&mut same, 1).unwrap();
    let mut other = restored.upload(&data.select(&order).unwrap()).unwrap();
    let error = other.go_to(place).unwrap_err();
    assert!(matches!(error, Error::OtherData { .. }), "{error}");
    other.go_to(place.for_any_data()).unwrap();
    assert_eq!((other.epoch(), other.position()), (2, 3));
    snapshot.take_place();
    let restored = Trainer::restore(&device, &queue, &snapshot).unwrap();
    assert_eq!(restored.upload(&data.select(&order).unwrap()).unwrap().epoch(), 0);
}

/// Metrics of steps before the snapshot are gone, but the numbers of the steps continue.
#[test]
fn metrics_begin_where_the_trainer_was_restored() {
    let run = run(Feed::StepByStep);
    let mut training = Training::new(&run);
    training.train(run.feed, 5);
    let mut restored = Training::restored(&run, test_device::device(), &training.snapshot());
    let error = block_on(&restored.device, restored.trainer.loss()).unwrap_err();
    assert!(matches!(error, Error::Length { found: 0, needed: 1, .. }), "{error}");
    restored.train(run.feed, 2);
    assert_eq!(restored.losses(2).iter().map(|(step, _)| *step).collect::<Vec<_>>(), [6, 7]);
    let error = block_on(&restored.device, restored.trainer.metrics(3)).unwrap_err();
    assert!(matches!(error, Error::Length { found: 2, needed: 3, .. }), "{error}");
}

/// More steps than the kept rates and losses.
#[test]
fn a_training_from_a_late_snapshot_is_bit_identical() {
    const MANY: u32 = 8192 + 500;
    let run = run(Feed::Uploaded);
    let mut whole = Training::new(&run);
    whole.train(run.feed, MANY);
    let snapshot = whole.snapshot();
    whole.train(run.feed, 600);
    let mut restored = Training::restored(&run, test_device::device(), &snapshot);
    restored.train(run.feed, 600);
    assert!(restored.snapshot() == whole.snapshot());
}
