//! How the cells of one column are read: as numbers in some form, or as names.

use serde::{Deserialize, Serialize};

use crate::data::cell::{Cell, Raw, finite, forms::Form};

/// How the cells of a column are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reading {
    /// The notation of its numbers.
    pub(crate) form: Form,
    /// Whether a cell without quotes is missing even if it is a category, such as NA.
    pub(crate) unquoted_is_missing: bool,
}

impl Reading {
    /// Whether this is the default, which model files leave out.
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a cell of a column with these categories is missing. A category such as NA is not, except with
    /// `unquoted_is_missing`.
    pub(crate) fn is_missing(&self, names: &[String], raw: Raw<'_>) -> bool {
        let is_known = || !self.unquoted_is_missing && names.iter().any(|name| name == raw.text);
        raw.is_missing_text() && (raw.text.is_empty() || !is_known())
    }

    /// The index of a cell's category, if it is known.
    pub(crate) fn place(&self, names: &[String], raw: Raw<'_>) -> Option<usize> {
        if self.is_missing(names, raw) { None } else { category_place(names, raw.text) }
    }

    /// A number, or NaN if it is missing.
    pub(crate) fn number(&self, raw: Raw<'_>) -> Result<f64, String> {
        let text = raw.text;
        let parsed = Cell::parse(raw);
        match (parsed, &self.form) {
            (Cell::Missing, _) => Ok(f64::NAN),
            (Cell::Number(number), Form::Plain) if number.is_finite() => Ok(number),
            (Cell::Number(number), form) if number.is_finite() && form.takes_plain(text) => {
                Ok(number)
            }
            (Cell::Number(number), _) if number.is_infinite() => {
                Err(format!("{text:?} is not a finite number: correct or empty the cell"))
            }
            (Cell::Number(_), form) => Err(unlike(text, form)),
            (Cell::Text(_), Form::Plain) => Err(format!(
                "{text:?} is not a number, as the column had in training: correct or empty the cell"
            )),
            (Cell::Text(_), form) => form.later_number(text).ok_or_else(|| unlike(text, form)),
        }
    }
}

/// The message for a cell whose form differs from that in training.
fn unlike(text: &str, form: &Form) -> String {
    let kind = form.kind("");
    format!("{text:?} is not {kind}, as the column had in training: correct or empty the cell")
}

/// The index of a name; or of an equal number, such as 5 for 5.0; or of an equal truth value, because
/// pandas writes `True` and other programs write `true`.
pub(crate) fn category_place(names: &[String], name: &str) -> Option<usize> {
    names.iter().position(|known| known == name).or_else(|| {
        let number = finite(name);
        let is_truth = ["true", "false"].iter().any(|truth| name.eq_ignore_ascii_case(truth));
        names.iter().position(|known| match number {
            Some(_) => finite(known) == number,
            None => is_truth && known.eq_ignore_ascii_case(name),
        })
    })
}
