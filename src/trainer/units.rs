//! A step, and the parts that may be submitted apart.

use std::ops::Range;

use wgpu::ComputePass;

use crate::gpu::Dispatch;
use crate::plan::StepPlan;

/// The dispatches of a step. Each is a unit: a step that takes long is divided between them.
#[derive(Clone, Debug)]
pub(super) struct Step {
    dispatches: Vec<Dispatch>,
    /// The time that the plan predicts for each unit.
    microseconds: Vec<f64>,
}

/// What a submission holds of the next steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole steps.
    Steps(u32),
    /// Some units of one step.
    Units(Range<usize>),
}

impl Step {
    /// A step of the plan, on `rows` rows.
    pub(super) fn new(dispatches: Vec<Dispatch>, plan: &StepPlan, rows: u32) -> Self {
        let share = f64::from(rows) / f64::from(plan.rows());
        let planned = plan.dispatches().iter().map(|planned| share * planned.microseconds());
        let microseconds: Vec<_> = planned.take(dispatches.len()).collect();
        debug_assert_eq!(microseconds.len(), dispatches.len(), "what is planned is bound");
        Self { dispatches, microseconds }
    }

    pub(super) fn units(&self) -> usize {
        self.microseconds.len()
    }

    /// The predicted time of each unit from this one on.
    pub(super) fn microseconds(&self, first: usize) -> &[f64] {
        &self.microseconds[first..]
    }

    /// The predicted time of some units.
    pub(super) fn work(&self, units: Range<usize>) -> f64 {
        self.microseconds[units].iter().sum()
    }

    pub(super) fn encode(&self, pass: &mut ComputePass<'_>, units: Range<usize>) {
        for dispatch in &self.dispatches[units] {
            dispatch.encode(pass);
        }
    }

    pub(super) fn into_dispatches(self) -> Vec<Dispatch> {
        self.dispatches
    }
}
