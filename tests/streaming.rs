//! A streamed data set teaches what the uploaded one does, to the bit.

#[path = "../src/gpu/test_device.rs"]
mod test_device;

use std::sync::Arc;

use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ztilde::{
    Dataset, Loss, Network, NetworkOptions, Optimizer, Remainder, Trainer, TrainerOptions,
    TrainingData, block_on,
};

const BATCH_SIZE: u32 = 16;
const OUTPUTS: u32 = 3;

/// A trainer on streamed and one on uploaded data, alike in everything else.
struct Pair {
    streaming: (Trainer, TrainingData),
    uploading: (Trainer, TrainingData),
}

impl Pair {
    fn new(dataset: Dataset, options: &TrainerOptions) -> Self {
        let [streaming, uploading] = [(); 2].map(|()| trainer(dataset.features(), options.clone()));
        let uploaded = uploading.upload(&dataset).unwrap();
        let streamed = streaming.stream(dataset).unwrap();
        assert_eq!(streamed.rows(), uploaded.rows());
        assert_eq!(streamed.steps_per_epoch(), uploaded.steps_per_epoch());
        Self { streaming: (streaming, streamed), uploading: (uploading, uploaded) }
    }

    fn train(&mut self, steps: u32) {
        for (trainer, data) in [&mut self.streaming, &mut self.uploading] {
            trainer.train(data, steps).unwrap();
        }
        self.assert_same_place();
    }

    fn epoch(&mut self) {
        let (device, _) = test_device::device();
        let [streamed, uploaded] = [&mut self.streaming, &mut self.uploading]
            .map(|(trainer, data)| block_on(&device, trainer.epoch(data)).unwrap());
        assert_eq!(streamed, uploaded);
        self.assert_same_place();
    }

    fn assert_same_place(&self) {
        let [streamed, uploaded] = [&self.streaming, &self.uploading]
            .map(|(trainer, data)| (trainer.steps(), data.epoch(), data.position()));
        assert_eq!(streamed, uploaded);
    }

    #[track_caller]
    fn assert_same_bits(&self, what: &str) {
        assert_same_bits(&self.streaming.0, &self.uploading.0, what);
    }
}

#[track_caller]
fn assert_same_bits(found: &Trainer, expected: &Trainer, what: &str) {
    let (device, _) = test_device::device();
    let steps = expected.steps() as u32;
    let [found, expected] = [found, expected].map(|trainer| {
        let metrics = block_on(&device, trainer.metrics(steps)).unwrap();
        let parameters = block_on(&device, trainer.network().parameters()).unwrap();
        (metrics, parameters.to_bytes().unwrap())
    });
    let different = found.0.iter().zip(&expected.0).find(|(found, expected)| found != expected);
    assert_eq!(different, None, "{what}: the first step that differs");
    assert!(expected.0.iter().all(|step| step.loss.is_finite()), "{what}");
    assert!(found.1 == expected.1, "{what}: the parameters differ");
}

fn options(loss: Loss, remainder: Remainder) -> TrainerOptions {
    let optimizer = Optimizer::adam(0.01);
    TrainerOptions {
        batch_size: BATCH_SIZE,
        loss,
        remainder,
        optimizer,
        seed: 5,
        ..Default::default()
    }
}

fn trainer(features: u32, options: TrainerOptions) -> Trainer {
    let (device, queue) = test_device::device();
    let sizes = [features, 10, OUTPUTS];
    let network = Network::new(&device, &queue, &sizes, NetworkOptions::default()).unwrap();
    Trainer::new(network, options).unwrap()
}

fn dataset(rows: u32, features: u32, loss: Loss) -> Dataset {
    let mut generator = ChaCha8Rng::seed_from_u64(rows.into());
    let shape = [rows as usize, features as usize];
    let inputs = Array2::from_shape_simple_fn(shape, || generator.random::<f32>() * 4.0 - 2.0);
    if loss.has_class_targets() {
        let class = |_| generator.random::<u32>() % OUTPUTS;
        Dataset::new(inputs, (0..rows).map(class).collect::<Vec<_>>()).unwrap()
    } else {
        let value = |_| generator.random::<f32>();
        Dataset::new(inputs, (0..rows * OUTPUTS).map(value).collect::<Vec<_>>()).unwrap()
    }
}

/// More batches in an epoch than a submission or a window holds, rows of whole vectors and others,
/// pieces that end before, at and behind the end of a window and of an epoch.
#[test]
fn streamed_steps_are_those_on_uploaded_data() {
    for (loss, features) in Loss::ALL.into_iter().zip([7, 8, 1]) {
        for remainder in [Remainder::Drop, Remainder::Keep] {
            let dataset = dataset(70 * BATCH_SIZE + 5, features, loss);
            let mut pair = Pair::new(dataset, &options(loss, remainder));
            for steps in [1, 0, 2, 61, 70, 5, 1, 1, 64, 75] {
                pair.train(steps);
            }
            pair.assert_same_bits(&format!("{} and {remainder:?}", loss.name()));
        }
    }
}

#[test]
fn a_data_set_smaller_than_a_window_is_streamed() {
    let loss = Loss::default();
    for (rows, remainder) in [
        (101, Remainder::Drop),
        (101, Remainder::Keep),
        (BATCH_SIZE, Remainder::Drop),
        // An epoch of one smaller batch.
        (BATCH_SIZE - 3, Remainder::Keep),
    ] {
        let mut pair = Pair::new(dataset(rows, 6, loss), &options(loss, remainder));
        for _ in 0..10 {
            pair.epoch();
        }
        pair.train(100);
        pair.assert_same_bits(&format!("{rows} rows and {remainder:?}"));
    }
}

/// Rows so long that a window, whose bytes are bounded, holds fewer batches than a submission may;
/// and an epoch that has more windows than are on the way at a time.
#[test]
fn windows_of_few_batches_are_streamed() {
    let loss = Loss::default();
    let options = options(loss, Remainder::Keep);
    let mut pair = Pair::new(dataset(71 * BATCH_SIZE + 2, 20_001, loss), &options);
    pair.train(3);
    pair.epoch();
    pair.assert_same_bits("by epochs");
}

/// A data set's epochs go on where they were, whatever the trainer learned from in between; and one
/// data set may serve many.
#[test]
fn streamed_and_uploaded_data_sets_take_turns() {
    let loss = Loss::default();
    let [first, second] = [101, 83].map(|rows| Arc::new(dataset(rows, 6, loss)));
    let train = |stream: [bool; 2]| {
        let mut trainer = trainer(6, options(loss, Remainder::Keep));
        let [mut first, mut second] =
            [(&first, stream[0]), (&second, stream[1])].map(|(dataset, stream)| match stream {
                true => trainer.stream(Arc::clone(dataset)).unwrap(),
                false => trainer.upload(dataset).unwrap(),
            });
        let inputs = vec![0.5; 6 * BATCH_SIZE as usize];
        for (round, steps) in [3, 1, 12, 1, 30].into_iter().enumerate() {
            trainer.train(&mut first, steps).unwrap();
            trainer.train(&mut second, 5).unwrap();
            trainer.step(&inputs, vec![round as u32 % OUTPUTS; BATCH_SIZE as usize]).unwrap();
        }
        trainer
    };
    let expected = train([false, false]);
    for stream in [[true, false], [false, true], [true, true]] {
        assert_same_bits(&train(stream), &expected, &format!("streamed: {stream:?}"));
    }
}
