//! Files of Parquet that are whole, and that are not.

use std::{
    io::{Seek, Write as _},
    sync::Arc,
};

use parquet::{
    basic::{
        BrotliLevel, Compression,
        Encoding::{DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY},
        GzipLevel, ZstdLevel,
    },
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
    file::{
        properties::{WriterProperties, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::{parser::parse_message_type, types::SchemaDescriptor},
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
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
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
fn groups_of_every_compression_are_read() {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(BrotliLevel::default()),
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
            let time = DateTime::from_timestamp_nanos(-1 - row as i64).naive_utc();
            assert!(time.to_string().starts_with("1969-12-31 23:59:59.99999"));
            expected.push(time.to_string());
            expected.push(String::new());
            assert_eq!(*cells, expected, "row {row}, {codec:?}");
        }
    }
}

#[test]
fn columns_have_kinds() {
    let records = open(&file(Compression::SNAPPY, &[1])).unwrap();
    let kinds: Vec<_> = records.columns.iter().map(|column| column.kind.clone()).collect();
    let (none, at) = (Err("lists or structures".into()), Ok(Kind::Instant(NANOS)));
    let price = Ok(Kind::Decimal(2));
    assert_eq!(kinds, [Ok(Kind::Unsigned), Ok(Kind::Float), Ok(Kind::Text), price, at, none]);
    for (bytes, expected) in [(32, Ok(Kind::Decimal(2))), (33, Err("decimals of 33 bytes".into()))]
    {
        let fixed = format!(
            "message table {{ REQUIRED FIXED_LEN_BYTE_ARRAY({bytes}) price (DECIMAL(9, 2)); }}"
        );
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(&fixed).unwrap()));
        assert_eq!(kind(&schema.column(0)), expected);
    }
    for (column, expected) in [
        ("INT32 x (DATE)", Kind::Date),
        ("INT64 x (TIMESTAMP(MILLIS, false))", Kind::Instant(1000)),
        ("INT64 x (TIMESTAMP_MICROS)", Kind::Instant(1_000_000)),
        ("INT96 x", Kind::Instant(NANOS)),
        ("INT32 x (TIME(MILLIS, false))", Kind::Time(1000)),
        ("INT64 x (TIME(NANOS, true))", Kind::Time(NANOS)),
        ("FIXED_LEN_BYTE_ARRAY(2) x (FLOAT16)", Kind::Half),
    ] {
        let message = format!("message table {{ OPTIONAL {column}; }}");
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(&message).unwrap()));
        assert_eq!(kind(&schema.column(0)), Ok(expected), "{column}");
    }
    let written = |cell: Cell| match cell {
        Cell::Date(cell) => cell.to_string(),
        Cell::Instant(cell) => cell.to_string(),
        Cell::Time(cell) => cell.to_string(),
        Cell::Float(cell) => cell.to_string(),
        Cell::Beyond(cell) => format!("beyond: {cell}"),
        _ => panic!("another cell"),
    };
    for (cell, expected) in [
        (date(19_782), "2024-02-29"),
        (date(-1), "1969-12-31"),
        (date(i64::MAX), "beyond: 9223372036854775807"),
        (instant(-1, 500, 1000), "1969-12-31 23:59:59.500"),
        (instant(1_709_164_800, 0, NANOS), "2024-02-29 00:00:00"),
        (instant(i64::MIN, 0, 1000), "beyond: -9223372036854775808"),
        (instant_of(19_782, 12 * 3600 * NANOS), "2024-02-29 12:00:00"),
        (time(45_000_000, 1000), "12:30:00"),
        (time(-1, 1000), "beyond: -1"),
        (half(&[0, 0x3e]), "1.5"),
    ] {
        assert_eq!(written(cell), expected);
    }
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

const MANY: &str = "message table {
    REQUIRED DOUBLE zero;
    REQUIRED BOOLEAN flag;
    OPTIONAL BYTE_ARRAY text (STRING);
    OPTIONAL DOUBLE none;
    REQUIRED INT32 class;
}";

/// Rows that are all alike, in one page.
fn alike(rows: usize, properties: WriterProperties) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(MANY).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    macro_rules! write {
        ($type:ty, $values:expr, $levels:expr) => {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<$type>().write_batch(&$values, $levels, None).unwrap();
            column.close().unwrap();
        };
    }
    write!(DoubleType, vec![0.0; rows], None);
    write!(BoolType, vec![true; rows], None);
    write!(ByteArrayType, vec![ByteArray::from(""); rows], Some(&vec![1; rows]));
    write!(DoubleType, [], Some(&vec![0; rows]));
    write!(Int32Type, vec![7; rows], None);
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// A few bytes may be many rows, and say so rightly.
#[test]
fn rows_that_are_alike_take_next_to_nothing() {
    const ROWS: usize = 50_000;
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::try_new(19).unwrap()),
        Compression::LZ4_RAW,
        Compression::BROTLI(BrotliLevel::default()),
    ];
    let mut smallest = usize::MAX;
    for (place, codec) in codecs.into_iter().enumerate() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for texts in [None, Some(DELTA_LENGTH_BYTE_ARRAY), Some(DELTA_BYTE_ARRAY)] {
                let mut properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(texts.is_none())
                    .set_data_page_size_limit(1 << 30)
                    .set_data_page_row_count_limit(ROWS);
                if let Some(encoding) = texts {
                    properties = properties.set_column_encoding("text".into(), encoding);
                }
                let bytes = alike(ROWS, properties.build());
                smallest = smallest.min(bytes.len());
                // Reading takes most of the time, and has nothing to do with the codec.
                let mut records = open(&bytes).unwrap();
                let most = if place == 0 { ROWS } else { 2 * super::ROWS };
                let mut record = ByteRecord::new();
                for row in 1..=most {
                    assert_eq!(records.read(&mut record).unwrap(), Some(row as u64), "{codec:?}");
                    assert_eq!(record, vec!["0.0", "true", "", "", "7"]);
                }
                assert_eq!(records.read(&mut record).unwrap().is_none(), most == ROWS);
            }
        }
    }
    assert!(smallest < ROWS / 20, "{smallest} bytes for {ROWS} rows");
}
