//! Turns arguments into a file of options, in which options that are not set are comments.

use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use super::arguments::{argument, check, is_path, is_typed, key, options};
use crate::failure::Failure;

/// The longest line of a comment.
const WIDTH: usize = 100;

/// The options in use under the headings of the help, with the help as comments.
pub(super) fn template(command: &Command, matches: &ArgMatches) -> Result<String, Failure> {
    let mut values = Vec::new();
    for option in options(command) {
        values.push((option, Value::new(option, matches)?));
    }
    let (typed, others): (Vec<_>, Vec<_>) =
        values.iter().partition(|(option, _)| is_typed(option, matches));
    let mut in_use: Vec<_> =
        typed.iter().flat_map(|(option, value)| value.arguments(option)).collect();
    let mut unused = Vec::new();
    for (option, value) in others {
        // A default that conflicts with a typed option is not in use.
        let all = [in_use.clone(), value.arguments(option)].concat();
        let is_accepted = || {
            let command = command.clone().no_binary_name(true);
            command.try_get_matches_from(&all).is_ok()
        };
        if !matches!(value, Value::None) && is_accepted() {
            in_use = all;
        } else {
            unused.push(option.get_id());
        }
    }
    let mut lines = vec![
        format!(
            "# Options of ztilde {} for: ztilde train --config FILE",
            env!("CARGO_PKG_VERSION")
        ),
        "# What is not set is a comment. Paths are relative to where ztilde is started.".to_owned(),
    ];
    let mut heading = None;
    for (option, value) in &values {
        if option.get_help_heading() != heading {
            heading = option.get_help_heading();
            lines.extend([String::new(), format!("## {}", heading.unwrap_or("Options"))]);
        }
        lines.push(String::new());
        lines.extend(comment(&help(option)));
        let sign = if unused.contains(&option.get_id()) { "# " } else { "" };
        lines.push(format!("{sign}{} = {}", key(option), value.text(option)));
    }
    Ok(lines.join("\n"))
}

/// The kind of an option's value.
enum Value {
    /// Not set, and without a default that is known before the data.
    None,
    Flag(bool),
    Texts(Vec<String>),
}

impl Value {
    fn new(option: &Arg, matches: &ArgMatches) -> Result<Self, Failure> {
        let id = option.get_id().as_str();
        if matches!(option.get_action(), ArgAction::SetTrue) {
            return Ok(Self::Flag(matches.get_flag(id)));
        }
        let Some(values) = matches.get_raw(id) else {
            return Ok(Self::None);
        };
        let text = |value: &std::ffi::OsStr| {
            value.to_str().map(str::to_owned).ok_or_else(|| {
                let name = key(option);
                Failure::input(format!("{name} is {value:?}, which a TOML file cannot hold"))
            })
        };
        values.map(text).collect::<Result<_, _>>().map(Self::Texts)
    }

    /// The option as one would type it.
    fn arguments(&self, option: &Arg) -> Vec<String> {
        match self {
            Self::None | Self::Flag(false) => Vec::new(),
            Self::Flag(true) => vec![format!("--{}", key(option))],
            Self::Texts(texts) => texts.iter().map(|text| argument(option, text)).collect(),
        }
    }

    /// The value as TOML, or the possible values of an option without one.
    fn text(&self, option: &Arg) -> String {
        match self {
            Self::None => possible(option),
            Self::Flag(is_set) => is_set.to_string(),
            Self::Texts(texts) => match &texts[..] {
                [text] if is_path(option) => quoted(text),
                [text] => scalar_or_list(text),
                texts => {
                    let items = texts.iter().map(|text| scalar(text)).collect::<Vec<_>>();
                    format!("[{}]", items.join(", "))
                }
            },
        }
    }
}

/// The short help of an option.
fn help(option: &Arg) -> String {
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    match (possible_values(option), option.get_action()) {
        (values, ArgAction::Set) if !values.is_empty() => {
            format!("{help} [possible values: {}]", values.join(", "))
        }
        _ => help,
    }
}

fn possible_values(option: &Arg) -> Vec<String> {
    let values = option.get_possible_values();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

/// The possible values of an option, as the help shows them.
fn possible(option: &Arg) -> String {
    let name = option.get_value_names().and_then(|names| names.first());
    let name = name.map_or("VALUE", |name| name.as_str());
    // An option that takes any text also takes the name of its value.
    let is_text = is_path(option)
        || !possible_values(option).is_empty()
        || check(option, &[argument(option, name)]).is_ok();
    if is_text { quoted(name) } else { name.to_owned() }
}

/// A list of numbers as a TOML list; any other value as a scalar.
fn scalar_or_list(text: &str) -> String {
    let items: Vec<_> = text.split(',').collect();
    if items.len() > 1 && items.iter().all(|item| is_number(item)) {
        return format!("[{}]", items.join(", "));
    }
    scalar(text)
}

/// A number as it was typed; any other value in quotation marks.
fn scalar(text: &str) -> String {
    if is_number(text) { text.to_owned() } else { quoted(text) }
}

/// Whether this number survives TOML as it was typed.
fn is_number(text: &str) -> bool {
    let line = format!("number = {text}");
    let Ok(table) = DeTable::parse(&line) else {
        return false;
    };
    match table.get_ref().get("number").map(|value| value.get_ref()) {
        // The integers that every TOML parser has to accept.
        Some(DeValue::Integer(number)) => number.as_str() == text && text.parse::<i64>().is_ok(),
        Some(DeValue::Float(number)) => {
            number.as_str() == text && text.contains(|letter: char| letter.is_ascii_digit())
        }
        _ => false,
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The text as lines of comments.
fn comment(text: &str) -> Vec<String> {
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        let last = lines.last_mut();
        match last {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines
}
