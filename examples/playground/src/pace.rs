//! How many steps a frame takes: as many as fit its budget, and none while the GPU is still busy with
//! those of an earlier frame.

use wgpu::{BufferUsages, CommandEncoder, ComputePassDescriptor, Device, Features, Queue};

use crate::readback::Readback;

/// So that what a frame submits stays short even where steps cost nothing.
const MOST_STEPS: f32 = 1000.0;

/// How much of a new measurement goes into the time of a step.
const SHARE_OF_NEW: f32 = 0.2;

#[derive(Debug)]
pub(crate) struct Pace {
    /// What a frame's steps may take on the GPU, in milliseconds.
    pub(crate) budget: f32,
    clock: Clock,
    /// Steps of the frame whose end has not been seen.
    in_flight: Option<u32>,
    /// What a step takes, in milliseconds. Unknown before the first was measured, and where the
    /// adapter has no clock.
    step_time: Option<f32>,
    steps: f32,
}

impl Pace {
    pub(crate) fn new(device: &Device, queue: &Queue) -> Self {
        let clock = Clock::new(device, queue);
        Self { budget: 8.0, clock, in_flight: None, step_time: None, steps: 1.0 }
    }

    /// Other networks, whose steps take another time.
    pub(crate) fn forget(&mut self) {
        (self.step_time, self.steps) = (None, 1.0);
    }

    /// The steps of this frame.
    pub(crate) fn steps(&mut self) -> u32 {
        if let Some(steps) = self.in_flight {
            let Some(time) = self.clock.take() else {
                // Without a clock: what is not done by the next frame is too much.
                if !self.clock.measures() {
                    self.steps = (0.5 * self.steps).max(1.0);
                }
                return 0;
            };
            self.in_flight = None;
            self.adapt(steps, time);
        }
        self.steps as u32
    }

    fn adapt(&mut self, steps: u32, time: Option<f32>) {
        let Some(time) = time else {
            self.steps = (1.25 * self.steps + 1.0).min(MOST_STEPS);
            return;
        };
        let new = time / steps as f32;
        let step_time = self.step_time.map_or(new, |old| old + SHARE_OF_NEW * (new - old));
        self.step_time = Some(step_time);
        // At most twice as many as before: the first steps' times say little.
        let fitting = self.budget / step_time.max(1e-6);
        self.steps = fitting.min(2.0 * steps as f32).clamp(1.0, MOST_STEPS);
    }

    /// Before a frame's steps are submitted, and behind them.
    pub(crate) fn begin(&self, device: &Device, queue: &Queue) {
        submit(device, queue, |encoder| self.clock.mark(encoder, 0));
    }

    pub(crate) fn end(&mut self, steps: u32, device: &Device, queue: &Queue) {
        submit(device, queue, |encoder| {
            self.clock.mark(encoder, 1);
            self.clock.read(encoder);
        });
        self.in_flight = Some(steps);
    }

    /// Steps of the last frame, and what a step takes in milliseconds.
    pub(crate) fn measured(&self) -> Option<(u32, f32)> {
        Some((self.steps as u32, self.step_time?))
    }
}

fn submit(device: &Device, queue: &Queue, encode: impl FnOnce(&mut CommandEncoder)) {
    let label = Some("playground/clock");
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
    encode(&mut encoder);
    queue.submit([encoder.finish()]);
}

/// The GPU's time at two moments. Also without the feature it tells when the second has passed.
#[derive(Debug)]
struct Clock {
    queries: Option<wgpu::QuerySet>,
    resolved: wgpu::Buffer,
    readback: Readback,
    /// Nanoseconds per tick.
    period: f32,
}

/// Two times, 64 bits each.
const CLOCK_BYTES: u64 = 16;

impl Clock {
    fn new(device: &Device, queue: &Queue) -> Self {
        let label = Some("playground/clock");
        let measures = device.features().contains(Features::TIMESTAMP_QUERY);
        let descriptor =
            wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count: 2 };
        Self {
            queries: measures.then(|| device.create_query_set(&descriptor)),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size: CLOCK_BYTES,
                usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            readback: Readback::new(device, "playground/clock", CLOCK_BYTES),
            period: queue.get_timestamp_period(),
        }
    }

    fn measures(&self) -> bool {
        self.queries.is_some()
    }

    /// Notes the time at which everything that was submitted before is done.
    fn mark(&self, encoder: &mut CommandEncoder, moment: u32) {
        let Some(query_set) = &self.queries else { return };
        encoder.begin_compute_pass(&ComputePassDescriptor {
            label: Some("playground/clock"),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(moment),
                end_of_pass_write_index: None,
            }),
        });
    }

    fn read(&self, encoder: &mut CommandEncoder) {
        if let Some(queries) = &self.queries {
            encoder.resolve_query_set(queries, 0..2, &self.resolved, 0);
        }
        self.readback.encode(encoder, [&self.resolved]);
    }

    /// Once both moments have passed: the milliseconds between them, if the device measures.
    fn take(&self) -> Option<Option<f32>> {
        let ticks = self.readback.take::<u64>()?;
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f32 * self.period;
        Some(self.measures().then_some(1e-6 * nanoseconds))
    }
}
