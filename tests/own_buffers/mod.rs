//! Training from an app's own buffers, whose values the CPU does not check.

use bytemuck::NoUninit;
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{BufferUsages, Device, Queue};
use ztilde::Trainer;

/// Trains on a batch in new buffers: one step in one submission.
pub(crate) fn step(
    (device, queue): &(Device, Queue),
    trainer: &mut Trainer,
    inputs: &[impl NoUninit],
    targets: &[impl NoUninit],
) {
    let buffer = |contents: &[u8]| {
        let usage = BufferUsages::COPY_SRC;
        device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
    };
    let inputs = buffer(bytemuck::cast_slice(inputs));
    let targets = buffer(bytemuck::cast_slice(targets));
    let mut encoder = device.create_command_encoder(&Default::default());
    trainer.encode_step(&mut encoder, &inputs, &targets).unwrap();
    queue.submit([encoder.finish()]);
}
