//! The device that is measured: buffers, waiting, timestamps.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, CommandEncoder, ComputePassDescriptor,
    ComputePassTimestampWrites, Device, ErrorFilter, Features, MapMode, PollType,
    QuerySetDescriptor, QueryType, Queue,
};
use ztilde::kernels::Dispatch;

use crate::failure::Failure;

/// The number of random values; a larger buffer repeats them.
const RANDOM_VALUES: u64 = 1 << 18;

/// Handles of the device and its queue.
pub(super) struct Gpu {
    pub(super) device: Device,
    pub(super) queue: Queue,
}

impl Gpu {
    /// A buffer of `values` numbers between −1 and 1, the same in every run.
    pub(super) fn random_buffer(&self, values: u64) -> Result<Buffer, Failure> {
        let buffer = self.buffer(4 * values, BufferUsages::STORAGE | BufferUsages::COPY_DST)?;
        let mut value = random_values();
        let random: Vec<f32> = (0..values.min(RANDOM_VALUES)).map(|_| value()).collect();
        let mut first = 0;
        while first < values {
            let count = RANDOM_VALUES.min(values - first);
            let part = bytemuck::cast_slice(&random[..count as usize]);
            self.queue.write_buffer(&buffer, 4 * first, part);
            first += count;
        }
        Ok(buffer)
    }

    /// A buffer of `size` bytes, all zero.
    pub(super) fn buffer(&self, size: u64, usage: BufferUsages) -> Result<Buffer, Failure> {
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let label = Some("ztilde/bench");
        let descriptor = BufferDescriptor { label, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(error) => Err(Failure::device(error.to_string())),
        }
    }

    pub(super) fn submit(&self, record: impl FnOnce(&mut CommandEncoder)) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }

    /// Waits for everything that was submitted.
    pub(super) fn wait(&self) -> Result<(), Failure> {
        match self.device.poll(PollType::wait_indefinitely()) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::device(error.to_string())),
        }
    }

    /// The bytes that wgpu's allocator has given out on this device. `None` if the backend's allocator does
    /// not report them.
    pub(super) fn allocated(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    pub(super) fn has_timestamps(&self) -> bool {
        self.device.features().contains(Features::TIMESTAMP_QUERY)
    }

    /// The milliseconds that the GPU spends on each pass (at most 2048), from the timestamps at the pass
    /// boundaries. `None` on a device without timestamps.
    pub(super) fn time_passes(&self, passes: &[&[Dispatch]]) -> Result<Option<Vec<f64>>, Failure> {
        if !self.has_timestamps() {
            return Ok(None);
        }
        let count = 2 * passes.len() as u32;
        let size = 8 * u64::from(count);
        let query_set = self.device.create_query_set(&QuerySetDescriptor {
            label: Some("ztilde/bench"),
            ty: QueryType::Timestamp,
            count,
        });
        let resolved = self.buffer(size, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let staging = self.buffer(size, BufferUsages::COPY_DST | BufferUsages::MAP_READ)?;
        self.submit(|encoder| {
            for (index, dispatches) in (0..).step_by(2).zip(passes) {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
                    label: Some("ztilde/bench"),
                    timestamp_writes: Some(ComputePassTimestampWrites {
                        query_set: &query_set,
                        beginning_of_pass_write_index: Some(index),
                        end_of_pass_write_index: Some(index + 1),
                    }),
                });
                dispatches.iter().for_each(|dispatch| dispatch.encode(&mut pass));
            }
            encoder.resolve_query_set(&query_set, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, size);
        });
        // An error becomes visible when the mapped range is read.
        staging.map_async(MapMode::Read, .., |_| {});
        self.wait()?;
        let bytes =
            staging.get_mapped_range(..).map_err(|error| Failure::device(error.to_string()))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let milliseconds = f64::from(self.queue.get_timestamp_period()) * 1e-6;
        let pass =
            |boundaries: &[u64]| boundaries[1].saturating_sub(boundaries[0]) as f64 * milliseconds;
        Ok(Some(ticks.chunks_exact(2).map(pass).collect()))
    }
}

/// Numbers between −1 and 1, the same in every run.
pub(super) fn random_values() -> impl FnMut() -> f32 {
    let mut generator = ChaCha8Rng::seed_from_u64(7);
    move || generator.random::<f32>() * 2.0 - 1.0
}
