//! Learns a picture: two networks, with and without batch normalization, learn from the same pixels
//! which color is where.
//!
//! ```sh
//! cargo run --release --example image -- --steps 2000 --picture photo.png FOLDER
//! ```
//!
//! Without a picture it paints one. The folder gets `image-000100.png` and so on, after ever more steps:
//! the original, the picture of the network with batch normalization, and the picture of the network
//! without.

#[path = "image/picture.rs"]
mod picture;

use std::error::Error;
use std::f32::consts::{PI, TAU};
use std::fs;
use std::path::PathBuf;

use picture::Picture;
use wgpu::{Device, Queue};
use ztilde::ndarray::Array2;
use ztilde::{
    Dataset, Inference, Loss, Network, NetworkOptions, Optimizer, Schedule, Trainer,
    TrainerOptions, TrainingData, block_on,
};

/// A network of this size cannot learn details from the position alone. So its inputs are the heights of
/// this many waves, which cross the picture in all directions.
const WAVES: u32 = 32;

/// The number of periods of the finest wave across the picture.
const MOST_PERIODS: f32 = 16.0;

const BATCH_SIZE: u32 = 1024;

const USAGE: &str = "usage: image [--steps NUMBER] [--picture FILE] FOLDER";

fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().skip(1))
}

/// The whole program, with its arguments.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let (mut steps, mut picture, mut folder) = (2000, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--steps" => steps = arguments.next().ok_or("--steps NUMBER")?.parse()?,
            "--picture" => picture = Some(PathBuf::from(arguments.next().ok_or("--picture FILE")?)),
            option if option.starts_with('-') => return Err(USAGE.into()),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let folder = folder.ok_or(USAGE)?;
    fs::create_dir_all(&folder)?;
    let original = picture.map_or_else(|| Ok(Picture::paint()), |path| Picture::read(&path))?;

    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        // Optional, but several times as fast on a software adapter.
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    }))?;
    println!("{}: {} × {} pixels", adapter.get_info().name, original.width, original.height);

    let dataset = dataset(&original)?;
    let inputs = dataset.inputs().as_slice().expect("rows one after the other");
    let [mut with, mut without] = [
        learner(&device, &queue, &dataset, steps, true)?,
        learner(&device, &queue, &dataset, steps, false)?,
    ];
    let mut done = 0;
    while done < steps {
        let next = (2 * done).max(100).min(steps);
        let mut learned = Vec::new();
        for (trainer, data) in [&mut with, &mut without] {
            trainer.train(data, next - done)?;
            let outputs = block_on(&device, Inference::predict(trainer.network(), inputs))?;
            learned.push(original.with_values(&outputs));
        }
        done = next;
        Picture::write(
            &[&original, &learned[0], &learned[1]],
            &folder.join(format!("image-{done:06}.png")),
        )?;
        let [with, without] = [&learned[0], &learned[1]].map(|picture| picture.psnr(&original));
        println!(
            "step {done}: PSNR {with:.2} dB with batch normalization, {without:.2} dB without"
        );
    }
    Ok(())
}

/// A network that learns the picture in this many steps. Because of the seed, both networks see the same
/// batches.
fn learner(
    device: &Device,
    queue: &Queue,
    dataset: &Dataset,
    steps: u32,
    batch_norm: bool,
) -> ztilde::Result<(Trainer, TrainingData)> {
    let options = NetworkOptions { batch_norm, ..Default::default() };
    let network = Network::new(device, queue, &[2 * WAVES, 128, 128, 3], options)?;
    let schedule = Schedule::Cosine { steps: steps.into(), last: 0.01 };
    let trainer = Trainer::new(
        network,
        TrainerOptions {
            batch_size: BATCH_SIZE.min(dataset.rows()),
            loss: Loss::MeanSquaredError,
            optimizer: Optimizer { schedule, ..Optimizer::adam(0.01) },
            ..Default::default()
        },
    )?;
    let data = trainer.upload(dataset)?;
    Ok((trainer, data))
}

/// A row per pixel: the waves at its position, and its color from 0 to 1.
fn dataset(picture: &Picture) -> ztilde::Result<Dataset> {
    let size = picture.width.max(picture.height) as f32;
    let inputs =
        Array2::from_shape_fn([picture.pixels.len(), 2 * WAVES as usize], |(pixel, input)| {
            let [x, y] = [pixel % picture.width, pixel / picture.width]
                .map(|place| (place as f32 + 0.5) / size - 0.5);
            // The directions turn by the golden angle, so that neighbors differ much.
            let wave = (input / 2) as f32 + 0.5;
            let (sin, cos) = (wave * PI * (3.0 - 5.0_f32.sqrt())).sin_cos();
            let periods = MOST_PERIODS * (wave / WAVES as f32).powi(2);
            let phase = TAU * periods * (cos * x + sin * y);
            if input % 2 == 0 { phase.sin() } else { phase.cos() }
        });
    let colors = picture.pixels.as_flattened().iter().map(|&value| f32::from(value) / 255.0);
    Dataset::new(inputs, colors.collect::<Vec<f32>>())
}
