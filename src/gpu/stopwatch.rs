//! The time that dispatches take: by the GPU's own clock, or without one by the CPU's.

use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites,
    Features, QuerySet, QuerySetDescriptor, QueryType,
};

use super::{Copies, Dispatch, Gpu, Source, guarded};
use crate::error::Result;

/// The name of what it makes and submits.
const LABEL: &str = "ztilde/stopwatch";

/// Values of two timestamps.
const VALUES: u64 = 4;

/// Measures dispatches of a device.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    gpu: Gpu,
    /// The timestamps at both ends of a pass.
    queries: Option<QuerySet>,
    ticks: Buffer,
}

impl Stopwatch {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        let Gpu { device, .. } = gpu;
        let has_timestamps = device.features().contains(Features::TIMESTAMP_QUERY);
        let (label, count, ty) = (Some(LABEL), 2, QueryType::Timestamp);
        let descriptor = QuerySetDescriptor { label, count, ty };
        let queries = has_timestamps
            .then(|| guarded(device, || device.create_query_set(&descriptor)))
            .transpose()?;
        let resolves = queries.as_ref().map(|_| BufferUsages::QUERY_RESOLVE);
        let usage = BufferUsages::COPY_SRC | resolves.unwrap_or(BufferUsages::empty());
        let (size, mapped_at_creation) = (4 * VALUES, false);
        let descriptor = BufferDescriptor { label, size, usage, mapped_at_creation };
        let ticks = guarded(device, || device.create_buffer(&descriptor))?;
        Ok(Self { gpu: gpu.clone(), queries, ticks })
    }

    /// The microseconds that these dispatches take, as the mean of `times` repetitions in one pass. In a
    /// browser without timestamps it is always 0.
    pub(crate) async fn microseconds(&self, dispatches: &[&Dispatch], times: u32) -> Result<f64> {
        let Self { gpu, queries, ticks } = self;
        let source = Source::new(ticks, VALUES);
        let copies = Copies::new(gpu, [source])?;
        let clock = gpu.watch.clock();
        let begin = clock.now();
        let submission = gpu.submit(LABEL, |encoder| {
            let timestamp_writes = queries.as_ref().map(|query_set| ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = ComputePassDescriptor { label: Some(LABEL), timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            for _ in 0..times {
                dispatches.iter().for_each(|dispatch| dispatch.encode(&mut pass));
            }
            drop(pass);
            if let Some(queries) = queries {
                encoder.resolve_query_set(queries, 0..2, ticks, 0);
            }
            copies.record(encoder);
        })?;
        let [values] = copies.read::<u32>(gpu, &submission).await?;
        let microseconds = match queries {
            Some(_) => {
                let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&values);
                let nanoseconds = f64::from(gpu.queue.get_timestamp_period());
                ticks[1].saturating_sub(ticks[0]) as f64 * nanoseconds * 1e-3
            }
            None => clock.now() - begin,
        };
        Ok(microseconds / f64::from(times))
    }
}

#[cfg(test)]
mod tests {
    use wgpu::DeviceDescriptor;

    use super::*;
    use crate::gpu::{block_on, test_device};
    use crate::kernels::add_biases::{AddBiases, Buffers};

    /// By the clock of the GPU, if it has one, and by that of the CPU.
    #[test]
    fn more_work_takes_longer() {
        let adapter = test_device::adapter();
        for features in [Features::TIMESTAMP_QUERY, Features::empty()] {
            let required_features = features & adapter.features();
            let descriptor = DeviceDescriptor { required_features, ..Default::default() };
            let device = pollster::block_on(adapter.request_device(&descriptor));
            let (device, queue) = device.expect("a device");
            let gpu = Gpu::new(&device, &queue);
            let stopwatch = Stopwatch::new(&gpu).expect("a stopwatch");
            assert_eq!(stopwatch.queries.is_some(), !required_features.is_empty());
            let kernel = AddBiases::new(&device).expect("a kernel");
            let dispatch = |rows: u32| {
                let biases = &gpu.matrix("biases", 1, 64).expect("a matrix");
                let sums = &gpu.matrix("sums", rows, 64).expect("a matrix");
                kernel.bind(&device, "test", Buffers { biases, sums }).expect("a dispatch")
            };
            let [small, large] = [1, 1 << 18].map(dispatch);
            let time = |dispatches: &[&Dispatch], times| {
                block_on(&device, stopwatch.microseconds(dispatches, times)).expect("a time")
            };
            time(&[&small, &large], 1);
            let [few, many] = [&[&small][..], &[&large, &large]].map(|all| time(all, 4));
            assert!(0.0 < few && few < many && many < 1e8, "{few} µs and {many} µs, {features:?}");
        }
    }
}
