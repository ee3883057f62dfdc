//! A network learns inside an app's frames: it follows shapes that move.
//!
//! Each frame, in one submission: the app's compute passes sample the shapes, the library takes a step
//! of training on each batch of samples and applies the network to all pixels, and the app's render
//! pass draws the outputs. Only the loss is copied to the CPU, now and then, and no frame waits for
//! it.
//!
//! ```sh
//! cargo run --release --example in_frame -- --frames 120 --out frame.png
//! ```
//!
//! There is no window: the frames go to a texture, of which the last one becomes the file. Its left half
//! shows the network's outputs, its right half the truth.

#[path = "in_frame/scene.rs"]
mod scene;

use std::error::Error;
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use scene::{SIDE, Scene};
use wgpu::BufferUsages;
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use ztilde::{
    Inference, Loss, Network, NetworkOptions, Optimizer, Trainer, TrainerOptions, block_on,
};

const BATCH_SIZE: u32 = 2048;
const STEPS_PER_FRAME: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().skip(1))
}

/// The whole program, with its arguments.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let (mut frames, mut out) = (120, None);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--frames", Some(number)) => frames = number.parse::<NonZeroU32>()?.get(),
            ("--out", Some(path)) => out = Some(path),
            _ => return Err("usage: in_frame [--frames NUMBER] [--out FILE]".into()),
        }
    }

    // The app: its device, its buffers, its scene. The library needs no feature; with subgroups it is
    // several times as fast on a software adapter.
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    }))?;
    let buffer = |values: &[f32]| {
        device.create_buffer_init(&BufferInitDescriptor {
            label: None,
            contents: bytemuck::cast_slice(values),
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        })
    };
    let positions = buffer(&[0.0; 2 * BATCH_SIZE as usize]);
    let distances = buffer(&[0.0; BATCH_SIZE as usize]);
    let center = |place: u32| (2 * place + 1) as f32 / SIDE as f32 - 1.0;
    let pixel = |pixel: u32| [center(pixel % SIDE), center(pixel / SIDE)];
    let pixels = buffer(&(0..SIDE * SIDE).flat_map(pixel).collect::<Vec<_>>());
    let outputs = buffer(&vec![0.0; (SIDE * SIDE) as usize]);
    let scene = Scene::new(&device, &positions, &distances, &outputs, BATCH_SIZE);

    // The library: made once, bound to the app's buffers.
    let sizes = [2, 64, 64, 1];
    let network = Network::new(&device, &queue, &sizes, NetworkOptions::default())?;
    let mut trainer = Trainer::new(
        network,
        TrainerOptions {
            batch_size: BATCH_SIZE,
            loss: Loss::MeanSquaredError,
            optimizer: Optimizer::adam(0.003),
            ..Default::default()
        },
    )?;
    let inference = Inference::new(trainer.network(), &pixels, &outputs, SIDE * SIDE)?;

    let (mut encode, mut ask, mut finish, mut submit) = (vec![], vec![], vec![], vec![]);
    let mut reading = None;
    for frame in 0..frames {
        scene.move_to(&queue, frame as f32 / 120.0);
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut library = Duration::ZERO;
        for _ in 0..STEPS_PER_FRAME {
            scene.sample(&mut encoder);
            let start = Instant::now();
            trainer.encode_step(&mut encoder, &positions, &distances)?;
            library += start.elapsed();
        }
        let start = Instant::now();
        inference.encode(&mut encoder);
        encode.push(library + start.elapsed());
        scene.draw(&mut encoder);

        let start = Instant::now();
        let commands = encoder.finish();
        finish.push(start.elapsed());
        let start = Instant::now();
        queue.submit([commands]);
        submit.push(start.elapsed());

        // Every 30 frames, request the loss. Each frame polls the request without waiting.
        let start = Instant::now();
        if frame % 30 == 0 {
            reading = Some(Box::pin(trainer.loss()));
        }
        let mut context = Context::from_waker(Waker::noop());
        if let Some(answer) = &mut reading
            && let Poll::Ready(loss) = answer.as_mut().poll(&mut context)
        {
            println!("frame {frame}: loss {:.6}", loss?);
            reading = None;
        }
        ask.push(start.elapsed());
    }
    // From here on no frame has to wait.
    println!("{frames} frames, last loss {:.6}", block_on(&device, trainer.loss())?);
    println!("milliseconds of a frame on the CPU, {}:", adapter.get_info().name);
    report("the library: four steps and an inference", encode);
    report("the library: the loss, now and then", ask);
    report("wgpu: encoder.finish() of the whole frame", finish);
    report("wgpu and the driver: queue.submit()", submit);
    match out {
        Some(path) => scene.save(&device, &queue, path.as_ref()),
        None => Ok(()),
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [median, most] =
        [times[times.len() / 2], times[times.len() - 1]].map(|t| 1e3 * t.as_secs_f64());
    println!("  median {median:7.3}  most {most:7.3}  {what}");
}
