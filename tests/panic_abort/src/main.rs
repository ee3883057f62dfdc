//! An app with `panic = "abort"` that loses its devices in every way that a correct driver allows. Every
//! call must return the error, and the process must continue. `scripts/panic-abort` runs it.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{array, thread};

use ndarray::Array2;
use wgpu::{
    Adapter, Device, DeviceLostReason, Instance, InstanceDescriptor, MemoryBudgetThresholds, Queue,
};
use ztilde::{
    Dataset, Error, Inference, Network, NetworkOptions, Optimizer, Snapshot, Trainer,
    TrainerOptions, TrainingData, block_on, block_on_for,
};

type Failure = Box<dyn std::error::Error>;

/// Loses devices in one way.
type Way = fn() -> Result<Outcome, Failure>;

const SIZES: [u32; 3] = [64, 256, 4];
const BATCH_SIZE: u32 = 32;
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if cfg!(panic = "unwind") {
        eprintln!("error: panics unwind in this build: run it by scripts/panic-abort");
        return ExitCode::from(2);
    }
    let ways: [(&str, Way); 4] = [
        ("a device that the app destroys", destroyed),
        ("a device that is destroyed while futures are awaited", destroyed_while_awaited),
        ("a device that another thread destroys", destroyed_by_another_thread),
        ("a device that runs out of memory", without_memory),
    ];
    for (way, run) in ways {
        match run() {
            Ok(Outcome::Lost) => println!("{way}: every call returns the error"),
            Ok(Outcome::NotHere) => println!("{way}: not tested, this driver keeps its devices"),
            Err(error) => {
                eprintln!("error: {way}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Whether a device was lost.
enum Outcome {
    Lost,
    NotHere,
}

/// An app with a network in training.
struct App {
    device: Device,
    queue: Queue,
    trainer: Trainer,
    data: [TrainingData; 2],
}

impl App {
    fn new(adapter: &Adapter) -> Result<Self, Failure> {
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
        let network = Network::new(&device, &queue, &SIZES, NetworkOptions::default())?;
        let optimizer = Optimizer::adam(0.01);
        let options = TrainerOptions { batch_size: BATCH_SIZE, optimizer, ..Default::default() };
        let trainer = Trainer::new(network, options)?;
        let data = [trainer.upload(&dataset()?)?, trainer.stream(dataset()?)?];
        Ok(Self { device, queue, trainer, data })
    }

    fn snapshot(&mut self) -> Result<Snapshot, Error> {
        for data in &mut self.data {
            self.trainer.train(data, 3)?;
        }
        block_on(&self.device, self.trainer.snapshot())
    }

    /// Every call that waits for the device, creates an object or writes to it must return the error.
    fn check_lost(mut self, snapshot: &Snapshot) -> Result<Outcome, Failure> {
        let Self { device, queue, trainer, data: [uploaded, streamed] } = &mut self;
        let row = [0.0; SIZES[0] as usize];
        expect_lost("metrics", block_on(device, trainer.metrics(1)))?;
        expect_lost("fault", pollster::block_on(trainer.fault()))?;
        expect_lost("snapshot", block_on_for(device, LIMIT, trainer.snapshot()))?;
        expect_lost("snapshot again", pollster::block_on(trainer.snapshot()))?;
        expect_lost("epoch", block_on(device, trainer.epoch(uploaded)))?;
        expect_lost("streamed epoch", pollster::block_on(trainer.epoch(streamed)))?;
        expect_lost("predict", pollster::block_on(Inference::predict(trainer.network(), &row)))?;
        expect_lost("upload", trainer.upload(&dataset()?))?;
        expect_lost("stream", trainer.stream(dataset()?))?;
        expect_lost("network", Network::new(device, queue, &[3, 4, 2], NetworkOptions::default()))?;
        expect_lost("restore", Trainer::restore(device, queue, snapshot))?;
        drop(self);
        Ok(Outcome::Lost)
    }
}

fn dataset() -> Result<Dataset, Error> {
    let rows = 40 * BATCH_SIZE;
    let inputs = Array2::from_shape_fn([rows as usize, SIZES[0] as usize], |(row, column)| {
        ((7 * row + column) as f32).sin()
    });
    Dataset::new(inputs, (0..rows).map(|row| row % 4).collect::<Vec<u32>>())
}

fn adapter(thresholds: MemoryBudgetThresholds) -> Result<Adapter, Failure> {
    let descriptor = InstanceDescriptor::new_without_display_handle();
    let instance =
        Instance::new(InstanceDescriptor { memory_budget_thresholds: thresholds, ..descriptor });
    Ok(pollster::block_on(instance.request_adapter(&Default::default()))?)
}

fn expect_lost<T>(what: &str, result: Result<T, Error>) -> Result<(), Failure> {
    match result {
        Err(Error::DeviceLost(_)) => Ok(()),
        Err(other) => Err(format!("{what}: {other}").into()),
        Ok(_) => Err(format!("{what}: no error, though the device is lost").into()),
    }
}

fn destroyed() -> Result<Outcome, Failure> {
    let mut app = App::new(&adapter(Default::default())?)?;
    let snapshot = app.snapshot()?;
    app.device.destroy();
    app.check_lost(&snapshot)
}

/// The results of earlier submissions may still arrive.
fn destroyed_while_awaited() -> Result<Outcome, Failure> {
    let mut app = App::new(&adapter(Default::default())?)?;
    let snapshot = app.snapshot()?;
    app.trainer.train(&mut app.data[0], 40)?;
    let futures: [_; 4] = array::from_fn(|_| app.trainer.snapshot());
    let awaiting = futures.map(|future| thread::spawn(|| pollster::block_on(future)));
    let blocked = app.trainer.snapshot();
    app.device.destroy();
    let blocked = block_on(&app.device, blocked);
    for result in awaiting.into_iter().map(|thread| thread.join()) {
        let Ok(result) = result else { return Err("a thread has panicked".into()) };
        result.map_or_else(|error| expect_lost::<()>("awaited", Err(error)), |_| Ok(()))?;
    }
    blocked.map_or_else(|error| expect_lost::<()>("block_on", Err(error)), |_| Ok(()))?;
    app.check_lost(&snapshot)
}

fn destroyed_by_another_thread() -> Result<Outcome, Failure> {
    for milliseconds in [0, 1, 3, 10, 30, 100] {
        let mut app = App::new(&adapter(Default::default())?)?;
        let snapshot = app.snapshot()?;
        let device = app.device.clone();
        let destroyer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(milliseconds));
            device.destroy();
        });
        let start = Instant::now();
        let error = loop {
            let App { device, trainer, data: [uploaded, streamed], .. } = &mut app;
            let epochs = block_on(device, trainer.epoch(uploaded))
                .and_then(|_| pollster::block_on(trainer.epoch(streamed)));
            match epochs {
                Err(error) => break error,
                Ok(_) if start.elapsed() > LIMIT => {
                    return Err("no epoch has noticed the loss".into());
                }
                Ok(_) => {}
            }
        };
        expect_lost::<()>("epochs", Err(error))?;
        destroyer.join().map_err(|_| "the thread has panicked")?;
        app.check_lost(&snapshot)?;
    }
    Ok(Outcome::Lost)
}

/// wgpu loses a device that uses more than a given share of the system's memory: here, a share of 0.
fn without_memory() -> Result<Outcome, Failure> {
    let snapshot = App::new(&adapter(Default::default())?)?.snapshot()?;
    let for_device_loss = Some(0);
    let adapter = adapter(MemoryBudgetThresholds { for_device_loss, ..Default::default() })?;
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
    let losses = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&losses);
    device.set_device_lost_callback(move |reason, _| {
        if let Ok(mut losses) = noted.lock() {
            losses.push(reason);
        }
    });
    // These calls may end before the loss.
    let _ = Trainer::restore(&device, &queue, &snapshot)
        .and_then(|trainer| block_on(&device, trainer.snapshot()));
    let is_lost = losses.lock().is_ok_and(|losses| losses.contains(&DeviceLostReason::Unknown));
    if !is_lost {
        // Some drivers do not report the system's memory.
        return Ok(Outcome::NotHere);
    }
    expect_lost("restore", Trainer::restore(&device, &queue, &snapshot))?;
    Ok(Outcome::Lost)
}
