//! The preprocessing of a row before the network sees it, with all values that are needed to repeat it.

use serde::{Deserialize, Serialize};
use ztilde::{Layer, Parameters};

use crate::data::cell::{
    Raw, Words,
    reading::{Reading, category_place},
};

/// How the cells of a row become inputs and a target. It is written as JSON, and read back bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preprocessing {
    /// Whether a header named the columns; otherwise they are found by their numbers.
    pub(crate) has_header: bool,
    /// The number of columns of the table, without a target in a file of its own.
    pub(crate) width: usize,
    /// The input columns, in the order of the network's inputs.
    pub(crate) columns: Vec<Column>,
    pub(crate) target: Target,
    /// The words for a missing value.
    #[serde(default, skip_serializing_if = "Words::are_usual")]
    pub(crate) missing_words: Words,
}

/// An input column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its position in the table, counted from 1.
    pub(crate) number: usize,
    pub(crate) values: Values,
    /// The column's inputs that never varied in the training rows. They are 0 for every cell, because
    /// training did not change their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) constant: Vec<usize>,
    #[serde(default, skip_serializing_if = "Reading::is_usual")]
    pub(crate) reading: Reading,
}

/// The kind of a column's cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Values {
    /// One input: `(number − shift) / scale`. `fill` replaces a missing number.
    Number { shift: f64, scale: f64, fill: Option<f64> },
    /// One input per category: 1 for the cell's category, 0 for all others. For a missing cell or an
    /// unknown category all inputs are 0.
    Category(Vec<String>),
}

/// The column that is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Its position in the table, counted from 1; none if it had a file of its own.
    pub(crate) number: Option<usize>,
    pub(crate) values: TargetValues,
    #[serde(default, skip_serializing_if = "Reading::is_usual")]
    pub(crate) reading: Reading,
}

/// The kind of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum TargetValues {
    /// The names of the classes, in the order of the network's outputs.
    Classes(Vec<String>),
    /// The network learns `(number − shift) / scale`.
    Number { shift: f64, scale: f64 },
}

/// The message for a number that overflows 32 bits when it is scaled.
pub(crate) const TOO_FAR: &str = "too far from the training rows for the network's 32-bit numbers: \
                                  correct the cell";

impl Column {
    /// A column whose inputs vary, and whose cells are read as usual.
    pub(crate) fn new(name: impl Into<String>, number: usize, values: Values) -> Self {
        let (constant, reading) = (Vec::new(), Reading::default());
        Self { name: name.into(), number, values, constant, reading }
    }

    /// Whether a number scales to infinity in 32 bits.
    pub(crate) fn is_too_far(&self, cell: f64) -> bool {
        match self.values {
            Values::Number { shift, scale, .. } => {
                self.constant.is_empty() && scaled(cell, shift, scale).is_infinite()
            }
            Values::Category(_) => false,
        }
    }

    /// The number of inputs of the column.
    pub(crate) fn inputs(&self) -> usize {
        match &self.values {
            Values::Number { .. } => 1,
            Values::Category(categories) => categories.len(),
        }
    }

    /// A cell as a number: its value, the index of its category, or NaN if it is missing or its category
    /// unknown.
    pub(crate) fn encode<'a>(&self, raw: impl Into<Raw<'a>>) -> Result<f64, String> {
        let raw = raw.into();
        match &self.values {
            Values::Category(names) => {
                Ok(self.reading.place(names, raw).map_or(f64::NAN, |at| at as f64))
            }
            Values::Number { .. } => self.reading.number(raw),
        }
    }

    /// Whether a cell is an unknown category.
    pub(crate) fn is_unknown(&self, raw: Raw<'_>) -> bool {
        match &self.values {
            Values::Category(names) => {
                !self.reading.is_missing(names, raw) && category_place(names, raw.text).is_none()
            }
            Values::Number { .. } => false,
        }
    }
}

/// The input for a number.
pub(crate) fn scaled(number: f64, shift: f64, scale: f64) -> f32 {
    ((number - shift) / scale) as f32
}

impl Target {
    /// A target whose cells are read as usual.
    pub(crate) fn new(
        name: impl Into<String>,
        number: Option<usize>,
        values: TargetValues,
    ) -> Self {
        Self { name: name.into(), number, values, reading: Reading::default() }
    }

    /// As [`Column::encode`]; an unknown class is an error.
    pub(crate) fn encode<'a>(&self, raw: impl Into<Raw<'a>>) -> Result<f64, String> {
        let raw = raw.into();
        let TargetValues::Classes(classes) = &self.values else {
            return self.reading.number(raw);
        };
        if self.reading.is_missing(classes, raw) {
            return Ok(f64::NAN);
        }
        self.reading.place(classes, raw).map(|at| at as f64).ok_or_else(|| {
            let mut known: Vec<_> = classes.iter().take(5).map(String::as_str).collect();
            if classes.len() > known.len() {
                known.push("…");
            }
            let (name, count) = (raw.text, classes.len());
            format!("{name:?} is not one of the {count} classes: {}", known.join(", "))
        })
    }

    /// The network's target for a cell: a class, or a number in the network's scale.
    pub(crate) fn apply(&self, cell: f64) -> f64 {
        match self.values {
            TargetValues::Classes(_) => cell,
            TargetValues::Number { shift, scale } => (cell - shift) / scale,
        }
    }

    /// An output of the network, in the units of the table.
    pub(crate) fn in_own_units(&self, output: f64) -> f64 {
        match self.values {
            TargetValues::Classes(_) => output,
            TargetValues::Number { shift, scale } => shift + scale * output,
        }
    }

    /// The names of the classes, if the target has classes.
    pub(crate) fn classes(&self) -> Option<&[String]> {
        match &self.values {
            TargetValues::Classes(classes) => Some(classes),
            TargetValues::Number { .. } => None,
        }
    }
}

impl Preprocessing {
    /// The preprocessing of a network that takes numbers unchanged.
    pub(crate) fn plain(inputs: usize) -> Self {
        let values = Values::Number { shift: 0.0, scale: 1.0, fill: None };
        let column = |number| Column::new(format!("input {number}"), number, values.clone());
        Self {
            has_header: false,
            width: inputs,
            columns: (1..=inputs).map(column).collect(),
            target: Target::new("output", None, TargetValues::Number { shift: 0.0, scale: 1.0 }),
            missing_words: Words::USUAL,
        }
    }

    /// The number of the network's inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.columns.iter().map(Column::inputs).sum()
    }

    /// The number of the network's outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.target.classes().map_or(1, <[String]>::len)
    }

    /// One unit of the network's scale in the target's own unit; 1 for classes.
    pub(crate) fn target_scale(&self) -> f64 {
        match self.target.values {
            TargetValues::Classes(_) => 1.0,
            TargetValues::Number { scale, .. } => scale,
        }
    }

    /// Adds the inputs of a row whose cells were [encoded](Column::encode), one per column.
    pub(crate) fn apply(&self, cells: &[f64], inputs: &mut Vec<f32>) {
        for (column, &cell) in self.columns.iter().zip(cells) {
            let first = inputs.len();
            match &column.values {
                &Values::Number { shift, scale, fill } => {
                    let number = if cell.is_nan() { fill.unwrap_or(shift) } else { cell };
                    inputs.push(scaled(number, shift, scale));
                }
                Values::Category(categories) => {
                    inputs.resize(first + categories.len(), 0.0);
                    if !cell.is_nan() {
                        inputs[first + cell as usize] = 1.0;
                    }
                }
            }
            column.constant.iter().for_each(|place| inputs[first + place] = 0.0);
        }
    }

    /// The indices of the inputs that never varied in the training rows.
    pub(crate) fn constant_inputs(&self) -> Vec<usize> {
        let mut first = 0;
        let mut places = Vec::new();
        for column in &self.columns {
            places.extend(column.constant.iter().map(|place| first + place));
            first += column.inputs();
        }
        places
    }

    /// Sets the weights of constant inputs to 0. Training leaves these weights at their initial values,
    /// and other programs may scale the columns without regard to `constant`.
    pub(crate) fn clear_constant(&self, parameters: &mut Parameters) {
        let (Layer::Linear { weights, .. } | Layer::Normalized { weights, .. }) =
            &mut parameters.layers[0];
        for input in self.constant_inputs() {
            weights.column_mut(input).fill(0.0);
        }
    }

    /// The inputs of a record, with one text per column: bit for bit the inputs of the same row in
    /// training.
    #[cfg(test)]
    pub(crate) fn record(&self, cells: &[&str]) -> Result<Vec<f32>, String> {
        let encode = |(column, cell): (&Column, &&str)| column.encode(*cell);
        let cells = self.columns.iter().zip(cells).map(encode).collect::<Result<Vec<_>, _>>()?;
        let mut inputs = Vec::with_capacity(self.inputs());
        self.apply(&cells, &mut inputs);
        Ok(inputs)
    }

    /// Reads the JSON form, and checks it.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| {
            format!("the preprocessing is not what this version writes: {error}")
        })?;
        read.check()?;
        Ok(read)
    }

    /// Checks that all numbers are usable, and that no name occurs twice.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.columns.is_empty() {
            return Err("the preprocessing has no columns".to_owned());
        }
        for column in &self.columns {
            let name = &column.name;
            match &column.values {
                &Values::Number { shift, scale, fill } => {
                    check_scale(name, shift, scale)?;
                    if fill.is_some_and(|fill| !fill.is_finite()) {
                        return Err(format!("the preprocessing fills {name:?} with {fill:?}"));
                    }
                }
                Values::Category(categories) => check_names(name, categories)?,
            }
            if let Some(place) = column.constant.iter().find(|&&place| place >= column.inputs()) {
                let inputs = column.inputs();
                return Err(format!(
                    "the preprocessing has input {place} of {name:?} as a constant, but its {inputs} \
                     input(s) are counted from 0"
                ));
            }
            let (number, width) = (column.number, self.width);
            if !(1..=width).contains(&number) {
                return Err(format!(
                    "the preprocessing has {name:?} as column {number}, but they are 1 to {width}"
                ));
            }
        }
        if let Some(number) = self.target.number {
            let is_input = self.columns.iter().any(|column| column.number == number);
            if is_input || !(1..=self.width).contains(&number) {
                let (width, name) = (self.width, &self.target.name);
                return Err(format!(
                    "the preprocessing has the target {name:?} as column {number} of {width}, which does \
                     not exist or is an input"
                ));
            }
        }
        match &self.target.values {
            TargetValues::Classes(classes) => check_names(&self.target.name, classes),
            &TargetValues::Number { shift, scale } => check_scale(&self.target.name, shift, scale),
        }
    }
}

fn check_scale(name: &str, shift: f64, scale: f64) -> Result<(), String> {
    if shift.is_finite() && scale.is_finite() && scale > 0.0 {
        return Ok(());
    }
    Err(format!("the preprocessing shifts {name:?} by {shift} and divides it by {scale}"))
}

fn check_names(column: &str, names: &[String]) -> Result<(), String> {
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("the preprocessing has {:?} twice in {column:?}", twice[0]));
    }
    if names.is_empty() {
        return Err(format!("the preprocessing has no names for the values of {column:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
