//! What is done to a row before the network sees it: all that is needed to do the same again.

use serde::{Deserialize, Serialize};

pub(crate) use super::reading::Reading;
use super::{
    cell::{Raw, Words},
    reading::place,
};

/// How the cells of a row become inputs and a target. It is written as JSON, and reads back the same
/// to the bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preprocessing {
    /// Whether the columns were named by a header; they are found by their numbers otherwise.
    pub(crate) has_header: bool,
    /// How many columns the table has, without a target in a file of its own.
    pub(crate) width: usize,
    /// The columns that are learned from, in the order of the network's inputs.
    pub(crate) columns: Vec<Column>,
    pub(crate) target: Target,
    /// The words for a missing value.
    #[serde(default, skip_serializing_if = "Words::are_usual")]
    pub(crate) missing_words: Words,
}

/// A column that is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its place in the table, counted from 1.
    pub(crate) number: usize,
    pub(crate) values: Values,
    #[serde(default, skip_serializing_if = "Reading::is_usual")]
    pub(crate) reading: Reading,
}

/// What the cells of a column are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Values {
    /// One input: `(number − shift) / scale`. `fill` stands for a missing number.
    Number { shift: f64, scale: f64, fill: Option<f64> },
    /// As many inputs as there are categories: 1 for the one in the cell, 0 for all others. A
    /// missing one, or another, is 0 throughout.
    Category(Vec<String>),
}

/// The column that is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Its place in the table, counted from 1; none if it had a file of its own.
    pub(crate) number: Option<usize>,
    pub(crate) values: TargetValues,
    #[serde(default, skip_serializing_if = "Reading::is_usual")]
    pub(crate) reading: Reading,
}

/// What the target is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum TargetValues {
    /// The names of the classes, in the order of the network's outputs.
    Classes(Vec<String>),
    /// The network learns `(number − shift) / scale`.
    Number { shift: f64, scale: f64 },
}

/// Of a number that scales to no 32-bit number: what it is.
pub(super) const TOO_FAR: &str = "too far from the rows that are learned from for the network's 32-bit \
                                  numbers: correct the cell";

impl Column {
    /// Whether a number of it scales to none that the network can take.
    pub(super) fn is_too_far(&self, cell: f64) -> bool {
        match self.values {
            Values::Number { shift, scale, .. } => (((cell - shift) / scale) as f32).is_infinite(),
            Values::Category(_) => false,
        }
    }

    /// How many inputs it makes.
    fn inputs(&self) -> usize {
        match &self.values {
            Values::Number { .. } => 1,
            Values::Category(categories) => categories.len(),
        }
    }

    /// A cell as a number: itself, the place of its category, or NaN if it is missing or a category
    /// that is not known.
    pub(crate) fn encode<'a>(&self, raw: impl Into<Raw<'a>>) -> Result<f64, String> {
        let raw = raw.into();
        match &self.values {
            Values::Category(names) => {
                Ok(self.reading.place(names, raw).map_or(f64::NAN, |at| at as f64))
            }
            Values::Number { .. } => self.reading.number(raw),
        }
    }

    /// Whether a cell is a category, though one that is not known.
    pub(super) fn is_unknown(&self, raw: Raw<'_>) -> bool {
        match &self.values {
            Values::Category(names) => {
                !self.reading.is_missing(names, raw) && place(names, raw.text).is_none()
            }
            Values::Number { .. } => false,
        }
    }
}

impl Target {
    /// As [`Column::encode`]; a class that is not known is an error.
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
            format!("{name:?} is none of the {count} classes: {}", known.join(", "))
        })
    }

    /// What the network learns of a cell: a class, or a number in its own scale.
    pub(crate) fn apply(&self, cell: f64) -> f64 {
        match self.values {
            TargetValues::Classes(_) => cell,
            TargetValues::Number { shift, scale } => (cell - shift) / scale,
        }
    }

    /// A number that the network gives, in the units of the table.
    pub(crate) fn in_own_units(&self, output: f64) -> f64 {
        match self.values {
            TargetValues::Classes(_) => output,
            TargetValues::Number { shift, scale } => shift + scale * output,
        }
    }

    /// The names of the classes, if it has any.
    pub(crate) fn classes(&self) -> Option<&[String]> {
        match &self.values {
            TargetValues::Classes(classes) => Some(classes),
            TargetValues::Number { .. } => None,
        }
    }
}

impl Preprocessing {
    /// That of a network which takes numbers as they are.
    pub(crate) fn plain(inputs: usize) -> Self {
        let column = |number| Column {
            name: format!("input {number}"),
            number,
            values: Values::Number { shift: 0.0, scale: 1.0, fill: None },
            reading: Reading::default(),
        };
        Self {
            has_header: false,
            width: inputs,
            columns: (1..=inputs).map(column).collect(),
            target: Target {
                name: "output".to_owned(),
                number: None,
                values: TargetValues::Number { shift: 0.0, scale: 1.0 },
                reading: Reading::default(),
            },
            missing_words: Words::USUAL,
        }
    }

    /// How many inputs the network has.
    pub(crate) fn inputs(&self) -> usize {
        self.columns.iter().map(Column::inputs).sum()
    }

    /// How many outputs the network has.
    pub(crate) fn outputs(&self) -> usize {
        self.target.classes().map_or(1, <[String]>::len)
    }

    /// What one of the network's units of the target is in the target's own; 1 for classes.
    pub(crate) fn target_scale(&self) -> f64 {
        match self.target.values {
            TargetValues::Classes(_) => 1.0,
            TargetValues::Number { scale, .. } => scale,
        }
    }

    /// Adds the inputs of a row whose cells were [encoded](Column::encode), one per column.
    pub(crate) fn apply(&self, cells: &[f64], inputs: &mut Vec<f32>) {
        for (column, &cell) in self.columns.iter().zip(cells) {
            match &column.values {
                &Values::Number { shift, scale, fill } => {
                    let number = if cell.is_nan() { fill.unwrap_or(shift) } else { cell };
                    inputs.push(((number - shift) / scale) as f32);
                }
                Values::Category(categories) => {
                    let first = inputs.len();
                    inputs.resize(first + categories.len(), 0.0);
                    if !cell.is_nan() {
                        inputs[first + cell as usize] = 1.0;
                    }
                }
            }
        }
    }

    /// The inputs of a record: its cells are those of the columns, as text. They are those that the
    /// row had in training, to the bit.
    #[cfg(test)]
    pub(crate) fn record(&self, cells: &[&str]) -> Result<Vec<f32>, String> {
        let encode = |(column, cell): (&Column, &&str)| column.encode(*cell);
        let cells = self.columns.iter().zip(cells).map(encode).collect::<Result<Vec<_>, _>>()?;
        let mut inputs = Vec::with_capacity(self.inputs());
        self.apply(&cells, &mut inputs);
        Ok(inputs)
    }

    /// Reads what was written as JSON, and checks it.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| {
            format!("the preprocessing is not what this version writes: {error}")
        })?;
        read.check()?;
        Ok(read)
    }

    /// Whether every number can be computed with, and every name is there once.
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
                    "the preprocessing has the target {name:?} as column {number} of {width}, which is \
                     none or another one"
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
mod tests {
    use super::*;

    fn example() -> Preprocessing {
        let number = |name: &str, number, shift, scale, fill| Column {
            name: name.to_owned(),
            number,
            values: Values::Number { shift, scale, fill },
            reading: Reading::default(),
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Preprocessing {
            has_header: true,
            width: 5,
            columns: vec![
                number("length", 1, 0.1 + 0.2, 1.0 / 3.0, Some(f64::MIN_POSITIVE / 3.0)),
                Column {
                    name: "color".to_owned(),
                    number: 3,
                    values: Values::Category(names(&["1", "blue", "red"])),
                    reading: Reading::default(),
                },
                number("width", 4, -2.0, 0.5, None),
            ],
            target: Target {
                name: "kind".to_owned(),
                number: Some(5),
                values: TargetValues::Classes(names(&["0", "1", "x"])),
                reading: Reading::default(),
            },
            missing_words: Words::USUAL,
        }
    }

    #[test]
    fn json_keeps_every_bit() {
        let written = example();
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(Preprocessing::from_json(&text).as_ref(), Ok(&written));
        let mut many = Preprocessing { width: 2000, ..written.clone() };
        many.target.number = Some(2000);
        many.columns = (1..2000)
            .map(|number| {
                let shift = (f64::from(number).sqrt() - 7.0) * 10_f64.powi(number % 60 - 30);
                let values = Values::Number { shift, scale: shift.abs(), fill: Some(1.0 / shift) };
                let (name, number) = (number.to_string(), number as usize);
                Column { name, number, values, reading: Reading::default() }
            })
            .filter(|column| column.number != 49)
            .collect();
        let read = Preprocessing::from_json(&serde_json::to_string(&many).unwrap());
        assert!(read == Ok(many), "some of 6,000 numbers have changed");
        let refused = |from: &str, to: &str, expected: &str| {
            assert!(text.contains(from), "{text}");
            let error = Preprocessing::from_json(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused("\"scale\":0.5", "\"scale\":0.0", "divides it by 0");
        refused("\"scale\":0.5", "\"scale\":1e999", "number out of range");
        refused("\"scale\":0.5", "\"scales\":0.5", "scales");
        refused("\"blue\",\"red\"", "\"red\",\"red\"", "\"red\" twice in \"color\"");
        refused("\"0\",\"1\",\"x\"", "", "no names for the values of \"kind\"");
        refused("\"number\":4", "\"number\":0", "as column 0, but they are 1 to 5");
        refused("\"number\":4", "\"number\":6", "as column 6, but they are 1 to 5");
        refused("\"number\":5", "\"number\":4", "the target \"kind\" as column 4 of 5");
        refused("\"number\":5", "\"number\":0", "the target \"kind\" as column 0 of 5");
        refused("{\"has_header\"", "{\"header\"", "header");
    }

    #[test]
    fn a_record_becomes_inputs() {
        let example = example();
        assert_eq!((example.inputs(), example.outputs()), (5, 3));
        let record = |cells: &[&str]| example.record(cells);
        let length = ((1.5 - (0.1 + 0.2)) / (1.0 / 3.0)) as f32;
        assert_eq!(record(&["1.5", " red ", "-1"]), Ok(vec![length, 0.0, 0.0, 1.0, 2.0]));
        assert_eq!(record(&["1.5", "1.0", "-1"]).unwrap()[1..4], [1.0, 0.0, 0.0]);
        // Missing, or never seen: the fill, or the middle where there is none, and no category.
        let fill = ((f64::MIN_POSITIVE / 3.0 - (0.1 + 0.2)) / (1.0 / 3.0)) as f32;
        assert_eq!(record(&["?", "green", "NA"]), Ok(vec![fill, 0.0, 0.0, 0.0, 0.0]));
        let error = record(&["long", "red", "1"]).unwrap_err();
        assert!(error.starts_with("\"long\" is no number"), "{error}");
        assert_eq!(
            record(&["1e400", "red", "1"]),
            Err("\"1e400\" is no finite number: correct or empty the cell".to_owned())
        );
    }

    #[test]
    fn a_class_is_known_or_an_error() {
        let target = example().target;
        assert_eq!(target.encode("x"), Ok(2.0));
        assert_eq!(target.encode("1.0"), Ok(1.0));
        assert!(target.encode("").unwrap().is_nan());
        let error = target.encode("y").unwrap_err();
        assert!(error.contains("\"y\" is none of the 3 classes: 0, 1, x"), "{error}");
        assert!(target.encode("X").is_err(), "other letters are another name");
    }

    #[test]
    fn what_is_true_is_so_in_any_letters() {
        for known in [["false", "true"], ["False", "True"], ["FALSE", "TRUE"]] {
            let known = known.map(str::to_owned).to_vec();
            let values = TargetValues::Classes(known.clone());
            let target = Target { values, ..example().target };
            let column = Column { values: Values::Category(known), ..example().columns[1].clone() };
            for (place, cell) in [(1.0, "true"), (1.0, " True"), (1.0, "TRUE"), (0.0, "False")] {
                assert_eq!((column.encode(cell), target.encode(cell)), (Ok(place), Ok(place)));
            }
        }
        let both = ["True", "true"].map(str::to_owned).to_vec();
        let both = Target { values: TargetValues::Classes(both), ..example().target };
        assert_eq!((both.encode("True"), both.encode("true")), (Ok(0.0), Ok(1.0)));
    }
}
