//! Measures the time of a step, in as many repetitions as the seconds of a row allow.

use std::time::{Duration, Instant};

use super::gpu::Gpu;
use crate::failure::Failure;

/// The least time of a repetition, so that submitting and waiting hardly count.
const LEAST: Duration = Duration::from_millis(20);

/// The most steps of a repetition.
const MOST_STEPS: u32 = 4096;

const LEAST_REPETITIONS: usize = 3;

/// Milliseconds per step, over all repetitions.
pub(super) struct Times {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) repetitions: usize,
    pub(super) steps_per_repetition: u32,
}

impl Times {
    /// Runs repetitions for this many seconds, and at least three. `submit` submits a given number of steps;
    /// each repetition waits for them once.
    ///
    /// Steps before the first repetition are not measured. They warm up, and show how many steps a
    /// repetition needs.
    pub(super) fn measure(
        gpu: &Gpu,
        seconds: f64,
        mut submit: impl FnMut(u32) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut repetition = |steps: u32| {
            let start = Instant::now();
            submit(steps)?;
            gpu.wait()?;
            Ok::<_, Failure>(start.elapsed())
        };
        let mut steps = 1;
        let mut time = repetition(steps)?;
        // The very first step may do extra work, but takes less than a second.
        if time < Duration::from_secs(1) {
            time = repetition(steps)?;
        }
        while time < LEAST && steps < MOST_STEPS {
            steps = more_steps(steps, time);
            time = repetition(steps)?;
        }
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < LEAST_REPETITIONS || start.elapsed().as_secs_f64() < seconds {
            times.push(1e3 * repetition(steps)?.as_secs_f64() / f64::from(steps));
        }
        times.sort_by(f64::total_cmp);
        Ok(Self {
            median: median(&times),
            min: times[0],
            max: times[times.len() - 1],
            repetitions: times.len(),
            steps_per_repetition: steps,
        })
    }

    /// The times of the steps, if what was measured is this many steps together.
    pub(super) fn of_parts(self, steps: u32) -> Self {
        let of_one = |time: f64| time / f64::from(steps);
        Self {
            median: of_one(self.median),
            min: of_one(self.min),
            max: of_one(self.max),
            repetitions: self.repetitions,
            steps_per_repetition: self.steps_per_repetition * steps,
        }
    }
}

/// The number of steps that will probably take a little longer than [`LEAST`], but at most 16 times as
/// many as before, because short times are inexact.
fn more_steps(steps: u32, time: Duration) -> u32 {
    let factor = 1.25 * LEAST.as_secs_f64() / time.as_secs_f64().max(1e-9);
    ((f64::from(steps) * factor.clamp(1.5, 16.0)).ceil() as u32).min(MOST_STEPS)
}

/// The median of sorted values, of which there is at least one.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
    }

    #[test]
    fn an_epoch_is_all_of_its_steps() {
        let times =
            Times { median: 9.0, min: 6.0, max: 30.0, repetitions: 5, steps_per_repetition: 2 };
        let Times { median, min, max, repetitions, steps_per_repetition } = times.of_parts(3);
        assert_eq!([median, min, max], [3.0, 2.0, 10.0]);
        assert_eq!((repetitions, steps_per_repetition), (5, 6));
    }

    #[test]
    fn a_repetition_grows_until_it_is_long_enough() {
        let step = Duration::from_micros(30);
        let mut steps = 1;
        let mut tries = 0;
        while step * steps < LEAST {
            steps = more_steps(steps, step * steps);
            tries += 1;
        }
        assert!((667..2000).contains(&steps), "{steps}");
        assert!(tries < 5, "{tries}");
        assert_eq!(more_steps(1, Duration::ZERO), 16);
        assert_eq!(more_steps(MOST_STEPS, step), MOST_STEPS);
        // A repetition that is nearly long enough still has to grow.
        assert_eq!(more_steps(1, LEAST - step), 2);
    }
}
