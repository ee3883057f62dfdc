//! Reads a table whose columns are known: rows to test on.

use csv::ByteRecord;

use super::{
    names::Names,
    options::{Layout, Missing},
    preprocessing::{Preprocessing, Values},
    scan::{Cells, missing},
    source::Source,
    table::{Recode, Table},
    text::{Text, looks_like_header, not_utf8},
};
use crate::failure::Failure;

/// Opens a table whose columns are known.
pub(super) fn open(
    source: Source,
    layout: &Layout,
    preprocessing: &Preprocessing,
) -> Result<Text, Failure> {
    Text::open_by(source, layout, |first| is_header(first, preprocessing))
}

/// Knowing the columns tells a header from a row where looking at it alone does not: names may be
/// numbers, and rows may be words only.
fn is_header(first: &ByteRecord, preprocessing: &Preprocessing) -> bool {
    let columns = &preprocessing.columns;
    let has = |name: &str| first.iter().any(|cell| cell.trim_ascii() == name.as_bytes());
    if preprocessing.has_header && columns.iter().all(|column| has(&column.name)) {
        return true;
    }
    let is_number = |values: &Values| matches!(values, Values::Number { .. });
    let may_tell = preprocessing.has_header || columns.iter().any(|it| is_number(&it.values));
    may_tell && looks_like_header(first)
}

/// Reads all rows of a table, with their targets.
pub(super) fn read(
    mut text: Text,
    preprocessing: &Preprocessing,
    policy: Missing,
) -> Result<Table, Failure> {
    let failed = |error| Failure::input(format!("{}: {error}", text.file));
    let places = places(preprocessing, &text.names).map_err(failed)?;
    let target_place = places.target.map_err(failed)?;
    let mut cells = Cells::new();
    let mut record = ByteRecord::new();
    while let Some(line) = text.read(&mut record)? {
        let number = |place: usize, encode: &dyn Fn(&str) -> Result<f64, String>| {
            let number = self::encode(&text, &record, line, place, encode)?;
            if number.is_nan() && policy == Missing::Error {
                return Err(missing(&text, line, place));
            }
            Ok(number)
        };
        for (column, &place) in preprocessing.columns.iter().zip(&places.features) {
            cells.push(number(place, &|cell| column.encode(cell))?)?;
        }
        cells.push(number(target_place, &|cell| preprocessing.target.encode(cell))?)?;
        cells.rows += 1;
    }
    let width = places.features.len() + 1;
    let cells = cells.finish(&text.file, width)?;
    let places = (0..width).map(|place| (place, Recode::Keep)).collect();
    Table::new(text.file, vec![cells], places, policy, preprocessing.clone())
}

/// A cell of a record as a number, or where it stands and why it is none.
pub(super) fn encode(
    text: &Text,
    record: &ByteRecord,
    line: u64,
    place: usize,
    encode: impl FnOnce(&str) -> Result<f64, String>,
) -> Result<f64, Failure> {
    let cell = std::str::from_utf8(&record[place]).map_err(|_| not_utf8(&text.file, line))?;
    encode(cell).map_err(|why| {
        let column = text.names.describe(place);
        Failure::input(format!("{}, line {line}, {column}: {why}", text.file))
    })
}

/// Where the columns are in another table.
pub(super) struct Places {
    pub(super) features: Vec<usize>,
    /// Or why it is not there.
    pub(super) target: Result<usize, String>,
}

/// Finds the columns in another table: by their names if both have a header, and else by their numbers.
/// In the latter case the table has all columns, or all but the target, or those that are learned from.
pub(super) fn places(preprocessing: &Preprocessing, names: &Names) -> Result<Places, String> {
    let Preprocessing { columns, target, width, .. } = preprocessing;
    if preprocessing.has_header && names.from_header {
        let features = columns.iter().map(|column| names.find_name(&column.name));
        let features = features.collect::<Result<_, _>>()?;
        return Ok(Places { features, target: names.find_name(&target.name) });
    }
    let found = names.len();
    // A target in a file of its own stands behind all others, if it stands with them at all.
    let target_number = target.number.unwrap_or(width + 1);
    let all = target_number.max(*width);
    let numbers = columns.iter().map(|column| column.number);
    let missing = || Err(format!("there are {found} columns, none of which is {:?}", target.name));
    Ok(if found == all {
        let features = numbers.map(|number| number - 1).collect();
        Places { features, target: Ok(target_number - 1) }
    } else if found + 1 == all {
        let place = |number| if number > target_number { number - 2 } else { number - 1 };
        Places { features: numbers.map(place).collect(), target: missing() }
    } else if found == columns.len() {
        Places { features: (0..found).collect(), target: missing() }
    } else {
        let without = all - 1;
        return Err(format!(
            "there are {found} columns, but {all} in the table that was learned from, {without} \
             without the target"
        ));
    })
}
