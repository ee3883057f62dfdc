//! A device that is destroyed, does not answer, or has no memory left is an error, with no panic and no hang.
//! Training resumes from the last snapshot, bit for bit.

use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;
use std::{array, thread};

use wgpu::{Device, Limits, Queue};
use ztilde::{
    Dataset, Error, Inference, Loss, Network, NetworkOptions, Optimizer, Remainder, Snapshot,
    Trainer, TrainerOptions, TrainingData, block_on, block_on_for,
};

use crate::fixtures::data;
use crate::fixtures::devices::{own_device, own_device_with_errors};
use crate::fixtures::test_device;

const BATCH_SIZE: u32 = 16;
const FEATURES: u32 = 6;
/// 201 batches per epoch: more than one submission or one window holds.
const ROWS: u32 = 200 * BATCH_SIZE + 5;

fn trainer(device: &Device, queue: &Queue, sizes: &[u32], batch_size: u32) -> Trainer {
    let network = Network::new(device, queue, sizes, NetworkOptions::default()).unwrap();
    Trainer::new(network, options(batch_size)).unwrap()
}

fn options(batch_size: u32) -> TrainerOptions {
    let optimizer = Optimizer::adam(0.01);
    TrainerOptions { batch_size, optimizer, remainder: Remainder::Keep, ..Default::default() }
}

fn small_trainer(device: &Device, queue: &Queue) -> Trainer {
    trainer(device, queue, &[FEATURES, 12, 4], BATCH_SIZE)
}

fn dataset(rows: u32, features: u32) -> Dataset {
    data::dataset(1, rows, features, 4, Loss::SoftmaxCrossEntropy)
}

fn give(trainer: &Trainer, streams: bool) -> TrainingData {
    let dataset = dataset(ROWS, FEATURES);
    let data = if streams { trainer.stream(dataset) } else { trainer.upload(&dataset) };
    data.unwrap()
}

/// The final snapshot of an uninterrupted training.
fn whole(steps: u32) -> Snapshot {
    let (device, queue) = test_device::device();
    let mut trainer = small_trainer(&device, &queue);
    let mut data = give(&trainer, false);
    trainer.train(&mut data, steps).unwrap();
    block_on(&device, trainer.snapshot()).unwrap()
}

/// Resumes a snapshot on another device, up to this step.
fn finish(snapshot: &Snapshot, streams: bool, steps: u32) -> Snapshot {
    let (device, queue) = test_device::device();
    let mut trainer = Trainer::restore(&device, &queue, snapshot).unwrap();
    let mut data = give(&trainer, streams);
    trainer.train(&mut data, steps - snapshot.steps() as u32).unwrap();
    block_on(&device, trainer.snapshot()).unwrap()
}

#[track_caller]
fn assert_lost<T>(result: Result<T, Error>, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: no error"));
    assert!(matches!(error, Error::DeviceLost(_)), "{what}: {error}");
}

/// Calls that wait, create or write report that the device is lost.
#[test]
fn training_goes_on_after_the_device_was_destroyed() {
    let expected = whole(250);
    for streams in [false, true] {
        let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
        let mut trainer = small_trainer(&device, &queue);
        let mut data = give(&trainer, streams);
        trainer.train(&mut data, 100).unwrap();
        let snapshot = block_on(&device, trainer.snapshot()).unwrap();
        trainer.train(&mut data, 30).unwrap();
        let app_buffers: [wgpu::Buffer; 2] = array::from_fn(|_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 1 << 16,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        let network = Network::new(&device, &queue, &[3, 4, 2], NetworkOptions::default());
        let [idle, network] = [network, Network::new(&device, &queue, &[3, 2], Default::default())]
            .map(Result::unwrap);
        device.destroy();
        // One trainer needs a new kernel, the other finds all its kernels compiled.
        let clipped = TrainerOptions { clip_norm: Some(1.0), ..options(7) };
        assert_lost(Trainer::new(idle, clipped), "clipping trainer");
        assert_lost(Trainer::new(network, options(BATCH_SIZE)), "trainer");
        let inputs = [0.0; (FEATURES * BATCH_SIZE) as usize];
        assert_lost(trainer.step(&inputs, vec![0; BATCH_SIZE as usize]), "step");
        assert_lost(block_on(&device, trainer.epoch(&mut data)), "epoch");
        assert_lost(block_on(&device, trainer.metrics(1)), "metrics");
        assert_lost(block_on(&device, trainer.snapshot()), "snapshot");
        assert_lost(block_on(&device, trainer.network().parameters()), "parameters");
        let predicted = Inference::predict(trainer.network(), &[0.0; FEATURES as usize]);
        assert_lost(block_on(&device, predicted), "predict");
        assert_lost(trainer.upload(&dataset(ROWS, FEATURES)), "upload");
        assert_lost(trainer.stream(dataset(ROWS, FEATURES)), "stream");
        assert_lost(Trainer::restore(&device, &queue, &snapshot), "restore");
        let inference = Inference::new(trainer.network(), &app_buffers[0], &app_buffers[1], 1);
        assert_lost(inference, "inference");
        let network = NetworkOptions { batch_norm: false, ..Default::default() };
        assert_lost(Network::new(&device, &queue, &[3, 4, 2], network), "network");
        // wgpu need not report errors of submissions that are not waited for.
        let _ = trainer.train(&mut data, 1);
        let _ = trainer.encode_step(&mut encoder, &app_buffers[0], &app_buffers[1]);
        queue.submit([encoder.finish()]);
        assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
        drop((trainer, data));
        assert!(finish(&snapshot, streams, 250) == expected, "streams: {streams}");
    }
}

/// A trainer whose snapshot takes longer to copy, on any device, than to request.
fn large_trainer(device: &Device, queue: &Queue) -> (Trainer, TrainingData) {
    let trainer = trainer(device, queue, &[1024, 4096, 4], BATCH_SIZE);
    let data = trainer.upload(&dataset(10 * BATCH_SIZE, 1024)).unwrap();
    (trainer, data)
}

/// On a busy machine the device may be done before the test asks. Then the test tries again.
fn unfinished<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    (0..100).find_map(|_| ask()).expect("the device is never asked in time")
}

#[test]
fn futures_end_when_the_device_is_destroyed() {
    let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
    let (mut trainer, mut data) = large_trainer(&device, &queue);
    trainer.train(&mut data, 2).unwrap();
    let metrics = trainer.metrics(2);
    let mut context = Context::from_waker(Waker::noop());
    let pending = unfinished(|| {
        let mut snapshot = Box::pin(trainer.snapshot());
        snapshot.as_mut().poll(&mut context).is_pending().then_some(snapshot)
    });
    device.destroy();
    // Results of earlier submissions may still arrive.
    match block_on(&device, pending) {
        Ok(snapshot) => assert_eq!(snapshot.steps(), 2),
        lost => assert_lost(lost, "snapshot"),
    }
    match block_on(&device, metrics) {
        Ok(metrics) => assert_eq!(metrics[1].step, 2),
        lost => assert_lost(lost, "metrics"),
    }
    assert_lost(block_on(&device, trainer.epoch(&mut data)), "epoch");
    assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
}

/// Another thread destroys the device at an arbitrary moment.
#[test]
fn another_thread_may_destroy_the_device() {
    const STEPS: u32 = 3000;
    let expected = whole(STEPS);
    for round in 0..4 {
        let streams = round % 2 == 1;
        let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
        let (sender, snapshots) = mpsc::channel();
        let training = thread::spawn({
            let device = device.clone();
            move || -> Result<(), Error> {
                let mut trainer = small_trainer(&device, &queue);
                let mut data = give(&trainer, streams);
                while trainer.steps() < STEPS.into() {
                    block_on(&device, trainer.epoch(&mut data))?;
                    trainer.train(&mut data, 37 * (round + 1))?;
                    sender.send(block_on(&device, trainer.snapshot())?).unwrap();
                }
                Ok(())
            }
        });
        let mut last = snapshots.recv().unwrap();
        for _ in 0..round {
            last = snapshots.recv().unwrap();
        }
        device.destroy();
        let error = training.join().unwrap();
        assert_lost(error, "the thread");
        if let Some(later) = snapshots.iter().last() {
            last = later;
        }
        assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
        assert!(finish(&last, !streams, STEPS) == expected, "round {round}");
    }
}

/// Another thread destroys the device while kernels are compiled.
#[test]
fn the_device_may_be_destroyed_during_a_compilation() {
    for round in 0..4 {
        let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
        let (sender, made) = mpsc::channel();
        let making = thread::spawn({
            let device = device.clone();
            move || -> Result<(), Error> {
                // Epsilon and norm are constants of kernels.
                for norm in 1.. {
                    let network =
                        NetworkOptions { epsilon: 1e-5 * norm as f32, ..Default::default() };
                    let network = Network::new(&device, &queue, &[3, 9, 7, 2], network)?;
                    let clip_norm = Some(f64::from(norm));
                    Trainer::new(network, TrainerOptions { clip_norm, ..options(7) })?;
                    let _ = sender.send(());
                }
                Ok(())
            }
        });
        made.recv().unwrap();
        thread::sleep(Duration::from_millis(7 * round));
        device.destroy();
        assert_lost(making.join().unwrap(), "the thread");
        assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
    }
}

/// After a timeout the trainer is still usable: the read can be repeated, and training continues.
#[test]
fn waiting_can_have_an_end() {
    let (device, queue) = test_device::device();
    let (mut trainer, mut data) = large_trainer(&device, &queue);
    trainer.train(&mut data, 2).unwrap();
    let snapshot = [Duration::ZERO, Duration::from_micros(1)].map(|limit| {
        unfinished(|| {
            let mut snapshot = Box::pin(trainer.snapshot());
            let error = block_on_for(&device, limit, snapshot.as_mut()).err()?;
            let Error::Timeout { waited, limit: reported } = error else { panic!("{error}") };
            assert!(reported == limit && waited >= limit, "{waited:?} of {limit:?}");
            Some(snapshot)
        })
    });
    let [snapshot, _] = snapshot;
    let same_future = block_on(&device, snapshot).unwrap();
    let another = block_on_for(&device, Duration::MAX, trainer.snapshot()).unwrap();
    assert!(same_future == another);

    trainer.train(&mut data, 2).unwrap();
    let found = block_on(&device, trainer.snapshot()).unwrap();
    let (mut trainer, mut data) = large_trainer(&device, &queue);
    trainer.train(&mut data, 4).unwrap();
    assert!(block_on(&device, trainer.snapshot()).unwrap() == found);
}

fn held(device: &Device) -> Option<u64> {
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let report = device.generate_allocator_report()?;
    Some(report.allocations.iter().map(|allocation| allocation.size).sum())
}

/// A size beyond the device's limits is refused, and no partly made object stays.
#[test]
fn what_is_too_large_leaves_nothing_behind() {
    let limits = Limits { max_storage_buffer_binding_size: 1 << 18, ..Limits::default() };
    let (device, queue) = own_device(limits);
    let mut trainer = small_trainer(&device, &queue);
    let mut data = give(&trainer, false);
    let network = |sizes: &[u32]| Network::new(&device, &queue, sizes, NetworkOptions::default());
    trainer.train(&mut data, 10).unwrap();
    let before = held(&device);
    let batch_size = 1 << 15;
    let refused: [Result<(), Error>; 3] = [
        network(&[300, 300, 4]).map(drop),
        network(&[6, 12, 4])
            .and_then(|network| Trainer::new(network, options(batch_size)))
            .map(drop),
        trainer.upload(&dataset(80_000, FEATURES)).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::TooLarge { allowed: 262_144, .. }), "{error}");
    }
    assert_eq!(held(&device), before);
    trainer.train(&mut data, 10).unwrap();
    assert!(block_on(&device, trainer.snapshot()).unwrap() == whole(20));
}

#[cfg(target_os = "linux")]
mod out_of_memory {
    use std::env;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "ZTILDE_TEST_HAS_LITTLE_MEMORY";

    /// Runs in its own process with a limited address space: the software adapter uses the memory of the
    /// process, and the system promises more memory than it has. Other adapters' drivers need an
    /// unlimited address space.
    #[test]
    fn no_memory_left_is_an_error_and_nothing_else() {
        if env::var_os(CHILD).is_some() {
            return child();
        }
        if test_device::adapter().get_info().device_type != wgpu::DeviceType::Cpu {
            return;
        }
        let script = "ulimit -v 1800000; exec \"$0\" --exact --nocapture \
                      losing_the_gpu::out_of_memory::no_memory_left_is_an_error_and_nothing_else";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(env::current_exe().unwrap())
            .env(CHILD, "1")
            // The same address space for any number of cores.
            .envs([("LP_NUM_THREADS", "2"), ("MALLOC_ARENA_MAX", "2")])
            .output()
            .unwrap();
        let [output, errors] =
            [&child.stdout, &child.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(child.status.success() && output.contains("1 passed"), "{output}{errors}");
    }

    /// Fills the memory with data sets, asks for more, and continues.
    fn child() {
        let expected = whole(20);
        let (device, queue, uncaptured) = own_device_with_errors(Limits::default());
        let mut trainer = small_trainer(&device, &queue);
        let mut data = give(&trainer, false);
        trainer.train(&mut data, 10).unwrap();
        let snapshot = block_on(&device, trainer.snapshot()).unwrap();
        // Kept so that later trainers of the same sizes find their kernels compiled.
        let sizes = [1024, 1024, 4];
        let large = self::trainer(&device, &queue, &sizes, 1024);
        let large_snapshot = block_on(&device, large.snapshot()).unwrap();
        let app_buffers: [wgpu::Buffer; 2] = array::from_fn(|_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * 1024 * 8192,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        let streamed = dataset(4096, 1024);
        let mut kept = Vec::new();
        for rows in [1 << 19, 1 << 14] {
            let dataset = dataset(rows, FEATURES);
            let error = loop {
                assert!(kept.len() < 10_000, "the memory has no end");
                match trainer.upload(&dataset) {
                    Ok(data) => kept.push(data),
                    Err(error) => break error,
                }
                // Frees the staging memory.
                device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            };
            let names_the_cause =
                matches!(&error, Error::OutOfMemory(reason) if reason.contains("stream"));
            assert!(names_the_cause, "{error}");
        }
        let before = held(&device);
        let network = || Network::new(&device, &queue, &sizes, NetworkOptions::default());
        let refused: [Result<(), Error>; 4] = [
            Inference::new(large.network(), &app_buffers[0], &app_buffers[1], 8192).map(drop),
            network().map(drop),
            Trainer::restore(&device, &queue, &large_snapshot).map(drop),
            large.stream(streamed).map(drop),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            let error = result.expect_err(&number.to_string());
            assert!(matches!(error, Error::OutOfMemory(_)), "{number}: {error}");
        }
        assert_eq!(held(&device), before);
        trainer.train(&mut data, 10).unwrap();
        assert!(block_on(&device, trainer.snapshot()).unwrap() == expected);
        drop((kept, large));
        held(&device);
        let large = self::trainer(&device, &queue, &sizes, 1024);
        assert!(block_on(&device, large.snapshot()).unwrap() == large_snapshot);
        assert!(finish(&snapshot, true, 20) == expected);
        assert_eq!(*uncaptured.lock().unwrap(), [""; 0]);
    }
}
