//! The program's own device, and its buffers.

use std::error::Error;

use wgpu::{Buffer, Device, Queue};
use ztilde::kernels::{Dispatch, Matrix};

/// The functions of the documentation's examples.
#[allow(dead_code, unreachable_pub, reason = "examples use them as an app would")]
#[path = "../../../../../tests/doc/gpu.rs"]
mod examples;

pub(crate) struct Gpu {
    pub(crate) device: Device,
    queue: Queue,
    pub(crate) adapter: String,
}

impl Gpu {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let instance = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(instance);
        let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
        Ok(Self { device, queue, adapter: adapter.get_info().name })
    }

    /// A buffer of `f32` or `u32`.
    pub(crate) fn buffer<T: bytemuck::Pod>(&self, values: &[T]) -> Buffer {
        examples::upload(&self.device, values)
    }

    /// A matrix in its own buffer.
    pub(crate) fn matrix<T: bytemuck::Pod>(
        &self,
        values: &[T],
        [rows, columns]: [u32; 2],
    ) -> Result<(Buffer, Matrix), Box<dyn Error>> {
        let buffer = self.buffer(values);
        let matrix = Matrix::new(&buffer, 0, rows, columns)?;
        Ok((buffer, matrix))
    }

    pub(crate) fn vector<T: bytemuck::Pod>(
        &self,
        values: &[T],
    ) -> Result<(Buffer, Matrix), Box<dyn Error>> {
        self.matrix(values, [1, values.len() as u32])
    }

    pub(crate) fn run(&self, dispatches: &[Dispatch]) {
        examples::run(&self.device, &self.queue, &dispatches.iter().collect::<Vec<_>>());
    }

    pub(crate) fn read(&self, buffer: &Buffer) -> Vec<f32> {
        examples::read(&self.device, &self.queue, buffer)
    }
}
