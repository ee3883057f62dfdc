//! The program's own device, and its buffers.

use std::error::Error;

use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device, Queue};
use ztilde::kernels::{Dispatch, Matrix};

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
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
        let contents = bytemuck::cast_slice(values);
        self.device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
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
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in dispatches {
            dispatch.encode(&mut pass);
        }
        drop(pass);
        self.queue.submit([encoder.finish()]);
    }

    pub(crate) fn read(&self, buffer: &Buffer) -> Result<Vec<f32>, Box<dyn Error>> {
        let copy = self.device.create_buffer(&BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| ());
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        Ok(bytemuck::pod_collect_to_vec(&copy.get_mapped_range(..)?))
    }
}
