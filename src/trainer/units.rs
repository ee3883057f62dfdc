//! A step, and the parts that may be submitted apart.

use std::ops::Range;

use wgpu::ComputePass;

use crate::gpu::Dispatch;
use crate::plan::StepPlan;

/// The dispatches of a step. A unit is a part of a dispatch, or a dispatch without parts: a step that takes long
/// is divided between its units.
#[derive(Clone, Debug)]
pub(super) struct Step {
    dispatches: Vec<Dispatch>,
    /// The time that the plan predicts for each unit.
    microseconds: Vec<f64>,
}

/// The units of a dispatch.
fn units(dispatch: &Dispatch) -> usize {
    dispatch.parts().len().max(1)
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
        let planned = plan.dispatches();
        debug_assert_eq!(planned.len(), dispatches.len(), "what is planned is bound");
        let of_units = dispatches.iter().zip(planned).flat_map(|(dispatch, planned)| {
            let units = units(dispatch);
            std::iter::repeat_n(share * planned.microseconds() / units as f64, units)
        });
        Self { microseconds: of_units.collect(), dispatches }
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

    /// Records some units. All units of a dispatch are the dispatch itself.
    pub(super) fn encode(&self, pass: &mut ComputePass<'_>, range: Range<usize>) {
        let mut first = 0;
        for dispatch in &self.dispatches {
            let end = first + units(dispatch);
            let own = range.start.max(first)..range.end.min(end);
            if own == (first..end) {
                dispatch.encode(pass);
            } else if !own.is_empty() {
                let parts = &dispatch.parts()[own.start - first..own.end - first];
                parts.iter().for_each(|part| part.encode(pass));
            }
            first = end;
        }
    }

    pub(super) fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    pub(super) fn into_dispatches(self) -> Vec<Dispatch> {
        self.dispatches
    }
}
