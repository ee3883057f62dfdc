//! Parquet: tables whose columns have types. Cells become text, so that a table is read the same way from
//! Parquet and from CSV.
//!
//! Version 60 of the parquet crate spends time on claimed booleans, stack on deep schemas, and memory on
//! claimed children (`thrift`), bytes of pages, dictionaries and lengths of texts (`pages`), and it panics
//! (`guarded`). docs/notebook/parquet.md has the smallest file for each of these faults.

mod pages;
#[cfg(test)]
pub(crate) mod tests;
mod thrift;

use std::{
    cell,
    fmt::Write,
    fs::File,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use csv::ByteRecord;
use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader},
    data_type::DataType,
    errors::ParquetError,
    file::{
        FOOTER_SIZE,
        metadata::{
            FooterTail, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
            ParquetStatisticsPolicy::SkipAll,
        },
        reader::{ChunkReader, Length},
    },
    schema::types::ColumnDescriptor,
};

use pages::Pages;

/// How many rows are decoded at once.
const ROWS: usize = 1 << 10;

/// The seconds of a day.
const DAY: i64 = 86_400;

/// How many bytes a decimal may take. The widest that are known have 32.
const WIDTHS: std::ops::RangeInclusive<i32> = 1..=32;

/// The records of a file, in their order, a group of rows after the other.
pub(super) struct Records {
    file: Arc<File>,
    metadata: ParquetMetaData,
    pub(super) columns: Vec<Column>,
    /// How many groups were begun, and the rows that are left of the last one.
    groups: usize,
    left: usize,
    /// Decoded rows.
    decoded: usize,
    /// The decoded rows that were already returned.
    taken: usize,
    /// Counts all that were.
    pub(super) row: u64,
    text: String,
}

/// A column of the table.
pub(super) struct Column {
    pub(super) name: String,
    /// The kind of its cells, or the reason why they cannot be read.
    pub(super) kind: Result<Kind, String>,
    /// Its index among the stored columns: a nested column is stored as several.
    leaf: usize,
    reader: Option<ColumnReader>,
    cells: Vec<Cell>,
}

/// The kind of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Boolean,
    Signed,
    Unsigned,
    Float,
    Half,
    /// Whole numbers with this many digits after the decimal point.
    Decimal(i32),
    /// Days since 1970-01-01.
    Date,
    /// A time since then. The number is the units in a second.
    Instant(i64),
    /// A time since midnight. The number is the units in a second.
    Time(i64),
    Text,
}

enum Cell {
    Missing,
    Boolean(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Date(NaiveDate),
    Instant(NaiveDateTime),
    Time(NaiveTime),
    /// A date or a time outside the calendar's range.
    Beyond(i64),
    Text(parquet::data_type::ByteArray),
}

impl Records {
    pub(super) fn open(file: File) -> Result<Self, ParquetError> {
        let metadata = guarded(|| metadata(&file))?;
        let schema = metadata.file_metadata().schema_descr();
        let mut columns = Vec::new();
        for (leaf, stored) in schema.columns().iter().enumerate() {
            let root = schema.get_column_root(leaf);
            let is_nested = root.is_group() || stored.max_rep_level() > 0;
            // The first stored column represents all of a nested column.
            if leaf > 0 && schema.get_column_root_idx(leaf - 1) == schema.get_column_root_idx(leaf)
            {
                continue;
            }
            let kind = if is_nested { Err("lists or structures".to_owned()) } else { kind(stored) };
            let name = root.name().to_owned();
            columns.push(Column { name, kind, leaf, reader: None, cells: Vec::new() });
        }
        let (file, text) = (Arc::new(file), String::new());
        Ok(Self { file, metadata, columns, groups: 0, left: 0, decoded: 0, taken: 0, row: 0, text })
    }

    /// How many rows the file says that it has.
    pub(super) fn claimed_rows(&self) -> u64 {
        let groups = self.metadata.row_groups().iter();
        groups
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .fold(0, u64::saturating_add)
    }

    /// Reads the next record and returns the number of its row. A cell without a value is empty.
    pub(super) fn read(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, ParquetError> {
        if self.taken == self.decoded && !guarded(|| self.decode())? {
            return Ok(None);
        }
        record.clear();
        for column in &self.columns {
            self.text.clear();
            let bytes = match column.cells.get(self.taken) {
                Some(Cell::Text(text)) => text.data(),
                cell => {
                    match cell {
                        Some(Cell::Boolean(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Signed(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Unsigned(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Float(cell)) => write!(self.text, "{cell:?}"),
                        Some(Cell::Date(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Instant(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Time(cell)) => write!(self.text, "{cell}"),
                        Some(Cell::Beyond(cell)) => write!(self.text, "{cell} since 1970"),
                        _ => Ok(()),
                    }
                    .expect("a text takes what is written to it");
                    self.text.as_bytes()
                }
            };
            record.push_field(bytes);
        }
        self.taken += 1;
        self.row += 1;
        Ok(Some(self.row))
    }

    /// Decodes the next rows, if there are any.
    fn decode(&mut self) -> Result<bool, ParquetError> {
        while self.left == 0 {
            let Some(group) = self.metadata.row_groups().get(self.groups) else {
                return Ok(false);
            };
            let rows = group.num_rows();
            self.left = usize::try_from(rows)
                .map_err(|_| ParquetError::General(format!("a group of {rows} rows")))?;
            for column in self.columns.iter_mut().filter(|column| column.kind.is_ok()) {
                let pages = Pages::new(group, column.leaf, &self.file)?;
                let stored = group.schema_descr().column(column.leaf);
                column.reader = Some(get_column_reader(stored, Box::new(pages)));
            }
            self.groups += 1;
        }
        (self.decoded, self.taken) = (self.left.min(ROWS), 0);
        self.left -= self.decoded;
        self.columns.iter_mut().try_for_each(|column| column.decode(self.decoded))?;
        Ok(true)
    }
}

impl Column {
    fn decode(&mut self, rows: usize) -> Result<(), ParquetError> {
        self.cells.clear();
        let (Ok(kind), Some(reader), cells) = (&self.kind, &mut self.reader, &mut self.cells)
        else {
            return Ok(());
        };
        let whole = |number: i64| match *kind {
            Kind::Decimal(scale) => decimal(number.into(), scale),
            Kind::Date => date(number),
            Kind::Instant(units) => {
                instant(number.div_euclid(units), number.rem_euclid(units), units)
            }
            Kind::Time(units) => time(number, units),
            _ => Cell::Signed(number),
        };
        let bytes = |bytes: parquet::data_type::ByteArray| match *kind {
            Kind::Decimal(scale) => decimal(big_endian(bytes.data()), scale),
            Kind::Half => half(bytes.data()),
            _ => Cell::Text(bytes),
        };
        match reader {
            ColumnReader::BoolColumnReader(reader) => fill(reader, rows, cells, Cell::Boolean),
            ColumnReader::Int32ColumnReader(reader) if *kind == Kind::Unsigned => {
                fill(reader, rows, cells, |number| Cell::Unsigned((number as u32).into()))
            }
            ColumnReader::Int64ColumnReader(reader) if *kind == Kind::Unsigned => {
                fill(reader, rows, cells, |number| Cell::Unsigned(number as u64))
            }
            ColumnReader::Int32ColumnReader(reader) => {
                fill(reader, rows, cells, |number| whole(number.into()))
            }
            ColumnReader::Int64ColumnReader(reader) => fill(reader, rows, cells, whole),
            ColumnReader::FloatColumnReader(reader) => {
                fill(reader, rows, cells, |number| Cell::Float(number.into()))
            }
            ColumnReader::DoubleColumnReader(reader) => fill(reader, rows, cells, Cell::Float),
            ColumnReader::ByteArrayColumnReader(reader) => fill(reader, rows, cells, bytes),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                fill(reader, rows, cells, |fixed| bytes(fixed.into()))
            }
            ColumnReader::Int96ColumnReader(reader) => fill(reader, rows, cells, |instant| {
                let nanoseconds = i64::from(instant.data()[1]) << 32 | i64::from(instant.data()[0]);
                let days = i64::from(instant.data()[2]) - JULIAN_1970;
                instant_of(days, nanoseconds)
            }),
        }
    }
}

/// What a file says of itself. It stands at the end, before its length.
fn metadata(file: &File) -> Result<ParquetMetaData, ParquetError> {
    let bytes = file.len();
    let Some(end) = bytes.checked_sub(FOOTER_SIZE as u64) else {
        return Err(ParquetError::EOF(format!("the file ends after {bytes} bytes")));
    };
    let tail = FooterTail::try_from(&*file.get_bytes(end, FOOTER_SIZE)?)?;
    if tail.is_encrypted_footer() {
        return Err(ParquetError::General("the file is encrypted".to_owned()));
    }
    let length = tail.metadata_length();
    let Some(start) = end.checked_sub(length as u64) else {
        return Err(ParquetError::EOF(format!("metadata of {length} bytes in a file of {bytes}")));
    };
    let metadata = file.get_bytes(start, length)?;
    thrift::check_file(&metadata)?;
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(SkipAll)
        .with_encoding_stats_policy(SkipAll)
        .with_size_stats_policy(SkipAll);
    ParquetMetaDataReader::decode_metadata_with_options(&metadata, Some(&options))
}

thread_local! {
    static IS_GUARDED: cell::Cell<bool> = const { cell::Cell::new(false) };
}

/// Calls the parquet crate, which trusts some numbers of a file and panics if they are wrong. The panic
/// becomes an error.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    IS_GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(false);
    let broken = |_| Err(ParquetError::General("the file is broken".to_owned()));
    result.unwrap_or_else(broken)
}

/// Whether a panic of this thread would become an error.
pub(crate) fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Decodes cells of one type.
fn fill<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    cells: &mut Vec<Cell>,
    cell: impl Fn(T::T) -> Cell,
) -> Result<(), ParquetError> {
    while cells.len() < rows {
        // A level of 1 is a cell that is there. Columns without gaps have no levels.
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let left = rows - cells.len();
        let (count, ..) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
        if count == 0 || count > left {
            return Err(ParquetError::EOF(format!("a column ends {left} rows before the others")));
        }
        let mut values = values.into_iter().map(&cell);
        if levels.is_empty() {
            cells.extend(values);
        } else {
            let next = |level| if level > 0 { values.next() } else { Some(Cell::Missing) };
            cells.extend(levels.into_iter().map_while(next));
        }
    }
    Ok(())
}

/// The kind of a column's cells, or the reason why they cannot be read.
fn kind(stored: &ColumnDescriptor) -> Result<Kind, String> {
    use ConvertedType as As;
    let (logical, converted) = (stored.logical_type_ref(), stored.converted_type());
    let is_whole =
        matches!(logical, None | Some(LogicalType::Integer { .. } | LogicalType::Unknown));
    match (stored.physical_type(), converted) {
        (Type::BOOLEAN, _) => Ok(Kind::Boolean),
        (Type::FLOAT | Type::DOUBLE, _) => Ok(Kind::Float),
        (Type::INT96, _) => Ok(Kind::Instant(NANOS)),
        (Type::INT32, As::DATE) => Ok(Kind::Date),
        (Type::INT64, As::TIMESTAMP_MILLIS) => Ok(Kind::Instant(1000)),
        (Type::INT64, As::TIMESTAMP_MICROS) => Ok(Kind::Instant(1_000_000)),
        (Type::INT32, As::TIME_MILLIS) => Ok(Kind::Time(1000)),
        (Type::INT64, As::TIME_MICROS) => Ok(Kind::Time(1_000_000)),
        (Type::FIXED_LEN_BYTE_ARRAY, As::NONE)
            if matches!(logical, Some(LogicalType::Float16)) && stored.type_length() == 2 =>
        {
            Ok(Kind::Half)
        }
        (Type::FIXED_LEN_BYTE_ARRAY, As::DECIMAL) if !WIDTHS.contains(&stored.type_length()) => {
            Err(format!("decimals of {} bytes", stored.type_length()))
        }
        (_, As::DECIMAL) => Ok(Kind::Decimal(stored.type_scale())),
        (_, As::UINT_8 | As::UINT_16 | As::UINT_32 | As::UINT_64) => Ok(Kind::Unsigned),
        (Type::INT32 | Type::INT64, As::INT_8 | As::INT_16 | As::INT_32 | As::INT_64) => {
            Ok(Kind::Signed)
        }
        (Type::INT32 | Type::INT64, As::NONE) if is_whole => Ok(Kind::Signed),
        (Type::BYTE_ARRAY, As::UTF8 | As::ENUM | As::JSON | As::NONE) => Ok(Kind::Text),
        // Older versions of the format have no name for nanoseconds.
        (Type::INT64, As::NONE) if matches!(logical, Some(LogicalType::Timestamp { .. })) => {
            Ok(Kind::Instant(NANOS))
        }
        (Type::INT64, As::NONE) if matches!(logical, Some(LogicalType::Time { .. })) => {
            Ok(Kind::Time(NANOS))
        }
        (physical, As::NONE) => Err(match logical {
            Some(logical) => format!("{logical:?}").to_lowercase(),
            None => format!("{physical}"),
        }),
        (_, converted) => Err(format!("{converted}")),
    }
}

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;

/// 1970-01-01 in the days of INT96.
const JULIAN_1970: i64 = 2_440_588;

fn date(days: i64) -> Cell {
    let midnight = days.checked_mul(DAY).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    midnight.map_or(Cell::Beyond(days), |midnight| Cell::Date(midnight.date_naive()))
}

/// A point in time: seconds since 1970-01-01, and `rest` units, of which a second has `units`.
fn instant(seconds: i64, rest: i64, units: i64) -> Cell {
    let nanoseconds = u32::try_from(rest * (NANOS / units)).ok();
    let instant = nanoseconds.and_then(|rest| DateTime::from_timestamp(seconds, rest));
    instant.map_or(Cell::Beyond(seconds), |instant| Cell::Instant(instant.naive_utc()))
}

/// A point in time: days since 1970-01-01, and nanoseconds.
fn instant_of(days: i64, nanoseconds: i64) -> Cell {
    let (seconds, rest) = (nanoseconds.div_euclid(NANOS), nanoseconds.rem_euclid(NANOS));
    instant(days.saturating_mul(DAY).saturating_add(seconds), rest, NANOS)
}

/// A time of day.
fn time(number: i64, units: i64) -> Cell {
    let seconds = u32::try_from(number.div_euclid(units)).ok();
    let nanoseconds = u32::try_from(number.rem_euclid(units) * (NANOS / units)).ok();
    let time = seconds.zip(nanoseconds).and_then(|(seconds, nanoseconds)| {
        NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanoseconds)
    });
    time.map_or(Cell::Beyond(number), Cell::Time)
}

fn half(bytes: &[u8]) -> Cell {
    let bytes = bytes.first_chunk().copied();
    bytes.map_or(Cell::Missing, |bytes| Cell::Float(half::f16::from_le_bytes(bytes).into()))
}

/// A whole number with some of its digits after the decimal point.
fn decimal(number: i128, scale: i32) -> Cell {
    Cell::Float(number as f64 / 10_f64.powi(scale))
}

/// A signed number of up to 16 bytes. A longer one loses its first bytes.
fn big_endian(bytes: &[u8]) -> i128 {
    let is_negative = bytes.first().is_some_and(|&first| first >= 128);
    let start = if is_negative { -1 } else { 0 };
    bytes.iter().fold(start, |number: i128, &byte| number << 8 | i128::from(byte))
}
