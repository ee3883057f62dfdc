//! Batch-normalized multilayer perceptrons on any GPU.

pub mod data;
pub mod error;
pub mod evaluation;
pub mod options;
pub mod parameters;
mod random;
pub mod reference;

pub use data::{Dataset, Targets};
pub use error::{Error, Result};
pub use evaluation::{Evaluation, evaluate};
pub use options::{
    Activation, Loss, Method, NetworkOptions, Optimizer, Remainder, Schedule, TrainerOptions,
};
pub use parameters::{BatchNorm, Layer, Parameters};
