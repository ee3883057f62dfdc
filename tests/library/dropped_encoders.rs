//! A step whose encoder is dropped has no effect: parameters, metrics, counts and snapshots stay the same,
//! bit for bit.

use wgpu::{Buffer, Device, Limits, Queue};
use ztilde::{
    Dataset, Error, KernelCache, Loss, Network, OnFault, Optimizer, Remainder, Schedule, Snapshot,
    Trainer, TrainerOptions, TrainingData, block_on,
};

use crate::fixtures::buffers::upload;
use crate::fixtures::data;
use crate::fixtures::devices::own_device;

const SIZES: [u32; 3] = [5, 12, 3];
const BATCH_SIZE: u32 = 16;

struct App {
    device: Device,
    queue: Queue,
    inputs: Buffer,
    classes: Buffer,
    _kernels: KernelCache,
}

impl App {
    fn new() -> Self {
        let (device, queue) = own_device(Limits::default());
        let values: Vec<f32> = (0..BATCH_SIZE * SIZES[0]).map(|i| (1.7 * i as f32).sin()).collect();
        let classes: Vec<u32> = (0..BATCH_SIZE).map(|row| row % SIZES[2]).collect();
        let inputs = upload(&device, &values);
        let classes = upload(&device, &classes);
        let _kernels = KernelCache::new(&device);
        Self { device, queue, inputs, classes, _kernels }
    }

    /// Adam's corrections and the schedule both depend on the number of the step.
    fn trainer(&self, on_fault: OnFault) -> Trainer {
        let network = Network::new(&self.device, &self.queue, &SIZES, Default::default()).unwrap();
        let schedule = Schedule::Step { every: 3, factor: 0.5 };
        let options = TrainerOptions {
            batch_size: BATCH_SIZE,
            optimizer: Optimizer { schedule, warm_up: 4, ..Optimizer::adam(0.05) },
            remainder: Remainder::Keep,
            on_fault,
            ..Default::default()
        };
        Trainer::new(network, options).unwrap()
    }

    fn encoded(&self, trainer: &mut Trainer) -> wgpu::CommandBuffer {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        trainer.encode_step(&mut encoder, &self.inputs, &self.classes).unwrap();
        encoder.finish()
    }

    fn step(&self, trainer: &mut Trainer) {
        let encoded = self.encoded(trainer);
        self.queue.submit([encoded]);
    }

    fn drop_steps(&self, trainer: &mut Trainer, count: usize) {
        (0..count).for_each(|_| drop(self.encoded(trainer)));
    }

    fn loss(&self, trainer: &Trainer) -> f32 {
        block_on(&self.device, trainer.loss()).unwrap()
    }

    fn snapshot(&self, trainer: &Trainer) -> Snapshot {
        block_on(&self.device, trainer.snapshot()).unwrap()
    }
}

fn dataset() -> Dataset {
    data::dataset(1, 70, SIZES[0], SIZES[2], Loss::SoftmaxCrossEntropy)
}

/// Runs `act` twice, with and without dropped encoders between its steps, and compares all results.
fn compare(what: &str, dropped: usize, act: impl Fn(&App, &mut Trainer, &dyn Fn(&mut Trainer))) {
    for on_fault in [OnFault::Stop, OnFault::SkipStep] {
        let app = App::new();
        let [found, expected] = [dropped, 0].map(|dropped| {
            let mut trainer = app.trainer(on_fault);
            act(&app, &mut trainer, &|trainer| app.drop_steps(trainer, dropped));
            let snapshot = app.snapshot(&trainer);
            let parameters = block_on(&app.device, trainer.network().parameters()).unwrap();
            assert_eq!(trainer.steps(), snapshot.steps(), "{what}");
            let metrics = block_on(&app.device, trainer.metrics(snapshot.steps() as u32)).unwrap();
            (snapshot, parameters, metrics)
        });
        assert_eq!(found, expected, "{what}, {dropped} dropped, {on_fault:?}");
    }
}

#[test]
fn losses_rates_and_counts_follow_what_was_submitted() {
    for dropped in [1, 10, 1500] {
        compare("encoded steps", dropped, |app, trainer, drop_steps| {
            drop_steps(trainer);
            for number in 0..7 {
                if number == 3 {
                    trainer.set_learning_rate(0.01).unwrap();
                    drop_steps(trainer);
                }
                app.step(trainer);
                drop_steps(trainer);
                let loss = app.loss(trainer);
                assert!(loss > 0.0, "loss {loss} of step {number}, {dropped} dropped");
            }
        });
    }
}

/// Nothing is read in between, so the CPU cannot know which encoders were dropped.
#[test]
fn a_changed_rate_holds_from_the_next_encoded_step_on() {
    compare("unread steps", 600, |app, trainer, drop_steps| {
        app.step(trainer);
        drop_steps(trainer);
        trainer.set_learning_rate(0.002).unwrap();
        drop_steps(trainer);
        (0..40).for_each(|_| app.step(trainer));
    });
}

/// More encoders than may wait for their submission, and more than the learning rates on the GPU.
#[test]
fn thousands_of_dropped_encoders_change_nothing() {
    compare("thousands of steps", 450, |app, trainer, drop_steps| {
        for _ in 0..50 {
            drop_steps(trainer);
            app.step(trainer);
        }
    });
}

#[test]
fn epochs_learn_from_the_same_batches_and_see_the_same_losses() {
    let lend: [fn(&Trainer) -> TrainingData; 2] = [
        |trainer| trainer.upload(&dataset()).unwrap(),
        |trainer| trainer.stream(dataset()).unwrap(),
    ];
    for lend in lend {
        for dropped in [1, 3, 10] {
            compare("epochs", dropped, |app, trainer, drop_steps| {
                let mut data = lend(trainer);
                let mut epochs = Vec::new();
                for _ in 0..2 {
                    drop_steps(trainer);
                    epochs.push(block_on(&app.device, trainer.epoch(&mut data)).unwrap());
                    drop_steps(trainer);
                    trainer.train(&mut data, 2).unwrap();
                    drop_steps(trainer);
                    app.step(trainer);
                }
                assert!(
                    epochs.iter().all(|epoch| epoch.steps > 2 && epoch.loss > 0.5),
                    "{epochs:?}"
                );
                let place = app.snapshot(trainer).place().unwrap();
                assert_eq!(place, data.place(), "{dropped} dropped");
            });
        }
    }
}

#[test]
fn a_restored_trainer_goes_on_likewise() {
    compare("restored", 5, |app, trainer, drop_steps| {
        let mut data = trainer.upload(&dataset()).unwrap();
        trainer.train(&mut data, 3).unwrap();
        drop_steps(trainer);
        let snapshot = app.snapshot(trainer);
        assert_eq!([snapshot.steps(), snapshot.place().unwrap().position().into()], [3, 3]);
        let mut restored = Trainer::restore(&app.device, &app.queue, &snapshot).unwrap();
        let mut data = restored.upload(&dataset()).unwrap();
        drop_steps(&mut restored);
        restored.train(&mut data, 2).unwrap();
        let last = app.snapshot(&restored);
        assert_eq!([last.steps(), last.place().unwrap().position().into()], [5, 5]);
        assert_eq!(block_on(&app.device, restored.metrics(2)).unwrap()[1].step, 5);
        app.step(trainer);
    });
}

/// The error contains the numbers of steps taken and steps needed. After a submission there is no error.
#[test]
fn a_loss_before_the_first_submission_is_an_error() {
    let app = App::new();
    let mut trainer = app.trainer(OnFault::Stop);
    let encoded = app.encoded(&mut trainer);
    let error = block_on(&app.device, trainer.loss()).unwrap_err();
    assert!(matches!(error, Error::Length { found: 0, needed: 1, .. }), "{error}");
    assert!(error.to_string().contains("1 were encoded"), "{error}");
    app.queue.submit([encoded]);
    let first = app.loss(&trainer);
    assert!(first > 0.0 && first.is_finite(), "{first}");

    // The second step is encoded, but not submitted: the last loss is still that of the first.
    let encoded = app.encoded(&mut trainer);
    assert_eq!(app.loss(&trainer), first);
    let error = block_on(&app.device, trainer.metrics(2)).unwrap_err();
    assert!(matches!(error, Error::Length { found: 1, needed: 2, .. }), "{error}");
    app.queue.submit([encoded]);
    assert!(app.loss(&trainer) != first);
    assert_eq!(trainer.steps(), 2);
}

/// Encoders may be submitted late, and in another order.
#[test]
fn a_late_submission_counts() {
    let app = App::new();
    let mut trainer = app.trainer(OnFault::Stop);
    let waiting: Vec<_> = (0..20).map(|_| app.encoded(&mut trainer)).collect();
    app.step(&mut trainer);
    app.loss(&trainer);
    assert_eq!(trainer.steps(), 1);
    app.queue.submit(waiting.into_iter().rev());
    app.loss(&trainer);
    assert_eq!(trainer.steps(), 21);
    assert_eq!(app.snapshot(&trainer).steps(), 21);
    // All steps have the same batch, so the order of the submissions makes no difference.
    let mut expected = app.trainer(OnFault::Stop);
    (0..21).for_each(|_| app.step(&mut expected));
    let [found, expected] = [&trainer, &expected].map(|trainer| app.snapshot(trainer));
    assert_eq!(found, expected);
}
