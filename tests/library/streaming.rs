//! Training on a streamed data set is bit-identical to training on the uploaded one.

use std::sync::Arc;

use wasm_bindgen_test::wasm_bindgen_test;
use wgpu::{Device, Queue};
use ztilde::{
    Dataset, Loss, Network, NetworkOptions, Optimizer, Remainder, StepMetrics, Trainer,
    TrainerOptions, TrainingData,
};

use crate::fixtures::data;
use crate::fixtures::devices::devices;

const BATCH_SIZE: u32 = 16;
const OUTPUTS: u32 = 3;

/// A trainer on streamed data and one on uploaded data, otherwise equal.
struct Pair {
    streaming: (Trainer, TrainingData),
    uploading: (Trainer, TrainingData),
}

impl Pair {
    fn new(device: &(Device, Queue), dataset: Dataset, options: &TrainerOptions) -> Self {
        let [streaming, uploading] =
            [(); 2].map(|()| trainer(device, dataset.features(), options.clone()));
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

    async fn epoch(&mut self) {
        let (trainer, data) = &mut self.streaming;
        let streamed = trainer.epoch(data).await.unwrap();
        let (trainer, data) = &mut self.uploading;
        assert_eq!(streamed, trainer.epoch(data).await.unwrap());
        self.assert_same_place();
    }

    fn assert_same_place(&self) {
        let [streamed, uploaded] = [&self.streaming, &self.uploading]
            .map(|(trainer, data)| (trainer.steps(), data.epoch(), data.position()));
        assert_eq!(streamed, uploaded);
    }

    async fn assert_same_bits(&self, what: &str) {
        assert_same_bits(&self.streaming.0, &self.uploading.0, what).await;
    }
}

async fn assert_same_bits(found: &Trainer, expected: &Trainer, what: &str) {
    assert_eq!(found.steps(), expected.steps(), "{what}");
    let (found, found_bytes) = learned(found).await;
    let (expected, expected_bytes) = learned(expected).await;
    let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!(different, None, "{what}: the first step that differs");
    assert!(expected.iter().all(|step| step.loss.is_finite()), "{what}");
    assert!(found_bytes == expected_bytes, "{what}: the parameters differ");
}

/// The metrics of all steps, and the parameters after them.
async fn learned(trainer: &Trainer) -> (Vec<StepMetrics>, Vec<u8>) {
    let metrics = trainer.metrics(trainer.steps() as u32).await.unwrap();
    let parameters = trainer.network().parameters().await.unwrap();
    (metrics, parameters.to_bytes().unwrap())
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

fn trainer((device, queue): &(Device, Queue), features: u32, options: TrainerOptions) -> Trainer {
    let sizes = [features, 10, OUTPUTS];
    let network = Network::new(device, queue, &sizes, NetworkOptions::default()).unwrap();
    Trainer::new(network, options).unwrap()
}

fn dataset(rows: u32, features: u32, loss: Loss) -> Dataset {
    data::dataset(rows.into(), rows, features, OUTPUTS, loss)
}

/// More batches in an epoch than a submission or a window holds, rows of whole vectors and others, and
/// pieces that end before, at and after the end of a window and of an epoch.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn streamed_steps_are_those_on_uploaded_data() {
    let remainders = [Remainder::Drop, Remainder::Keep].into_iter().cycle();
    let ways = [7, 8, 1].into_iter().cycle().zip(remainders);
    for (loss, (features, remainder)) in Loss::ALL.into_iter().zip(ways) {
        for device in devices().await {
            let dataset = dataset(70 * BATCH_SIZE + 5, features, loss);
            let mut pair = Pair::new(&device, dataset, &options(loss, remainder));
            for steps in [1, 0, 2, 61, 70, 5, 1, 1, 64, 75] {
                pair.train(steps);
            }
            pair.assert_same_bits(&format!("{} and {remainder:?}", loss.name())).await;
        }
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn a_data_set_smaller_than_a_window_is_streamed() {
    let loss = Loss::default();
    for (rows, remainder) in [
        (101, Remainder::Drop),
        (101, Remainder::Keep),
        (BATCH_SIZE, Remainder::Drop),
        // An epoch with a single, smaller batch.
        (BATCH_SIZE - 3, Remainder::Keep),
    ] {
        for device in devices().await {
            let mut pair = Pair::new(&device, dataset(rows, 6, loss), &options(loss, remainder));
            for _ in 0..10 {
                pair.epoch().await;
            }
            pair.train(100);
            pair.assert_same_bits(&format!("{rows} rows and {remainder:?}")).await;
        }
    }
}

/// Rows so long that a window, whose bytes are bounded, holds fewer batches than a submission may;
/// and an epoch that has more windows than are in flight at once.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn windows_of_few_batches_are_streamed() {
    let loss = Loss::default();
    let options = options(loss, Remainder::Keep);
    for device in devices().await {
        let dataset = dataset(71 * BATCH_SIZE + 2, 20_001, loss);
        let mut pair = Pair::new(&device, dataset, &options);
        pair.train(3);
        pair.epoch().await;
        pair.assert_same_bits("by epochs").await;
    }
}

/// A data set's epochs resume where they stopped, even if the trainer used other data in between.
/// Several trainers may share one data set.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn streamed_and_uploaded_data_sets_take_turns() {
    let loss = Loss::default();
    let [first, second] = [101, 83].map(|rows| Arc::new(dataset(rows, 6, loss)));
    let train = |device: &(Device, Queue), stream: [bool; 2]| {
        let mut trainer = trainer(device, 6, options(loss, Remainder::Keep));
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
    for device in devices().await {
        let expected = train(&device, [false, false]);
        for stream in [[true, false], [false, true], [true, true]] {
            let found = train(&device, stream);
            assert_same_bits(&found, &expected, &format!("streamed: {stream:?}")).await;
        }
    }
}
