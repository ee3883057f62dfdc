//! Turns a file of options into arguments.

use std::{error::Error as _, fs, num::ParseIntError, ops::Range, path::Path};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::de::{DeTable, DeValue};

use super::arguments::{argument, check, conflict, is_path, key, options};
use crate::failure::Failure;

/// The least similarity of a suggestion to the written name, by clap's own measure.
const SIMILAR: f64 = 0.7;

/// An option that a file sets.
pub(super) struct Entry<'a> {
    pub(super) option: &'a Arg,
    /// The option as one would type it.
    pub(super) arguments: Vec<String>,
}

/// The options that the file sets, each checked.
pub(super) fn read<'a>(path: &Path, command: &'a Command) -> Result<Vec<Entry<'a>>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
    entries(&text, command).map_err(|(place, message)| {
        let (line, column) = line_and_column(&text, place);
        Failure::input(format!("{}:{line}:{column}: {message}", path.display()))
    })
}

/// A fault in the text, and its position.
type Fault = (usize, String);

fn entries<'a>(text: &str, command: &'a Command) -> Result<Vec<Entry<'a>>, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        (error.span().map_or(0, |span| span.start), error.message().trim_end().to_owned())
    })?;
    let mut pairs: Vec<_> = table.get_ref().iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    let mut entries: Vec<(usize, Entry<'a>)> = Vec::new();
    for (name, value) in pairs {
        let place = name.span().start;
        let argument =
            find(name.get_ref(), value.get_ref(), command).map_err(|message| (place, message))?;
        let wrong = |message: String| {
            (value.span().start, format!("{name} = {}: {message}", excerpt(text, value.span())))
        };
        let arguments = arguments(argument, value.get_ref()).map_err(wrong)?;
        if arguments.is_empty() {
            continue;
        }
        check(argument, &arguments).map_err(|error| wrong(reason(&error)))?;
        for (other_place, other) in &entries {
            if conflict(command, argument, other.option) {
                let (line, _) = line_and_column(text, *other_place);
                let message = format!(
                    "{name} and {} of line {line} cannot be used together: remove one of them",
                    key(other.option)
                );
                return Err((place, message));
            }
        }
        entries.push((place, Entry { option: argument, arguments }));
    }
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The option of this name, or an error that suggests a similar one.
fn find<'a>(name: &str, value: &DeValue<'_>, command: &'a Command) -> Result<&'a Arg, String> {
    let of_name = |argument: &&Arg| key(argument) == name;
    if let Some(argument) = options(command).find(of_name) {
        return Ok(argument);
    }
    if command.get_arguments().any(|argument| of_name(&argument)) {
        return Err(format!("{name} is for the command line: --{name}"));
    }
    if value.is_table() {
        return Err(format!("there are no tables: [{name}] has to go, its options may stay"));
    }
    let mut similar: Vec<_> = options(command)
        .map(|argument| (strsim::jaro(&name.replace('_', "-"), key(argument)), key(argument)))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .collect();
    similar.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    Err(match similar.first() {
        Some((_, near)) => format!("there is no option {name}; a similar one is {near}"),
        None => format!("there is no option {name}; `ztilde train --help` lists them"),
    })
}

/// The option as one would type it; nothing for a flag that is not set.
fn arguments(option: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let takes_no_value = |range: clap::builder::ValueRange| range.min_values() == 0;
    let is_flag = matches!(option.get_action(), ArgAction::SetTrue);
    match value {
        DeValue::Boolean(is_set) if option.get_num_args().is_some_and(takes_no_value) => {
            Ok(is_set.then(|| format!("--{}", key(option))).into_iter().collect())
        }
        _ if is_flag => Err("must be true or false".to_owned()),
        DeValue::String(text) => Ok(vec![argument(option, text)]),
        _ if is_path(option) => Err("must be a path in quotation marks".to_owned()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| scalar(item.get_ref()));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            Ok(match option.get_action() {
                ArgAction::Append => items.iter().map(|item| argument(option, item)).collect(),
                _ => vec![argument(option, &list(&items))],
            })
        }
        _ => Ok(vec![argument(option, &scalar(value)?)]),
    }
}

/// A value as one would type it: a number keeps its digits.
fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        _ => Err("must be text, a decimal number, or a list of such".to_owned()),
    }
}

/// A list as one would type it, with quotation marks around values that contain a comma.
fn list(items: &[String]) -> String {
    let item = |item: &String| {
        if item.contains([',', '"']) {
            format!("\"{}\"", item.replace('"', "\"\""))
        } else {
            item.clone()
        }
    };
    items.iter().map(item).collect::<Vec<_>>().join(",")
}

/// Why clap refuses a value, without clap's text about the command line.
fn reason(error: &clap::Error) -> String {
    let strings = |kind| match error.get(kind) {
        Some(ContextValue::Strings(strings)) => strings.join(", "),
        Some(ContextValue::String(string)) => string.clone(),
        _ => String::new(),
    };
    match (error.kind(), error.source()) {
        (ErrorKind::InvalidValue, _) => {
            let near = strings(ContextKind::SuggestedValue);
            let near = if near.is_empty() { near } else { format!("; a similar one is {near}") };
            format!("must be one of {}{near}", strings(ContextKind::ValidValue))
        }
        (_, Some(source)) if source.is::<ParseIntError>() => "must be a whole number".to_owned(),
        (_, Some(source)) => source.to_string(),
        _ => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

/// The first line of a part of the text.
fn excerpt(text: &str, span: Range<usize>) -> &str {
    text.get(span).and_then(|part| part.lines().next()).unwrap_or_default()
}

/// Counted from 1, as editors do.
fn line_and_column(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
