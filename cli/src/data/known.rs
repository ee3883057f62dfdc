//! Reads a table whose columns are known: rows to test on, or to predict.

use csv::ByteRecord;

use super::{
    names::Names,
    options::Missing,
    preprocessing::Preprocessing,
    scan::{Cells, missing},
    table::{Recode, Table},
    text::{Text, not_utf8},
};
use crate::failure::Failure;

/// Reads all rows of a table, with their targets.
pub(crate) fn read(
    mut text: Text,
    preprocessing: &Preprocessing,
    policy: Missing,
) -> Result<Table, Failure> {
    let places = places(preprocessing, &text.names)
        .map_err(|error| Failure::input(format!("{}: {error}", text.file)))?;
    let (&target_place, feature_places) = places.split_last().expect("a table has a target");
    let mut cells = Cells::new();
    let mut record = ByteRecord::new();
    while let Some(line) = text.read(&mut record)? {
        let encoded = |place: usize, encode: &dyn Fn(&str) -> Result<f64, String>| {
            let cell =
                std::str::from_utf8(&record[place]).map_err(|_| not_utf8(&text.file, line))?;
            let number = encode(cell).map_err(|why| {
                let column = text.names.describe(place);
                Failure::input(format!("{}, line {line}, {column}: {why}", text.file))
            })?;
            if number.is_nan() && policy == Missing::Error {
                return Err(missing(&text, line, place));
            }
            Ok(number)
        };
        for (column, &place) in preprocessing.columns.iter().zip(feature_places) {
            cells.push(encoded(place, &|cell| column.encode(cell))?)?;
        }
        cells.push(encoded(target_place, &|cell| preprocessing.target.encode(cell))?)?;
        cells.rows += 1;
    }
    let cells = cells.finish(&text.file, places.len())?;
    let places = (0..places.len()).map(|place| (place, Recode::Keep)).collect();
    Table::new(text.file, vec![cells], places, policy, preprocessing.clone())
}

/// Where the columns of the features, and last the target's, are in another table: by their names if
/// both have a header, and else by their numbers.
fn places(preprocessing: &Preprocessing, names: &Names) -> Result<Vec<usize>, String> {
    let by_name = preprocessing.has_header && names.from_header;
    let find = |name: &str, number: usize| {
        if by_name {
            return names.find_name(name);
        }
        if number <= names.len() {
            return Ok(number - 1);
        }
        Err(format!(
            "there are {} columns, but {name:?} is the one with number {number}",
            names.len()
        ))
    };
    let target = &preprocessing.target;
    let number = target.number.unwrap_or(names.len());
    let columns = preprocessing.columns.iter().map(|column| (&column.name, column.number));
    columns.chain([(&target.name, number)]).map(|(name, number)| find(name, number)).collect()
}
