//! What an app's buffer holds.

use std::sync::mpsc;

use wgpu::util::DownloadBuffer;
use wgpu::{Buffer, Device, PollType, Queue};

/// The floats of a buffer with `BufferUsages::COPY_SRC`, after everything that was submitted.
pub(crate) fn read_buffer(device: &Device, queue: &Queue, buffer: &Buffer) -> Vec<f32> {
    let (sender, receiver) = mpsc::channel();
    DownloadBuffer::read_buffer(device, queue, &buffer.slice(..), move |bytes| {
        let floats = bytes.map(|bytes| bytemuck::pod_collect_to_vec(&bytes));
        sender.send(floats).expect("the receiver is waiting");
    });
    device.poll(PollType::wait_indefinitely()).expect("the device answers");
    receiver.recv().expect("the callback was called").expect("the buffer was read")
}
