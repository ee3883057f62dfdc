//! Forged and damaged data sets and checkpoints. Each is refused with a reason, and reading it takes no more
//! memory than a small file may.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::Command,
};

use parquet::{
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
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use ztilde_cli::readers;

/// The most memory that reading any of these files may take. The buffers of a reader of text take a
/// quarter of a megabyte of it.
const MOST_BYTES: u64 = 8 << 20;

#[track_caller]
fn within_memory(read: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut found = None;
    let taken = allocation_counter::measure(|| found = Some(read())).bytes_max;
    assert!(taken <= MOST_BYTES, "{taken} bytes of memory, but {MOST_BYTES} at most");
    found.expect("it was read")
}

/// The files of the corpus that fuzzing begins with.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

fn reader(target: &str) -> fn(&[u8]) -> Result<(), String> {
    match target {
        "checkpoint" => readers::checkpoint,
        "run" => readers::run,
        _ => readers::data_set,
    }
}

const TARGETS: [&str; 7] = ["checkpoint", "csv", "idx", "npy", "npz", "parquet", "run"];

#[test]
fn the_corpus_of_fuzzing_is_read() {
    for target in TARGETS {
        let files = corpus(target);
        let accepted =
            files.iter().filter(|(_, bytes)| within_memory(|| reader(target)(bytes)).is_ok());
        let (accepted, all) = (accepted.count(), files.len());
        assert!(accepted >= 2, "{target}: {accepted} of {all} files are accepted");
    }
}

/// Files of these formats are incomplete without their last byte. Another number in a header changes the
/// meaning of the file, or breaks it.
#[test]
fn files_that_are_cut_or_changed_anywhere_are_no_panic() {
    for target in TARGETS {
        let mut refused = 0;
        for (_, whole) in corpus(target) {
            for place in 0..whole.len() {
                let cut = within_memory(|| reader(target)(&whole[..place]));
                assert!(cut.is_err() || target == "csv", "{target} cut to {place} bytes");
                for flipped in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[place] ^= flipped;
                    refused += usize::from(within_memory(|| reader(target)(&bytes)).is_err());
                }
            }
        }
        assert!(refused > 20, "{target}: {refused} are refused");
    }
}

/// An archive that claims a larger size for each of its files, in both headers.
fn claiming(archive: &[u8], size: u32) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    for (signature, offset) in [(b"PK\x03\x04", 18), (b"PK\x01\x02", 20)] {
        let places: Vec<_> =
            (0..bytes.len() - 4).filter(|&place| bytes[place..].starts_with(signature)).collect();
        assert!(!places.is_empty());
        for place in places {
            bytes[place + offset..][..4].copy_from_slice(&size.to_le_bytes());
            bytes[place + offset + 4..][..4].copy_from_slice(&size.to_le_bytes());
        }
    }
    bytes
}

#[test]
fn archives_that_claim_gigabytes_are_not_believed() {
    for target in ["checkpoint", "npz"] {
        let files = corpus(target).into_iter();
        for (path, archive) in files.filter(|(_, bytes)| reader(target)(bytes).is_ok()) {
            for size in [1 << 20, 1 << 31, u32::MAX - 1] {
                let found = within_memory(|| reader(target)(&claiming(&archive, size)));
                // A compressed stream marks its own end, for any claimed size.
                let is_packed = found.is_ok() && target == "npz";
                assert!(is_packed || found.is_err(), "{}: {size}", path.display());
            }
        }
    }
}

/// A gigabyte of blanks compresses to a megabyte, and could be the beginning of a model's header.
#[test]
fn a_checkpoint_is_never_unpacked() {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for name in ["run.json", "training.safetensors"] {
        archive.start_file(name, options).unwrap();
        for _ in 0..64 {
            archive.write_all(&[b' '; 1 << 20]).unwrap();
        }
    }
    let archive = archive.finish().unwrap().into_inner();
    assert!(archive.len() < 1 << 18, "{} bytes", archive.len());
    let error = within_memory(|| readers::checkpoint(&archive)).unwrap_err();
    assert!(error.contains("run.json: it is compressed"), "{error}");
}

/// The largest possible number of cells, with one value each or with none.
#[test]
fn arrays_that_claim_gigabytes_are_not_believed() {
    for shape in [
        "(1073741824, 4)",
        "(4611686018427387904, 4)",
        "(18446744073709551615,)",
        // 2⁶⁴ elements plus 256, which is a kilobyte more.
        "(4611686018427387968, 4)",
        "(4611686018427388160,)",
    ] {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        let file = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &[0; 1024]].concat();
        let error = within_memory(|| readers::data_set(&file)).unwrap_err();
        assert!(error.contains("not a whole file"), "{error}");
    }
    for sizes in [[1 << 30, 4], [u32::MAX, u32::MAX], [u32::MAX, 1]] {
        let sizes = sizes.map(u32::to_be_bytes).concat();
        let file = [&[0, 0, 8, 2], &sizes[..], &[0; 1024]].concat();
        let error = within_memory(|| readers::data_set(&file)).unwrap_err();
        assert!(error.contains("not a whole file"), "{error}");
    }
}

/// An endless device, for each option that names a file. Where memory can be limited, a reader that
/// never stops fails with another error.
#[test]
#[cfg(unix)]
fn a_device_without_an_end_is_an_error() {
    for (arguments, reason) in [
        ("evaluate /dev/zero", "the model cannot be read: its header"),
        ("predict /dev/zero", "the model cannot be read: its header"),
        ("export /dev/zero --onnx out", "the model cannot be read: its header"),
        ("train /dev/zero", "the format of this binary file is unknown"),
        ("train --resume --checkpoint /dev/zero", "it is not a whole checkpoint"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 2097152; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ztilde")])
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .output()
            .expect("the binary starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        let expected = format!("/dev/zero: {reason}");
        assert!(stderr.contains(&expected), "{arguments}: no {expected:?} in: {stderr}");
    }
}

#[test]
fn a_state_where_no_run_comes_is_refused() {
    for (path, run) in corpus("run") {
        let run = String::from_utf8(run).unwrap();
        assert_eq!(readers::run(run.as_bytes()), Ok(()));
        for (from, to, expected) in [
            ("\"secs\":0", "\"secs\":18446744073709551615", "18446744073709551615 seconds"),
            ("\"place\":{\"epoch\":3", "\"place\":{\"epoch\":4294967295", "in epoch 4294967295"),
            ("\"epochs\":[{\"epoch\":1", "\"epochs\":[{\"epoch\":9", "epoch 9 stands where"),
            ("\"rows\":0,\"loss\"", "\"rows\":13,\"loss\"", "13 rows of the epoch were seen"),
        ] {
            assert!(run.contains(from), "{}: no {from}", path.display());
            let error = readers::run(run.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{}: {error}", path.display());
        }
    }
}

#[test]
fn the_best_parameters_are_those_of_the_same_network() {
    let corpus = |place: &str| {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(place)).unwrap()
    };
    let with_best = |best: &str| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, bytes) in [
            ("run.json", corpus("run/adamw")),
            ("training.safetensors", corpus("snapshot/adamw")),
            ("best.safetensors", corpus(best)),
        ] {
            archive.start_file(name, options).unwrap();
            archive.write_all(&bytes).unwrap();
        }
        readers::checkpoint(&archive.finish().unwrap().into_inner())
    };
    assert_eq!(with_best("model/best"), Ok(()));
    let error = with_best("model/pytorch").unwrap_err();
    assert!(
        error.contains("the layers [3, 4, 3, 2], but training.safetensors has [3, 2, 2]"),
        "{error}"
    );
}

/// A Thrift number, with seven bits per byte; signed numbers have the sign in the last bit.
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

/// A Parquet file that consists only of its metadata.
fn described_by(metadata: &[u8]) -> Vec<u8> {
    let length = (metadata.len() as u32).to_le_bytes();
    [b"PAR1", metadata, &length[..], b"PAR1"].concat()
}

/// A table with one column of texts and one of numbers, and a thousand rows.
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

/// A file with another header and beginning of its first page, which has the same end.
fn beginning_by(
    mut file: Vec<u8>,
    header: impl Fn(&[u8]) -> Vec<u8>,
    content: &[u8],
) -> Result<(), String> {
    let reader = opened(&file);
    let (start, bytes) = reader.metadata().row_group(0).column(0).byte_range();
    // The length of the header depends on its contents.
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
    within_memory(|| readers::data_set(&file))
}

/// A file with extra bytes after its columns, and with changed metadata of its only row group.
fn saying(
    file: &[u8],
    after: &[u8],
    change: impl Fn(RowGroupMetaData) -> RowGroupMetaData,
) -> Result<(), String> {
    let reader = opened(file);
    let mut metadata = reader.metadata().clone().into_builder();
    let groups = metadata.take_row_groups().into_iter().map(change).collect();
    let metadata = metadata.set_row_groups(groups).build();
    let mut changed = [file, after].concat();
    ParquetMetaDataWriter::new(&mut changed, &metadata).finish().unwrap();
    within_memory(|| readers::data_set(&changed))
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
    refused(within_memory(|| readers::data_set(&file)), "2147483647 elements in 1 bytes");
    // Fields of the other types, or of a map, would hide such a list.
    for (hidden, expected) in [
        (&[0x18, 0x00][..], "field [1] is of the type 8"),
        (&[0x29, 0x4c, 0x45, 0x02], "field [2, 4] is of the type 5"),
        (&[0xfb, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11], "2147483647 elements in"),
        (&[&[0xf9][..], &[0x19; 100]].concat(), "nested 64 deep"),
    ] {
        let file = described_by(&[hidden, &BOOLEANS].concat());
        refused(within_memory(|| readers::data_set(&file)), expected);
    }
    // The header of a page: its kind, its sizes, and five numbers about its values.
    let header = |packed: &[u8]| {
        let start = [0x15, 0, 0x15, 0x80, 0x02, 0x15];
        [&start, packed, &[0x2c, 0x15, 0x02, 0x15, 0, 0x15, 6, 0x15, 6, 0], &BOOLEANS].concat()
    };
    refused(
        beginning_by(table(Compression::UNCOMPRESSED, false), header, &[]),
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
        within_memory(|| readers::data_set(&file))
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
    refused(beginning_by(file, header, &[]), "a dictionary of 2147483647 values in");
    // The same number of values, or two values in some encoding.
    let values = |unpacked: &[u8], packed: &[u8], count: &[u8], encoding: u8| {
        let tail = [0x15, encoding, 0x15, 6, 0x15, 6, 0, 0];
        [&[0x15, 0, 0x15], unpacked, &[0x15], packed, &[0x2c, 0x15], count, &tail].concat()
    };
    let file = table(Compression::UNCOMPRESSED, false);
    let of = |count: &[u8], encoding: u8, content: &[u8]| {
        beginning_by(file.clone(), |packed| values(packed, packed, count, encoding), content)
    };
    refused(
        of(&most, 0, &[]),
        "a page of 2147483647 values, where 1000 of its column's 1000 are left",
    );
    // A block of 2⁴⁰ values in one part; the same number of lengths, the first of which is 0.
    let huge = unsigned(1 << 40);
    let lengths = [&huge[..], &[1], &huge, &[0, 0, 0]].concat();
    let expected = "the lengths of 1099511627776 texts in a page of 2";
    refused(of(&[4], 12, &lengths), expected);
    refused(of(&[4], 14, &lengths), expected);
    // Two equal lengths without differences, then the lengths of the rest.
    let alike = [0x80, 1, 4, 2, 0, 0, 0, 0, 0, 0];
    refused(of(&[4], 14, &[&alike[..], &lengths].concat()), expected);
    // A page that decompresses to more than its codec allows.
    let file = table(Compression::SNAPPY, false);
    let header = |packed: &[u8]| values(&most, packed, &[2], 0);
    refused(beginning_by(file, header, &[]), "unpacks to 2147483647");
}

#[test]
fn groups_that_claim_what_their_columns_do_not_are_refused() {
    let file = table(Compression::UNCOMPRESSED, true);
    assert_eq!(saying(&file, &[], |group| group), Ok(()));
    let rows =
        |group: RowGroupMetaData| group.into_builder().set_num_rows(1 << 40).build().unwrap();
    refused(saying(&file, &[], rows), "a column of 1000 values in a group of 1099511627776 rows");
    // The second column begins within the first, and has all remaining bytes.
    let sizes = |group: RowGroupMetaData| {
        let size = file.len() as i64 - 100;
        let columns = group.columns().iter().cloned();
        let columns = columns
            .map(|column| column.into_builder().set_total_compressed_size(size).build().unwrap());
        let columns = columns.collect();
        group.into_builder().set_column_metadata(columns).build().unwrap()
    };
    refused(saying(&file, &[], sizes), "bytes in a file of");
}

/// A page without values, which the crate skips. The crate detects such a page by the last 32 bits of
/// its kind.
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
                let mut columns = group.columns().to_vec();
                let first = columns[0].clone().into_builder();
                let first = first.set_data_page_offset(file.len() as i64);
                columns[0] = first.set_total_compressed_size(pages.len() as i64).build().unwrap();
                group.into_builder().set_column_metadata(columns).build().unwrap()
            });
            let found = format!("{found:?}");
            assert!(found.contains(expected), "{found}");
        }
    }
}
