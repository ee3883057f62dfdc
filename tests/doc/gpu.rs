// The device and the buffers of the examples in the documentation, which include this file in a hidden line.

use bytemuck::NoUninit;
use wgpu::util::{BufferInitDescriptor, DeviceExt, DownloadBuffer};
use wgpu::{Buffer, BufferUsages, Device, Instance, InstanceDescriptor, PollType, Queue};
use ztilde::kernels::Dispatch;

/// One with WebGPU's default limits and no features.
pub fn device() -> (Device, Queue) {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()));
    let adapter = adapter.expect("no GPU adapter: run the tests with `scripts/with-adapter`");
    pollster::block_on(adapter.request_device(&Default::default())).expect("the default limits")
}

/// A buffer of these values that kernels can read and write, and `read` can copy.
pub fn upload(device: &Device, values: &[impl NoUninit]) -> Buffer {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    let contents = bytemuck::cast_slice(values);
    device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
}

/// Submits one compute pass with these dispatches, in their order.
pub fn run(device: &Device, queue: &Queue, dispatches: &[&Dispatch]) {
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for dispatch in dispatches {
        dispatch.encode(&mut pass);
    }
    drop(pass);
    queue.submit([encoder.finish()]);
}

/// All values of a buffer, after all work that was submitted.
pub fn read(device: &Device, queue: &Queue, buffer: &Buffer) -> Vec<f32> {
    let (sender, receiver) = std::sync::mpsc::channel();
    DownloadBuffer::read_buffer(device, queue, &buffer.slice(..), move |bytes| {
        let values = bytes.map(|bytes| bytemuck::pod_collect_to_vec(&bytes));
        sender.send(values).expect("the receiver waits");
    });
    device.poll(PollType::wait_indefinitely()).expect("the device answers");
    receiver.recv().expect("the callback has run").expect("the buffer was mapped")
}

/// Panics unless each value is within 1e-6 of the expected one, or of its size if that is above 1.
pub fn assert_close(found: &[f32], expected: &[f64]) {
    let is_close = |(&x, &y): (&f32, &f64)| (f64::from(x) - y).abs() <= 1e-6 * y.abs().max(1.0);
    let is_equal = found.len() == expected.len() && found.iter().zip(expected).all(is_close);
    assert!(is_equal, "found {found:?}, expected {expected:?}");
}
