//! The beginning of a table of text: its delimiter, its header, and the lines above it.

use csv::{ByteRecord, ReaderBuilder};

use crate::data::{cell::Cell, formats::lines::unmarked, options::Delimiter};

/// The number of records that decide on the delimiter.
const LOOKED_AT: usize = 20;

/// The first record is a header if none of its cells is a number, and at least one is text.
pub(crate) fn looks_like_header(record: &ByteRecord) -> bool {
    let cell = |cell| str::from_utf8(unmarked(cell).0).map_or(Cell::Text(""), Cell::parse);
    let has_number = record.iter().any(|bytes| matches!(cell(bytes), Cell::Number(_)));
    !has_number && record.iter().any(|bytes| matches!(cell(bytes), Cell::Text(_)))
}

/// Programs without names for columns number them from 0 or 1. With this many such numbers the first record
/// is a header.
const NUMBERED: usize = 4;

/// With this many equally spaced years it is a header, too.
const YEARS: usize = 3;

/// Why the first record is a header although it contains numbers: they number the columns from 0 or 1,
/// possibly without the first column; or they are years.
pub(crate) fn counted(record: &ByteRecord, head: &Head) -> Option<&'static str> {
    let first = usize::from(record.get(0).is_some_and(|cell| unmarked(cell).0.is_empty()));
    let number = |cell: &[u8]| str::from_utf8(unmarked(cell).0).ok()?.trim().parse::<f64>().ok();
    let counts = |from| {
        let mut count = 0;
        let counts = record.iter().skip(first).zip(from..).all(|(cell, place): (_, usize)| {
            let is_place = unmarked(cell).0 == place.to_string().as_bytes();
            count += usize::from(is_place);
            is_place || number(cell).is_none()
        });
        counts && count >= NUMBERED
    };
    if counts(0) || counts(1) {
        return Some("contains the numbers of the columns");
    }
    let are_years = |record: &ByteRecord| {
        let numbers: Vec<_> = record.iter().filter_map(number).collect();
        let is_year = |year: &f64| *year == year.trunc() && (1500.0..=2200.0).contains(year);
        let step = numbers.get(1).map_or(0.0, |second| second - numbers[0]);
        let is_next = |pair: &[f64]| pair[1] - pair[0] == step;
        numbers.len() >= YEARS
            && step != 0.0
            && numbers.iter().all(is_year)
            && numbers.windows(2).all(is_next)
    };
    (are_years(record) && !head.second.as_ref().is_some_and(are_years)).then_some("contains years")
}

/// The properties of a table, found in its first records.
#[derive(Default)]
pub(crate) struct Head {
    /// The number of lines above the table: their records have another number of cells.
    pub(crate) title: u64,
    /// The number of cells of a record below them; 0 if too few records agree.
    pub(crate) cells: usize,
    second: Option<ByteRecord>,
}

/// At least this many records below a title have as many cells as the title.
const ALIKE: usize = 3;

impl Head {
    pub(crate) fn of(prefix: &[u8], delimiter: Delimiter) -> Self {
        delimiter.byte().map_or_else(Self::default, |byte| Self::by(prefix, byte))
    }

    fn by(prefix: &[u8], delimiter: u8) -> Self {
        // The last line may be cut off.
        let end = memchr::memrchr(b'\n', prefix).map_or(prefix.len(), |end| end + 1);
        let mut reader = configured(delimiter).from_reader(&prefix[..end]);
        let mut record = ByteRecord::new();
        let (mut second, mut ends) = (None, Vec::new());
        while ends.len() < LOOKED_AT && reader.read_byte_record(&mut record).is_ok_and(|read| read)
        {
            ends.push((record.len(), reader.position().line() - 1));
            if ends.len() == 2 {
                second = Some(record.clone());
            }
        }
        let Some(&(cells, _)) = ends.last() else { return Self::default() };
        let title = ends.iter().rposition(|&(count, _)| count != cells);
        match title.map(|last| (last + 1, ends[last].1)) {
            None => Self { title: 0, cells, second },
            Some((records, title)) if ends.len() >= records + records.max(ALIKE) => {
                Self { title, cells, second }
            }
            _ => Self { second, ..Self::default() },
        }
    }
}

/// The delimiter that divides the first records into the same, and the largest, number of cells. Lines
/// of a title have another number of cells.
pub(crate) fn detect(prefix: &[u8]) -> Delimiter {
    let (mut best, mut most) = (Delimiter::Comma, (false, 1));
    let mut title = 0;
    for (delimiter, byte) in Delimiter::BYTES {
        // A delimiter that does not occur need not be tried.
        if memchr::memchr(byte, prefix).is_none() {
            continue;
        }
        let head = Head::by(prefix, byte);
        let found = (head.title == 0, head.cells);
        if found.1 > 1 && found > most {
            (best, most, title) = (delimiter, found, head.title);
        }
    }
    let line = prefix.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let has_any = Delimiter::BYTES.iter().any(|(_, byte)| line.contains(byte));
    if title == 0 && most.1 == 1 && words > 1 && !has_any { Delimiter::Spaces } else { best }
}

pub(crate) fn configured(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    builder
}
