use ndarray::Array2;

use super::super::Trainer;
use crate::data::Targets;

/// One step after the other, each on a batch of its own. Returns the loss and the accuracy of each batch.
///
/// # Panics
///
/// As [`Trainer::step`] does.
pub fn whole_steps(
    trainer: &mut Trainer,
    batches: &[(Array2<f64>, Targets<'_>)],
) -> Vec<(f64, f64)> {
    batches.iter().map(|(inputs, targets)| trainer.step(inputs, targets)).collect()
}
