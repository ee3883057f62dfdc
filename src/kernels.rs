//! The kernels that compute one formula each: `shaders/kernels/NAME.wgsl` is the text, `kernels::NAME`
//! compiles, binds and tests it, [`reference`](mod@crate::reference) has its twin on the CPU.
//!
//! An app can encode one alone, on its own buffers: compile it once for a device, bind it once to its
//! matrices, and encode the [`Dispatch`] into a compute pass as often as needed. Every `bind` checks that the
//! shapes fit each other, and takes a `place` that names the bound objects for GPU debuggers.
//!
//! The library itself trains and infers with fused kernels, which compute several formulas of a layer, or all
//! layers of a network, at once. They are for the library's own memory: packed parameters, and rows of whole
//! vectors of four.
//!
//! Matrices are row-major: a row is a sample, a column is a feature. A vector is one row. The kernels of
//! batch normalization (`batch_statistics`, `normalize`, `normalize_gradients`, `normalize_backward`) and
//! of the activation (`activate`, `activate_backward`) also take batches whose rows lie some distance
//! apart ([`Matrix::strided`]), and [images](Matrix::images): there a feature is a channel, and each pixel
//! of each sample is a row. These batches may start at any value of a buffer. `loss` reads and writes rows
//! that lie some distance apart. All other matrices have contiguous rows, or are refused.
//!
//! In the examples of the kernels, `upload` creates a buffer with `BufferUsages::STORAGE` and `COPY_SRC`,
//! `run` submits one compute pass with some dispatches, and `read` copies a buffer's values to the CPU. The
//! examples of [`Matrix`] and [`Dispatch`] show a buffer and a pass in full. `assert_close` allows an error
//! of 1e-6.
//!
//! `examples/batch_norm.rs` is an app with a network of its own that normalizes its images with them,
//! forward and backward.

pub mod activate;
pub mod activate_backward;
pub mod add_biases;
pub mod batch_statistics;
pub mod column_sums;
pub mod loss;
pub mod matmul;
pub(crate) mod matmul_quads;
pub mod normalize;
pub mod normalize_backward;
pub mod normalize_gradients;

use wgpu::Device;

use crate::error::Result;
pub use crate::gpu::{Dispatch, Matrix};
use crate::gpu::{Kernel, Uniform, can_loop, check_rounds, workgroups};

/// Invocations in a workgroup of the kernels that go element by element or row by row.
pub(crate) const WORKGROUP_SIZE: u32 = 64;

/// How the kernels that sum up columns divide a workgroup.
const COLUMNS: u32 = 16;
const LANES: u32 = 16;

/// The same of images, whose columns lie far apart.
const IMAGE_COLUMNS: u32 = 1;
const IMAGE_LANES: u32 = 256;

/// Rows that pay for reading a column's vectors once.
const ROWS_PER_INVOCATION: u32 = 8;

/// A kernel that ends in shaders/shared/layout.wgsl, compiled for rows and for images.
#[derive(Clone, Debug)]
struct LayoutKernel<U> {
    rows: Kernel<U>,
    images: Kernel<U>,
}

impl<U: Uniform> LayoutKernel<U> {
    /// One whose invocations own a column and walk down some of its rows.
    fn walking(
        device: &Device,
        name: &'static str,
        source: &str,
        constants: &[(&'static str, f64)],
    ) -> Result<Self> {
        let compile = |is_images: bool| {
            let own = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into()), ("IS_IMAGES", is_images.into())];
            Kernel::new(device, name, source, &[&own, constants].concat())
        };
        Ok(Self { rows: compile(false)?, images: compile(true)? })
    }

    /// One that sums up columns.
    fn summing(
        device: &Device,
        name: &'static str,
        source: &str,
        constants: &[(&'static str, f64)],
    ) -> Result<Self> {
        let compile = |is_images: bool, columns: u32, lanes: u32| {
            let own = [
                ("COLUMNS", columns.into()),
                ("LANES", lanes.into()),
                ("IS_IMAGES", is_images.into()),
            ];
            Kernel::new(device, name, source, &[&own, constants].concat())
        };
        Ok(Self {
            rows: compile(false, COLUMNS, LANES)?,
            images: compile(true, IMAGE_COLUMNS, IMAGE_LANES)?,
        })
    }

    fn of(&self, batch: &Matrix) -> &Kernel<U> {
        if batch.is_images() { &self.images } else { &self.rows }
    }

    /// Of a kernel that walks `passes` times down the columns of a batch, the one to take, and its
    /// workgroups. More rows than a software adapter's loops have rounds are taken as if they were pixels:
    /// by all invocations of a workgroup.
    fn sum(
        &self,
        device: &Device,
        name: &'static str,
        batch: &Matrix,
        passes: u64,
    ) -> Result<(&Kernel<U>, [u32; 3])> {
        let takes_pixels =
            batch.is_images() || !can_loop(device, passes * summing_rounds(batch, COLUMNS, LANES));
        if !takes_pixels {
            return Ok((&self.rows, [workgroups(batch.columns().into(), COLUMNS), 1, 1]));
        }
        let rounds = passes * summing_rounds(batch, IMAGE_COLUMNS, IMAGE_LANES);
        check_rounds(device, name, || format!("{} rows", batch.rows()), rounds)?;
        Ok((&self.images, [workgroups(batch.columns().into(), IMAGE_COLUMNS), 1, 1]))
    }
}

/// The rounds of a loop down the rows of a batch, of which each lane takes its share, and of what adds up
/// the lanes; for all columns of a workgroup.
fn summing_rounds(batch: &Matrix, columns: u32, lanes: u32) -> u64 {
    let groups = workgroups(batch.columns().into(), columns);
    let turns = u64::from(batch.columns().div_ceil(columns).div_ceil(groups));
    turns * (u64::from(batch.rows().div_ceil(lanes)) + u64::from(lanes.ilog2()) + 1)
}

/// Matrices of a kernel that goes element by element: each as one row, if nothing is between its values.
fn elements<const N: usize>(device: &Device, matrices: [&Matrix; N]) -> [Matrix; N] {
    let is_dense = matrices.iter().all(|matrix| matrix.as_row().is_some());
    matrices.map(|matrix| {
        let row = matrix.as_row().filter(|_| is_dense);
        row.as_ref().unwrap_or(matrix).aligned(device)
    })
}

/// Workgroups for a kernel whose invocations own a column of a batch and walk down some of its rows.
fn walking_workgroups(batch: &Matrix) -> [u32; 3] {
    let [rows, columns] = [batch.rows(), batch.columns()].map(u64::from);
    let size = WORKGROUP_SIZE;
    match batch.is_images() {
        false => [workgroups(columns, size), workgroups(rows, ROWS_PER_INVOCATION), 1],
        true => [workgroups(rows, size * ROWS_PER_INVOCATION), workgroups(columns, 1), 1],
    }
}

/// Workgroups for a kernel that goes element by element or row by row.
pub(crate) fn linear_workgroups(items: u64) -> [u32; 3] {
    [workgroups(items, WORKGROUP_SIZE), 1, 1]
}
