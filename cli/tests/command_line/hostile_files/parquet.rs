//! Files of Parquet that lie about themselves.

use std::{fs, io::Write, process::Command};

use ::parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DoubleType},
    file::{
        metadata::{ParquetMetaDataWriter, RowGroupMetaData},
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};
use ztilde_cli::readers;

use super::within_memory;

/// A number of Thrift, of seven bits a byte; numbers with a sign have that in the last bit.
fn unsigned(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// An unknown field with a list that claims 2³¹ - 1 booleans and holds none, then the end of the fields.
const BOOLEANS: [u8; 8] = [0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0];

/// A file of Parquet with no more than a description of itself.
fn described_by(metadata: &[u8]) -> Vec<u8> {
    let length = (metadata.len() as u32).to_le_bytes();
    [b"PAR1", metadata, &length[..], b"PAR1"].concat()
}

/// A table of one column of texts and one of numbers, a thousand of each.
fn table(compression: Compression, uses_dictionary: bool) -> Vec<u8> {
    let schema = "message table { REQUIRED BYTE_ARRAY text (STRING); REQUIRED DOUBLE number; }";
    let schema = parse_message_type(schema).unwrap().into();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(uses_dictionary)
        .build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts: Vec<_> =
        (0..1000).map(|row| ByteArray::from(format!("{}", row % 90).as_str())).collect();
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let numbers: Vec<_> = (0..1000).map(f64::from).collect();
    column.typed::<DoubleType>().write_batch(&numbers, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    assert_eq!(readers::data_set(&file), Ok(()));
    file
}

fn opened(bytes: &[u8]) -> SerializedFileReader<fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    SerializedFileReader::new(file).unwrap()
}

/// A file whose first page is described and begun by other bytes, and ends where it did.
fn beginning_by(mut file: Vec<u8>, header: impl Fn(&[u8]) -> Vec<u8>, content: &[u8]) -> Vec<u8> {
    let reader = opened(&file);
    let (start, bytes) = reader.metadata().row_group(0).column(0).byte_range();
    // How long the header is depends on what it says.
    let mut packed = bytes;
    let header = loop {
        let header = header(&unsigned(packed * 2));
        if header.len() as u64 + packed == bytes {
            break header;
        }
        packed = bytes - header.len() as u64;
    };
    let page = &mut file[start as usize..][..bytes as usize];
    page[..header.len()].copy_from_slice(&header);
    page[header.len()..][..content.len()].copy_from_slice(content);
    file
}

fn data_set(file: &[u8]) -> Result<(), String> {
    within_memory(|| readers::data_set(file))
}

/// A file with extra bytes after its columns, and with changed metadata of its only row group.
fn saying(
    file: &[u8],
    after: &[u8],
    change: impl Fn(RowGroupMetaData) -> RowGroupMetaData,
) -> Vec<u8> {
    let reader = opened(file);
    let mut metadata = reader.metadata().clone().into_builder();
    let groups = metadata.take_row_groups().into_iter().map(change).collect();
    let metadata = metadata.set_row_groups(groups).build();
    let mut changed = [file, after].concat();
    ParquetMetaDataWriter::new(&mut changed, &metadata).finish().unwrap();
    changed
}

#[track_caller]
fn refused(found: Result<(), String>, expected: &str) {
    let error = found.unwrap_err();
    assert!(error.contains(expected), "{error}");
}

/// A list that claims billions of booleans and holds none must be refused at once.
#[test]
fn lists_that_are_not_there_are_not_walked_through() {
    let file = described_by(&BOOLEANS);
    assert_eq!(file.len(), 20);
    refused(data_set(&file), "2147483647 elements in 1 bytes");
    // Fields of the other types, or of a map, would hide such a list.
    for (hidden, expected) in [
        (&[0x18, 0x00][..], "field [1] is of the type 8"),
        (&[0x29, 0x4c, 0x45, 0x02], "field [2, 4] is of the type 5"),
        (&[0xfb, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11], "2147483647 elements in"),
        (&[&[0xf9][..], &[0x19; 100]].concat(), "nested 64 deep"),
    ] {
        let file = described_by(&[hidden, &BOOLEANS].concat());
        refused(data_set(&file), expected);
    }
    // In the header of a page: its kind, its sizes, of values five numbers.
    let header = |packed: &[u8]| {
        let start = [0x15, 0, 0x15, 0x80, 0x02, 0x15];
        [&start, packed, &[0x2c, 0x15, 0x02, 0x15, 0, 0x15, 6, 0x15, 6, 0], &BOOLEANS].concat()
    };
    refused(
        data_set(&beginning_by(table(Compression::UNCOMPRESSED, false), header, &[])),
        "a list of 2147483647 elements in",
    );
}

/// A tree of groups, each of which claims children.
#[test]
fn schemas_that_claim_billions_are_not_believed() {
    let element = |children: u64| {
        [&[0x35, 0x02, 0x18, 1, b'a', 0x15], &unsigned(children * 2)[..], &[0]].concat()
    };
    let of = |elements: &[Vec<u8>]| {
        let count = unsigned(elements.len() as u64);
        let metadata = [&[0x15, 2, 0x19, 0xfc], &count[..], &elements.concat()].concat();
        let file = described_by(&[&metadata[..], &[0]].concat());
        data_set(&file)
    };
    refused(of(&vec![element(0x3fff_ffff); 20]), "a schema of 1073741823 elements in");
    refused(of(&vec![element(1); 100_000]), "nested more than 64 deep");
}

#[test]
fn pages_that_claim_billions_are_not_believed() {
    let most = unsigned((1 << 32) - 2);
    // A dictionary.
    let header = |packed: &[u8]| {
        [&[0x15, 4, 0x15], packed, &[0x15], packed, &[0x4c, 0x15], &most, &[0x15, 0, 0, 0]].concat()
    };
    let file = table(Compression::UNCOMPRESSED, true);
    refused(data_set(&beginning_by(file, header, &[])), "a dictionary of 2147483647 values in");
    // As many values, or two of some encoding.
    let values = |unpacked: &[u8], packed: &[u8], count: &[u8], encoding: u8| {
        let tail = [0x15, encoding, 0x15, 6, 0x15, 6, 0, 0];
        [&[0x15, 0, 0x15], unpacked, &[0x15], packed, &[0x2c, 0x15], count, &tail].concat()
    };
    let file = table(Compression::UNCOMPRESSED, false);
    let of = |count: &[u8], encoding: u8, content: &[u8]| {
        let header = |packed: &[u8]| values(packed, packed, count, encoding);
        data_set(&beginning_by(file.clone(), header, content))
    };
    refused(of(&most, 0, &[]), "Not enough bytes");
    // A block of 2⁴⁰, which has one part; as many lengths, of which the first one is 0.
    let huge = unsigned(1 << 40);
    let lengths = [&huge[..], &[1], &huge, &[0, 0, 0]].concat();
    let expected = "the lengths of 1099511627776 texts in a page of 2";
    refused(of(&[4], 12, &lengths), expected);
    refused(of(&[4], 14, &lengths), expected);
    // Two equal lengths without differences, then the lengths of the rest.
    let alike = [0x80, 1, 4, 2, 0, 0, 0, 0, 0, 0];
    refused(of(&[4], 14, &[&alike[..], &lengths].concat()), expected);
    // What unpacks to more than its codec can pack.
    let file = table(Compression::SNAPPY, false);
    let header = |packed: &[u8]| values(&most, packed, &[2], 0);
    refused(data_set(&beginning_by(file, header, &[])), "unpacks to 2147483647");
}

#[test]
fn groups_that_claim_what_their_columns_do_not_are_refused() {
    let file = table(Compression::UNCOMPRESSED, true);
    assert_eq!(data_set(&saying(&file, &[], |group| group)), Ok(()));
    let rows =
        |group: RowGroupMetaData| group.into_builder().set_num_rows(1 << 40).build().unwrap();
    refused(
        data_set(&saying(&file, &[], rows)),
        "a column of 1000 values in a group of 1099511627776 rows",
    );
    // A column of as many bytes as its page has, and the file has neither.
    let most = unsigned((1 << 32) - 2);
    let page = [&[0x15, 0, 0x15], &most[..], &[0x15], &most, &[0x2c, 0x15, 2, 0x15, 0, 0x15, 6]];
    let page = [&page.concat()[..], &[0x15, 6, 0, 0]].concat();
    let found = saying(&file, &page, |group| with_first_column(group, file.len(), 1 << 40));
    refused(data_set(&found), "a page of 2147483647 bytes where");
}

/// A group whose first column stands elsewhere.
fn with_first_column(group: RowGroupMetaData, start: usize, bytes: i64) -> RowGroupMetaData {
    let mut columns = group.columns().to_vec();
    let first = columns[0].clone().into_builder().set_dictionary_page_offset(None);
    let first = first.set_data_page_offset(start as i64).set_total_compressed_size(bytes);
    columns[0] = first.build().unwrap();
    group.into_builder().set_column_metadata(columns).build().unwrap()
}

/// The values of a page stand in a dictionary, and the column begins behind it: the crate panics.
#[test]
fn a_panic_is_one_error_that_is_printed() {
    let file = saying(&table(Compression::UNCOMPRESSED, true), &[], |group| {
        let column = group.column(0);
        let start = column.data_page_offset();
        let bytes = column.byte_range().0 as i64 + column.compressed_size() - start;
        with_first_column(group, start as usize, bytes)
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("table.parquet"), file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ztilde"))
        .args(["train", "table.parquet"])
        .current_dir(folder.path())
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr, "error: table.parquet, row 1: Parquet error: the file is broken\n");
}

/// A page without values, which the crate passes over; it knows such a one by the last 32 bits of its kind.
#[test]
fn a_page_behind_one_without_values_is_looked_at() {
    let file = table(Compression::UNCOMPRESSED, false);
    let (start, bytes) = opened(&file).metadata().row_group(0).column(0).byte_range();
    let column = &file[start as usize..][..bytes as usize];
    for kind in [1, (1 << 32) + 1] {
        let kind = unsigned(kind * 2);
        let index = [&[0x15], &kind[..], &[0x15, 0, 0x15, 0, 0x3c, 0, 0]].concat();
        for (page, expected) in [(column, "Ok(())"), (&BOOLEANS, "a list of 2147483647 elements")] {
            let pages = [&index, page].concat();
            let found = saying(&file, &pages, |group| {
                with_first_column(group, file.len(), pages.len() as i64)
            });
            let found = format!("{:?}", data_set(&found));
            assert!(found.contains(expected), "{found}");
        }
    }
}
