//! Reads a table whose columns are known, such as test rows.

use csv::ByteRecord;

use crate::{
    data::{
        cell::Raw,
        columns::{
            gaps::{Gap, Gaps, Policy},
            names::Names,
            preprocessing::{Column, Preprocessing, Values},
        },
        formats::{head::looks_like_header, lines::unmarked, source::Source, text::Text},
        options::{Layout, Missing},
        tables::{
            cells::{Cells, missing},
            table::{Recode, Table, UNKNOWN},
        },
    },
    failure::Failure,
};

/// Opens a table whose columns are known.
pub(crate) fn open(
    source: Source,
    layout: &Layout,
    preprocessing: &Preprocessing,
) -> Result<Text, Failure> {
    let mut text = Text::open_by(source, layout, |first| is_header(first, preprocessing))?;
    text.words = layout.words()?.unwrap_or_else(|| preprocessing.missing_words.clone());
    Ok(text)
}

/// Known columns tell a header from a row even if the record alone does not: names may be numbers, and
/// rows may consist of words.
fn is_header(first: &ByteRecord, preprocessing: &Preprocessing) -> bool {
    let has =
        |name: &str| first.iter().any(|cell| unmarked(cell).0.trim_ascii() == name.as_bytes());
    let is_named = preprocessing.has_header;
    if is_named && preprocessing.columns.iter().all(|column| has(&column.name)) {
        return true;
    }
    looks_like_header(first) && !is_row(first, preprocessing)
}

/// Whether each cell of a record is missing or has a known value of its column.
fn is_row(record: &ByteRecord, preprocessing: &Preprocessing) -> bool {
    let is_value = |(column, &place): (&Column, &usize)| {
        let (cell, is_quoted) = unmarked(&record[place]);
        let cell = std::str::from_utf8(cell).unwrap_or_default();
        let raw = Raw::new(cell, is_quoted, &preprocessing.missing_words);
        column.encode(raw).is_ok_and(|_| !column.is_unknown(raw))
    };
    places(preprocessing, &Names::numbered(record.len()))
        .is_ok_and(|places| preprocessing.columns.iter().zip(&places.features).all(is_value))
}

/// Reads all rows of a table, with their targets.
pub(crate) fn read(
    mut text: Text,
    preprocessing: &Preprocessing,
    policy: Policy,
) -> Result<Table, Failure> {
    let failed = |error| Failure::input(format!("{}: {error}", text.file));
    let places = places(preprocessing, &text.names).map_err(failed)?;
    let target_place = places.target.map_err(failed)?;
    text.check(&places.features)?;
    text.check(&[target_place])?;
    let mut cells = Cells::new();
    let mut seen = vec![Gaps::default(); places.features.len()];
    let mut record = ByteRecord::new();
    while let Some(line) = text.read(&mut record)? {
        for ((column, &place), seen) in
            preprocessing.columns.iter().zip(&places.features).zip(&mut seen)
        {
            let encode = |cell: Raw<'_>| {
                let number = column.encode(cell)?;
                if !number.is_nan() {
                    return Ok(number);
                }
                let gap = Gap::of(column, cell);
                policy.check(gap, column, cell.text)?;
                if gap == Gap::Missing {
                    return Ok(number);
                }
                seen.see(cell.text, || format!("{} {line}", text.unit()));
                Ok(UNKNOWN)
            };
            cells.push(self::encode(&text, &record, line, place, encode)?)?;
        }
        let encode = |cell: Raw<'_>| preprocessing.target.encode(cell);
        let target = self::encode(&text, &record, line, target_place, encode)?;
        if target.is_nan() && policy.missing == Missing::Error {
            return Err(missing(&text, line, target_place));
        }
        cells.push(target)?;
        cells.rows += 1;
    }
    let cells = cells.finish(&text.file, places.features.len() + 1)?;
    let recode = |column: &Column| match &column.values {
        // An index stays unchanged, and UNKNOWN becomes NaN.
        Values::Category(names) => Recode::Search((0..names.len()).map(|at| at as f64).collect()),
        Values::Number { .. } => Recode::Keep,
    };
    let recodes = preprocessing.columns.iter().map(recode).chain([Recode::Keep]);
    let places = recodes.enumerate().collect();
    let cells = vec![cells];
    let mut table = Table::new(text.file, cells, places, policy.missing, preprocessing.clone())?;
    let gaps = std::mem::take(&mut table.counts.gaps).into_iter().zip(seen);
    table.counts.gaps = gaps.map(|(gaps, seen)| gaps.with_example_of(seen)).collect();
    Ok(table)
}

/// A cell of a record as a number, or an error with its position and the reason.
pub(crate) fn encode(
    text: &Text,
    record: &ByteRecord,
    line: u64,
    place: usize,
    encode: impl FnOnce(Raw<'_>) -> Result<f64, String>,
) -> Result<f64, Failure> {
    encode(text.cell(record, line, place)?).map_err(|why| {
        let column = text.names.describe(place);
        Failure::input(format!("{}, {} {line}, {column}: {why}", text.file, text.unit()))
    })
}

/// The positions of the columns in another table.
pub(crate) struct Places {
    pub(crate) features: Vec<usize>,
    /// The target's position, or why it is missing.
    pub(crate) target: Result<usize, String>,
}

/// Finds the columns in another table: by their names if both have a header, and else by their numbers.
/// In the latter case the table has all columns, or all but the target, or only the input columns.
pub(crate) fn places(preprocessing: &Preprocessing, names: &Names) -> Result<Places, String> {
    let Preprocessing { columns, target, width, .. } = preprocessing;
    if preprocessing.has_header && names.from_header {
        let needed = ", which the model needs";
        let features = columns.iter().map(|column| names.find_name(&column.name, needed));
        let features = features.collect::<Result<_, _>>()?;
        let compared = ", which the model's answers are compared with";
        return Ok(Places { features, target: names.find_name(&target.name, compared) });
    }
    let found = names.len();
    // A target that had a file of its own is after all other columns, if it is in the table.
    let target_number = target.number.unwrap_or(width + 1);
    let all = target_number.max(*width);
    let numbers = columns.iter().map(|column| column.number);
    let missing = || {
        Err(format!(
            "there are {found} columns, none of which is {:?}, the target: add it, or name its file with \
             --targets",
            target.name
        ))
    };
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
            "there are {found} columns, but {all} in the training table, {without} \
             without the target"
        ));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cell::Words;
    use crate::data::columns::preprocessing::{Target, TargetValues, Values};

    /// Columns of a table of five: a number in the first, categories in the fourth and the fifth.
    fn known(has_header: bool, target: Option<usize>) -> Preprocessing {
        let numbers = Values::Number { shift: 0.0, scale: 1.0, fill: None };
        let colors = Values::Category(vec!["7".to_owned(), "blue".to_owned(), "red".to_owned()]);
        let column = |name: &str, number, values| Column::new(name, number, values);
        Preprocessing {
            has_header,
            width: 5,
            columns: vec![
                column("12", 1, numbers),
                column("color", 4, colors.clone()),
                column("other color", 5, colors),
            ],
            target: Target::new(
                "kind",
                target,
                TargetValues::Classes(vec!["a".to_owned(), "b".to_owned()]),
            ),
            missing_words: Words::USUAL,
        }
    }

    #[test]
    fn columns_are_found_by_name_or_number() {
        let found = |names: &Names, known: &Preprocessing| {
            places(known, names).map(|places| (places.features, places.target.ok()))
        };
        let by_number = known(false, Some(2));
        for (count, expected) in
            [(5, (vec![0, 3, 4], Some(1))), (4, (vec![0, 2, 3], None)), (3, (vec![0, 1, 2], None))]
        {
            assert_eq!(found(&Names::numbered(count), &by_number), Ok(expected), "{count}");
        }
        for count in [2, 6] {
            let error = found(&Names::numbered(count), &by_number).unwrap_err();
            assert!(
                error.contains(&format!("are {count} columns, but 5 in the training table")),
                "{error}"
            );
        }
        // A target that came from a separate file may be the last column.
        let apart = known(false, None);
        for (count, expected) in [(6, Some(5)), (5, None), (3, None)] {
            assert_eq!(found(&Names::numbered(count), &apart).unwrap().1, expected, "{count}");
        }
        let names = ["color", "x", "12", "other color"];
        let names = Names::from_header(names.into_iter());
        assert_eq!(found(&names, &known(true, Some(2))), Ok((vec![2, 0, 3], None)));
        assert!(found(&names, &by_number).unwrap().0 == [0, 2, 3], "one header tells nothing");
    }

    #[test]
    fn a_header_is_distinguished_from_a_row() {
        let check = |known: &Preprocessing, cells: &[&str], expected: bool| {
            assert_eq!(is_header(&ByteRecord::from(cells), known), expected, "{cells:?}");
        };
        let named = known(true, Some(2));
        check(&named, &["12", " color", "other color "], true);
        check(&named, &["red", "12", "other color", "color"], true);
        check(&named, &["red", "color"], true);
        check(&named, &["12", "red", "blue"], false);
        // Neither a number nor a header.
        check(&named, &["", "red", "blue"], false);
        check(&named, &["?", "b", "what", "", "red"], false);
        check(&named, &["?", "b", "what", "", "green"], true);
        check(&known(false, Some(2)), &["", "red", "blue"], false);
        check(&known(false, Some(2)), &["", "color", "blue"], true);
        check(&known(false, Some(2)), &["12", "color", "other color"], false);
    }
}
