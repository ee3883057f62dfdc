//! The only module that makes pipelines, bind groups and buffers, and that reads GPU memory.
//!
//! It knows matrices and compute kernels, not networks. The device is the app's: nothing here sets
//! a handler on it, and error scopes catch all errors.

mod class;
#[cfg(any(test, feature = "check"))]
mod comparison;
mod compile;
mod counting;
mod declaration;
mod in_flight;
mod kernel;
mod matrix;
#[cfg(not(target_arch = "wasm32"))]
mod pause;
mod pipelines;
mod read;
#[cfg(test)]
pub(crate) mod rough;
mod rows;
mod shared;
mod side_by_side;
mod staging;
mod stopwatch;
#[cfg(test)]
pub(crate) mod test_device;
#[cfg(any(test, feature = "check"))]
pub(crate) mod testing;
mod texts;
mod uniform;
mod wait;
mod watch;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wgpu::{
    Buffer, BufferSize, BufferUsages, CommandEncoder, CommandEncoderDescriptor, Device, Queue,
    SubmissionIndex,
};

pub(crate) use class::{can_loop, check_rounds};
#[cfg(any(test, feature = "check"))]
pub use comparison::Comparison;
pub(crate) use counting::{check_count, largest_binding, rows_of_binding};
pub(crate) use in_flight::{InFlight, Launch};
pub use kernel::Dispatch;
#[cfg(test)]
pub(crate) use kernel::MAX_WORKGROUPS;
pub(crate) use kernel::{Kernel, Share, workgroups};
pub(crate) use matrix::Layout;
pub use matrix::Matrix;
pub use pipelines::KernelCache;
pub(crate) use read::{Copies, Glance, Source, read, read_all};
pub use rows::Rows;
pub(crate) use side_by_side::side_by_side;
pub(crate) use staging::Staging;
pub(crate) use stopwatch::Stopwatch;
pub(crate) use texts::{Texts, stepped, tiled};
pub(crate) use uniform::{Uniform, uniform};
#[cfg(not(target_arch = "wasm32"))]
pub use wait::{block_on, block_on_for};

use crate::error::{Error, Result};
use crate::plan::{DeviceClass, PlannedMatrix};
use watch::Watch;

/// The app's device and queue: handles, cloned.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) class: DeviceClass,
    watch: Arc<Watch>,
}

impl Gpu {
    pub(crate) fn new(device: &Device, queue: &Queue) -> Self {
        Self {
            device: device.clone(),
            queue: queue.clone(),
            class: DeviceClass::from(device),
            watch: Watch::of(device),
        }
    }

    /// A buffer for `values` values of four bytes that kernels read and write, all zero.
    pub(crate) fn buffer(&self, label: &str, values: u64) -> Result<Buffer> {
        storage_buffer(&self.device, label, values)
    }

    /// A matrix with a buffer of its own, all zero.
    pub(crate) fn matrix(&self, label: &str, rows: u32, columns: u32) -> Result<Matrix> {
        Matrix::new(&self.binding(label, rows, columns)?, 0, rows, columns)
    }

    /// The same with rows that are whole vectors of four.
    pub(crate) fn padded_matrix(&self, label: &str, rows: u32, columns: u32) -> Result<Matrix> {
        let buffer = self.binding(label, rows, columns.next_multiple_of(4))?;
        Matrix::padded(&buffer, 0, rows, columns)
    }

    /// A matrix of a plan, with a buffer of its own, all zero.
    pub(crate) fn planned(&self, planned: &PlannedMatrix) -> Result<Matrix> {
        let PlannedMatrix { label, rows, columns, is_padded, .. } = planned;
        self.check_largest([planned])?;
        let count =
            |count: u64| u32::try_from(count).expect("what fits a binding is counted in u32");
        match is_padded {
            true => self.padded_matrix(label, count(*rows), count(*columns)),
            false => self.matrix(label, count(*rows), count(*columns)),
        }
    }

    /// A buffer for a matrix, which has to fit a binding.
    fn binding(&self, label: &str, rows: u32, columns: u32) -> Result<Buffer> {
        self.check_size(label, rows.into(), columns.into())?;
        self.buffer(label, u64::from(rows) * u64::from(columns))
    }

    /// Checks that each of these matrices fits a binding. The error names the largest matrix that does not
    /// fit.
    pub(crate) fn check_largest<'a>(
        &self,
        matrices: impl IntoIterator<Item = &'a PlannedMatrix>,
    ) -> Result<()> {
        let largest = matrices.into_iter().max_by_key(|matrix| matrix.bytes());
        let Some(PlannedMatrix { label, rows, columns, is_padded, .. }) = largest else {
            return Ok(());
        };
        let columns = if *is_padded { columns.next_multiple_of(4) } else { *columns };
        self.check_size(label, *rows, columns)
    }

    /// Checks that a matrix of this size fits a binding.
    fn check_size(&self, label: &str, rows: u64, columns: u64) -> Result<()> {
        let needed = rows.saturating_mul(columns).saturating_mul(4);
        let allowed = self.device.limits().max_storage_buffer_binding_size;
        if needed > allowed {
            let limit = "max_storage_buffer_binding_size";
            let what = format!("{label} ({rows} × {columns})");
            return Err(Error::TooLarge { what, needed, limit, allowed });
        }
        check_count(label, u32::try_from(rows).unwrap_or(u32::MAX), columns)
    }

    /// Writes values that all later submissions will see.
    pub(crate) fn write<T: bytemuck::NoUninit>(
        &self,
        buffer: &Buffer,
        first: u64,
        values: &[T],
    ) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let Some(size) = BufferSize::new(bytes.len() as u64) else { return Ok(()) };
        let is_taken = guarded(&self.device, || {
            let view = self.queue.write_buffer_with(buffer, 4 * first, size);
            view.map(|mut view| view.copy_from_slice(bytes)).is_some()
        })?;
        // wgpu does not report this failure to error scopes.
        if is_taken { Ok(()) } else { Err(self.watch.lose("it takes no more data".to_owned())) }
    }

    /// Writes all of a large matrix, after everything that was submitted so far. The staging buffer is
    /// made here: if it does not fit the memory, that is an error. With wgpu's own staging buffer the
    /// device would be lost.
    pub(crate) fn upload<T: bytemuck::NoUninit>(
        &self,
        matrix: &Matrix,
        values: &[T],
    ) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut staging = Staging::new(self, "upload", bytes.len() as u64 / 4)?;
        staging.write(self, |view| view.copy_from_slice(bytes))?;
        staging.submit(self, "ztilde/upload", |encoder, staging| {
            let place = 4 * matrix.first();
            encoder.copy_buffer_to_buffer(staging, 0, matrix.buffer(), place, bytes.len() as u64);
        })?;
        Ok(())
    }

    /// Records commands and submits them; does not wait.
    pub(crate) fn submit(
        &self,
        label: &str,
        record: impl FnOnce(&mut CommandEncoder),
    ) -> Result<SubmissionIndex> {
        guarded(&self.device, || {
            let label = Some(label);
            let mut encoder =
                self.device.create_command_encoder(&CommandEncoderDescriptor { label });
            record(&mut encoder);
            let commands = encoder.finish();
            // A software driver takes a submission when the one before is done.
            self.watch.clock().during(true, || self.queue.submit([commands]))
        })
    }
}

/// A buffer for `values` values of four bytes that kernels read and write, all zero. A small one may also be
/// bound as a uniform.
pub(crate) fn storage_buffer(device: &Device, label: &str, values: u64) -> Result<Buffer> {
    check_size(device, label, 4 * values)?;
    guarded(device, || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&format!("ztilde/{label}")),
            size: 4 * values,
            usage: BufferUsages::STORAGE
                | BufferUsages::UNIFORM
                | BufferUsages::COPY_DST
                | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    })
}

/// Checks that the device allows a buffer of `needed` bytes.
fn check_size(device: &Device, label: &str, needed: u64) -> Result<()> {
    let allowed = device.limits().max_buffer_size;
    if needed > allowed {
        let limit = "max_buffer_size";
        return Err(Error::TooLarge { what: label.to_owned(), needed, limit, allowed });
    }
    Ok(())
}

/// Unmaps a buffer that the CPU has written, so that the GPU can use it. wgpu reports an error if
/// another thread has just destroyed the device.
fn unmap(device: &Device, buffer: &Buffer) -> Result<()> {
    guarded(device, || buffer.unmap()).map_err(|error| Error::DeviceLost(error.to_string()))
}

/// An error for a buffer without a usage.
pub(crate) fn check_usage(
    what: impl FnOnce() -> String,
    buffer: &Buffer,
    usage: BufferUsages,
) -> Result<()> {
    let missing = (usage - buffer.usage()).iter_names().next();
    missing.map_or(Ok(()), |(missing, _)| Err(Error::Usage { what: what(), missing }))
}

/// Calls wgpu and returns the error that it reported, if any, instead of handing it to the app's
/// handler.
///
/// Natively an error is known at once. A browser reports it too late for this function: there the scope
/// keeps it from the app's handler, and it shows only in values that are read later.
pub(crate) fn guarded<T>(device: &Device, call: impl FnOnce() -> T) -> Result<T> {
    let scopes = [
        wgpu::ErrorFilter::Internal,
        wgpu::ErrorFilter::OutOfMemory,
        wgpu::ErrorFilter::Validation,
    ]
    .map(|filter| device.push_error_scope(filter));
    let value = call();
    // Scopes are a stack: the last one pushed is the first one popped.
    let mut first_error = None;
    for scope in scopes.into_iter().rev() {
        if let Poll::Ready(Some(error)) =
            pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop()))
        {
            first_error.get_or_insert(error);
        }
    }
    match first_error {
        None => Ok(value),
        Some(wgpu::Error::OutOfMemory { source }) => Err(Error::OutOfMemory(source.to_string())),
        Some(error) => Err(Error::Wgpu(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use wgpu::BufferDescriptor;

    use super::testing::TestGpu;
    use super::*;

    /// The test's device has no handler of its own, so that an error would be a panic.
    #[test]
    fn what_wgpu_refuses_is_an_error() {
        fn assert_refused<T>(what: &str, result: Result<T>) {
            match result {
                Ok(_) => panic!("{what} was accepted"),
                Err(error) => assert!(matches!(error, Error::Wgpu(_)), "{what}: {error}"),
            }
        }
        let TestGpu { gpu, .. } = TestGpu::new();
        let small = gpu.buffer("small", 4).unwrap();
        assert_refused("a write past the end", gpu.write(&small, 1, &[0_u32; 4]));
        let label = Some("invalid");
        let usage = BufferUsages::empty();
        let descriptor = BufferDescriptor { label, size: 16, usage, mapped_at_creation: false };
        let invalid = guarded(&gpu.device, || gpu.device.create_buffer(&descriptor));
        assert_refused("a buffer without usage", invalid);
        let submission = gpu.submit("a copy into itself", |encoder| {
            encoder.copy_buffer_to_buffer(&small, 0, &small, 0, 16);
        });
        assert_refused("a copy into itself", submission);
        let reading = read::<u32>(&gpu, &small, 1, 4);
        assert_refused("a copy past the end", block_on(&gpu.device, reading));
        let kernel = Kernel::<Layout>::new(&gpu.device, "no_shader", "no shader", &[]);
        assert_refused("a text that is not a shader", kernel);
        let mut staging = Staging::new(&gpu, "staging", 4).unwrap();
        let submission = staging.submit(&gpu, "past the end", |encoder, staging| {
            encoder.copy_buffer_to_buffer(staging, 16, &small, 0, 16);
        });
        assert_refused("a copy from past the end of a window", submission);
    }
}
