//! The tests of what the library promises, in one program, because linking wgpu takes long. Each module has a
//! subject: `cargo test --test library training::`.
//!
//! tests/soak.rs needs a process of its own, and tests/house.rs needs no wgpu.

mod bad_input;
mod bad_options;
mod borrowed_device;
mod contract;
mod conventions;
mod data_sets;
mod dropped_encoders;
mod edges;
mod examples;
mod faults;
mod fixtures;
mod folded;
mod foreign_models;
mod gradients;
mod hidden_layers;
mod hostile_files;
mod inference;
mod large_batches;
mod lecture;
mod losing_the_gpu;
mod no_garbage;
mod not_a_number;
mod parameters;
mod planned_bytes;
mod properties;
mod pytorch;
mod pytorch_options;
mod reproducible;
mod rows;
mod saving;
mod saving_snapshots;
mod shaders;
mod skipped_steps;
mod snapshot;
mod state_dicts;
mod streaming;
mod training;
