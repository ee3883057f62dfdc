//! Fits shifts and scales to the training rows, in f64.

use crate::{
    data::{
        columns::preprocessing::{Column, Preprocessing, TargetValues, Values, scaled},
        options::Scale,
        rows::split::Split,
        tables::table::Table,
    },
    failure::Failure,
};

/// Mean, deviation and extremes of the numbers so far (Welford's method).
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

    /// The shift to subtract, then the scale to divide by. A constant stays unchanged, or becomes 0.
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

/// The preprocessing, with shifts and scales computed from all rows except the held-out group.
pub(crate) fn fit(
    table: &Table,
    split: &Split,
    held_out: usize,
    scale: Scale,
    notes: &mut Vec<String>,
) -> Result<Preprocessing, Failure> {
    let mut fitted = table.preprocessing.clone();
    let mut seen = vec![Statistics::NONE; fitted.columns.len() + 1];
    let mut occurrences: Vec<_> = fitted.columns.iter().map(Occurrences::new).collect();
    let mut rows = 0;
    let mut dealer = split.dealer();
    table.walk(|cells, class| {
        if dealer.deal(class) != held_out {
            rows += 1;
            for (seen, cell) in seen.iter_mut().zip(cells).filter(|(_, cell)| !cell.is_nan()) {
                seen.take(*cell);
            }
            for (occurrences, cell) in occurrences.iter_mut().zip(cells) {
                occurrences.take(*cell);
            }
        }
        Ok(())
    })?;
    let target = seen.pop().unwrap_or(Statistics::NONE);
    for ((column, seen), occurrences) in fitted.columns.iter_mut().zip(&seen).zip(&occurrences) {
        column.constant = occurrences.constant(rows);
        let name = &column.name;
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
        // Scaling is monotonic: the numbers between equal extremes become the same input, too.
        let [first, last] = [seen.min, seen.max].map(|number| scaled(number, *shift, *divisor));
        if first == last {
            column.constant = vec![0];
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
    // Pixels at the edge of images are often constant, which needs no note.
    if !table.is_bytes {
        note_constants(&fitted, notes);
    }
    fitted.check().map_err(Failure::input)?;
    Ok(fitted)
}

/// How often each category of a column occurs in the training rows; empty for numbers.
struct Occurrences(Vec<u64>);

impl Occurrences {
    fn new(column: &Column) -> Self {
        match &column.values {
            Values::Number { .. } => Self(Vec::new()),
            Values::Category(names) => Self(vec![0; names.len()]),
        }
    }

    fn take(&mut self, cell: f64) {
        if let Some(count) = self.0.get_mut(cell as usize).filter(|_| !cell.is_nan()) {
            *count += 1;
        }
    }

    /// The indices of the categories that all of `rows` rows have, or none of them.
    fn constant(&self, rows: u64) -> Vec<usize> {
        let is_constant = |&place: &usize| [0, rows].contains(&self.0[place]);
        (0..self.0.len()).filter(is_constant).collect()
    }
}

/// Notes which columns, and which categories of other columns, have no influence.
fn note_constants(fitted: &Preprocessing, notes: &mut Vec<String>) {
    let (mut columns, mut categories) = (Vec::new(), Vec::new());
    for column in &fitted.columns {
        match &column.values {
            _ if column.constant.len() == column.inputs() => {
                columns.push(format!("{:?}", column.name));
            }
            Values::Number { .. } => {}
            Values::Category(names) => categories.extend(
                column
                    .constant
                    .iter()
                    .map(|&place| format!("{:?} of {:?}", names[place], column.name)),
            ),
        }
    }
    if !columns.is_empty() {
        notes.push(format!(
            "the model ignores {} of {} input columns, constant in the training rows: {}",
            columns.len(),
            fitted.columns.len(),
            first_few(&columns)
        ));
    }
    if !categories.is_empty() {
        notes.push(format!(
            "categories in no training row, which the model treats as unknown: {}",
            first_few(&categories)
        ));
    }
}

fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
