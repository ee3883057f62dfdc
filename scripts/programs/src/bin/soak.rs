//! Takes very many steps by all functions that take steps, and checks that memory does not grow: the GPU
//! objects in wgpu's counters, the bytes that this thread allocates and does not free, and on Linux the
//! resident memory of the process.
//!
//! ```sh
//! cargo run --release --package programs --bin soak -- --steps 1000000
//! ```
//!
//! The memory at the end is compared with the memory after 10,000 steps, or after half of the steps if that
//! is less. Growth is an error.

#[path = "../../../../tests/library/fixtures/objects.rs"]
mod counted;

use std::error::Error;
use std::time::Instant;

use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Buffer, BufferUsages, Device, PollType, Queue};
use ztilde::ndarray::Array2;
use ztilde::{
    Dataset, Inference, Network, NetworkOptions, Optimizer, Trainer, TrainerOptions, TrainingData,
    block_on,
};

use counted::objects;

const SIZES: [u32; 3] = [5, 8, 3];
const BATCH_SIZE: u32 = 8;
const ROWS: u32 = 203;

/// The steps of a round, which ends with a read of the loss.
const ROUND: u64 = 1000;

/// The growth that the process's allocator may cause. A leak of one byte per step would reach it after a
/// million steps. No growth was seen, but a leak would first use up memory that the compilation of
/// shaders freed.
const MOST_GROWTH: u64 = 1 << 20;

/// The growth allowed in bytes held by this thread. 11 KiB were seen, at most once in a hundred thousand
/// steps, when a list outgrew its capacity. A leak of 7 bytes per step would reach the limit in 10,000
/// steps.
const MOST_ALLOCATED: i64 = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().skip(1))
}

/// The whole program, with its arguments.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut steps = 20_000;
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--steps", Some(number)) => steps = number.parse::<u64>()?,
            _ => return Err("usage: soak [--steps NUMBER]".into()),
        }
    }
    let rounds = steps / ROUND;
    if rounds < 2 {
        return Err(format!("--steps is {steps}, but must be at least {}", 2 * ROUND).into());
    }
    let first = (rounds / 2).min(10);
    let mut app = App::new()?;
    let start = Instant::now();
    let mut before = None;
    let mut allocated = 0;
    println!("{:>9} {:>8}  {}", "steps", "seconds", Held::HEADINGS);
    for round in 1..=rounds {
        let mut result = Ok(());
        allocated += allocation_counter::measure(|| result = app.round()).bytes_current;
        result?;
        if round != first && round != rounds && !round.is_multiple_of(rounds.div_ceil(20)) {
            continue;
        }
        let held = Held::now(&app.device, allocated)?;
        println!("{:>9} {:>8.1}  {held}", round * ROUND, start.elapsed().as_secs_f64());
        if round == first {
            before = Some(held);
        } else if let Some(before) = &before {
            held.check_growth_since(before)?;
        }
    }
    Ok(())
}

/// A network that is trained in all ways, with an inference that is bound to the app's buffers.
struct App {
    device: Device,
    queue: Queue,
    trainer: Trainer,
    resident: TrainingData,
    streamed: TrainingData,
    batch: [Buffer; 2],
    inputs: Vec<f32>,
    classes: Vec<u32>,
    inference: Inference,
}

impl App {
    fn new() -> Result<Self, Box<dyn Error>> {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
        let number = |index: u32| (1.7 * index as f32 * index as f32).sin();
        let inputs: Vec<f32> = (0..ROWS * SIZES[0]).map(number).collect();
        let classes: Vec<u32> = (0..ROWS).map(|row| row % SIZES[2]).collect();
        let shape = [ROWS as usize, SIZES[0] as usize];
        let dataset =
            Dataset::new(Array2::from_shape_vec(shape, inputs.clone())?, classes.clone())?;

        let network = Network::new(&device, &queue, &SIZES, NetworkOptions::default())?;
        let trainer = Trainer::new(
            network,
            TrainerOptions {
                batch_size: BATCH_SIZE,
                optimizer: Optimizer::adam(1e-4),
                clip_norm: Some(1.0),
                ..Default::default()
            },
        )?;
        let inputs = inputs[..(BATCH_SIZE * SIZES[0]) as usize].to_vec();
        let classes = classes[..BATCH_SIZE as usize].to_vec();
        let buffer = |contents: &[u8]| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
        };
        let batch = [buffer(bytemuck::cast_slice(&inputs)), buffer(bytemuck::cast_slice(&classes))];
        let outputs = buffer(&vec![0; 4 * (BATCH_SIZE * SIZES[2]) as usize]);
        Ok(Self {
            resident: trainer.upload(&dataset)?,
            streamed: trainer.stream(dataset)?,
            inference: Inference::new(trainer.network(), &batch[0], &outputs, BATCH_SIZE)?,
            device,
            queue,
            trainer,
            batch,
            inputs,
            classes,
        })
    }

    /// A thousand steps: on uploaded data, on streamed data, from the CPU, and in the app's encoder with
    /// an inference after each; then every kind of read.
    fn round(&mut self) -> Result<(), Box<dyn Error>> {
        let Self { device, queue, trainer, batch, .. } = self;
        trainer.train(&mut self.resident, 600)?;
        trainer.train(&mut self.streamed, 200)?;
        for _ in 0..100 {
            trainer.step(&self.inputs, &self.classes)?;
        }
        for _ in 0..10 {
            let mut encoder = device.create_command_encoder(&Default::default());
            for _ in 0..10 {
                trainer.encode_step(&mut encoder, &batch[0], &batch[1])?;
                self.inference.encode(&mut encoder);
            }
            queue.submit([encoder.finish()]);
        }
        block_on(device, trainer.loss())?;
        if let Some(fault) = block_on(device, trainer.fault())? {
            return Err(ztilde::Error::Diverged(fault).into());
        }
        block_on(device, trainer.snapshot())?;
        block_on(device, Inference::predict(trainer.network(), &self.inputs))?;
        // wgpu frees the staging memory of the writes.
        queue.submit([]);
        device.poll(PollType::wait_indefinitely())?;
        Ok(())
    }
}

/// The objects on the GPU, and the memory of the process on the CPU.
struct Held {
    objects: [(&'static str, isize); 8],
    /// Bytes that this thread has allocated since the first step, minus the freed bytes.
    allocated: i64,
    /// In bytes; 0 unless the system is Linux.
    resident: u64,
}

impl Held {
    const HEADINGS: &str =
        "objects of the GPU (of them buffers), their bytes, allocated and resident bytes";

    fn now(device: &Device, allocated: i64) -> Result<Self, Box<dyn Error>> {
        Ok(Self { objects: objects(device), allocated, resident: resident_bytes()? })
    }

    fn check_growth_since(&self, before: &Self) -> Result<(), String> {
        for ((name, now), (_, before)) in self.objects.iter().zip(&before.objects) {
            if now > before {
                return Err(format!("{name}: {now}, and {before} before"));
            }
        }
        let (now, before_that) = (self.allocated, before.allocated);
        if now > before_that + MOST_ALLOCATED {
            return Err(format!("{now} bytes are allocated and not freed, {before_that} before"));
        }
        let most = before.resident + MOST_GROWTH;
        if self.resident > most {
            return Err(format!("{} bytes are resident, more than {most}", self.resident));
        }
        Ok(())
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [buffers, bytes, ..] = self.objects.map(|(_, count)| count);
        let objects: isize = self.objects.iter().map(|&(_, count)| count).sum::<isize>() - bytes;
        write!(f, "{objects} ({buffers}), {bytes}, {}, {}", self.allocated, self.resident)
    }
}

/// The resident memory of the process: the line `VmRSS: 123456 kB` of Linux.
fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0) };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes = kilobytes.ok_or("no VmRSS in /proc/self/status")?;
    Ok(1024 * kilobytes.trim().parse::<u64>()?)
}
