//! Reads the values of an app's buffer.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use wgpu::util::DownloadBuffer;
use wgpu::{Buffer, BufferAsyncError, Device, Queue};

/// The result of the callback, and the task that waits for it.
#[derive(Default)]
struct Answer {
    values: Option<Result<Vec<f32>, BufferAsyncError>>,
    waker: Option<Waker>,
}

/// The floats of a buffer with `BufferUsages::COPY_SRC`, after everything that was submitted.
#[cfg(not(target_arch = "wasm32"))]
#[allow(dead_code, reason = "tests that run in a browser, too, read by the function below")]
pub(crate) fn read_buffer(device: &Device, queue: &Queue, buffer: &Buffer) -> Vec<f32> {
    pollster::block_on(buffer_values(device, queue, buffer))
}

/// The same without blocking, for browsers.
pub(crate) async fn buffer_values(device: &Device, queue: &Queue, buffer: &Buffer) -> Vec<f32> {
    let answer = Arc::new(Mutex::new(Answer::default()));
    let left = Arc::clone(&answer);
    DownloadBuffer::read_buffer(device, queue, &buffer.slice(..), move |bytes| {
        let mut answer = left.lock().expect("no thread panics while it holds the lock");
        answer.values = Some(bytes.map(|bytes| bytemuck::pod_collect_to_vec(&bytes)));
        if let Some(waker) = answer.waker.take() {
            waker.wake();
        }
    });
    #[cfg(not(target_arch = "wasm32"))]
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
    let values = poll_fn(|context| {
        let mut answer = answer.lock().expect("no thread panics while it holds the lock");
        answer.waker = Some(context.waker().clone());
        answer.values.take().map_or(Poll::Pending, Poll::Ready)
    });
    values.await.expect("the buffer was read")
}
