//! GPU memory to the CPU, without blocking.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wgpu::{Buffer, BufferAsyncError, BufferUsages, Device, PollType, SubmissionIndex};

use super::{Gpu, guarded};
use crate::error::{Error, Result};

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
    let reading = start(gpu, buffer, 4 * first, 4 * count);
    async move {
        let reading = reading?;
        let staging = reading.staging.clone();
        reading.await?;
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

fn start(gpu: &Gpu, buffer: &Buffer, offset: u64, size: u64) -> Result<Reading> {
    let staging = guarded(&gpu.device, || {
        gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("ztilde/read"),
            size,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    })?;
    let submission = gpu.submit("ztilde/read", |encoder| {
        encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, size);
    })?;
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
    Ok(Reading { device: gpu.device.clone(), submission, staging, state })
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

impl Future for Reading {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Natively nobody else may be driving the device. In a browser this does nothing, and the
        // callback wakes the task.
        if let Err(error) = self.device.poll(PollType::Poll) {
            return Poll::Ready(Err(Error::DeviceLost(error.to_string())));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.result.take() {
            Some(Ok(())) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(Error::DeviceLost(error.to_string()))),
            None => {
                state.waker = Some(context.waker().clone());
                AWAITED.set(Some(self.submission.clone()));
                // The device tells nobody natively: ask again as soon as the executor likes.
                #[cfg(not(target_arch = "wasm32"))]
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

thread_local! {
    /// What the reading that this thread polled last waits for. More may have been submitted since,
    /// which `block_on` need not wait for.
    static AWAITED: Cell<Option<SubmissionIndex>> = const { Cell::new(None) };
}

/// Waits for one of this crate's futures, sleeping while the device works.
///
/// Any executor will do for these futures; this one does not spin while it waits for `device`. Not
/// for browsers, where nothing may block.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<F: Future>(device: &Device, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A lost device ends the wait with an error, which the future then finds for itself.
        let _ = device.poll(PollType::Wait { submission_index: AWAITED.take(), timeout: None });
    }
}
