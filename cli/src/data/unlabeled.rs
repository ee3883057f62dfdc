//! Rows whose targets nobody asks for: read some at a time, in their order, as inputs of a network.

use std::path::Path;

use csv::ByteRecord;

use super::{
    array::Array,
    arrays::recode_known,
    cell::Raw,
    known::{self, places},
    names::Names,
    options::{Missing, UnlabeledOptions},
    preprocessing::{Column, Preprocessing, TOO_FAR, Values},
    read_array, resolve_to_test,
    source::{Format, Source},
    table::Recode,
    tell_which,
    text::Text,
};
use crate::failure::Failure;

/// Rows that are read once, from the first to the last.
pub(crate) struct Unlabeled {
    preprocessing: Preprocessing,
    gaps: Gaps,
    origin: Origin,
    /// Those of a row, as numbers.
    cells: Vec<f64>,
}

/// Where rows come from.
enum Origin {
    Text { text: Box<Text>, places: Vec<usize>, record: ByteRecord },
    Array { array: Array, places: Vec<(usize, Recode)>, next: u64 },
}

/// What becomes of cells that are missing.
#[derive(Clone, Copy)]
enum Gaps {
    Filled,
    /// Nobody wants them filled.
    Refused,
    /// Nobody knows what with.
    Unknown,
}

impl Unlabeled {
    /// Opens a file, or stdin, and finds the columns that are needed. A network without a preprocessing
    /// takes numbers as they are, as many as it has inputs.
    pub(crate) fn open(
        options: &UnlabeledOptions,
        preprocessing: Option<&Preprocessing>,
        inputs: usize,
    ) -> Result<Self, Failure> {
        let path = options.data.as_deref().unwrap_or(Path::new("-"));
        let source = Source::open(&resolve_to_test(path)?)?;
        let file = source.name.clone();
        let gaps = match (preprocessing, options.missing) {
            (None, _) => Gaps::Unknown,
            (_, Missing::Error) => Gaps::Refused,
            _ => Gaps::Filled,
        };
        let find = |known: &Preprocessing, names: &Names| {
            let found = names.len();
            if preprocessing.is_none() && found != inputs {
                return Err(Failure::input(format!(
                    "{file}: there are {found} columns, but the network has {inputs} inputs"
                )));
            }
            let places = places(known, names);
            let places = places.map_err(|error| Failure::input(format!("{file}: {error}")))?;
            Ok(places.features)
        };
        let preprocessing =
            preprocessing.map_or_else(|| Preprocessing::plain(inputs), Preprocessing::clone);
        let origin = if matches!(source.format, Format::Text | Format::Parquet) {
            let text = known::open(source, &options.layout, &preprocessing)?;
            let places = find(&preprocessing, &text.names)?;
            text.check(&places)?;
            Origin::Text { text: text.into(), places, record: ByteRecord::new() }
        } else {
            let array = read_array(source)?;
            tell_which(path, &array.name);
            let places = find(&preprocessing, &Names::numbered(array.columns))?;
            let recodes = preprocessing.columns.iter().map(|column| recode_known(&column.values));
            Origin::Array { places: places.into_iter().zip(recodes).collect(), array, next: 0 }
        };
        Ok(Self { preprocessing, gaps, origin, cells: Vec::new() })
    }

    /// Adds the inputs of at most so many rows, and tells how many these are: none at the end.
    pub(crate) fn read(&mut self, rows: usize, inputs: &mut Vec<f32>) -> Result<usize, Failure> {
        let Self { preprocessing, gaps, origin, cells } = self;
        match origin {
            Origin::Text { text, places, record } => {
                for row in 0..rows {
                    let Some(line) = text.read(record)? else {
                        return Ok(row);
                    };
                    cells.clear();
                    for (column, &place) in preprocessing.columns.iter().zip(&*places) {
                        let encode =
                            |cell: Raw<'_>| gaps.checked(column.encode(cell)?, column, cell);
                        cells.push(known::encode(text, record, line, place, encode)?);
                    }
                    preprocessing.apply(cells, inputs);
                }
                Ok(rows)
            }
            Origin::Array { array, places, next } => {
                let count = (rows as u64).min(array.rows - *next) as usize;
                let mut decoded = Vec::new();
                array
                    .read(*next, count, &mut decoded)
                    .map_err(|error| Failure::input(format!("{}: {error}", array.name)))?;
                for (row, number) in decoded.chunks_exact(array.columns).zip(*next + 1..) {
                    cells.clear();
                    for (column, (place, recode)) in preprocessing.columns.iter().zip(&*places) {
                        let cell = row[*place];
                        let encoded = match cell.is_infinite() {
                            true => Err(format!("{cell} is no finite number")),
                            false => gaps.checked(
                                recode.apply(cell),
                                column,
                                cell.to_string().as_str().into(),
                            ),
                        };
                        cells.push(encoded.map_err(|why| {
                            let (file, place) = (&array.name, place + 1);
                            Failure::input(format!("{file}, row {number}, column {place}: {why}"))
                        })?);
                    }
                    preprocessing.apply(cells, inputs);
                }
                *next += count as u64;
                Ok(count)
            }
        }
    }
}

impl Gaps {
    /// What a cell was encoded as, unless it is a gap that may not be filled, or no number for the network.
    fn checked(self, encoded: f64, column: &Column, cell: Raw<'_>) -> Result<f64, String> {
        if column.is_too_far(encoded) {
            return Err(format!("{encoded:?} is {TOO_FAR}"));
        }
        let why = match self {
            _ if !encoded.is_nan() => return Ok(encoded),
            Self::Filled => return Ok(encoded),
            Self::Refused => "--missing fill goes on without it",
            Self::Unknown => "the model does not tell what stands for it",
        };
        Err(match &column.values {
            Values::Category(names) if column.is_unknown(cell) => {
                let (cell, count) = (cell.text, names.len());
                format!("{cell:?} is none of the {count} known categories; {why}")
            }
            _ => format!("the value is missing; {why}"),
        })
    }
}
