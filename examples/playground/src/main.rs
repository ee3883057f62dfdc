//! A window in which a network learns to tell two classes of points in the plane, with and without
//! batch normalization, in the spirit of TensorFlow Playground. All of it stays on the GPU: the
//! network learns there, and what it answers is drawn from the buffer that it writes.

mod charts;
mod controls;
mod curve;
mod data_sets;
mod graphics;
mod headless;
mod hidden_layers;
mod learner;
mod look;
mod pace;
mod readback;
mod session;
mod settings;
mod surface;
mod theme;
mod view;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use egui::Theme;
use ztilde::Activation;

use crate::data_sets::DataSet;
use crate::settings::{Networks, OptimizerKind, Settings};

/// Below this the view has no room, in egui's points.
const LEAST_SIZE: [u32; 2] = [1080, 660];

/// A window in which a network learns, with and without batch normalization.
#[derive(Debug, Parser)]
#[command(name = "playground", version)]
struct Arguments {
    /// Trains without a window, and writes the view to this PNG
    #[arg(long, value_name = "PNG")]
    headless: Option<PathBuf>,

    /// Steps before the picture is taken
    #[arg(long, default_value_t = 2000, requires = "headless")]
    steps: u32,

    /// How the two classes lie
    #[arg(long, value_enum, default_value = "spirals")]
    data: DataSet,

    /// Points to learn from; as many again are held out
    #[arg(long, default_value_t = 400)]
    points: u32,

    /// Standard deviation of the points' noise
    #[arg(long, default_value_t = 0.02)]
    noise: f32,

    /// Which networks learn
    #[arg(long, value_enum, default_value = "both")]
    networks: Networks,

    /// Units of each hidden layer
    #[arg(long, value_delimiter = ',', default_value = "16,16,16")]
    layers: Vec<u32>,

    /// The function behind each hidden layer
    #[arg(long, value_parser = activation, default_value = "relu")]
    activation: Activation,

    #[arg(
        long,
        value_enum,
        default_value = "gradient-descent",
        help = "How a step moves the parameters"
    )]
    optimizer: OptimizerKind,

    #[arg(long, default_value_t = 0.1, help = "How far a step goes")]
    learning_rate: f64,

    /// Points per step
    #[arg(long, default_value_t = 64)]
    batch: u32,

    /// Of the points, the weights and the order of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Width and height, in points
    #[arg(long, value_parser = size, default_value = "1200x760")]
    size: [u32; 2],

    /// Pixels per point of the picture
    #[arg(long, default_value_t = 1.0, requires = "headless")]
    scale: f32,

    /// Dark instead of what the system likes, or of light in a picture
    #[arg(long)]
    dark: bool,

    /// Light instead of what the system likes
    #[arg(long, conflicts_with = "dark")]
    light: bool,
}

fn activation(name: &str) -> Result<Activation, String> {
    let names = Activation::ALL.map(Activation::name).join(", ");
    Activation::from_name(name).ok_or(format!("must be one of {names}"))
}

fn size(text: &str) -> Result<[u32; 2], String> {
    let expected = || format!("{text} is no size, as 1200x760 is one");
    let (width, height) = text.split_once('x').ok_or_else(expected)?;
    let lengths = [width, height].map(|length| length.parse::<u32>().ok());
    let [Some(width), Some(height)] = lengths else { return Err(expected()) };
    let [least_width, least_height] = LEAST_SIZE;
    if !(least_width..=8192).contains(&width) || !(least_height..=8192).contains(&height) {
        return Err(format!("must be between {least_width}x{least_height} and 8192x8192"));
    }
    Ok([width, height])
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("playground: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        data_set: arguments.data,
        points: arguments.points,
        noise: arguments.noise,
        networks: arguments.networks,
        hidden_layers: arguments.layers.clone(),
        activation: arguments.activation,
        optimizer: arguments.optimizer,
        learning_rate: arguments.learning_rate,
        batch_size: arguments.batch,
        seed: arguments.seed,
        ..Default::default()
    };
    let Arguments { size, scale, steps, dark, light, .. } = *arguments;
    let theme = (dark || light).then_some(if dark { Theme::Dark } else { Theme::Light });
    let Some(path) = &arguments.headless else { return window::open(settings, size, theme) };
    let theme = theme.unwrap_or(Theme::Light);
    let picture = headless::render(&headless::Options { settings, steps, size, scale, theme })?;
    for result in &picture.results {
        let name = if result.batch_norm { "with" } else { "without" };
        let accuracy = 100.0 * result.accuracy;
        println!(
            "{name} batch normalization: {accuracy:.1} % of the held-out points are right, loss {:.4}",
            result.loss
        );
    }
    picture.save(path)
}
