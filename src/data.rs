//! Data sets on the CPU: rows with their targets, split, shuffled and cut into mini-batches.

mod fingerprint;
mod targets;

use std::collections::HashMap;

use ndarray::{Array2, Axis};

use crate::error::{Error, Result};
use crate::options::Remainder;
use crate::random::{self, Purpose};

pub use targets::Targets;

/// Rows with their targets. There is at least one row and one feature, every row has its target,
/// and all numbers are finite.
///
/// ```
/// use ztilde::{Dataset, ndarray::Array2};
///
/// // A hundred rows of two features, in two classes.
/// let inputs = Array2::from_shape_fn([100, 2], |(row, column)| (row * (column + 1)) as f32);
/// let classes: Vec<u32> = (0..100).map(|row| row / 50).collect();
/// let dataset = Dataset::new(inputs, classes)?;
/// let (train, test) = dataset.split(0.2, 7)?;
/// assert_eq!([train.rows(), test.rows(), train.features()], [80, 20, 2]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    inputs: Array2<f32>,
    targets: Targets<'static>,
}

impl Dataset {
    /// Rows of `inputs`, `[rows, features]`, with one class index each, or with the same number of
    /// values each, row-major.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] without rows or features, or if the targets do not fit the rows;
    /// [`Error::NotFinite`] with the first value that is not a number; [`Error::Option`] with more
    /// than `u32::MAX` rows or features.
    pub fn new(inputs: Array2<f32>, targets: impl Into<Targets<'static>>) -> Result<Self> {
        let targets = targets.into();
        let [rows, features] = inputs.dim().into();
        if rows == 0 || features == 0 {
            return Err(Error::Length {
                what: "inputs",
                found: 0,
                needed: 1,
                why: format!("{rows} rows × {features} features, and at least one of each"),
            });
        }
        for (option, size) in [("the number of rows", rows), ("the number of features", features)] {
            if u32::try_from(size).is_err() {
                let expected = "at most 4294967295";
                return Err(Error::Option { option, value: size.to_string(), expected });
            }
        }
        let columns = targets.columns(rows)?;
        check_finite("inputs", features, inputs.iter())?;
        if let Targets::Values(values) = &targets {
            check_finite("targets", columns, values.iter())?;
        }
        // The GPU needs row-major order, and the caller's array may have another.
        let inputs = inputs.as_standard_layout().into_owned();
        Ok(Self { inputs, targets })
    }

    /// The number of rows, at least 1.
    pub fn rows(&self) -> u32 {
        self.inputs.nrows() as u32
    }

    /// The number of inputs in each row, at least 1.
    pub fn features(&self) -> u32 {
        self.inputs.ncols() as u32
    }

    /// `[rows, features]`, row-major in memory.
    pub fn inputs(&self) -> &Array2<f32> {
        &self.inputs
    }

    /// The targets of the rows.
    pub fn targets(&self) -> &Targets<'static> {
        &self.targets
    }

    /// The rows of these indices, in this order; an index may occur more than once.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] without indices, [`Error::Option`] if an index is not a row.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        if rows.is_empty() {
            let why = "a data set has at least one row".to_owned();
            return Err(Error::Length { what: "the selection", found: 0, needed: 1, why });
        }
        if let Some(row) = rows.iter().find(|&&row| row >= self.rows()) {
            return Err(Error::Option {
                option: "a selected row",
                value: format!("{row} of {}", self.rows()),
                expected: "below the number of rows",
            });
        }
        let indices: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
        let inputs = self.inputs.select(Axis(0), &indices);
        Ok(Self { inputs, targets: self.targets.select(&indices, self.inputs.nrows()) })
    }

    /// Splits the data set: the rows to train on, then the held-out rows, `held_out_fraction` of all
    /// rows, rounded. Both keep the order of the rows.
    ///
    /// The seed decides which rows are held out. If the targets are classes, the same fraction of each
    /// class is held out, rounded up or down at random so that it is exact on average over the seeds. The
    /// only row of a class is held out with some seeds, and trained on with the others.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if one side would be empty.
    pub fn split(&self, held_out_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let rows = u64::from(self.rows());
        // NaN and negative fractions give 0 rows.
        let held_out = (rows as f64 * held_out_fraction).round() as u64;
        if held_out == 0 || held_out >= rows {
            return Err(Error::Option {
                option: "the held-out fraction",
                value: format!("{held_out_fraction} of {rows} row(s)"),
                expected: "such that at least one row is held out and at least one is not",
            });
        }
        let mut generator = random::generator(Purpose::Split, seed, 0);
        let mut order = random::permutation(&mut generator, self.rows());
        let mut phase = rows / 2;
        if let Targets::Classes(classes) = &self.targets {
            // Groups the rows by class, in the random order of the classes' first rows. The sort is
            // stable: the order within a class stays random.
            let mut places = HashMap::new();
            for &row in &order {
                let next = places.len();
                places.entry(classes[row as usize]).or_insert(next);
            }
            order.sort_by_cached_key(|&row| places[&classes[row as usize]]);
            phase = random::at_most(&mut generator, self.rows() - 1).into();
        }
        // Systematic sampling: evenly spaced rows take the same share of every stretch of the order, and
        // so of every class. Their random start rounds each class's share up or down.
        let held_out_before = |position: u64| (position * held_out + phase) / rows;
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        for (position, row) in (0..).zip(order) {
            let holds = held_out_before(position + 1) > held_out_before(position);
            if holds {
                held.push(row);
            } else {
                kept.push(row);
            }
        }
        held.sort_unstable();
        kept.sort_unstable();
        Ok((self.select(&kept)?, self.select(&held)?))
    }

    /// Whether every target is one of this many classes, counted from 0. Values always pass.
    ///
    /// # Errors
    ///
    /// [`Error::Class`] with the first row whose class does not exist.
    pub fn check_classes(&self, classes: u32) -> Result<()> {
        self.targets.check_classes(classes)
    }
}

/// The order in which an epoch, counted from 0, visits the rows: a permutation of the numbers below
/// `rows`. It depends only on the arguments, so that a resumed run continues exactly like the first one,
/// and is the same on every platform.
///
/// ```
/// use ztilde::shuffled_order;
///
/// let order = shuffled_order(5, 7, 0);
/// assert_eq!(order, shuffled_order(5, 7, 0));
/// # let mut sorted = order.clone();
/// # sorted.sort_unstable();
/// # assert_eq!(sorted, [0, 1, 2, 3, 4]);
/// ```
pub fn shuffled_order(rows: u32, seed: u64, epoch: u64) -> Vec<u32> {
    random::permutation(&mut random::generator(Purpose::Shuffle, seed, epoch), rows)
}

/// The number of batches in an epoch. 0 if the batch size is 0.
pub fn batches(rows: u32, batch_size: u32, remainder: Remainder) -> u32 {
    match (batch_size, remainder) {
        (0, _) => 0,
        (_, Remainder::Drop) => rows / batch_size,
        (_, Remainder::Keep) => rows.div_ceil(batch_size),
    }
}

pub(crate) fn check_finite<'a>(
    what: &'static str,
    columns: usize,
    mut values: impl Iterator<Item = &'a f32>,
) -> Result<()> {
    // `position` counts in row-major order, even if the array is stored in another order.
    let mut value = 0.0;
    let found = values.position(|&next| {
        value = next;
        !next.is_finite()
    });
    let Some(index) = found else { return Ok(()) };
    let [row, column] = [index / columns, index % columns].map(|number| number as u64);
    Err(Error::NotFinite { what, row, column, value })
}
