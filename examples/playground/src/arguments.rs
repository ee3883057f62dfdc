//! The user's options at the start, from the command line or from the page's address.

use clap::Parser;
use egui::Theme;
use ztilde::{Activation, Method};

use crate::data_sets::DataSet;
use crate::settings::{Networks, Settings};

/// A network learns, with and without batch normalization.
#[derive(Debug, Parser)]
#[command(name = "playground", version)]
pub(crate) struct Arguments {
    #[cfg(not(target_arch = "wasm32"))]
    #[command(flatten)]
    pub(crate) window: crate::window::WindowArguments,

    /// The arrangement of the two classes
    #[arg(long, value_enum, default_value = "spirals")]
    data: DataSet,

    /// Number of training points; the same number is held out
    #[arg(long, default_value_t = 400)]
    points: u32,

    /// Standard deviation of the points' noise
    #[arg(long, default_value_t = 0.02)]
    noise: f32,

    /// Which networks to train
    #[arg(long, value_enum, default_value = "both")]
    networks: Networks,

    /// Units of each hidden layer
    #[arg(long, value_delimiter = ',', default_value = "16,16,16")]
    layers: Vec<u32>,

    /// The activation function of each hidden layer
    #[arg(long, value_parser = activation, default_value = "relu")]
    activation: Activation,

    #[arg(
        long,
        value_parser = method,
        default_value = "gradient-descent",
        help = "How a step moves the parameters"
    )]
    optimizer: Method,

    #[arg(long, default_value_t = 0.1, help = "How far a step goes")]
    learning_rate: f64,

    /// Points per step
    #[arg(long, default_value_t = 64)]
    batch: u32,

    /// Seed of the points, the weights and the order of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Use the dark theme. The default is the system's, and in a picture the light one
    #[arg(long)]
    dark: bool,

    /// Use the light theme instead of the system's
    #[arg(long, conflicts_with = "dark")]
    light: bool,
}

fn activation(name: &str) -> Result<Activation, String> {
    let names = Activation::ALL.map(Activation::name).join(", ");
    Activation::from_name(name).ok_or(format!("must be one of {names}"))
}

fn method(name: &str) -> Result<Method, String> {
    let names = Method::ALL.map(Method::name).join(", ");
    Method::from_name(name).ok_or(format!("must be one of {names}"))
}

impl Arguments {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            data_set: self.data,
            points: self.points,
            noise: self.noise,
            networks: self.networks,
            hidden_layers: self.layers.clone(),
            activation: self.activation,
            method: self.optimizer,
            learning_rate: self.learning_rate,
            batch_size: self.batch,
            seed: self.seed,
            ..Default::default()
        }
    }

    /// None follows the system.
    pub(crate) fn theme(&self) -> Option<Theme> {
        match self {
            Self { dark: true, .. } => Some(Theme::Dark),
            Self { light: true, .. } => Some(Theme::Light),
            _ => None,
        }
    }
}
