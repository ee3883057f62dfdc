//! Rows without targets, read in order, some at a time, as inputs of a network.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use crate::{
    data::{
        cell::Raw,
        columns::{
            gaps::{self, Gap, Gaps, Policy},
            names::Names,
            preprocessing::{Column, Preprocessing, TOO_FAR},
        },
        formats::{
            array::Array,
            source::{Format, Source},
            text::Text,
        },
        input::{self, read_array, resolve_to_test},
        options::UnlabeledOptions,
        tables::{
            arrays::recode_known,
            known::{self, places},
            table::Recode,
        },
    },
    failure::Failure,
};

/// The number of rows that are checked together.
const CHECKED: usize = 64;

/// A reader of rows, from the first to the last.
pub(crate) struct Unlabeled {
    path: PathBuf,
    file: String,
    preprocessing: Preprocessing,
    policy: Policy,
    /// The gaps of each column so far, and the number of rows so far.
    gaps: Vec<Gaps>,
    rows: u64,
    origin: Origin,
    /// The cells of a row, as numbers.
    cells: Vec<f64>,
}

/// The source of the rows.
enum Origin {
    Text { text: Box<Text>, places: Vec<usize>, record: ByteRecord },
    Array { array: Array, places: Vec<(usize, Recode)>, next: u64 },
}

impl Unlabeled {
    /// Opens a file, or stdin, and finds the needed columns. A network without a preprocessing takes the
    /// numbers unchanged, one for each input.
    pub(crate) fn open(
        options: &UnlabeledOptions,
        preprocessing: Option<&Preprocessing>,
        inputs: usize,
    ) -> Result<Self, Failure> {
        let path = options.data.as_deref().unwrap_or(Path::new("-"));
        let source = Source::open(&resolve_to_test(path)?)?;
        let file = source.name.clone();
        let policy = match preprocessing {
            None => Policy::without_preprocessing(),
            Some(_) => Policy::new(options.missing, options.strict),
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
            let places = find(&preprocessing, &Names::numbered(array.columns))?;
            let recodes = preprocessing.columns.iter().map(|column| recode_known(&column.values));
            Origin::Array { places: places.into_iter().zip(recodes).collect(), array, next: 0 }
        };
        let gaps = vec![Gaps::default(); preprocessing.columns.len()];
        let (path, cells) = (path.to_owned(), Vec::new());
        Ok(Self { path, file, preprocessing, policy, gaps, rows: 0, origin, cells })
    }

    /// Adds a note on the set of rows that is used, if the file holds several.
    pub(crate) fn tell_which(&self) {
        if let Origin::Array { array, .. } = &self.origin {
            input::tell_which(&self.path, &array.name);
        }
    }

    /// A line for each column with gaps in the rows that were read.
    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = gaps::notes(&self.preprocessing.columns, &self.gaps, self.rows);
        notes.into_iter().map(|note| format!("{}: {note}", self.file)).collect()
    }

    /// Reads all rows to find the first error.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let mut inputs = Vec::new();
        while self.read(CHECKED, &mut inputs)? > 0 {
            inputs.clear();
        }
        Ok(())
    }

    /// Adds the inputs of at most this many rows. Returns the number of rows, 0 at the end.
    pub(crate) fn read(&mut self, rows: usize, inputs: &mut Vec<f32>) -> Result<usize, Failure> {
        let found = self.read_rows(rows, inputs)?;
        self.rows += found as u64;
        Ok(found)
    }

    fn read_rows(&mut self, rows: usize, inputs: &mut Vec<f32>) -> Result<usize, Failure> {
        let Self { preprocessing, policy, gaps, origin, cells, .. } = self;
        match origin {
            Origin::Text { text, places, record } => {
                for row in 0..rows {
                    let Some(line) = text.read(record)? else {
                        return Ok(row);
                    };
                    cells.clear();
                    let columns = preprocessing.columns.iter().zip(&*places).zip(&mut *gaps);
                    for ((column, &place), gaps) in columns {
                        let encode = |cell: Raw<'_>| {
                            let number = column.encode(cell)?;
                            if number.is_nan() {
                                let at = || format!("{} {line}", text.unit());
                                take(gaps, *policy, Gap::of(column, cell), column, cell.text, at)?;
                            }
                            checked(number, column)
                        };
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
                    let columns = preprocessing.columns.iter().zip(&*places).zip(&mut *gaps);
                    for ((column, (place, recode)), gaps) in columns {
                        let mut encode = |cell: f64| {
                            if cell.is_infinite() {
                                return Err(format!("{cell} is not a finite number"));
                            }
                            let encoded = recode.apply(cell);
                            if encoded.is_nan() {
                                let gap = if cell.is_nan() { Gap::Missing } else { Gap::Unknown };
                                let at = || format!("row {number}");
                                take(gaps, *policy, gap, column, &cell.to_string(), at)?;
                            }
                            checked(encoded, column)
                        };
                        cells.push(encode(row[*place]).map_err(|why| {
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

/// Counts a gap, or fails with a sentence if it is an error.
fn take(
    gaps: &mut Gaps,
    policy: Policy,
    gap: Gap,
    column: &Column,
    cell: &str,
    place: impl FnOnce() -> String,
) -> Result<(), String> {
    policy.check(gap, column, cell)?;
    gaps.take(gap);
    if gap == Gap::Unknown {
        gaps.see(cell, place);
    }
    Ok(())
}

/// An encoded cell, unless it is too large for the network.
fn checked(encoded: f64, column: &Column) -> Result<f64, String> {
    if column.is_too_far(encoded) {
        return Err(format!("{encoded:?} is {TOO_FAR}"));
    }
    Ok(encoded)
}
