//! The value of a cell of a table.

pub(crate) mod forms;
pub(crate) mod reading;
mod time;

use serde::{Deserialize, Serialize};

/// Words for a missing value, in upper or lower case: those of pandas, and the `?` of older tables.
const MISSING: [&str; 14] = [
    "na", "n/a", "nan", "null", "?", "-nan", "<na>", "#na", "#n/a", "#n/a n/a", "1.#ind",
    "-1.#ind", "1.#qnan", "-1.#qnan",
];

/// A word for a missing value in this capitalization only: `none` is a common category.
const PYTHON_MISSING: &str = "None";

/// The words that mark a missing value. An empty cell is always missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Words(Option<Vec<String>>);

impl Words {
    /// The default words.
    pub(crate) const USUAL: Self = Self(None);

    /// Parses a list: words separated by commas, with quotes around a word that contains one.
    pub(crate) fn list(text: &str) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let record = reader.records().next().unwrap_or_else(|| Ok(csv::StringRecord::new()));
        let record = record.map_err(|error| format!("{text:?} is not a list: {error}"))?;
        Ok(Self(Some(record.iter().map(str::to_owned).collect())))
    }

    /// Whether these are the default words.
    pub(crate) fn are_usual(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a cell, without the spaces around it, is empty or one of the words. Numbers are compared by
    /// value: -999.0 is -999.
    pub(crate) fn has(&self, text: &str) -> bool {
        let Some(words) = &self.0 else {
            let is_short = text.len() <= 8;
            return text.is_empty()
                || is_short && MISSING.iter().any(|word| text.eq_ignore_ascii_case(word))
                || text == PYTHON_MISSING;
        };
        let is_number = |word: &String| finite(word).is_some_and(|word| finite(text) == Some(word));
        text.is_empty() || words.iter().any(|word| word == text || is_number(word))
    }
}

/// A cell as written in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    /// The text without surrounding spaces.
    pub(crate) text: &'a str,
    /// Whether the cell is in quotes, or in a column whose type is text.
    pub(crate) is_quoted: bool,
    words: &'a Words,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(text: &'a str, is_quoted: bool, words: &'a Words) -> Self {
        Self { text: text.trim(), is_quoted, words }
    }

    /// Whether the cell is empty or a word for a missing value.
    pub(crate) fn is_word(&self) -> bool {
        self.words.has(self.text)
    }

    /// Whether the cell is missing in a column of text, where a word in quotes is a category.
    pub(crate) fn is_missing_text(&self) -> bool {
        self.text.is_empty() || !self.is_quoted && self.is_word()
    }
}

/// An unquoted cell, read with the default words for missing values.
impl<'a> From<&'a str> for Raw<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text, false, const { &Words::USUAL })
    }
}

/// The value of a cell in a column of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Missing,
    /// May be infinite: `inf` and `1e400` are numbers, but no network can be trained on them.
    Number(f64),
    Text(&'a str),
}

impl<'a> Cell<'a> {
    pub(crate) fn parse(raw: impl Into<Raw<'a>>) -> Self {
        let raw = raw.into();
        let text = raw.text;
        let number = || text.parse().ok().filter(|number: &f64| !number.is_nan());
        // A shortcut: most cells are numbers, and no default word for a missing value is a number.
        let is_figure = |first: char| first.is_ascii_digit() || "+-.".contains(first);
        if raw.words.are_usual()
            && text.starts_with(is_figure)
            && let Some(number) = number()
        {
            return Self::Number(number);
        }
        if raw.is_word() {
            return Self::Missing;
        }
        number().map_or(Self::Text(text), Self::Number)
    }
}

/// Sorts names as people do: numbers by their value, before all text.
pub(crate) fn sort_names(names: &mut [String]) {
    names.sort_by(|left, right| match (finite(left), finite(right)) {
        (Some(left_number), Some(right_number)) => {
            left_number.total_cmp(&right_number).then_with(|| left.cmp(right))
        }
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => left.cmp(right),
    });
}

/// The number in a text, if it is a finite number.
pub(crate) fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbers_missing_or_text() {
        for (text, cell) in [
            (" 1.5 ", Cell::Number(1.5)),
            ("-2e3", Cell::Number(-2000.0)),
            (".5", Cell::Number(0.5)),
            ("+7", Cell::Number(7.0)),
            ("1e400", Cell::Number(f64::INFINITY)),
            ("-inf", Cell::Number(f64::NEG_INFINITY)),
            ("Infinity", Cell::Number(f64::INFINITY)),
            ("", Cell::Missing),
            ("  ", Cell::Missing),
            ("?", Cell::Missing),
            ("NaN", Cell::Missing),
            ("-nan", Cell::Missing),
            ("-NaN", Cell::Missing),
            ("n/a", Cell::Missing),
            ("NULL", Cell::Missing),
            ("None", Cell::Missing),
            ("<NA>", Cell::Missing),
            ("#N/A", Cell::Missing),
            ("-1.#QNAN", Cell::Missing),
            ("none", Cell::Text("none")),
            ("1,5", Cell::Text("1,5")),
            ("-", Cell::Text("-")),
            (" setosa ", Cell::Text("setosa")),
            ("nano", Cell::Text("nano")),
        ] {
            assert_eq!(Cell::parse(text), cell, "{text:?}");
        }
        assert!(Raw::from(" NA ").is_missing_text() && !Raw::from("01").is_missing_text());
        assert!(!Raw::new("NA", true, &Words::USUAL).is_missing_text());
        assert!(Raw::new("", true, &Words::USUAL).is_missing_text());
    }

    #[test]
    fn words_that_are_listed_replace_the_usual_ones() {
        let words = Words::list("-999, unknown,\"a, b\"").unwrap();
        let parse = |text| Cell::parse(Raw::new(text, false, &words));
        for missing in ["", "-999", "-999.0", "unknown", "a, b"] {
            assert_eq!(parse(missing), Cell::Missing, "{missing}");
        }
        assert_eq!(parse("NA"), Cell::Text("NA"));
        assert_eq!(parse("nan"), Cell::Text("nan"), "nan is text, not a number");
        assert_eq!(parse("-99"), Cell::Number(-99.0));
        let none = Words::list("").unwrap();
        assert!(none.has("") && !none.has("NA") && !none.are_usual());
    }

    #[test]
    fn names_are_sorted_as_numbers_where_they_are() {
        let mut names = ["b", "10", "a", "9", "-1", "1e1"].map(str::to_owned);
        sort_names(&mut names);
        assert_eq!(names, ["-1", "9", "10", "1e1", "a", "b"]);
    }
}
