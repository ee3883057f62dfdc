//! Reads a new table, and finds the kind of each column.

use csv::ByteRecord;

use crate::{
    data::{
        cell::{Words, forms::Form},
        columns::{
            names::Names,
            preprocessing::{Column, Preprocessing, Target, Values},
        },
        formats::text::Text,
        options::{DataOptions, Delimiter, Missing},
        tables::{
            cells::{Cells, missing},
            choice::{Choice, choose},
            findings::{Findings, Held, Kind},
            table::{Recode, Table, unboxed},
        },
    },
    failure::Failure,
};

/// The most categories of a column: each category is an input of the network.
const MOST_CATEGORIES: usize = 100;

/// Reads all of a table.
pub(crate) fn scan(
    mut text: Text,
    options: &DataOptions,
    notes: &mut Vec<String>,
) -> Result<Table, Failure> {
    if let Some(counted) = text.counted {
        notes.push(format!(
            "the first row {counted}, so it is the header (--header no takes it as a row)"
        ));
    }
    let choice = choose(&text.names, options, false)
        .map_err(|error| Failure::input(format!("{}: {error}", text.file)))?;
    text.check(&choice.columns)?;
    let has_semicolons = text.delimiter == Delimiter::Semicolon;
    let findings = |(&is_category, &column): (&bool, &usize)| {
        let kind = if is_category {
            Kind::Category
        } else if text.is_text(column) {
            Kind::Text
        } else {
            Kind::Any
        };
        Findings::new(kind, has_semicolons)
    };
    let mut columns: Vec<_> =
        choice.is_category.iter().zip(&choice.columns).map(findings).collect();
    let mut cells = Cells::new();
    let mut record = ByteRecord::new();
    while let Some(line) = text.read(&mut record)? {
        for (&column, findings) in choice.columns.iter().zip(&mut columns) {
            let cell = text.cell(&record, line, column)?;
            let number = findings.take(cell, line, &text.names, column).map_err(|why| {
                let place = text.names.describe(column);
                Failure::input(format!("{}, {} {line}, {place}: {why}", text.file, text.unit()))
            })?;
            let is_missing = number.is_nan() && unboxed(number).is_none();
            if is_missing && options.missing == Missing::Error {
                return Err(missing(&text, line, column));
            }
            cells.push(number)?;
        }
        cells.rows += 1;
    }
    let Text { file, names, words, .. } = text;
    if cells.rows == 0 {
        return Err(Failure::input(format!("{file}: there is a header, but no rows")));
    }
    let failed = |why: String| Failure::input(format!("{file}: {why}"));
    let (target, features) = columns.split_last().ok_or_else(|| failed("no target".to_owned()))?;
    let meant = meaning(&names, &choice, (features, target), options, words, notes);
    let meant = meant.map_err(failed)?;
    let width = choice.columns.len();
    let cells = cells.finish(&file, width)?;
    let table =
        Table::new(file.clone(), vec![cells], meant.places, options.missing, meant.preprocessing)?;
    if options.layout.missing_values.is_none() && table.preprocessing.target.classes().is_some() {
        let column = names.describe(choice.columns[width - 1]);
        target
            .check_words(&table.counts.of_class)
            .map_err(|why| failed(format!("{column}, the target, {why}")))?;
    }
    Ok(table)
}

/// Determines the meaning of the columns.
struct Meaning {
    preprocessing: Preprocessing,
    places: Vec<(usize, Recode)>,
}

fn meaning(
    names: &Names,
    choice: &Choice,
    (features, target): (&[Findings], &Findings),
    options: &DataOptions,
    missing_words: Words,
    notes: &mut Vec<String>,
) -> Result<Meaning, String> {
    let &target_column = choice.columns.last().ok_or("there is no target")?;
    for name in &names.repeated {
        let second = format!("{name}.2");
        notes.push(format!("several columns are called {name:?}: the second is {second:?} here"));
    }
    let mut found = Found::default();
    let mut columns = Vec::new();
    let mut places = Vec::new();
    for ((place, &column), findings) in choice.columns.iter().enumerate().zip(features) {
        if findings.counts_rows && findings.numbers > 2 {
            if column == 0 && names.is_unnamed(0) {
                notes.push("column 1 has no name and counts the rows: it is left out".to_owned());
                continue;
            }
            notes.push(format!(
                "{} counts the rows: unless their order matters, --drop {} leaves it out",
                names.describe(column),
                names.as_option(&[column])
            ));
        }
        if findings.distinct() > MOST_CATEGORIES && findings.is_free_text() {
            check_asked(names, column, findings, choice.is_category[place])?;
            found.many.push((column, findings));
            continue;
        }
        let held = findings.held(&names.as_option(&[column]));
        let (values, form, recode) =
            match held.map_err(|why| names.describe(column) + ": " + &why)? {
                Held::Nothing => {
                    found.empty.push(column);
                    continue;
                }
                Held::Numbers(form, recode) => {
                    found.numbers(column, findings, &form);
                    (Values::Number { shift: 0.0, scale: 1.0, fill: None }, form, recode)
                }
                Held::Texts(categories, recode) => {
                    found.words.extend((!findings.words.is_empty()).then_some((column, findings)));
                    (Values::Category(categories), Form::Plain, recode)
                }
            };
        let reading = findings.reading(form);
        columns.push(Column { reading, ..Column::new(names.name(column), column + 1, values) });
        places.push((place, recode));
    }
    if columns.is_empty() {
        let many = if found.many.is_empty() { String::new() } else { found.note_many(names) };
        return Err(format!(
            "no column beside the target has values{}{many}",
            if many.is_empty() { "" } else { "; " }
        ));
    }
    let failed = |why: String| format!("{}, the target, {why}", names.describe(target_column));
    let held = target.held(&names.as_option(&[target_column])).map_err(failed)?;
    let form = held.form();
    found.numbers(target_column, target, &form);
    let (values, recode) = target.target(held, options.task).map_err(failed)?;
    places.push((features.len(), recode));
    let target = Target {
        reading: target.reading(form),
        ..Target::new(names.name(target_column), Some(target_column + 1), values)
    };
    found.check_points(names)?;
    found.note(names, notes);
    let (has_header, width) = (names.from_header, names.len());
    let preprocessing = Preprocessing { has_header, width, columns, target, missing_words };
    Ok(Meaning { preprocessing, places })
}

/// Fails if `--categorical` names a column with too many categories, which would be left out.
fn check_asked(
    names: &Names,
    column: usize,
    findings: &Findings,
    is_category: bool,
) -> Result<(), String> {
    if !is_category {
        return Ok(());
    }
    Err(format!(
        "--categorical names {}, which has {} different values; each becomes an input, and there may be \
         {MOST_CATEGORIES} at most: --drop {} leaves it out",
        names.describe(column),
        findings.counted(),
        names.as_option(&[column])
    ))
}

/// Findings about columns, for notes.
#[derive(Default)]
struct Found<'a> {
    empty: Vec<usize>,
    /// Columns of text with too many different values.
    many: Vec<(usize, &'a Findings)>,
    /// Columns of text with words for a missing value.
    words: Vec<(usize, &'a Findings)>,
    /// Columns of numbers in another notation, and their forms.
    forms: Vec<(usize, String)>,
    /// The first column with decimal commas.
    comma: Option<usize>,
    /// Columns of plain numbers whose points could separate thousands, and the first of these numbers.
    grouped: Vec<(usize, &'a str)>,
}

impl<'a> Found<'a> {
    fn numbers(&mut self, column: usize, findings: &'a Findings, form: &Form) {
        if let Some((text, number)) = findings.example(form) {
            self.forms
                .push((column, format!("{text:?} is {}, read as {number:?}", form.kind(text))));
        }
        if form.has_comma() {
            self.comma.get_or_insert(column);
        }
        self.grouped.extend(findings.grouped().map(|text| (column, text)));
    }

    /// Fails if a table with decimal commas has a column whose points may separate thousands or
    /// decimals.
    fn check_points(&self, names: &Names) -> Result<(), String> {
        let (Some(comma), Some(&(column, text))) = (self.comma, self.grouped.first()) else {
            return Ok(());
        };
        let whole: String = text.chars().filter(|letter| *letter != '.').collect();
        Err(format!(
            "{}: {text:?} may mean {whole} or {}, as {} has decimal commas. Write these numbers with a \
             decimal comma, or without thousands separators; or leave the column out with --drop {}",
            names.describe(column),
            text.parse::<f64>().unwrap_or(f64::NAN),
            names.describe(comma),
            names.as_option(&[column])
        ))
    }

    fn note(&self, names: &Names, notes: &mut Vec<String>) {
        let empty: Vec<_> = self.empty.iter().map(|&column| names.describe(column)).collect();
        if !empty.is_empty() {
            notes.push(format!("left out, without any value: {}", list(&empty)));
        }
        if !self.many.is_empty() {
            notes.push(self.note_many(names));
        }
        let form =
            |(column, form): &(usize, String)| format!("{}: {form}", names.describe(*column));
        let forms: Vec<_> = self.forms.iter().map(form).collect();
        if !forms.is_empty() {
            let are_days = self.forms.iter().any(|(_, form)| form.contains("YY"));
            let days = if are_days { " (dates as days since 1970-01-01)" } else { "" };
            notes.push(format!("read as numbers{days}: {}", list(&forms)));
        }
        let words = |(column, findings): &(usize, &Findings)| {
            let words =
                findings.words.iter().map(|(word, count)| format!("{word:?} {count} times"));
            format!("{} has {}", names.describe(*column), words.collect::<Vec<_>>().join(" and "))
        };
        let words: Vec<_> = self.words.iter().map(words).collect();
        if !words.is_empty() {
            notes.push(format!(
                "read as missing, not as a category: {}; --missing-values sets the words",
                list(&words)
            ));
        }
    }

    fn note_many(&self, names: &Names) -> String {
        let many = |(column, findings): &(usize, &Findings)| {
            let (line, text) = findings.first_text.clone().unwrap_or_default();
            let (column, count) = (names.describe(*column), findings.counted());
            format!("{column} has {count} ({text:?} in line {line})")
        };
        let many: Vec<_> = self.many.iter().map(many).collect();
        format!(
            "left out, because each value of a text column becomes an input, and they have more than \
             {MOST_CATEGORIES} different values: {}",
            list(&many)
        )
    }
}

/// The most columns in a note.
const LISTED: usize = 20;

fn list(items: &[String]) -> String {
    let more = if items.len() > LISTED { ", …" } else { "" };
    items[..items.len().min(LISTED)].join(", ") + more
}
