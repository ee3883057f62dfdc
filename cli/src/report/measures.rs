//! The measures of an evaluation, by name, and their decimals.

use serde::ser::SerializeMap;
use ztilde::{Evaluation, Loss};

/// The measures of an evaluation, which depend on the loss.
pub(super) fn measures(loss: Loss) -> &'static [&'static str] {
    match loss {
        Loss::MeanSquaredError => &["loss", "rmse", "r2"],
        _ => &["loss", "accuracy"],
    }
}

pub(super) fn measure(name: &str, evaluation: &Evaluation) -> Option<f64> {
    match name {
        "accuracy" => evaluation.accuracy,
        "rmse" => evaluation.rmse,
        "r2" => evaluation.r2,
        _ => Some(evaluation.loss),
    }
}

pub(super) fn entries<M: SerializeMap>(
    map: &mut M,
    prefix: &str,
    loss: Loss,
    evaluation: Option<&Evaluation>,
) -> Result<(), M::Error> {
    measures(loss).iter().try_for_each(|name| {
        let value = evaluation.and_then(|evaluation| measure(name, evaluation));
        map.serialize_entry(&format!("{prefix}_{name}"), &value)
    })
}

/// Four decimals, or fewer if the number is too large for its column.
pub(crate) fn decimals(number: f64) -> String {
    if number.abs() < 10_000.0 { format!("{number:.4}") } else { format!("{number:.2e}") }
}
