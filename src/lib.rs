#![doc = include_str!("../README.md")]

pub mod data;
pub mod error;
pub mod evaluation;
mod gpu;
mod inference;
pub mod kernels;
mod layout;
mod network;
pub mod options;
pub mod parameters;
mod random;
pub mod reference;
mod snapshot;
mod trainer;

pub use data::{Dataset, Targets};
pub use error::{Error, Fault, Quantity, Result};
pub use evaluation::{Evaluation, evaluate};
pub use gpu::{KernelCache, Rows};
pub use inference::Inference;
pub use network::{Network, PlannedBytes, required_limits};
pub use options::{
    Activation, Loss, Method, NetworkOptions, OnFault, Optimizer, Remainder, Schedule,
    TrainerOptions,
};
pub use parameters::{BatchNorm, Layer, LoadOptions, Loaded, Parameters};
pub use snapshot::{Place, Snapshot};
pub use trainer::{
    BoundBatch, EpochMetrics, HiddenBatchNorm, HiddenLayer, Skipped, StepMetrics, Trainer,
    TrainingData,
};
pub use {ndarray, wgpu};

#[cfg(not(target_arch = "wasm32"))]
pub use gpu::{block_on, block_on_for};
