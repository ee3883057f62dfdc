//! GPU memory to the CPU, without blocking.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wgpu::{Buffer, BufferAsyncError, BufferUsages, Device, SubmissionIndex};

use super::{Gpu, guarded, wait};
use crate::error::{Error, Result};

/// Some values of four bytes in a buffer: how many, from the first one on.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) buffer: &'a Buffer,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl<'a> Source<'a> {
    /// The beginning of a buffer.
    pub(crate) fn new(buffer: &'a Buffer, count: u64) -> Self {
        Self { buffer, first: 0, count }
    }
}

/// Reads `count` values of four bytes from `first` on, as they will be after everything that was
/// submitted so far.
///
/// The copy is submitted at once; the future waits for it.
pub(crate) fn read<T: bytemuck::Pod>(
    gpu: &Gpu,
    buffer: &Buffer,
    first: u64,
    count: u64,
) -> impl Future<Output = Result<Vec<T>>> + use<T> {
    let values = read_all(gpu, [Source { buffer, first, count }]);
    async move {
        let [values] = values.await?;
        Ok(values)
    }
}

/// Reads values of several buffers, all of the same moment: one submission copies them.
pub(crate) fn read_all<T: bytemuck::Pod, const N: usize>(
    gpu: &Gpu,
    sources: [Source<'_>; N],
) -> impl Future<Output = Result<[Vec<T>; N]>> + use<T, N> {
    let readings = start(gpu, &sources);
    async move {
        let mut values = std::array::from_fn(|_| Vec::new());
        for (values, reading) in values.iter_mut().zip(readings?) {
            *values = reading.values().await?;
        }
        Ok(values)
    }
}

fn start(gpu: &Gpu, sources: &[Source<'_>]) -> Result<Vec<Reading>> {
    let staging_buffer = |source: &Source<'_>| {
        guarded(&gpu.device, || {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("ztilde/read"),
                size: 4 * source.count,
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    };
    let stagings = sources.iter().map(staging_buffer).collect::<Result<Vec<_>>>()?;
    let submission = gpu.submit("ztilde/read", |encoder| {
        for (Source { buffer, first, count }, staging) in sources.iter().zip(&stagings) {
            encoder.copy_buffer_to_buffer(buffer, 4 * first, staging, 0, 4 * count);
        }
    })?;
    Ok(stagings.into_iter().map(|staging| Reading::new(gpu, staging, &submission)).collect())
}

/// A buffer that is being mapped.
struct Reading {
    device: Device,
    submission: SubmissionIndex,
    staging: Buffer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    result: Option<Result<(), BufferAsyncError>>,
    waker: Option<Waker>,
}

impl Reading {
    fn new(gpu: &Gpu, staging: Buffer, submission: &SubmissionIndex) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let callback_state = Arc::clone(&state);
        // The error of a lost device; the callback is told as well, and the future then says so.
        let _ = guarded(&gpu.device, || {
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                let mut state = callback_state.lock().unwrap_or_else(PoisonError::into_inner);
                state.result = Some(result);
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            });
        });
        Self { device: gpu.device.clone(), submission: submission.clone(), staging, state }
    }

    async fn values<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        let staging = self.staging.clone();
        self.await?;
        let values = {
            let bytes = staging
                .get_mapped_range(..)
                .map_err(|error| Error::DeviceLost(error.to_string()))?;
            bytemuck::pod_collect_to_vec(&bytes)
        };
        staging.unmap();
        Ok(values)
    }
}

impl Future for Reading {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Natively nobody else may be driving the device. In a browser this does nothing, and the
        // callback wakes the task.
        if let Err(error) = wait::look(&self.device) {
            return Poll::Ready(Err(error));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.result.take() {
            Some(Ok(())) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(Error::DeviceLost(error.to_string()))),
            None => {
                state.waker = Some(context.waker().clone());
                wait::await_submission(&self.submission);
                // The device tells nobody natively: ask again as soon as the executor likes.
                #[cfg(not(target_arch = "wasm32"))]
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
