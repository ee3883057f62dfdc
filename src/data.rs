//! Data sets on the CPU: rows with their targets, split, shuffled and cut into mini-batches.

use std::borrow::Cow;

use ndarray::Array2;

/// What the outputs of a batch are compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets<'a> {
    /// One class index per row, counted from 0.
    Classes(Cow<'a, [u32]>),
    /// One value per row and output, row-major.
    Values(Cow<'a, [f32]>),
}

/// Rows with their targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    inputs: Array2<f32>,
    targets: Targets<'static>,
}
