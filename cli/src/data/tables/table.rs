//! A data set as it was read: its cells are numbers, and can be visited several times.

use std::ops::ControlFlow;

use crate::{
    data::{
        columns::{
            gaps::{self, FilledColumn, Gap, Gaps},
            preprocessing::{Preprocessing, TargetValues},
        },
        formats::array::Array,
        options::Missing,
    },
    failure::Failure,
    wording::plural,
};

/// The number of cells that are decoded at once.
const CHUNK: usize = 1 << 16;

/// Marks an unknown category; NaN marks a missing one.
pub(crate) const UNKNOWN: f64 = f64::INFINITY;

/// How to recode a cell's number.
#[derive(Clone, Debug)]
pub(crate) enum Recode {
    Keep,
    /// A [boxed] index becomes the number at this index; all other numbers stay unchanged.
    Unbox(Vec<f64>),
    /// The number becomes its index among these sorted numbers.
    Search(Vec<f64>),
}

/// An index, stored in the lowest bits of a NaN, so that it can replace a number that is not known yet.
pub(crate) fn boxed(place: u32) -> f64 {
    f64::from_bits(f64::NAN.to_bits() & !u64::from(u32::MAX) | (u64::from(place) + 1))
}

/// The index in a NaN; None for a missing value.
pub(crate) fn unboxed(cell: f64) -> Option<usize> {
    let place = cell.to_bits() & u64::from(u32::MAX);
    (cell.is_nan() && place > 0).then(|| place as usize - 1)
}

impl Recode {
    pub(crate) fn apply(&self, cell: f64) -> f64 {
        match self {
            Self::Unbox(numbers) => {
                unboxed(cell).map_or(cell, |at| numbers.get(at).copied().unwrap_or(f64::NAN))
            }
            _ if cell.is_nan() => cell,
            Self::Keep => cell,
            Self::Search(numbers) => numbers
                .binary_search_by(|number| number.total_cmp(&(cell + 0.0)))
                .map_or(f64::NAN, |place| place as f64),
        }
    }
}

/// The cells of a data set, and their meaning.
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) file: String,
    /// The arrays that, side by side, hold all cells.
    arrays: Vec<Array>,
    /// For each input column, then for the target: its position in a row of the arrays, and how its
    /// numbers are recoded.
    places: Vec<(usize, Recode)>,
    missing: Missing,
    /// The kinds of the columns. Shifts and scales are not fitted yet.
    pub(crate) preprocessing: Preprocessing,
    pub(crate) counts: Counts,
    /// Whether all numbers are bytes, as those of pixels are.
    pub(crate) is_bytes: bool,
    /// The largest number of a pixel, if they are bytes.
    pub(crate) white: f64,
}

/// The counts of a pass over all rows.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Rows that are neither left out nor skipped.
    pub(crate) rows: u64,
    /// The number of these rows in each class; of all rows if there are no classes.
    pub(crate) of_class: Vec<u64>,
    /// Rows left out because they have no target, or because a cell is missing.
    pub(crate) without_target: u64,
    pub(crate) dropped: u64,
    /// The dropped rows whose first gap is an unknown category.
    dropped_unknown: u64,
    /// The gaps of each input column, in the remaining rows.
    pub(crate) gaps: Vec<Gaps>,
}

impl Table {
    pub(crate) fn new(
        file: String,
        arrays: Vec<Array>,
        places: Vec<(usize, Recode)>,
        missing: Missing,
        preprocessing: Preprocessing,
    ) -> Result<Self, Failure> {
        let is_bytes = arrays[0].element.bytes == 1;
        let counts = Counts::default();
        let mut table =
            Self { file, arrays, places, missing, preprocessing, counts, is_bytes, white: 255.0 };
        table.count()?;
        Ok(table)
    }

    fn count(&mut self) -> Result<(), Failure> {
        let classes = self.preprocessing.target.classes().map_or(1, <[String]>::len);
        let columns = &self.preprocessing.columns;
        let mut gaps = vec![Gaps::default(); columns.len()];
        let mut counts = Counts { of_class: vec![0; classes], ..Counts::default() };
        let file = &self.file;
        self.walk_all(|row, read, cells| {
            let (target, features) = cells.split_last().expect("a row has a target");
            let missing = features.iter().position(|cell| cell.is_nan());
            if self.missing == Missing::Error && (missing.is_some() || target.is_nan()) {
                let name = missing.map_or(&self.preprocessing.target.name, |at| &columns[at].name);
                let cell = missing.map_or(f64::NAN, |at| read[self.places[at].0]);
                let what = match cell.is_nan() {
                    true => format!("has a missing value in {name:?}"),
                    false => format!("has {cell} in {name:?}, which is not one of its categories"),
                };
                return Err(Failure::input(format!(
                    "{file}: row {} {what}; --missing fill or drop accepts it",
                    row + 1
                )));
            }
            if let Some(cell) = cells.iter().find(|cell| cell.is_infinite()) {
                return Err(Failure::input(format!("{file}: row {} holds {cell}", row + 1)));
            }
            if target.is_nan() {
                counts.without_target += 1;
            } else if missing.is_some() && self.missing == Missing::Drop {
                let is_unknown = missing.is_some_and(|at| !read[self.places[at].0].is_nan());
                counts.dropped += 1;
                counts.dropped_unknown += u64::from(is_unknown);
            } else {
                for (at, _) in features.iter().enumerate().filter(|(_, cell)| cell.is_nan()) {
                    let cell = read[self.places[at].0];
                    gaps[at].take(if cell.is_nan() { Gap::Missing } else { Gap::Unknown });
                    if cell.is_finite() {
                        gaps[at].see(&cell.to_string(), || format!("row {}", row + 1));
                    }
                }
                counts.rows += 1;
                counts.of_class[self.preprocessing.class(*target)] += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.counts = Counts { gaps, ..counts };
        Ok(())
    }

    /// Notes on the rows that were left out, and on the imputed values.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Counts { rows, without_target, dropped, dropped_unknown, gaps, .. } = &self.counts;
        let mut notes = Vec::new();
        let filled = gaps.iter().map(Gaps::missing).sum();
        for (what, count, of, why) in [
            ("left out", *without_target, "row", "without a target"),
            ("left out", dropped - dropped_unknown, "row", "with a missing value (--missing)"),
            ("left out", *dropped_unknown, "row", "with an unknown category (--missing)"),
            ("filled", filled, "missing value", "(--missing)"),
        ] {
            if count > 0 {
                notes.push(format!("{}: {what}: {} {why}", self.file, plural(count, of)));
            }
        }
        let columns = gaps::notes(&self.preprocessing.columns, gaps, *rows);
        notes.extend(columns.into_iter().map(|note| format!("{}: {note}", self.file)));
        notes
    }

    /// The columns with filled cells.
    pub(crate) fn filled(&self) -> Vec<FilledColumn> {
        gaps::report(&self.preprocessing.columns, &self.counts.gaps, self.counts.rows)
    }

    /// Visits the cells of each row that is not left out: those of the features, then the target's,
    /// and the number of its class.
    pub(crate) fn walk(
        &self,
        mut visit: impl FnMut(&[f64], usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.walk_all(|_, _, cells| {
            let (target, features) = cells.split_last().expect("a row has a target");
            let is_dropped = || features.iter().any(|cell| cell.is_nan());
            if !(target.is_nan() || self.missing == Missing::Drop && is_dropped()) {
                visit(cells, self.preprocessing.class(*target))?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Visits rows until `visit` breaks: the number of the row, its cells as read, and its recoded
    /// cells.
    fn walk_all(
        &self,
        mut visit: impl FnMut(u64, &[f64], &[f64]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let rows = self.arrays.iter().map(|array| array.rows).min().unwrap_or(0);
        let width: usize = self.arrays.iter().map(|array| array.columns).sum();
        let at_once = (CHUNK / width).max(1);
        let mut decoded = vec![Vec::new(); self.arrays.len()];
        let (mut row, mut cells) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(at_once) {
            let count = at_once.min((rows - first) as usize);
            for (array, decoded) in self.arrays.iter().zip(&mut decoded) {
                array.read(first, count, decoded).map_err(|error| {
                    Failure::input(format!("{}: reading it again: {error}", array.name))
                })?;
            }
            for index in 0..count {
                row.clear();
                for (array, decoded) in self.arrays.iter().zip(&decoded) {
                    row.extend_from_slice(&decoded[index * array.columns..][..array.columns]);
                }
                cells.clear();
                cells.extend(self.places.iter().map(|(place, recode)| recode.apply(row[*place])));
                if visit(first + index as u64, &row, &cells)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Preprocessing {
    /// The number of a target's class; always 0 if there are no classes.
    fn class(&self, target: f64) -> usize {
        match self.target.values {
            TargetValues::Classes(_) => target as usize,
            TargetValues::Number { .. } => 0,
        }
    }
}
