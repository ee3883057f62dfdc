//! A data set as it was read: cells that are numbers, walked through as often as it takes.

use std::ops::ControlFlow;

use super::{
    array::Array,
    options::Missing,
    preprocessing::{Preprocessing, TargetValues},
};
use crate::failure::Failure;

/// Cells that are decoded at once.
const CHUNK: usize = 1 << 16;

/// What a cell's number becomes.
#[derive(Clone, Debug)]
pub(crate) enum Recode {
    Keep,
    /// What is [boxed] becomes the number at its place; all others stay.
    Unbox(Vec<f64>),
    /// The number becomes its place among these, which are sorted.
    Search(Vec<f64>),
}

/// A place that waits for the number that it stands for, as a NaN that has it in its lowest bits: so it may
/// stand among numbers.
pub(super) fn boxed(place: u32) -> f64 {
    f64::from_bits(f64::NAN.to_bits() & !u64::from(u32::MAX) | (u64::from(place) + 1))
}

/// The place that a NaN has; none if it is a missing value.
pub(super) fn unboxed(cell: f64) -> Option<usize> {
    let place = cell.to_bits() & u64::from(u32::MAX);
    (cell.is_nan() && place > 0).then(|| place as usize - 1)
}

impl Recode {
    pub(super) fn apply(&self, cell: f64) -> f64 {
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

/// The cells of a data set, and what they mean.
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) file: String,
    /// Side by side, they have all cells.
    arrays: Vec<Array>,
    /// For each column that is learned from, then for the target: its place in a row of the arrays,
    /// and what its numbers become.
    places: Vec<(usize, Recode)>,
    missing: Missing,
    /// What the columns are; shifts and scales are not fitted yet.
    pub(crate) preprocessing: Preprocessing,
    pub(crate) counts: Counts,
    /// Whether all numbers are bytes, as those of pixels are.
    pub(crate) is_bytes: bool,
    /// What the largest number of a pixel stands for, if they are.
    pub(crate) white: f64,
}

/// What a walk through all rows sees.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Rows that are neither left out nor skipped.
    pub(crate) rows: u64,
    /// As many of each class; of all, where there are no classes.
    pub(crate) of_class: Vec<u64>,
    /// Rows left out because they have no target, or because a cell is missing.
    pub(crate) without_target: u64,
    pub(crate) dropped: u64,
    /// Cells that are filled.
    pub(crate) filled: u64,
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
        let mut counts = Counts { of_class: vec![0; classes], ..Counts::default() };
        let file = &self.file;
        self.walk_all(|row, cells| {
            let (target, features) = cells.split_last().expect("a row has a target");
            let missing = features.iter().filter(|cell| cell.is_nan()).count() as u64;
            if self.missing == Missing::Error && (missing > 0 || target.is_nan()) {
                return Err(Failure::input(format!(
                    "{file}: row {} has a missing value; --missing fill or drop goes on without it",
                    row + 1
                )));
            }
            if let Some(cell) = cells.iter().find(|cell| cell.is_infinite()) {
                return Err(Failure::input(format!("{file}: row {} holds {cell}", row + 1)));
            }
            if target.is_nan() {
                counts.without_target += 1;
            } else if missing > 0 && self.missing == Missing::Drop {
                counts.dropped += 1;
            } else {
                counts.filled += missing;
                counts.rows += 1;
                counts.of_class[self.preprocessing.class(*target)] += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.counts = counts;
        Ok(())
    }

    /// Visits the cells of each row that is not left out: those of the features, then the target's,
    /// and the number of its class.
    pub(crate) fn walk(
        &self,
        mut visit: impl FnMut(&[f64], usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.walk_all(|_, cells| {
            let (target, features) = cells.split_last().expect("a row has a target");
            let is_dropped = || features.iter().any(|cell| cell.is_nan());
            if !(target.is_nan() || self.missing == Missing::Drop && is_dropped()) {
                visit(cells, self.preprocessing.class(*target))?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Visits all rows, until one is the last.
    fn walk_all(
        &self,
        mut visit: impl FnMut(u64, &[f64]) -> Result<ControlFlow<()>, Failure>,
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
                if visit(first + index as u64, &cells)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Preprocessing {
    /// The number of a target's class; 0 for all, where there are no classes.
    fn class(&self, target: f64) -> usize {
        match self.target.values {
            TargetValues::Classes(_) => target as usize,
            TargetValues::Number { .. } => 0,
        }
    }
}
