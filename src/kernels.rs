//! The kernels, one room each: `shaders/NAME.wgsl` is the text, `kernels::NAME` compiles, binds and
//! tests it, `reference::NAME` is its twin on the CPU.
//!
//! Those with one formula are public, so that an app can encode one alone, on its own buffers: compile
//! it once for a device, bind it once to its matrices, and encode the [`Dispatch`] into a compute pass
//! as often as needed. Every `bind` checks that the shapes fit each other, and takes a `place` that
//! names the bound objects for GPU debuggers.
//!
//! The library itself trains and infers with those that take a layer, or a network, through several
//! formulas at once (`layer_forward`, `layer_backward`, `output_layer`, `network_forward`). They are for
//! the library's own memory: packed parameters, and rows of whole vectors of four.
//!
//! Matrices are row-major: a row is a sample, a column is a feature. A vector is one row.

pub mod activate;
pub mod activate_backward;
pub mod add_biases;
pub(crate) mod add_slabs;
pub mod batch_statistics;
pub mod column_sums;
pub(crate) mod copy_rows;
pub mod gather_rows;
pub mod gradient_norm;
pub(crate) mod layer_backward;
pub(crate) mod layer_forward;
pub mod loss;
pub mod matmul;
mod matmul_quads;
pub(crate) mod network_forward;
pub mod normalize;
pub mod normalize_backward;
pub mod normalize_gradients;
pub(crate) mod output_layer;
pub mod record_step;
pub mod update;
pub mod weigh_classes;

use crate::error::{Error, Result};
pub use crate::gpu::{Dispatch, Matrix};

/// Invocations in a workgroup of the kernels that go element by element or row by row.
const WORKGROUP_SIZE: u32 = 64;

/// Values in a vector of the kernels that read more than one at a time.
const QUAD: u32 = 4;

/// How the kernels that sum up columns divide a workgroup.
const COLUMNS: u32 = 16;
const LANES: u32 = 16;

/// Workgroups for a kernel that sums up columns.
fn column_workgroups(columns: u32) -> [u32; 3] {
    [crate::gpu::workgroups(columns.into(), COLUMNS), 1, 1]
}

/// Workgroups for a kernel that goes element by element or row by row.
fn linear_workgroups(items: u64) -> [u32; 3] {
    [crate::gpu::workgroups(items, WORKGROUP_SIZE), 1, 1]
}

/// How many quads so many values are.
fn quads(what: &'static str, values: u32) -> Result<u32> {
    if !values.is_multiple_of(QUAD) {
        let needed = u64::from(values).next_multiple_of(QUAD.into());
        let why = "whole vectors of four".to_owned();
        return Err(Error::Length { what, found: values.into(), needed, why });
    }
    Ok(values / QUAD)
}
