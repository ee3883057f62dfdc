//! Fits shifts and scales to the training rows, in f64.

use super::{
    options::Scale,
    preprocessing::{Preprocessing, TargetValues, Values},
    split::Split,
    table::Table,
};
use crate::failure::Failure;

/// Mean, deviation and extremes of the numbers that came by (Welford's method).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statistics {
    count: u64,
    mean: f64,
    /// The sum of the squared distances from the mean.
    m2: f64,
    min: f64,
    max: f64,
}

impl Statistics {
    pub(crate) const NONE: Self =
        Self { count: 0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    pub(crate) fn take(&mut self, number: f64) {
        self.count += 1;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.m2 += distance * (number - self.mean);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    /// The variance that divides by n, times n.
    pub(crate) fn squares(&self) -> f64 {
        self.m2
    }

    /// What is subtracted, and what is divided by then. A constant stays as it is, or becomes 0.
    fn shift_and_scale(&self, scale: Scale, white: f64) -> [f64; 2] {
        let [shift, divisor] = match scale {
            Scale::None => [0.0, 1.0],
            Scale::Pixels => [0.0, white],
            Scale::MinMax => [self.min, self.max - self.min],
            Scale::Standardize if self.min == self.max => [self.min, 0.0],
            Scale::Standardize => [self.mean, (self.m2 / self.count as f64).sqrt()],
        };
        [shift, if divisor == 0.0 { 1.0 } else { divisor }]
    }
}

/// The preprocessing whose shifts and scales follow from all rows but those of the group that is held
/// out.
pub(crate) fn fit(
    table: &Table,
    split: &Split,
    held_out: usize,
    scale: Scale,
    notes: &mut Vec<String>,
) -> Result<Preprocessing, Failure> {
    let mut fitted = table.preprocessing.clone();
    let mut seen = vec![Statistics::NONE; fitted.columns.len() + 1];
    let mut dealer = split.dealer();
    table.walk(|cells, class| {
        if dealer.deal(class) != held_out {
            for (seen, cell) in seen.iter_mut().zip(cells).filter(|(_, cell)| !cell.is_nan()) {
                seen.take(*cell);
            }
        }
        Ok(())
    })?;
    let target = seen.pop().unwrap_or(Statistics::NONE);
    let mut constants = Vec::new();
    for (column, seen) in fitted.columns.iter_mut().zip(&seen) {
        let name = &column.name;
        if seen.min >= seen.max {
            constants.push(name.clone());
        }
        let Values::Number { shift, scale: divisor, fill } = &mut column.values else { continue };
        if seen.count == 0 {
            return Err(Failure::input(format!(
                "{}: {name:?} has no value in any training row; --drop leaves the column out",
                table.file
            )));
        }
        [*shift, *divisor] = seen.shift_and_scale(scale, table.white);
        *fill = Some(seen.mean);
        let largest = [seen.min, seen.max].map(|number| ((number - *shift) / *divisor).abs());
        if !(divisor.is_finite() && largest.iter().all(|&number| number <= f32::MAX.into())) {
            return Err(Failure::input(format!(
                "{}: {name:?} goes from {:?} to {:?}, which is too far for the network's 32-bit \
                 numbers: correct the cell, or leave the column out with --drop",
                table.file, seen.min, seen.max
            )));
        }
    }
    if let TargetValues::Number { shift, scale } = &mut fitted.target.values {
        [*shift, *scale] = target.shift_and_scale(Scale::Standardize, table.white);
        if !scale.is_finite() {
            return Err(Failure::input(format!(
                "{}: the target goes from {:?} to {:?}, which is too far: correct the cell",
                table.file, target.min, target.max
            )));
        }
    }
    note_constants(&constants, &fitted, notes);
    fitted.check().map_err(Failure::input)?;
    Ok(fitted)
}

/// Pixels at the edge are often constant; a column that is deserves a word.
fn note_constants(constants: &[String], fitted: &Preprocessing, notes: &mut Vec<String>) {
    if constants.is_empty() {
        return;
    }
    let names = constants.iter().take(5).map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let more = if constants.len() > names.len() { ", …" } else { "" };
    notes.push(format!(
        "{} of {} columns are the same in every training row, which teaches nothing: {}{more}",
        constants.len(),
        fitted.columns.len(),
        names.join(", ")
    ));
}
