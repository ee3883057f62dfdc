//! Reads a table whose columns nobody has described: finds out what each one holds.

use std::io::{BufWriter, Seek, Write};

use csv::ByteRecord;

use super::{
    array::{Array, Element},
    cell::finite,
    names::Names,
    options::{DataOptions, Missing, Task},
    preprocessing::{Column, Preprocessing, Target, Values},
    seen::{COUNTED, Seen},
    table::{Recode, Table},
    text::{Text, not_utf8},
};
use crate::failure::Failure;

/// The most categories of a column: each is an input of the network.
const MOST_CATEGORIES: usize = 100;

/// What is kept in memory of the cells; a larger table goes to a temporary file.
const IN_MEMORY: usize = 64 << 20;

/// What was asked for, as places in the table.
pub(super) struct Choice {
    /// Features, then the target if it is one of the columns.
    pub(super) columns: Vec<usize>,
    is_text: Vec<bool>,
}

/// Reads all of a table.
pub(crate) fn scan(
    mut text: Text,
    options: &DataOptions,
    notes: &mut Vec<String>,
) -> Result<Table, Failure> {
    if text.counts_columns {
        notes.push(
            "the first row numbers the columns: it is no row (--header no takes it as one)"
                .to_owned(),
        );
    }
    let choice = choose(&text.names, options, false)
        .map_err(|error| Failure::input(format!("{}: {error}", text.file)))?;
    text.check(&choice.columns)?;
    let is_text = |(&is_text, &column): (&bool, &usize)| is_text || text.is_text(column);
    let is_text = choice.is_text.iter().zip(&choice.columns).map(is_text);
    let mut columns: Vec<_> = is_text.map(Seen::new).collect();
    let mut cells = Cells::new();
    let mut record = ByteRecord::new();
    while let Some(line) = text.read(&mut record)? {
        for (&column, scan) in choice.columns.iter().zip(&mut columns) {
            let cell =
                std::str::from_utf8(&record[column]).map_err(|_| not_utf8(&text.file, line))?;
            let number = scan.take(cell, line, &text.names, column).map_err(|why| {
                let place = text.names.describe(column);
                Failure::input(format!("{}, {} {line}, {place}: {why}", text.file, text.unit()))
            })?;
            if number.is_nan() && options.missing == Missing::Error {
                return Err(missing(&text, line, column));
            }
            cells.push(number)?;
        }
        cells.rows += 1;
    }
    let (file, names) = (text.file.clone(), text.names.clone());
    if cells.rows == 0 {
        return Err(Failure::input(format!("{file}: there is a header, but no rows")));
    }
    let failed = |why: String| Failure::input(format!("{file}: {why}"));
    let meant = meaning(&names, &choice, columns, options, notes).map_err(failed)?;
    let width = choice.columns.len();
    let cells = cells.finish(&file, width)?;
    Table::new(file, vec![cells], meant.places, options.missing, meant.preprocessing)
}

pub(super) fn missing(text: &Text, line: u64, column: usize) -> Failure {
    Failure::input(format!(
        "{}, {} {line}, {}: the value is missing; --missing fill goes on without it",
        text.file,
        text.unit(),
        text.names.describe(column)
    ))
}

/// Finds the columns that were asked for, or all of them; the target may be elsewhere.
pub(super) fn choose(
    names: &Names,
    options: &DataOptions,
    has_targets: bool,
) -> Result<Choice, String> {
    let option = |name: &str, error| format!("--{name}: {error}");
    let target = match &options.target {
        None => names.len() - 1,
        Some(target) => names.find(target).map_err(|error| option("target", error))?,
    };
    let list = |name: &str, list: &Option<String>| match list {
        None => Ok(Vec::new()),
        Some(list) => names.list(list).map_err(|error| option(name, error)),
    };
    let dropped = list("drop", &options.drop)?;
    let categorical = list("categorical", &options.categorical)?;
    let mut columns = match &options.features {
        Some(_) => list("features", &options.features)?,
        None => (0..names.len()).filter(|column| !dropped.contains(column)).collect(),
    };
    if has_targets {
        return Ok(Choice { is_text: vec![false; columns.len()], columns });
    }
    if dropped.contains(&target) {
        return Err(format!("--drop leaves out {}, the target", names.describe(target)));
    }
    if options.features.is_some() && columns.contains(&target) {
        let target = names.describe(target);
        return Err(format!(
            "--features names {target}, which is the target: --target names another"
        ));
    }
    columns.retain(|&column| column != target);
    if columns.is_empty() {
        let count = names.len();
        return Err(format!(
            "of {count} column(s), none is left to learn from beside the target; --delimiter tells \
             what stands between two cells"
        ));
    }
    columns.push(target);
    let is_class = options.task == Some(Task::Classification);
    let is_text = columns
        .iter()
        .map(|column| categorical.contains(column) || is_class && *column == target)
        .collect();
    Ok(Choice { columns, is_text })
}

/// What the columns mean.
struct Meaning {
    preprocessing: Preprocessing,
    places: Vec<(usize, Recode)>,
}

fn meaning(
    names: &Names,
    choice: &Choice,
    mut scans: Vec<Seen>,
    options: &DataOptions,
    notes: &mut Vec<String>,
) -> Result<Meaning, String> {
    let target_scan = scans.pop().ok_or("there is no target")?;
    let (&target_column, features) = choice.columns.split_last().ok_or("there is no target")?;
    for name in &names.repeated {
        notes.push(format!("several columns are called {name:?}: the second goes by {name:?}.2"));
    }
    let all = || features.iter().zip(&scans).chain([(&target_column, &target_scan)]);
    all().try_for_each(|(&column, scan)| check_commas(names, column, scan))?;
    check_categories(names, features, &scans)?;
    let mut columns = Vec::new();
    let mut places = Vec::new();
    let mut empty = Vec::new();
    for ((place, &column), scan) in features.iter().enumerate().zip(&scans) {
        let name = names.name(column).to_owned();
        if scan.texts.is_empty() && scan.numbers == 0 {
            empty.push(column);
            continue;
        }
        if scan.counts_rows && scan.numbers > 2 {
            if column == 0 && names.is_unnamed(0) {
                notes.push("column 1 has no name and counts the rows: it is left out".to_owned());
                continue;
            }
            notes.push(format!(
                "{} counts the rows; unless that says something, --drop {} leaves it out",
                names.describe(column),
                names.as_option(&[column])
            ));
        }
        let (values, recode) = if scan.texts.is_empty() {
            (Values::Number { shift: 0.0, scale: 1.0, fill: None }, Recode::Keep)
        } else {
            let (categories, recode) = scan.categories();
            (Values::Category(categories), recode)
        };
        columns.push(Column::new(name, column + 1, values));
        places.push((place, recode));
    }
    if columns.is_empty() {
        return Err("no column beside the target has values to learn from".to_owned());
    }
    if !empty.is_empty() {
        let described: Vec<_> = empty.iter().take(5).map(|&at| names.describe(at)).collect();
        let more = if empty.len() > described.len() { ", …" } else { "" };
        notes.push(format!("left out, without any value: {}{more}", described.join(", ")));
    }
    let (values, recode) = target_scan
        .target(options.task)
        .map_err(|why| format!("{}, the target, {why}", names.describe(target_column)))?;
    places.push((features.len(), recode));
    let target = Target {
        name: names.name(target_column).to_owned(),
        number: Some(target_column + 1),
        values,
    };
    let (has_header, width) = (names.from_header, names.len());
    let preprocessing = Preprocessing { has_header, width, columns, target };
    Ok(Meaning { preprocessing, places })
}

/// Text of too many kinds is no category, and the message names all columns of it at once.
fn check_categories(names: &Names, features: &[usize], scans: &[Seen]) -> Result<(), String> {
    let many: Vec<_> = features
        .iter()
        .zip(scans)
        .filter(|(_, scan)| scan.texts.len() > MOST_CATEGORIES)
        .map(|(&column, scan)| (column, scan))
        .collect();
    if many.is_empty() {
        return Ok(());
    }
    let described: Vec<_> = many
        .iter()
        .map(|(column, scan)| {
            let count = scan.texts.len();
            let count = if count < COUNTED { format!("{count}") } else { format!("over {count}") };
            let (line, text) = scan.first_text.clone().unwrap_or_default();
            format!("{} has {count} ({text:?} in line {line})", names.describe(*column))
        })
        .collect();
    let columns: Vec<_> = many.iter().map(|(column, _)| *column).collect();
    Err(format!(
        "a column of text may have {MOST_CATEGORIES} different values at most, of which each \
         becomes an input, but {}: --drop {} leaves out what has more",
        described.join(", "),
        names.as_option(&columns)
    ))
}

/// Numbers with commas in them are no numbers here, nor should each become a category.
fn check_commas(names: &Names, column: usize, scan: &Seen) -> Result<(), String> {
    let (Some((line, text)), false) = (&scan.first_text, scan.is_text) else { return Ok(()) };
    let without = |text: &String| finite(&text.replace(',', "")).is_some();
    if !scan.texts.keys().all(without) {
        return Ok(());
    }
    Err(format!(
        "{} has numbers with a comma, such as {text:?} in line {line}: write a decimal point, and \
         nothing between thousands; or leave them out with --drop {option}, or take them as \
         categories with --categorical {option}",
        names.describe(column),
        option = names.as_option(&[column])
    ))
}

/// The cells that were read, as bytes.
pub(super) struct Cells {
    writer: BufWriter<tempfile::SpooledTempFile>,
    bytes: u64,
    pub(super) rows: u64,
}

impl Cells {
    pub(super) fn new() -> Self {
        let writer = BufWriter::with_capacity(1 << 18, tempfile::spooled_tempfile(IN_MEMORY));
        Self { writer, bytes: 0, rows: 0 }
    }

    pub(super) fn push(&mut self, number: f64) -> Result<(), Failure> {
        let bytes = number.to_ne_bytes();
        self.bytes += bytes.len() as u64;
        self.writer.write_all(&bytes).map_err(|error| temporary(&error))
    }

    pub(super) fn finish(self, file: &str, width: usize) -> Result<Array, Failure> {
        let Self { writer, bytes, rows } = self;
        if rows == 0 {
            return Err(Failure::input(format!("{file}: there is a header, but no rows")));
        }
        let mut storage = writer.into_inner().map_err(|error| temporary(error.error()))?;
        storage.rewind().map_err(|error| temporary(&error))?;
        let (storage, shape) = (Box::new(storage), [rows, width as u64]);
        Array::new(file.to_owned(), storage, [0, bytes], Element::NATIVE_F64, &shape, false)
            .map_err(|error| Failure::input(format!("{file}: {error}")))
    }
}

pub(super) fn temporary(error: &std::io::Error) -> Failure {
    Failure::input(format!("a temporary file: {error}; TMPDIR names the folder for it"))
}
