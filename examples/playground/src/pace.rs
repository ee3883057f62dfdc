//! The number of steps in a frame: as many as fit its budget, and none while the GPU is still busy with
//! steps of an earlier frame.

use wgpu::{BufferUsages, CommandEncoder, ComputePassDescriptor, Device, Features, Queue};

use crate::readback::Readback;

/// The most steps of a frame, so that its submission stays short even if steps are very fast.
const MOST_STEPS: f32 = 1000.0;

/// The weight of a new measurement in the time of a step.
const SHARE_OF_NEW: f32 = 0.2;

#[derive(Debug)]
pub(crate) struct Pace {
    /// The GPU time for a frame's steps, in milliseconds.
    pub(crate) budget: f32,
    clock: Clock,
    plan: Plan,
}

/// The number of steps of the next frame, estimated from earlier frames.
#[derive(Debug)]
struct Plan {
    /// The steps of the frame that has not finished yet.
    in_flight: Option<u32>,
    /// The time of a step, in milliseconds. Unknown before the first measurement, and on adapters without a
    /// clock.
    step_time: Option<f32>,
    steps: f32,
}

/// The state of the last frame's steps.
#[derive(Clone, Copy, Debug)]
enum LastFrame {
    UnderWay,
    /// Still running, and their time will not be measured.
    UnderWayUnmeasured,
    Done {
        milliseconds: f32,
    },
    DoneUnmeasured,
}

impl Plan {
    const NEW: Self = Self { in_flight: None, step_time: None, steps: 1.0 };

    fn steps(&mut self, seen: LastFrame, budget: f32) -> u32 {
        let Some(taken) = self.in_flight else { return self.steps as u32 };
        match seen {
            LastFrame::UnderWay => return 0,
            // Without a clock, steps that are not done by the next frame were too many; if they are
            // done, the next frame may take more.
            LastFrame::UnderWayUnmeasured => {
                self.steps = (0.5 * self.steps).max(1.0);
                return 0;
            }
            LastFrame::DoneUnmeasured => self.steps = (1.25 * self.steps + 1.0).min(MOST_STEPS),
            LastFrame::Done { milliseconds } => {
                let new = milliseconds / taken as f32;
                let step_time = self.step_time.map_or(new, |old| old + SHARE_OF_NEW * (new - old));
                self.step_time = Some(step_time);
                // At most twice as many as before: the times of the first steps are inexact.
                let fitting = budget / step_time.max(1e-6);
                self.steps = fitting.min(2.0 * taken as f32).clamp(1.0, MOST_STEPS);
            }
        }
        self.in_flight = None;
        self.steps as u32
    }
}

impl Pace {
    pub(crate) fn new(device: &Device, queue: &Queue) -> Self {
        Self { budget: 8.0, clock: Clock::new(device, queue), plan: Plan::NEW }
    }

    /// Starts again for other networks, whose steps take a different time.
    pub(crate) fn forget(&mut self) {
        self.plan = Plan { in_flight: self.plan.in_flight, ..Plan::NEW };
    }

    /// The steps of this frame: none while the GPU is busy with those of the last one.
    pub(crate) fn steps(&mut self) -> u32 {
        self.plan.steps(self.clock.look(), self.budget)
    }

    /// Marks the time before a frame's steps, which are submitted next.
    pub(crate) fn begin(&self, device: &Device, queue: &Queue) {
        submit(device, queue, |encoder| self.clock.mark(encoder, 0));
    }

    /// Marks the time after a frame's steps, and reads both times.
    pub(crate) fn end(&mut self, steps: u32, device: &Device, queue: &Queue) {
        submit(device, queue, |encoder| {
            self.clock.mark(encoder, 1);
            self.clock.read(encoder);
        });
        self.plan.in_flight = Some(steps);
    }

    /// The steps of a frame, and the milliseconds of a step.
    pub(crate) fn measured(&self) -> Option<(u32, f32)> {
        Some((self.plan.steps as u32, self.plan.step_time?))
    }
}

fn submit(device: &Device, queue: &Queue, encode: impl FnOnce(&mut CommandEncoder)) {
    let label = Some("playground/clock");
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
    encode(&mut encoder);
    queue.submit([encoder.finish()]);
}

/// The GPU's time at two moments. Even without the feature it shows when the second moment has passed.
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

    /// Records the time at which all earlier submissions are done.
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

    /// Whether both moments have passed, and the time between them.
    fn look(&self) -> LastFrame {
        // A lost device is reported when the networks are read.
        match (self.readback.take::<u64>().unwrap_or(None), &self.queries) {
            (None, None) => LastFrame::UnderWayUnmeasured,
            (None, Some(_)) => LastFrame::UnderWay,
            (Some(_), None) => LastFrame::DoneUnmeasured,
            (Some(ticks), Some(_)) => {
                let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f32 * self.period;
                LastFrame::Done { milliseconds: 1e-6 * nanoseconds }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of steps of several frames, if every frame finds the previous frame's steps in this
    /// state.
    fn frames(plan: &mut Plan, seen: impl Fn(u32) -> LastFrame, count: usize) -> Vec<u32> {
        let frame = |_| {
            let steps = plan.steps(seen(plan.in_flight.unwrap_or(0)), 8.0);
            plan.in_flight = if steps > 0 { Some(steps) } else { plan.in_flight };
            steps
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn steps_fit_the_budget_and_wait_for_the_gpu() {
        let mut plan = Plan::NEW;
        let step_of =
            |time: f32| move |taken| LastFrame::Done { milliseconds: time * taken as f32 };
        assert_eq!(frames(&mut plan, step_of(1.0), 6), [1, 2, 4, 8, 8, 8]);
        assert_eq!(frames(&mut plan, |_| LastFrame::UnderWay, 3), [0, 0, 0]);
        assert_eq!(frames(&mut plan, step_of(4.0), 40)[39], 2);
        assert_eq!(frames(&mut plan, step_of(100.0), 40)[39], 1);
    }

    #[test]
    fn without_a_clock_a_frame_tells() {
        let mut plan = Plan::NEW;
        assert_eq!(frames(&mut plan, |_| LastFrame::DoneUnmeasured, 4), [1, 2, 3, 5]);
        assert_eq!(frames(&mut plan, |_| LastFrame::UnderWayUnmeasured, 1), [0]);
        assert_eq!(frames(&mut plan, |_| LastFrame::DoneUnmeasured, 1), [4]);
    }
}
