//! How much work a submission holds: as much as takes 10 to 20 ms, by the times of the submissions before.
//!
//! Plain data, whose clock is the caller's. All times are in microseconds. Work is in the microseconds that the
//! plan predicts. The device takes another time for it, by a factor that its submissions show.
//!
//! Before the first measurement a submission is so small that it is short even on a device a hundred times as
//! slow as predicted. Then each may hold four times the most work that was measured, until it is long enough. A device as fast as predicted gets there with its fifth submission.

use std::collections::VecDeque;

/// The time that a submission should take: it hides the cost of submitting, and an app's next frame does not
/// wait long for it.
const GOAL: f64 = 15_000.0;

/// A submission may be longer than the goal by this factor, rather than leave a part of a step to the next.
const SLACK: f64 = 4.0 / 3.0;

/// The work of a submission before the first measurement.
const FIRST: f64 = GOAL / 100.0;

/// How many times the most work of the recent submissions the next may hold: other dispatches may take longer
/// than these, compared with their prediction.
const GROWTH: f64 = 4.0;

/// A submission takes no less than this on an idle device. What others run on it may make times long, and
/// short submissions would leave it to them.
const LEAST: f64 = 2_000.0;

/// The number of measurements that count.
const RECENT: usize = 16;

/// Without a clock, a device is assumed to take this many times as long as predicted.
const ASSUMED: f64 = 20.0;

/// The most submissions that the device has at once: it works on one while the next waits in its queue, and the
/// CPU records a third or reads the results of the one before.
pub(crate) const MOST_IN_FLIGHT: usize = 3;

/// The pace of a device, measured on submissions.
#[derive(Debug)]
pub(crate) struct Pace {
    has_clock: bool,
    /// The last measurements, the latest last.
    measured: VecDeque<Measured>,
    in_flight: VecDeque<Submitted>,
    /// When the device may have begun with the oldest of them: when the one before it was not seen to be done.
    begun: f64,
    /// The work of each submission, for tests.
    #[cfg(test)]
    forced: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Of a submission.
    work: f64,
    /// How many times as long as predicted it took.
    scale: f64,
}

#[derive(Clone, Copy, Debug)]
struct Submitted {
    work: f64,
    at: f64,
}

impl Pace {
    /// Without a clock nothing is measured.
    pub(crate) fn new(has_clock: bool) -> Self {
        Self {
            has_clock,
            measured: VecDeque::with_capacity(RECENT),
            in_flight: VecDeque::with_capacity(MOST_IN_FLIGHT + 1),
            begun: 0.0,
            #[cfg(test)]
            forced: None,
        }
    }

    /// Makes submissions of this work, for tests.
    #[cfg(test)]
    pub(crate) fn force(&mut self, work: f64) {
        self.forced = Some(work);
    }

    /// The work that would take as long as a submission should, if that is known.
    fn goal(&self) -> Option<f64> {
        if !self.has_clock {
            return Some(GOAL / ASSUMED);
        }
        let latest = self.measured.back()?.scale;
        let fastest = self.measured.iter().map(|measured| measured.scale).fold(latest, f64::min);
        Some((GOAL / latest).max(LEAST / fastest))
    }

    /// The most work that the measurements allow.
    fn most(&self) -> f64 {
        let largest = self.measured.iter().map(|measured| measured.work).fold(0.0, f64::max);
        if self.has_clock { FIRST.max(GROWTH * largest) } else { f64::INFINITY }
    }

    /// The work of the next submission.
    fn budget(&self) -> f64 {
        #[cfg(test)]
        if let Some(forced) = self.forced {
            return forced;
        }
        self.goal().map_or(FIRST, |goal| goal.min(self.most()))
    }

    /// Whether the next submission would be longer if the time of those in flight were known.
    fn is_growing(&self) -> bool {
        self.goal().is_none_or(|goal| goal > self.most())
    }

    /// Whether the oldest submission has to be done before the next. `wanted` is all the work that waits.
    pub(crate) fn must_wait(&self, wanted: f64) -> bool {
        let in_flight = self.in_flight.len();
        in_flight >= MOST_IN_FLIGHT
            || (in_flight > 0 && self.is_growing() && wanted > self.budget())
    }

    /// How many of the steps that wait the next submission holds, each with this work. 0 if a step is too long
    /// for one submission.
    pub(crate) fn steps(&self, step: f64, waiting: u32) -> u32 {
        let budget = self.budget();
        if step > SLACK * budget {
            return 0;
        }
        if step * f64::from(waiting) <= SLACK * budget {
            return waiting.max(1); // Rather than leave a short rest.
        }
        ((budget / step).round() as u32).clamp(1, waiting.max(1))
    }

    /// How many of the remaining units of a step the next submission holds: about as much work as the ones after
    /// it.
    pub(crate) fn units(&self, left: &[f64]) -> usize {
        let budget = self.budget();
        let all: f64 = left.iter().sum();
        if all <= SLACK * budget {
            return left.len();
        }
        let share = all / (all / budget).ceil();
        let mut work = 0.0;
        let fits = |unit: &&f64| {
            let middle = work + *unit / 2.0;
            work += *unit;
            middle <= share
        };
        left.iter().take_while(fits).count().max(1)
    }

    /// Work was submitted at this time.
    pub(crate) fn submit(&mut self, work: f64, at: f64) {
        self.in_flight.push_back(Submitted { work, at });
    }

    /// The oldest `count` submissions are done. The last of them was not at the time `since`, and was at the time
    /// `until`: with a longer time than it took, the next submission is shorter, and never longer.
    pub(crate) fn done(&mut self, count: usize, [since, until]: [f64; 2]) {
        let count = count.min(self.in_flight.len());
        let done: Vec<_> = self.in_flight.drain(..count).collect();
        let [Some(first), Some(last)] = [done.first(), done.last()] else { return };
        let time = until - first.at.max(self.begun);
        let work: f64 = done.iter().map(|submitted| submitted.work).sum();
        if self.measured.len() == RECENT {
            self.measured.pop_front();
        }
        let scale = time.max(1.0) / work.max(1e-3);
        self.measured.push_back(Measured { work: last.work, scale });
        self.begun = since;
    }

    /// The oldest `count` submissions are done, at an unknown time.
    pub(crate) fn forget(&mut self, count: usize) {
        self.in_flight.drain(..count.min(self.in_flight.len()));
    }
}

#[cfg(test)]
mod tests;
