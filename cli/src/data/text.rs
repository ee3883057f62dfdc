//! Tables of text: CSV, TSV, and columns set apart by spaces, a record at a time.

use std::{
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use clap::ValueEnum;
use csv::{ByteRecord, Reader, ReaderBuilder};
use serde::{Deserialize, Serialize};

use super::{
    cell::Cell,
    lines::{Lines, RECORD_BYTES, Seen},
    names::Names,
    options::Layout,
    parquet, plural,
    source::{Format, Source},
};
use crate::failure::Failure;

/// What stands between two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delimiter {
    Comma,
    Semicolon,
    Tab,
    Bar,
    Spaces,
}

impl Delimiter {
    const BYTES: [(Self, u8); 4] =
        [(Self::Comma, b','), (Self::Semicolon, b';'), (Self::Tab, b'\t'), (Self::Bar, b'|')];

    fn byte(self) -> Option<u8> {
        Self::BYTES.iter().find(|(delimiter, _)| *delimiter == self).map(|(_, byte)| *byte)
    }
}

/// How many records decide what the delimiter is.
const LOOKED_AT: usize = 20;

/// A table of text that is being read.
pub(crate) struct Text {
    /// The file, for messages.
    pub(crate) file: String,
    pub(crate) delimiter: Delimiter,
    pub(crate) names: Names,
    records: Records,
    /// The first record, if that is no header, until it is asked for.
    first: Option<(u64, ByteRecord)>,
    /// The line of the record whose length the others must have.
    first_line: u64,
    /// Whether the names are numbers, which nobody said.
    pub(crate) counts_columns: bool,
}

impl Text {
    pub(crate) fn open(source: Source, layout: &Layout) -> Result<Self, Failure> {
        Self::open_by(source, layout, looks_like_header)
    }

    /// The same where something else tells whether the first record is a header.
    pub(crate) fn open_by(
        source: Source,
        layout: &Layout,
        is_header: impl FnOnce(&ByteRecord) -> bool,
    ) -> Result<Self, Failure> {
        let file = source.name.clone();
        if source.format == Format::Parquet {
            return Self::open_parquet(source);
        }
        let mut prefix = &source.prefix[..];
        for _ in 0..layout.skip_lines {
            let end = prefix.iter().position(|&byte| byte == b'\n');
            prefix = end.map_or(&[][..], |end| &prefix[end + 1..]);
        }
        let delimiter = layout.delimiter.unwrap_or_else(|| detect(prefix));
        let mut records = Records::new(source.into_reader(), delimiter, layout.skip_lines)
            .map_err(|error| Failure::input(format!("{file}: {error}")))?;
        let mut first = ByteRecord::new();
        let Some(first_line) =
            records.read(&mut first).map_err(|error| Failure::input(format!("{file}, {error}")))?
        else {
            let skipped = match layout.skip_lines {
                0 => String::new(),
                lines => format!(" after --skip-lines {lines}"),
            };
            return Err(Failure::input(format!("{file}: there are no rows{skipped}")));
        };
        let counts_columns = layout.header.is_none() && counts_columns(&first);
        let is_header = layout.header.unwrap_or_else(|| counts_columns || is_header(&first));
        let names = if is_header {
            let cells = first.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
            let cells = cells.map_err(|_| not_utf8(&file, first_line))?;
            Names::from_header(cells.into_iter())
        } else {
            Names::numbered(first.len())
        };
        let first = (!is_header).then_some((first_line, first));
        Ok(Self { file, delimiter, names, records, first, first_line, counts_columns })
    }

    fn open_parquet(source: Source) -> Result<Self, Failure> {
        let file = source.name.clone();
        let records = parquet::Records::open(source.into_file()?)
            .map_err(|error| Failure::input(format!("{file}: {error}")))?;
        let names = Names::from_header(records.columns.iter().map(|column| column.name.as_str()));
        if names.len() == 0 {
            return Err(Failure::input(format!("{file}: there are no columns")));
        }
        let delimiter = Delimiter::Comma;
        let records = Records::Parquet(records.into());
        let (first, first_line, counts_columns) = (None, 0, false);
        Ok(Self { file, delimiter, names, records, first, first_line, counts_columns })
    }

    /// Fails unless these columns have cells.
    pub(super) fn check(&self, columns: &[usize]) -> Result<(), Failure> {
        let Records::Parquet(records) = &self.records else {
            return Ok(());
        };
        columns.iter().try_for_each(|&column| match &records.columns[column].kind {
            Ok(_) => Ok(()),
            Err(what) => Err(Failure::input(format!(
                "{}: {} holds {what}, neither numbers nor text; --drop {} leaves it out",
                self.file,
                self.names.describe(column),
                self.names.as_option(&[column])
            ))),
        })
    }

    /// Whether the file says of a column that it holds text, even if that reads as numbers.
    pub(super) fn is_text(&self, column: usize) -> bool {
        let Records::Parquet(records) = &self.records else {
            return false;
        };
        records.columns[column].kind == Ok(parquet::Kind::Text)
    }

    /// How many rows a file says that it has; text says nothing of that.
    pub(super) fn claimed_rows(&self) -> u64 {
        let Records::Parquet(records) = &self.records else {
            return 0;
        };
        records.claimed_rows()
    }

    /// What the number of a record counts.
    pub(super) fn unit(&self) -> &'static str {
        if matches!(self.records, Records::Parquet(_)) { "row" } else { "line" }
    }

    /// Reads the next record, which has a cell for each of the names, and tells in which line it
    /// begins. `None` at the end.
    pub(crate) fn read(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, Failure> {
        if let Some((line, first)) = self.first.take() {
            *record = first;
            return Ok(Some(line));
        }
        let line = match self.records.read(record) {
            Ok(None) => return Ok(None),
            Ok(Some(line)) => line,
            Err(error) => return Err(Failure::input(format!("{}, {error}", self.file))),
        };
        let (found, needed) = (record.len(), self.names.len());
        if found == needed {
            return Ok(Some(line));
        }
        let first = self.first_line;
        let more = if lines(record) > 1 {
            ". The row goes over several lines: is a quote not closed?".to_owned()
        } else if line == first + 1 {
            format!(
                ". If line {first} is no row, --skip-lines {first} leaves it out; if it is the \
                 header, it must name every column"
            )
        } else if found > needed && self.delimiter == Delimiter::Comma {
            ". A cell with a comma in it must stand in quotes".to_owned()
        } else if found < needed {
            ". A missing value still needs its delimiter".to_owned()
        } else {
            String::new()
        };
        let are = if found == 1 { "is" } else { "are" };
        let cells = plural(found as u64, "cell");
        Err(Failure::input(format!(
            "{}, line {line}: there {are} {cells}, but {needed} in line {first}{more}",
            self.file
        )))
    }
}

pub(crate) fn not_utf8(file: &str, line: u64) -> Failure {
    Failure::input(format!("{file}, line {line}: the text is not UTF-8; save the file as UTF-8"))
}

/// The first record is a header if none of its cells is a number, and one at least says something.
pub(super) fn looks_like_header(record: &ByteRecord) -> bool {
    let cell = |bytes| std::str::from_utf8(bytes).map_or(Cell::Text(""), Cell::parse);
    let has_number = record.iter().any(|bytes| matches!(cell(bytes), Cell::Number(_)));
    !has_number && record.iter().any(|bytes| matches!(cell(bytes), Cell::Text(_)))
}

/// Programs that have no names for columns number them, from 0 or 1 on. So many such numbers in the
/// first record are no row.
const NUMBERED: usize = 4;

/// Whether each number of a record is its place in it, counted from 0 or 1, or from the second cell
/// on if the first one is empty.
fn counts_columns(record: &ByteRecord) -> bool {
    let first = usize::from(record.get(0).is_some_and(<[u8]>::is_empty));
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.trim().parse::<f64>().ok();
    [0, 1].into_iter().any(|from| {
        let mut count = 0;
        let counts = record.iter().skip(first).zip(from..).all(|(cell, place)| {
            let is_place = cell == place.to_string().as_bytes();
            count += usize::from(is_place);
            is_place || number(cell).is_none()
        });
        counts && count >= NUMBERED
    })
}

/// The delimiter by which the first records have the same number of cells, and the most.
fn detect(prefix: &[u8]) -> Delimiter {
    // What is cut off within a line may lack cells.
    let end = memchr::memrchr(b'\n', prefix).map_or(prefix.len(), |end| end + 1);
    // The number of cells, after whether all records have it.
    let cells = |byte| {
        let mut reader = configured(byte).from_reader(&prefix[..end]);
        let lengths: Vec<_> = reader
            .byte_records()
            .take(LOOKED_AT)
            .map_while(|record| record.ok().map(|record| record.len()))
            .collect();
        let last = lengths.last().copied().unwrap_or(0);
        match lengths.iter().filter(|&&length| length != last).count() {
            0 => (true, last),
            // The first line may be none of the table.
            1 if lengths.len() > 3 && lengths[0] != last => (false, last),
            _ => (false, 0),
        }
    };
    let (mut best, mut most) = (Delimiter::Comma, (false, 1));
    for (delimiter, byte) in Delimiter::BYTES {
        // A reader of its own is only made for what is there.
        if memchr::memchr(byte, prefix).is_none() {
            continue;
        }
        let found = cells(byte);
        if found.1 > 1 && found > most {
            (best, most) = (delimiter, found);
        }
    }
    let line = prefix.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let has_any = Delimiter::BYTES.iter().any(|(_, byte)| line.contains(byte));
    if most.1 == 1 && words > 1 && !has_any { Delimiter::Spaces } else { best }
}

fn configured(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    builder
}

/// Where records come from.
enum Records {
    Delimited { reader: Box<Reader<Lines>>, skipped: u64, seen: Rc<Seen> },
    Spaced { reader: Box<dyn BufRead>, line: u64, bytes: Vec<u8> },
    Parquet(Box<parquet::Records>),
}

impl Records {
    fn new(source: impl Read + 'static, delimiter: Delimiter, skip: u64) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 18, source);
        let mark = b"\xef\xbb\xbf";
        if reader.fill_buf()?.starts_with(mark) {
            reader.consume(mark.len());
        }
        for _ in 0..skip {
            reader.skip_until(b'\n')?;
        }
        let Some(byte) = delimiter.byte() else {
            return Ok(Self::Spaced { reader: Box::new(reader), line: skip, bytes: Vec::new() });
        };
        let seen = Rc::<Seen>::default();
        let lines = Lines::new(Box::new(reader), Rc::clone(&seen));
        let reader = configured(byte).buffer_capacity(1 << 18).from_reader(lines);
        Ok(Self::Delimited { reader: Box::new(reader), skipped: skip, seen })
    }

    /// Reads the next record, and tells in which line it begins.
    fn read(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, String> {
        match self {
            Self::Parquet(records) => {
                records.read(record).map_err(|error| format!("row {}: {error}", records.row + 1))
            }
            Self::Delimited { reader, skipped, seen } => {
                seen.bytes.set(0);
                let found = reader.read_byte_record(record).map_err(|error| error.to_string())?;
                // The reader's own place of a record is before the empty lines above it.
                let line = reader.position().line().saturating_sub(lines(record)) + *skipped;
                // The last line has an end, so only within quotes a record is the end's.
                if found && seen.is_end.get() {
                    return Err(format!("line {}: a quote is not closed", line + 1));
                }
                Ok(found.then_some(line))
            }
            Self::Spaced { reader, line, bytes } => loop {
                bytes.clear();
                *line += 1;
                let read = reader.take(RECORD_BYTES).read_until(b'\n', bytes);
                if read.map_err(|error| error.to_string())? == 0 {
                    return Ok(None);
                }
                record.clear();
                bytes
                    .split(u8::is_ascii_whitespace)
                    .filter(|cell| !cell.is_empty())
                    .for_each(|cell| record.push_field(cell));
                if !record.is_empty() {
                    return Ok(Some(*line));
                }
            },
        }
    }
}

/// How many lines a record takes.
fn lines(record: &ByteRecord) -> u64 {
    1 + memchr::memchr_iter(b'\n', record.as_slice()).count() as u64
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(bytes: &[u8], layout: &Layout) -> Result<Text, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        fs::write(&path, bytes).unwrap();
        Text::open(Source::open(&path)?, layout)
    }

    /// The records, each with its line; or the error that ends them.
    fn records(mut text: Text) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut record = ByteRecord::new();
        let mut records = Vec::new();
        while let Some(line) = text.read(&mut record).map_err(|error| error.to_string())? {
            let cells = record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned());
            records.push((line, cells.collect()));
        }
        Ok(records)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
        records(open(bytes, &Layout::default()).map_err(|error| error.to_string())?)
    }

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn delimiters_and_headers_are_found() {
        for (text, delimiter, columns, has_header) in [
            ("a,b\n1,2\n", Delimiter::Comma, 2, true),
            ("1.5,2\n1,2\n", Delimiter::Comma, 2, false),
            ("a;b;c\n1,5;2,5;3\n1;2,5;3\n", Delimiter::Semicolon, 3, true),
            ("a\tb\n1\t2\n", Delimiter::Tab, 2, true),
            ("1|2|3\n", Delimiter::Bar, 3, false),
            ("  1.0   2.0  3\n 4 5 6\n", Delimiter::Spaces, 3, false),
            ("a b,c\n1,2\n", Delimiter::Comma, 2, true),
            ("one\n1\n", Delimiter::Comma, 1, true),
            ("150,4,x\n1,2\n3,4\n5,6\n", Delimiter::Comma, 3, false),
            ("\"a,1\";\"b\"\n\"1,2\";3\n", Delimiter::Semicolon, 2, true),
        ] {
            let found = open(text.as_bytes(), &Layout::default()).unwrap();
            let seen = (found.delimiter, found.names.len(), found.names.from_header);
            assert_eq!(seen, (delimiter, columns, has_header), "{text:?}");
        }
        let told =
            Layout { delimiter: Some(Delimiter::Semicolon), header: Some(false), skip_lines: 0 };
        let found = open(b"a,b;c\n", &told).unwrap();
        assert_eq!((found.names.len(), found.names.from_header), (2, false));
        assert_eq!(records(found).unwrap(), [(1, cells(&["a,b", "c"]))]);
    }

    #[test]
    fn what_other_programs_write_is_read() {
        // A UTF-8 mark, Windows' line ends, quotes around commas, quotes and line ends, empty lines.
        let text =
            b"\xef\xbb\xbfname,x\r\n\"a, \"\"b\"\"\",1\r\n\r\n\"two\r\nlines\",2\r\nlast,3\r\n\r\n";
        let found = open(text, &Layout::default()).unwrap();
        assert_eq!(found.names.name(0), "name");
        assert_eq!(
            records(found).unwrap(),
            [
                (2, cells(&["a, \"b\"", "1"])),
                (4, cells(&["two\nlines", "2"])),
                (6, cells(&["last", "3"])),
            ]
        );
        let spaced = read(b"1 2\n\n  3\t4  \n5 6").unwrap();
        assert_eq!(spaced.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    fn lines_at_the_beginning_are_skipped() {
        let layout = Layout { skip_lines: 2, ..Layout::default() };
        let found = open(b"about\nthis, table\na;b\n1;2\n", &layout).unwrap();
        assert_eq!((found.delimiter, found.names.name(1)), (Delimiter::Semicolon, "b"));
        assert_eq!(records(found).unwrap(), [(4, cells(&["1", "2"]))]);
    }

    #[test]
    fn uneven_rows_name_the_line() {
        let refused = |text: &str, expected: &str| {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused("a,b\n1,2\n3\n", "line 3: there is 1 cell, but 2 in line 1. A missing value");
        refused(
            "a,b\n1,2\n3,4,5\n",
            "line 3: there are 3 cells, but 2 in line 1. A cell with a comma",
        );
        refused("150,4,x\n1,2\n3,4\n5,6\n", "If line 1 is no row, --skip-lines 1");
        refused("a,b\n1,\"2\n3,4\n5,6\n", "line 2: a quote is not closed");
        refused("a,b\n1,\"2\n3,4\n5,6", "line 2: a quote is not closed");
        refused("a,b\n3,4\n\"1,2\n3,4\"\n", "line 3: there is 1 cell");
        refused("a,b\n3,4\n\"1,2\n3,4\"\n", "several lines: is a quote not closed?");
        refused("\n\n", "there are no rows");
    }
}
