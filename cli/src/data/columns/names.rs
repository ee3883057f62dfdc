//! The names of a table's columns, and how options refer to them.

use std::collections::HashSet;

/// The least similarity of a suggested name, from 0 to 1.
const SIMILAR: f64 = 0.75;

/// The most names in a message.
const LISTED: usize = 12;

/// The names of all columns of a table, without duplicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Names {
    names: Vec<String>,
    pub(crate) from_header: bool,
    /// The names that occur more than once in a header.
    pub(crate) repeated: Vec<String>,
}

impl Names {
    /// The names in a header. A column without a name is named by its number; a second column of the
    /// same name gets the suffix `.2`.
    pub(crate) fn from_header<'a>(cells: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let mut repeated = Vec::new();
        for (cell, number) in cells.zip(1..) {
            let name = match cell.trim() {
                "" => format!("column {number}"),
                name => name.to_owned(),
            };
            let mut unique = name.clone();
            let mut count = 1;
            while !seen.insert(unique.clone()) {
                count += 1;
                unique = format!("{name}.{count}");
            }
            if count == 2 {
                repeated.push(name);
            }
            names.push(unique);
        }
        Self { names, from_header: true, repeated }
    }

    /// Columns with numbers instead of names.
    pub(crate) fn numbered(count: usize) -> Self {
        let names = (1..=count).map(|number| format!("column {number}")).collect();
        Self { names, from_header: false, repeated: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, column: usize) -> &str {
        &self.names[column]
    }

    /// Whether the table has a header without a name for the column.
    pub(crate) fn is_unnamed(&self, column: usize) -> bool {
        self.from_header && self.names[column] == format!("column {}", column + 1)
    }

    /// The column of exactly this name.
    fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// For messages: `column 3 ("alcohol")`, or `column 3` if the header has no name for it. Quotes and
    /// line ends in a name are escaped.
    pub(crate) fn describe(&self, column: usize) -> String {
        let (number, name) = (column + 1, &self.names[column]);
        let unnamed = format!("column {number}");
        if *name == unnamed { unnamed } else { format!("{unnamed} ({name:?})") }
    }

    /// For messages: these columns as the value of an option in a shell. A name that the shell or the parser
    /// of the list would misread is replaced by its number.
    pub(crate) fn as_option(&self, columns: &[usize]) -> String {
        let has_only = |name: &str, others: &str| {
            name.chars().all(|letter| letter.is_alphanumeric() || others.contains(letter))
        };
        let named = |&column: &usize| {
            let name = self.name(column);
            let is_typed = has_only(name, "_-.%/ ()[]:+#&'") && !name.starts_with('-');
            let is_name = self.from_header && !self.is_unnamed(column);
            if is_name && is_typed { name.to_owned() } else { (column + 1).to_string() }
        };
        let list = columns.iter().map(named).collect::<Vec<_>>().join(",");
        if has_only(&list, "_-.%/,") { list } else { format!("\"{list}\"") }
    }

    /// The columns of a list such as `alcohol,"color, hue",5,7-9`: names first, then numbers counted
    /// from 1, and ranges of those.
    pub(crate) fn list(&self, text: &str) -> Result<Vec<usize>, String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut columns = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| format!("{text:?} is not a list: {error}"))?;
            for item in record.iter().filter(|item| !item.is_empty()) {
                for column in self.range(item)? {
                    if !columns.contains(&column) {
                        columns.push(column);
                    }
                }
            }
        }
        Ok(columns)
    }

    fn range(&self, item: &str) -> Result<std::ops::Range<usize>, String> {
        let numbers = item.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?))
        });
        if let (None, Some((first, last))) = (self.position(item), numbers) {
            if first > last {
                return Err(format!("the range {item} ends before it begins"));
            }
            return Ok(self.numbered_column(first)?..self.numbered_column(last)? + 1);
        }
        let column = self.find(item)?;
        Ok(column..column + 1)
    }

    /// The column of this name, or else of this number, counted from 1.
    pub(crate) fn find(&self, wanted: &str) -> Result<usize, String> {
        let wanted = wanted.trim();
        match wanted.parse() {
            Ok(number) if self.position(wanted).is_none() => self.numbered_column(number),
            _ => self.find_name(wanted, ""),
        }
    }

    /// The column of exactly this name, or an error that lists similar names.
    pub(crate) fn find_name(&self, wanted: &str, why: &str) -> Result<usize, String> {
        self.position(wanted)
            .ok_or_else(|| format!("no column is called {wanted:?}{why}; {}", self.suggest(wanted)))
    }

    fn numbered_column(&self, number: usize) -> Result<usize, String> {
        if (1..=self.len()).contains(&number) {
            return Ok(number - 1);
        }
        Err(format!("there is no column {number}: the columns are 1 to {}", self.len()))
    }

    /// The most similar names, or the first ones.
    fn suggest(&self, wanted: &str) -> String {
        if !self.from_header {
            return format!("the table has no header, its columns are 1 to {}", self.len());
        }
        let wanted = wanted.to_lowercase();
        let mut similar: Vec<_> = self
            .names
            .iter()
            .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
            .filter(|(similarity, _)| *similarity > SIMILAR)
            .collect();
        similar.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        let listed = |names: Vec<&String>| {
            let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
            names.join(", ")
        };
        if similar.is_empty() {
            let more = if self.len() > LISTED { ", …" } else { "" };
            return format!("there are {}{more}", listed(self.names.iter().take(LISTED).collect()));
        }
        format!("nearest: {}", listed(similar.into_iter().take(3).map(|(_, name)| name).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::from_header(
            ["alcohol", "color, hue", "", "x-ray", "5", "alcohol", "ash"].into_iter(),
        )
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let names = names();
        assert_eq!(names.name(2), "column 3");
        assert_eq!(names.name(5), "alcohol.2");
        assert_eq!(names.repeated, ["alcohol"]);
        assert_eq!(names.describe(0), "column 1 (\"alcohol\")");
        let names = Names::from_header(["a \"b\"\nc"].into_iter());
        assert_eq!(names.describe(0), r#"column 1 ("a \"b\"\nc")"#);
        let names = self::names();
        assert_eq!(names.describe(2), "column 3");
        assert_eq!(names.as_option(&[0, 1, 2, 3]), "alcohol,2,3,x-ray");
        let names = Names::from_header(["Individual ID", "a$b", "x"].into_iter());
        assert_eq!(names.as_option(&[0, 1, 2]), "\"Individual ID,2,x\"");
        assert_eq!(names.list("Individual ID,2,x"), Ok(vec![0, 1, 2]));
        assert_eq!(Names::numbered(3).as_option(&[1]), "2");
    }

    #[test]
    fn columns_go_by_name_number_and_range() {
        let list = |text: &str| names().list(text);
        assert_eq!(list("ash, alcohol"), Ok(vec![6, 0]));
        assert_eq!(list("\"color, hue\",x-ray"), Ok(vec![1, 3]));
        assert_eq!(list("1-3,2,7"), Ok(vec![0, 1, 2, 6]));
        assert_eq!(list("5"), Ok(vec![4]), "a name takes precedence over a number");
        assert_eq!(list(""), Ok(vec![]));
        let refused = |text: &str, expected: &str| {
            let error = list(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused("8", "no column 8: the columns are 1 to 7");
        refused("0", "no column 0");
        refused("3-2", "ends before it begins");
        refused("alcool", "called \"alcool\"; nearest: \"alcohol\", \"alcohol.2\"");
        refused("Ash", "nearest: \"ash\"");
        refused("zzz", "there are \"alcohol\"");
        let error = Names::numbered(4).find("class").unwrap_err();
        assert!(error.contains("no header"), "{error}");
    }
}
