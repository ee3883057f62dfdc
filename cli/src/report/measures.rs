//! The measures of an evaluation, by name, and their decimals.

use serde::ser::SerializeMap;
use ztilde::Evaluation;

/// The measures of an evaluation.
pub(super) fn measures(has_accuracy: bool) -> &'static [&'static str] {
    if has_accuracy { &["loss", "accuracy"] } else { &["loss", "rmse", "r2"] }
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
    has_accuracy: bool,
    evaluation: Option<&Evaluation>,
) -> Result<(), M::Error> {
    measures(has_accuracy).iter().try_for_each(|name| {
        let value = evaluation.and_then(|evaluation| measure(name, evaluation));
        map.serialize_entry(&format!("{prefix}_{name}"), &value)
    })
}

/// Four decimals, or fewer if the number is too large for its column.
pub(crate) fn decimals(number: f64) -> String {
    if number.abs() < 10_000.0 { format!("{number:.4}") } else { format!("{number:.2e}") }
}
