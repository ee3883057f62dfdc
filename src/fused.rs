//! The library's own kernels, for a training step and for an inference: `shaders/fused/NAME.wgsl` is the text,
//! `fused::NAME` compiles, binds and tests it, `reference::NAME` is its twin on the CPU.
//!
//! They compute several formulas of a layer, or all layers of a network, at once, and keep the books of a
//! training. They are for the library's own memory: packed parameters, and rows of whole vectors of four.

pub(crate) mod copy_rows;
pub(crate) mod gather_rows;
pub(crate) mod grad_weights;
pub(crate) mod gradient_norm;
pub(crate) mod layer_backward;
pub(crate) mod layer_forward;
pub(crate) mod narrow_forward;
pub(crate) mod network_forward;
pub(crate) mod output_layer;
pub(crate) mod record_step;
pub(crate) mod skip_step;
pub(crate) mod update;
pub(crate) mod weigh_classes;
pub(crate) mod whole_steps;

use crate::error::{Error, Result};

/// Values in a vector of the kernels that read more than one at a time.
const QUAD: u32 = 4;

/// The number of quads of this many values.
fn quads(what: &'static str, values: u32) -> Result<u32> {
    if !values.is_multiple_of(QUAD) {
        let needed = u64::from(values).next_multiple_of(QUAD.into());
        let why = "whole vectors of four".to_owned();
        return Err(Error::Length { what, found: values.into(), needed, why });
    }
    Ok(values / QUAD)
}
