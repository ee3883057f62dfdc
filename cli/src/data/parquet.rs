//! Parquet: tables whose columns have types. Cells are handed on as text, so that a table is the same
//! whichever way it is stored.

use std::{
    cell,
    fmt::Write,
    fs::File,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use csv::ByteRecord;
use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    schema::types::ColumnDescriptor,
};

/// How many rows are decoded at once.
const ROWS: usize = 1 << 10;

/// The records of a file, in their order, a group of rows after the other.
pub(super) struct Records {
    file: SerializedFileReader<File>,
    pub(super) columns: Vec<Column>,
    /// How many groups were begun, and the rows that are left of the last one.
    groups: usize,
    left: usize,
    /// Decoded rows, of which so many were handed on.
    decoded: usize,
    taken: usize,
    /// Counts all that were.
    pub(super) row: u64,
    text: String,
}

/// A column of the table.
pub(super) struct Column {
    pub(super) name: String,
    /// What its cells are, or why they are none.
    pub(super) kind: Result<Kind, String>,
    /// Its place among those that are stored: one that is nested is stored as several.
    leaf: usize,
    reader: Option<ColumnReader>,
    cells: Vec<Cell>,
}

/// What cells are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Boolean,
    Signed,
    Unsigned,
    Float,
    /// Whole numbers of so many digits behind the point.
    Decimal(i32),
    Text,
}

enum Cell {
    Missing,
    Boolean(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(parquet::data_type::ByteArray),
}

impl Records {
    pub(super) fn open(file: File) -> Result<Self, ParquetError> {
        let file = guarded(|| SerializedFileReader::new(file))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let mut columns = Vec::new();
        for (leaf, stored) in schema.columns().iter().enumerate() {
            let root = schema.get_column_root(leaf);
            let is_nested = root.is_group() || stored.max_rep_level() > 0;
            // The first one that is stored stands for all of a nested column.
            if leaf > 0 && schema.get_column_root_idx(leaf - 1) == schema.get_column_root_idx(leaf)
            {
                continue;
            }
            let kind = if is_nested { Err("lists or structures".to_owned()) } else { kind(stored) };
            let name = root.name().to_owned();
            columns.push(Column { name, kind, leaf, reader: None, cells: Vec::new() });
        }
        let text = String::new();
        Ok(Self { file, columns, groups: 0, left: 0, decoded: 0, taken: 0, row: 0, text })
    }

    /// Reads the next record, and tells the number of its row. Cells that are none are empty.
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
            if self.groups == self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.groups)?;
            let rows = group.metadata().num_rows();
            self.left = usize::try_from(rows)
                .map_err(|_| ParquetError::General(format!("a group of {rows} rows")))?;
            for column in self.columns.iter_mut().filter(|column| column.kind.is_ok()) {
                column.reader = Some(group.get_column_reader(column.leaf)?);
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
            _ => Cell::Signed(number),
        };
        let bytes = |bytes: parquet::data_type::ByteArray| match *kind {
            Kind::Decimal(scale) => decimal(big_endian(bytes.data()), scale),
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
            ColumnReader::Int96ColumnReader(_) => Ok(()),
        }
    }
}

/// Reads what may be broken: some of a file's own numbers are trusted, and end in a panic, whose words
/// nobody wants to see.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    thread_local! {
        static IS_GUARDED: cell::Cell<bool> = const { cell::Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                usual(panic);
            }
        }));
    });
    IS_GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(false);
    let broken = |_| Err(ParquetError::General("the file is broken".to_owned()));
    result.unwrap_or_else(broken)
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

/// What a column's cells are, or why they are neither numbers nor text.
fn kind(stored: &ColumnDescriptor) -> Result<Kind, String> {
    use ConvertedType as As;
    let (logical, converted) = (stored.logical_type_ref(), stored.converted_type());
    let is_whole =
        matches!(logical, None | Some(LogicalType::Integer { .. } | LogicalType::Unknown));
    match (stored.physical_type(), converted) {
        (Type::BOOLEAN, _) => Ok(Kind::Boolean),
        (Type::FLOAT | Type::DOUBLE, _) => Ok(Kind::Float),
        (Type::INT96, _) => Err("points in time".to_owned()),
        (_, As::DECIMAL) => Ok(Kind::Decimal(stored.type_scale())),
        (_, As::UINT_8 | As::UINT_16 | As::UINT_32 | As::UINT_64) => Ok(Kind::Unsigned),
        (Type::INT32 | Type::INT64, As::INT_8 | As::INT_16 | As::INT_32 | As::INT_64) => {
            Ok(Kind::Signed)
        }
        (Type::INT32 | Type::INT64, As::NONE) if is_whole => Ok(Kind::Signed),
        (Type::BYTE_ARRAY, As::UTF8 | As::ENUM | As::JSON | As::NONE) => Ok(Kind::Text),
        (physical, As::NONE) => Err(match logical {
            Some(LogicalType::Timestamp { .. }) => "points in time".to_owned(),
            Some(logical) => format!("{logical:?}").to_lowercase(),
            None => format!("{physical}"),
        }),
        (_, converted) => Err(format!("{converted}")),
    }
}

/// A whole number with some of its digits behind the point.
fn decimal(number: i128, scale: i32) -> Cell {
    Cell::Float(number as f64 / 10_f64.powi(scale))
}

/// A signed number of up to 16 bytes; what is longer loses its first ones.
fn big_endian(bytes: &[u8]) -> i128 {
    let is_negative = bytes.first().is_some_and(|&first| first >= 128);
    let start = if is_negative { -1 } else { 0 };
    bytes.iter().fold(start, |number: i128, &byte| number << 8 | i128::from(byte))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{Seek, Write as _},
        sync::Arc,
    };

    use parquet::{
        basic::{Compression, GzipLevel, ZstdLevel},
        data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };

    use super::*;

    const SCHEMA: &str = "message table {
        REQUIRED INT64 count (INTEGER(64, false));
        OPTIONAL DOUBLE size;
        OPTIONAL BYTE_ARRAY name (STRING);
        OPTIONAL INT32 price (DECIMAL(9, 2));
        REQUIRED INT64 time (TIMESTAMP(NANOS, true));
        OPTIONAL GROUP list (LIST) { REPEATED GROUP list { OPTIONAL INT32 element; } }
    }";

    /// Groups of as many rows, in which every third size, name and price is missing.
    pub(crate) fn file(compression: Compression, groups: &[usize]) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut bytes = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut first = 0;
        for &rows in groups {
            let rows = first..first + rows as i64;
            first = rows.end;
            let there: Vec<i64> = rows.clone().filter(|row| row % 3 > 0).collect();
            let levels: Vec<i16> = rows.clone().map(|row| i16::from(row % 3 > 0)).collect();
            let whole: Vec<i64> = rows.clone().map(|row| -1 - row).collect();
            let mut group = writer.next_row_group().unwrap();
            macro_rules! write {
                ($type:ty, $values:expr, $levels:expr) => {
                    let mut column = group.next_column().unwrap().unwrap();
                    let repeated = vec![0; rows.clone().count()];
                    let values: Vec<_> = $values;
                    let writer = column.typed::<$type>();
                    writer.write_batch(&values, $levels, Some(&repeated)).unwrap();
                    column.close().unwrap();
                };
            }
            write!(Int64Type, whole.clone(), None);
            write!(DoubleType, there.iter().map(|&row| row as f64 / 8.0).collect(), Some(&levels));
            let name = |row: &i64| ByteArray::from(format!("0{}", row % 7).as_str());
            write!(ByteArrayType, there.iter().map(name).collect(), Some(&levels));
            write!(Int32Type, there.iter().map(|&row| -row as i32).collect(), Some(&levels));
            write!(Int64Type, whole, None);
            write!(Int32Type, Vec::new(), Some(&vec![0; rows.clone().count()]));
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Records, ParquetError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Records::open(file)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<String>>, ParquetError> {
        let mut records = open(bytes)?;
        let (mut record, mut rows) = (ByteRecord::new(), Vec::new());
        while let Some(row) = records.read(&mut record)? {
            let cells = record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned());
            rows.push(cells.collect());
            assert_eq!(row, rows.len() as u64);
        }
        Ok(rows)
    }

    #[test]
    fn every_group_is_read_whatever_it_is_compressed_by() {
        let codecs = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ];
        for codec in codecs {
            let rows = read(&file(codec, &[2500, 0, 3])).unwrap();
            assert_eq!(rows.len(), 2503);
            for (row, cells) in rows.iter().enumerate() {
                let number = row as f64;
                let count = (u64::MAX - row as u64).to_string();
                let mut expected = vec![count, String::new(), String::new(), String::new()];
                if row % 3 > 0 {
                    expected[1] = format!("{:?}", number / 8.0);
                    expected[2] = format!("0{}", row % 7);
                    expected[3] = format!("{:?}", -number / 100.0);
                }
                expected.extend([String::new(), String::new()]);
                assert_eq!(*cells, expected, "row {row}, {codec:?}");
            }
        }
    }

    #[test]
    fn columns_have_kinds() {
        let records = open(&file(Compression::SNAPPY, &[1])).unwrap();
        let kinds: Vec<_> = records.columns.iter().map(|column| column.kind.clone()).collect();
        let [none, time] = ["lists or structures", "points in time"].map(|what| Err(what.into()));
        let price = Ok(Kind::Decimal(2));
        assert_eq!(kinds, [Ok(Kind::Unsigned), Ok(Kind::Float), Ok(Kind::Text), price, time, none]);
        assert_eq!(big_endian(&[255, 254]), -2);
        assert_eq!(big_endian(&[1, 0, 0]), 65536);
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let good = file(Compression::SNAPPY, &[50, 50]);
        assert!(read(&good[..good.len() / 2]).is_err());
        assert!(read(b"PAR1").is_err());
        let mut refused = 0;
        for place in 0..good.len() {
            let mut broken = good.clone();
            broken[place] ^= 1 << (place % 8);
            refused += u32::from(read(&broken).is_err());
        }
        assert!(refused > good.len() as u32 / 4, "{refused} of {} are refused", good.len());
    }
}
