//! `Schedule`: how the learning rate changes with the steps.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::check;
use crate::error::Result;

/// How the learning rate moves with the steps. Computed on the CPU, in f64.
///
/// ```
/// use ztilde::{Optimizer, Schedule};
///
/// let schedule = Schedule::Step { every: 100, factor: 0.5 };
/// let optimizer = Optimizer { schedule, ..Optimizer::gradient_descent(0.1) };
/// assert_eq!([1, 100, 101, 201].map(|step| optimizer.learning_rate_at(step)), [0.1, 0.1, 0.05, 0.025]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// The same for all steps.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` steps.
    Step {
        /// Steps between two changes; at least 1.
        every: u64,
        /// The factor of the rate.
        factor: f64,
    },
    /// Half a cosine from the learning rate down to `last · learning rate`, over `steps` steps; constant
    /// from then on.
    Cosine {
        /// Steps until the end; at least 1.
        steps: u64,
        /// The share of the learning rate that is left at the end.
        last: f64,
    },
    /// The one-cycle policy over `steps` steps: during the first 30 %, half a cosine from a 25th of the
    /// learning rate up to the learning rate; then half a cosine down to a 10,000th of the initial rate;
    /// constant from then on.
    ///
    /// This is PyTorch's `OneCycleLR(max_lr=learning_rate, total_steps=steps)` with
    /// `cycle_momentum=False`.
    OneCycle {
        /// Steps until the end; at least 1.
        steps: u64,
    },
}

impl Schedule {
    /// The share of the learning rate that is left after `done` steps.
    pub(super) fn share(self, done: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => factor.powf((done / every.max(1)) as f64),
            Self::Cosine { steps, last } => {
                half_cosine(1.0, last, (done as f64 / steps.max(1) as f64).min(1.0))
            }
            Self::OneCycle { steps } => one_cycle(done as f64, steps as f64),
        }
    }

    pub(super) fn check(self) -> Result<()> {
        let positive = |value: f64| value > 0.0;
        let check_steps =
            |steps: u64| check("the schedule's steps", steps as f64, "at least 1", positive);
        match self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => {
                check("the schedule's every", every as f64, "at least 1", positive)?;
                check("the schedule's factor", factor, "finite and above 0", positive)
            }
            Self::Cosine { steps, last } => {
                check_steps(steps)?;
                let from_zero = |value: f64| value >= 0.0;
                check("the schedule's last", last, "finite and at least 0", from_zero)
            }
            Self::OneCycle { steps } => check_steps(steps),
        }
    }
}

/// From `first` at progress 0 to `last` at 1.
fn half_cosine(first: f64, last: f64, progress: f64) -> f64 {
    last + (first - last) * 0.5 * (1.0 + (PI * progress).cos())
}

fn one_cycle(done: f64, steps: f64) -> f64 {
    const RISE: f64 = 0.3;
    const FIRST: f64 = 1.0 / 25.0;
    const LAST: f64 = FIRST / 1e4;
    // As in PyTorch, the first of `steps` rates is that of step 0, the last one that of step `steps −
    // 1`. The peak is between two steps if 30 % of the steps is not a whole number.
    let [peak, end] = [RISE * steps - 1.0, steps - 1.0];
    if done <= peak {
        half_cosine(FIRST, 1.0, done / peak)
    } else {
        half_cosine(1.0, LAST, ((done - peak) / (end - peak)).min(1.0))
    }
}
