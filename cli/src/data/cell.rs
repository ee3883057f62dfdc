//! What a cell of a table says.

/// What stands for a value that nobody knows, in any case.
const MISSING: [&str; 6] = ["", "na", "n/a", "nan", "null", "?"];

/// A cell of a table, without the spaces around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Missing,
    /// May be infinite: `inf` and `1e400` are numbers that nothing can be learned from.
    Number(f64),
    Text(&'a str),
}

impl<'a> Cell<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        // Most cells are numbers; only words can be missing.
        if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
            return text.parse().map_or(Self::Text(text), Self::Number);
        }
        if Self::is_missing(text) {
            return Self::Missing;
        }
        text.parse().map_or(Self::Text(text), Self::Number)
    }

    /// As a category or a class: what is typed is its name, be it a number or not.
    pub(crate) fn parse_text(text: &'a str) -> Self {
        let text = text.trim();
        if Self::is_missing(text) { Self::Missing } else { Self::Text(text) }
    }

    fn is_missing(text: &str) -> bool {
        text.len() <= 4 && MISSING.iter().any(|missing| text.eq_ignore_ascii_case(missing))
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

/// The number that a text is, if it is a finite one.
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
            ("n/a", Cell::Missing),
            ("NULL", Cell::Missing),
            ("1,5", Cell::Text("1,5")),
            ("-", Cell::Text("-")),
            (" setosa ", Cell::Text("setosa")),
            ("nano", Cell::Text("nano")),
        ] {
            assert_eq!(Cell::parse(text), cell, "{text:?}");
        }
        assert_eq!(Cell::parse_text(" 01 "), Cell::Text("01"));
        assert_eq!(Cell::parse_text("NA"), Cell::Missing);
    }

    #[test]
    fn names_are_sorted_as_numbers_where_they_are() {
        let mut names = ["b", "10", "a", "9", "-1", "1e1"].map(str::to_owned);
        sort_names(&mut names);
        assert_eq!(names, ["-1", "9", "10", "1e1", "a", "b"]);
    }
}
