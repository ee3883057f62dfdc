//! Batch-normalized multilayer perceptrons on any GPU.

pub mod data;
pub mod error;
pub mod options;
pub mod parameters;
pub mod reference;
