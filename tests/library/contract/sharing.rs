//! Networks share the kernels that were compiled for their device; devices and threads share nothing.

use std::thread;

use ztilde::{
    BoundBatch, Dataset, Error, HiddenLayer, Inference, Network, NetworkOptions, Optimizer,
    Parameters, Snapshot, Trainer, TrainerOptions, TrainingData, block_on,
};

use super::app::{App, BATCH_SIZE, SIZES, classes, dataset, inputs, options};

/// The number of pipelines and shader modules of the device. wgpu makes a few for itself.
fn compiled(app: &App) -> [isize; 2] {
    let counters = app.device.get_internal_counters().hal;
    [counters.compute_pipelines.read(), counters.shader_modules.read()]
}

#[test]
fn networks_of_a_device_share_what_was_compiled() {
    let app = App::new();
    let of_none = compiled(&app);
    let use_all = |number: u32| {
        let network = NetworkOptions { seed: number.into(), ..Default::default() };
        let sizes = [SIZES[0] + number, SIZES[1] + number, SIZES[2] + number, SIZES[3]];
        let network = Network::new(&app.device, &app.queue, &sizes, network).unwrap();
        let optimizer = Optimizer::adam(0.01 / f64::from(number + 1));
        let batch_size = BATCH_SIZE + number;
        let trainer =
            Trainer::new(network, TrainerOptions { batch_size, optimizer, ..options() }).unwrap();
        let buffer = |columns: u32| app.upload(&vec![0.0_f32; 9 * columns as usize]);
        let [rows, outputs] = [buffer(sizes[0]), buffer(sizes[3])];
        let inference = Inference::new(trainer.network(), &rows, &outputs, 9).unwrap();
        (trainer, inference)
    };
    let first = use_all(0);
    let of_one = compiled(&app);
    assert!(of_one[0] > of_none[0] && of_one[1] > of_none[1], "{of_one:?}, {of_none:?} before");
    let others = [1, 2].map(use_all);
    assert_eq!(compiled(&app), of_one, "pipelines and modules of three, as of one");
    drop((first, others));
    app.wait();
    assert_eq!(compiled(&app), of_none, "pipelines and modules without an owner");
    app.assert_silent();
}

/// The bytes of a network after training steps of all kinds.
fn learn(app: &App) -> Vec<u8> {
    let mut trainer = app.trainer();
    for _ in 0..5 {
        trainer.step(&inputs(), classes()).unwrap();
    }
    for mut data in [trainer.upload(&dataset(10)).unwrap(), trainer.stream(dataset(10)).unwrap()] {
        for _ in 0..3 {
            block_on(&app.device, trainer.epoch(&mut data)).unwrap();
        }
    }
    app.assert_silent();
    block_on(&app.device, trainer.network().parameters()).unwrap().to_bytes().unwrap()
}

/// Two threads on each of three devices, at the same time.
#[test]
fn devices_and_threads_do_not_disturb_each_other() {
    let expected = learn(&App::new());
    let apps = [App::new(), App::new(), App::new()];
    thread::scope(|scope| {
        let threads: Vec<_> =
            apps.iter().chain(&apps).map(|app| scope.spawn(|| learn(app))).collect();
        for thread in threads {
            assert!(thread.join().unwrap() == expected, "another run was disturbed");
        }
    });
}

/// A trainer that was created in one thread works in another, and so do the futures.
#[test]
fn threads_hand_on_what_they_have() {
    let app = App::new();
    let mut expected = app.trainer();
    let mut trainer = app.trainer();
    for trainer in [&mut trainer, &mut expected] {
        trainer.step(&inputs(), classes()).unwrap();
    }
    let metrics = trainer.metrics(1);
    let (trainer, metrics) = thread::scope(|scope| {
        let work = || {
            let metrics = block_on(&app.device, metrics).unwrap();
            let mut trainer = trainer;
            trainer.step(&inputs(), classes()).unwrap();
            (trainer, metrics)
        };
        scope.spawn(work).join().unwrap()
    });
    expected.step(&inputs(), classes()).unwrap();
    let expected_metrics = block_on(&app.device, expected.metrics(2)).unwrap();
    assert_eq!(metrics, expected_metrics[..1]);
    assert_eq!(block_on(&app.device, trainer.metrics(2)).unwrap(), expected_metrics);
    app.assert_silent();
}

/// Checked by the compiler: natively all types are `Send` and `Sync`.
#[test]
fn everything_is_send_and_sync() {
    fn is_both<T: Send + Sync>() {}
    fn is_send<T: Send>(_: &T) {}
    is_both::<Network>();
    is_both::<Trainer>();
    is_both::<TrainingData>();
    is_both::<BoundBatch>();
    is_both::<HiddenLayer>();
    is_both::<Inference>();
    is_both::<Parameters>();
    is_both::<Snapshot>();
    is_both::<Dataset>();
    is_both::<Error>();
    let app = App::new();
    let mut trainer = app.trainer();
    let mut data = trainer.upload(&dataset(10)).unwrap();
    is_send(&trainer.network().parameters());
    is_send(&Inference::predict(trainer.network(), &inputs()));
    is_send(&trainer.metrics(1));
    is_send(&trainer.snapshot());
    is_send(&trainer.loss());
    is_send(&trainer.epoch(&mut data));
}
