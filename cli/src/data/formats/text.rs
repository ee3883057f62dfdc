//! Tables of text: CSV, TSV, and columns separated by spaces, read one record at a time.

use std::{
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use csv::{ByteRecord, Reader};

use crate::{
    data::{
        cell::{Raw, Words},
        columns::names::Names,
        formats::{
            head::{Head, configured, counted, detect, looks_like_header},
            lines::{Lines, Passed, RECORD_BYTES, unmarked},
            parquet,
            source::{Format, Source},
        },
        options::{Delimiter, Layout},
    },
    failure::Failure,
    wording::plural,
};

/// A reader of a table of text.
pub(crate) struct Text {
    /// The file, for messages.
    pub(crate) file: String,
    pub(crate) delimiter: Delimiter,
    pub(crate) names: Names,
    records: Records,
    /// The first record, until it is read, if it is not a header.
    first: Option<(u64, ByteRecord)>,
    /// The line of the record whose number of cells the others must have.
    first_line: u64,
    /// The number of lines that seem to be above the table.
    title_lines: u64,
    /// Why the first row is a header, if it contains numbers and no option declares it a header.
    pub(crate) counted: Option<&'static str>,
    /// The words for a missing value.
    pub(crate) words: Words,
}

impl Text {
    pub(crate) fn open(source: Source, layout: &Layout) -> Result<Self, Failure> {
        Self::open_by(source, layout, looks_like_header)
    }

    /// The same, if it is known whether the first record is a header.
    pub(crate) fn open_by(
        source: Source,
        layout: &Layout,
        is_header: impl FnOnce(&ByteRecord) -> bool,
    ) -> Result<Self, Failure> {
        let file = source.name.clone();
        if source.format == Format::Parquet {
            return Self::open_parquet(source, layout);
        }
        let mut prefix = &source.prefix[..];
        for _ in 0..layout.skip_lines {
            let end = prefix.iter().position(|&byte| byte == b'\n');
            prefix = end.map_or(&[][..], |end| &prefix[end + 1..]);
        }
        let delimiter = layout.delimiter.unwrap_or_else(|| detect(prefix));
        let head = Head::of(prefix, delimiter);
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
        let counted = if layout.header.is_none() { counted(&first, &head) } else { None };
        let is_header = layout.header.unwrap_or_else(|| counted.is_some() || is_header(&first));
        let names = if is_header {
            let cells = first.iter().map(|cell| {
                let (cell, _) = unmarked(cell);
                std::str::from_utf8(cell).map_err(|_| not_utf8(&file, first_line, cell))
            });
            Names::from_header(cells.collect::<Result<Vec<_>, _>>()?.into_iter())
        } else {
            Names::numbered(first.len())
        };
        // If the first record has as many cells as the table, an uneven row below it does not end a title.
        let has_title = head.title > 0 && first.len() != head.cells;
        let title_lines = if has_title { head.title + layout.skip_lines } else { 0 };
        let first = (!is_header).then_some((first_line, first));
        let words = layout.words()?.unwrap_or(Words::USUAL);
        Ok(Self { file, delimiter, names, records, first, first_line, title_lines, counted, words })
    }

    fn open_parquet(source: Source, layout: &Layout) -> Result<Self, Failure> {
        let file = source.name.clone();
        let records = parquet::Records::open(source.into_file()?)
            .map_err(|error| Failure::input(format!("{file}: {error}")))?;
        let names = Names::from_header(records.columns.iter().map(|column| column.name.as_str()));
        if names.len() == 0 {
            return Err(Failure::input(format!("{file}: there are no columns")));
        }
        let delimiter = Delimiter::Comma;
        let records = Records::Parquet(records.into());
        Ok(Self {
            file,
            delimiter,
            names,
            records,
            first: None,
            first_line: 0,
            title_lines: 0,
            counted: None,
            words: layout.words()?.unwrap_or(Words::USUAL),
        })
    }

    /// A cell of the record that begins in this line.
    pub(crate) fn cell<'a>(
        &'a self,
        record: &'a ByteRecord,
        line: u64,
        column: usize,
    ) -> Result<Raw<'a>, Failure> {
        let (cell, is_quoted) = unmarked(&record[column]);
        let text = std::str::from_utf8(cell).map_err(|_| not_utf8(&self.file, line, cell))?;
        Ok(Raw::new(text, is_quoted || self.is_text(column), &self.words))
    }

    /// Fails if one of these columns has no cells.
    pub(crate) fn check(&self, columns: &[usize]) -> Result<(), Failure> {
        let Records::Parquet(records) = &self.records else {
            return Ok(());
        };
        let other = |&column: &usize| {
            let what = records.columns[column].kind.as_ref().err()?;
            Some((column, format!("{} holds {what}", self.names.describe(column))))
        };
        let (other, held): (Vec<_>, Vec<_>) = columns.iter().filter_map(other).unzip();
        if other.is_empty() {
            return Ok(());
        }
        Err(Failure::input(format!(
            "{}: {}: neither numbers, dates nor text; --drop {} leaves out what cannot be read",
            self.file,
            held.join(", "),
            self.names.as_option(&other)
        )))
    }

    /// Whether the file declares a column as text, even if its cells are numbers.
    pub(crate) fn is_text(&self, column: usize) -> bool {
        let Records::Parquet(records) = &self.records else {
            return false;
        };
        records.columns[column].kind == Ok(parquet::Kind::Text)
    }

    /// The number of rows that a Parquet file claims to have; 0 for text.
    pub(crate) fn claimed_rows(&self) -> u64 {
        let Records::Parquet(records) = &self.records else {
            return 0;
        };
        records.claimed_rows()
    }

    /// The unit of the number of a record.
    pub(crate) fn unit(&self) -> &'static str {
        if matches!(self.records, Records::Parquet(_)) { "row" } else { "line" }
    }

    /// Reads the next record, which has a cell for each of the names, and returns the line in which it
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
        } else if self.title_lines > 1 {
            format!(
                ". If the lines up to {lines} are not rows, --skip-lines {lines} leaves them out",
                lines = self.title_lines
            )
        } else if line == first + 1 {
            format!(
                ". If line {first} is not a row, --skip-lines {first} leaves it out; if it is the \
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

/// The most letters of a cell in a message.
const SHOWN: usize = 40;

fn not_utf8(file: &str, line: u64, cell: &[u8]) -> Failure {
    // The first 256 characters of Unicode are those of Latin-1.
    let latin: String = cell.iter().take(SHOWN).map(|&byte| char::from(byte)).collect();
    Failure::input(format!(
        "{file}, line {line}: the text is not UTF-8; save the file as UTF-8. If {latin:?} is what the cell \
         says, the text is Latin-1 (Windows-1252), and iconv -f WINDOWS-1252 -t UTF-8 converts it"
    ))
}

/// The source of the records.
enum Records {
    Delimited { reader: Box<Reader<Lines>>, skipped: u64, seen: Rc<Passed> },
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
        let seen = Rc::<Passed>::default();
        let lines = Lines::new(Box::new(reader), byte, Rc::clone(&seen));
        let reader = configured(byte).buffer_capacity(1 << 18).from_reader(lines);
        Ok(Self::Delimited { reader: Box::new(reader), skipped: skip, seen })
    }

    /// Reads the next record, and returns the line in which it begins.
    fn read(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, String> {
        match self {
            Self::Parquet(records) => {
                records.read(record).map_err(|error| format!("row {}: {error}", records.row + 1))
            }
            Self::Delimited { reader, skipped, seen } => {
                seen.bytes.set(0);
                let found = reader.read_byte_record(record).map_err(|error| error.to_string())?;
                // The reader's own position of a record is before the empty lines above it.
                let line = reader.position().line().saturating_sub(lines(record)) + *skipped;
                // The last line has an end, so only a record within quotes reaches the end of the text.
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

/// The number of lines of a record.
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

    /// The records, each with its line; or the first error.
    fn records(mut text: Text) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut record = ByteRecord::new();
        let mut records = Vec::new();
        while let Some(line) = text.read(&mut record).map_err(|error| error.to_string())? {
            let cells = record.iter().map(|cell| unmarked(cell).0);
            let cells = cells.map(|cell| String::from_utf8_lossy(cell).into_owned());
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
        let (delimiter, header) = (Some(Delimiter::Semicolon), Some(false));
        let given = Layout { delimiter, header, ..Layout::default() };
        let found = open(b"a,b;c\n", &given).unwrap();
        assert_eq!((found.names.len(), found.names.from_header), (2, false));
        assert_eq!(records(found).unwrap(), [(1, cells(&["a,b", "c"]))]);
    }

    #[test]
    fn what_other_programs_write_is_read() {
        // A byte order mark, Windows' line ends, quotes around commas, quotes and line ends, empty
        // lines.
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
        refused("150,4,x\n1,2\n3,4\n5,6\n", "If line 1 is not a row, --skip-lines 1");
        let uneven = "a,b\n1,2\n3,4,5\n".to_owned() + &"6,7\n".repeat(9);
        refused(&uneven, "line 3: there are 3 cells, but 2 in line 1. A cell with a comma");
        for title in ["# about\n# this, table\n", "about\n\nthis\n", "a,b\nc,d\n\n"] {
            let lines = title.lines().filter(|line| !line.is_empty()).count();
            let lines = lines + usize::from(title.starts_with("about"));
            refused(
                &format!("{title}x,y,z\n1,2,a\n3,4,b\n5,6,a\n"),
                &format!("--skip-lines {lines} leaves them out"),
            );
        }
        refused("a,b\n1,\"2\n3,4\n5,6\n", "line 2: a quote is not closed");
        refused("a,b\n1,\"2\n3,4\n5,6", "line 2: a quote is not closed");
        refused("a,b\n3,4\n\"1,2\n3,4\"\n", "line 3: there is 1 cell");
        refused("a,b\n3,4\n\"1,2\n3,4\"\n", "several lines: is a quote not closed?");
        refused("\n\n", "there are no rows");
    }
}
