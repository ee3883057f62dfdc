//! Categories as ONNX operators: each category is a regular expression that matches the same cells as
//! the reader of tables.

use super::{Graph, Setting};
use crate::data::{category_place, finite};

/// The white space that Rust trims, in the syntax of RE2.
const SPACES: &str = r"[\t-\r \x{85}\p{Z}]*";

/// A number that both Rust and C++ read, without overflow. C++ skips only ASCII spaces.
const NUMBER: &str =
    r"[\t-\r ]*[+\-]?(?:[0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})(?:[eE][+\-]?[0-9]{1,2})?[\t-\r ]*";

/// A one-hot matrix for each column.
pub(super) fn append_categories(graph: &mut Graph, columns: &[&[String]]) -> Vec<String> {
    let categories = graph.text_input("categories", columns.len());
    let mut parts = Vec::with_capacity(columns.len());
    for (place, names) in columns.iter().enumerate() {
        let column = format!("categories.{place}");
        let index = graph.integers(&format!("{column}.index"), &[1], [place as i64]);
        let axis = [("axis", Setting::Integer(1))];
        let cells = graph.node(&format!("{column}.cells"), "Gather", &[&categories, &index], &axis);
        let spelled = append_spelled(graph, &column, names, &cells);
        parts.push(append_equal_numbers(graph, &column, names, &cells, &spelled));
    }
    parts
}

/// 1 for the category whose name is in the cell, with any spaces around it.
fn append_spelled(graph: &mut Graph, column: &str, names: &[String], cells: &str) -> String {
    let matches: Vec<String> = (0..names.len())
        .map(|place| {
            let pattern = pattern(names, place);
            let settings = [("pattern", Setting::Text(&pattern))];
            graph.node(&format!("{column}.is.{place}"), "RegexFullMatch", &[cells], &settings)
        })
        .collect();
    let matches: Vec<&str> = matches.iter().map(String::as_str).collect();
    let axis = [("axis", Setting::Integer(1))];
    let joined = graph.node(&format!("{column}.is"), "Concat", &matches, &axis);
    graph.cast_to_float(&format!("{column}.spelled"), &joined)
}

/// The same, and 1 also for the category of an equal number, such as 5 for 5.0, if no category has the
/// cell's exact text.
fn append_equal_numbers(
    graph: &mut Graph,
    column: &str,
    names: &[String],
    cells: &str,
    spelled: &str,
) -> String {
    // If several names are the same number, the first one counts.
    let numbers: Vec<f64> = (0..names.len())
        .map(|place| {
            let number = finite(&names[place]);
            let is_first = names.iter().position(|name| finite(name) == number) == Some(place);
            number.filter(|_| is_first).unwrap_or(f64::NAN)
        })
        .collect();
    if numbers.iter().all(|number| number.is_nan()) {
        return spelled.to_owned();
    }
    let name = |part: &str| format!("{column}.{part}");
    let settings = [("pattern", Setting::Text(NUMBER))];
    let is_number = graph.node(&name("is_number"), "RegexFullMatch", &[cells], &settings);
    let other = graph.texts(&name("no_number"), &["NaN".to_owned()]);
    let figures = graph.node(&name("figures"), "Where", &[&is_number, cells, &other], &[]);
    let number = graph.cast_to_double(&name("number"), &figures);
    let known = graph.doubles(&name("numbers"), &[numbers.len()], numbers);
    let is_equal = graph.node(&name("is_equal"), "Equal", &[&number, &known], &[]);
    let equal = graph.cast_to_float(&name("equal"), &is_equal);
    let axes = graph.integers(&name("axes"), &[1], [1]);
    let any = graph.node(&name("any"), "ReduceMax", &[spelled, &axes], &[]);
    let else_equal = graph.node(&name("else_equal"), "Sub", &[&equal, &any], &[]);
    graph.node(&name("inputs"), "Max", &[spelled, &else_equal], &[])
}

/// A pattern for the cells that are spelled like a category. `true` and `false` match in upper and lower
/// case, except for spellings that are categories of their own.
fn pattern(names: &[String], place: usize) -> String {
    let name = &names[place];
    let mut spellings = vec![name.clone()];
    if ["true", "false"].iter().any(|truth| name.eq_ignore_ascii_case(truth)) {
        let letters = |bits: usize| -> String {
            let letter = |(at, letter): (usize, char)| match bits >> at & 1 {
                0 => letter.to_ascii_lowercase(),
                _ => letter.to_ascii_uppercase(),
            };
            name.chars().enumerate().map(letter).collect()
        };
        spellings.extend((0..1 << name.len()).map(letters));
        spellings.retain(|spelling| category_place(names, spelling) == Some(place));
    }
    let spellings: Vec<String> = spellings.iter().map(|spelling| literal(spelling)).collect();
    format!("{SPACES}(?:{}){SPACES}", spellings.join("|"))
}

/// A regular expression that matches only this text.
fn literal(text: &str) -> String {
    let escaped = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character.to_string(),
        other => format!("\\x{{{:x}}}", u32::from(other)),
    };
    text.chars().map(escaped).collect()
}
