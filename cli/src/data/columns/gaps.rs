//! Gaps: cells that give a model no information, because the value is missing or the category unknown.

use serde::Serialize;

use crate::data::{
    cell::Raw,
    columns::preprocessing::{Column, Values},
    options::Missing,
};

/// The most columns with a note of their own.
const NOTED: usize = 20;

/// Why a cell is a gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gap {
    Missing,
    /// No training row has the category.
    Unknown,
}

impl Gap {
    /// The gap of a cell that is encoded as NaN.
    pub(crate) fn of(column: &Column, cell: Raw<'_>) -> Self {
        if column.is_unknown(cell) { Self::Unknown } else { Self::Missing }
    }
}

/// The gaps that are errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) missing: Missing,
    is_strict: bool,
    /// A hint on missing values, for errors.
    cure: &'static str,
}

impl Policy {
    /// Determined by `--missing`, if it was typed, and `--strict`.
    pub(crate) fn new(typed: Option<Missing>, is_strict: bool) -> Self {
        let usual = if is_strict { Missing::Error } else { Missing::Fill };
        let cure = "--missing fill accepts it";
        Self { missing: typed.unwrap_or(usual), is_strict, cure }
    }

    /// For a model without a preprocessing, which has no value to impute.
    pub(crate) const fn without_preprocessing() -> Self {
        let cure = "the model has no value to fill in";
        Self { missing: Missing::Error, is_strict: false, cure }
    }

    fn refuses_unknown(self) -> bool {
        self.is_strict || self.missing == Missing::Error
    }

    /// Fails with a sentence if the gap is an error.
    pub(crate) fn check(self, gap: Gap, column: &Column, cell: &str) -> Result<(), String> {
        match gap {
            Gap::Missing if self.missing == Missing::Error => {
                Err(format!("the value is missing; {}", self.cure))
            }
            Gap::Unknown if self.refuses_unknown() => {
                let cure = match self.is_strict {
                    true => "without --strict it counts as no category",
                    false => self.cure,
                };
                Err(format!("{}; {cure}", unknown(cell, column)))
            }
            _ => Ok(()),
        }
    }
}

/// The message about an unknown category.
fn unknown(cell: &str, column: &Column) -> String {
    let cell = cell.trim();
    let Values::Category(names) = &column.values else {
        return format!("{cell:?} is not a value of the column");
    };
    let known: Vec<_> = names.iter().take(5).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > known.len() { ", …" } else { "" };
    let count = names.len();
    format!("{cell:?} is not one of the {count} known categories: {}{more}", known.join(", "))
}

/// The gaps of a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gaps {
    missing: u64,
    unknown: u64,
    /// The first unknown category, and the position of its cell.
    first_unknown: Option<(String, String)>,
}

/// The gaps of a column in a report.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct FilledColumn {
    column: String,
    /// The number of rows, and of the missing and the unknown cells among them.
    rows: u64,
    missing: u64,
    unknown: u64,
    first_unknown: Option<String>,
}

impl Gaps {
    pub(crate) fn take(&mut self, gap: Gap) {
        match gap {
            Gap::Missing => self.missing += 1,
            Gap::Unknown => self.unknown += 1,
        }
    }

    /// Keeps an unknown category as the example, if it is the first.
    pub(crate) fn see(&mut self, cell: &str, place: impl FnOnce() -> String) {
        if self.first_unknown.is_none() {
            self.first_unknown = Some((cell.trim().to_owned(), place()));
        }
    }

    /// Takes the example of `seen`, if it has one.
    pub(crate) fn with_example_of(self, seen: Self) -> Self {
        Self { first_unknown: seen.first_unknown.or(self.first_unknown), ..self }
    }

    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// Fails with a sentence if there is an unknown category and that is an error.
    pub(crate) fn check(&self, policy: Policy, column: &Column) -> Result<(), String> {
        let Some((cell, place)) = self.first_unknown.as_ref().filter(|_| self.unknown > 0) else {
            return Ok(());
        };
        let name = &column.name;
        policy.check(Gap::Unknown, column, cell).map_err(|why| format!("{place}, {name:?}: {why}"))
    }

    /// A line that counts the gaps among this many rows.
    fn note(&self, column: &Column, rows: u64) -> String {
        let mut parts = Vec::new();
        let is_category = matches!(column.values, Values::Category(_));
        if self.unknown > 0 {
            let example = self.first_unknown.as_ref().map_or_else(String::new, |(cell, place)| {
                format!(" ({place}: {})", unknown(cell, column))
            });
            parts.push(format!("{} of {rows} unknown{example}", self.unknown));
        }
        if self.missing > 0 {
            let filled = if is_category { "no category" } else { "the mean of the training rows" };
            parts.push(format!("{} of {rows} missing, taken as {filled}", self.missing));
        }
        let name = format!("{:?}", column.name);
        format!("{}: {}", &name[1..name.len() - 1], parts.join("; "))
    }
}

/// The columns that have gaps.
fn with_gaps<'a>(
    columns: &'a [Column],
    gaps: &'a [Gaps],
) -> impl Iterator<Item = (&'a Column, &'a Gaps)> {
    columns.iter().zip(gaps).filter(|(_, gaps)| gaps.missing + gaps.unknown > 0)
}

/// A line for each column that has gaps among this many rows.
pub(crate) fn notes(columns: &[Column], gaps: &[Gaps], rows: u64) -> Vec<String> {
    let count = with_gaps(columns, gaps).count();
    let lines = with_gaps(columns, gaps).take(NOTED).map(|(column, gaps)| gaps.note(column, rows));
    let more = (count > NOTED).then(|| format!("{} more columns have gaps", count - NOTED));
    lines.chain(more).collect()
}

/// The same for a report.
pub(crate) fn report(columns: &[Column], gaps: &[Gaps], rows: u64) -> Vec<FilledColumn> {
    let column = |(column, gaps): (&Column, &Gaps)| FilledColumn {
        column: column.name.clone(),
        rows,
        missing: gaps.missing,
        unknown: gaps.unknown,
        first_unknown: gaps.first_unknown.as_ref().map(|(cell, _)| cell.clone()),
    };
    with_gaps(columns, gaps).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: Values) -> Column {
        Column::new("class", 1, values)
    }

    fn category() -> Column {
        column(Values::Category(["1st", "2nd", "3rd"].map(str::to_owned).to_vec()))
    }

    #[test]
    fn each_column_has_its_line() {
        let number = column(Values::Number { shift: 0.0, scale: 1.0, fill: None });
        let mut gaps = [Gaps::default(), Gaps::default(), Gaps::default()];
        gaps[0].take(Gap::Unknown);
        gaps[0].see(" First ", || "line 2".to_owned());
        gaps[0].see("Second", || panic!("the first is kept"));
        gaps[0].take(Gap::Missing);
        gaps[1].take(Gap::Missing);
        let columns = [category(), number, category()];
        assert_eq!(
            notes(&columns, &gaps, 7),
            [
                "class: 1 of 7 unknown (line 2: \"First\" is not one of the 3 known categories: \
                 \"1st\", \"2nd\", \"3rd\"); 1 of 7 missing, taken as no category",
                "class: 1 of 7 missing, taken as the mean of the training rows",
            ]
        );
        let many = vec![gaps[1].clone(); NOTED + 2];
        let lines = notes(&vec![category(); NOTED + 2], &many, 7);
        assert_eq!(lines.len(), NOTED + 1);
        assert_eq!(lines[NOTED], "2 more columns have gaps");
        assert_eq!(report(&columns, &gaps, 7)[0].first_unknown.as_deref(), Some("First"));
        assert_eq!(report(&columns, &gaps, 7).len(), 2);
    }

    #[test]
    fn strict_refuses_what_is_not_typed_otherwise() {
        let refused = |typed, is_strict| {
            let policy = Policy::new(typed, is_strict);
            [Gap::Missing, Gap::Unknown].map(|gap| policy.check(gap, &category(), "x").is_err())
        };
        assert_eq!(refused(None, false), [false, false]);
        assert_eq!(refused(Some(Missing::Error), false), [true, true]);
        assert_eq!(refused(None, true), [true, true]);
        for typed in [Missing::Fill, Missing::Drop] {
            assert_eq!(refused(Some(typed), true), [false, true], "{typed:?}");
        }
    }
}
