//! Forged and damaged model and snapshot files. Each is a typed error or a valid network, and reading it
//! takes no more memory than its length explains.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ztilde::{Error, Parameters, Result, Snapshot};

const MODEL: &[u8] = include_bytes!("../data/pytorch.safetensors");
const SNAPSHOT: &[u8] = include_bytes!("../../fuzz/corpus/snapshot/adamw");

/// The most bytes of memory for each byte of a file: two bytes of JSON are a value of 32 bytes to its reader,
/// in a list that grows by doubling. In a real file, each byte after the header takes one byte.
const MOST_FOR_A_BYTE: u64 = 64;

/// The memory that reading any file takes: messages, and tables with an initial capacity of a few
/// entries.
const MOST_FOR_ANY_FILE: u64 = 16 << 10;

/// Reads the bytes as a model and as a snapshot, within the memory bound. An accepted file survives
/// writing and reading.
#[track_caller]
fn read(bytes: &[u8]) -> [Option<Error>; 2] {
    let model = within_memory(bytes.len(), || Parameters::from_bytes(bytes));
    let snapshot = within_memory(bytes.len(), || Snapshot::from_bytes(bytes));
    if let Ok(model) = &model {
        let again = Parameters::from_bytes(&model.to_bytes().expect("it is a model"));
        assert_eq!(again.expect("it was written"), *model);
    }
    if let Ok(snapshot) = &snapshot {
        let again = Snapshot::from_bytes(&snapshot.to_bytes().expect("it is a snapshot"));
        assert_eq!(again.expect("it was written"), *snapshot);
    }
    [model.err(), snapshot.err()]
}

#[track_caller]
fn within_memory<T>(bytes: usize, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut found = None;
    let taken = allocation_counter::measure(|| found = Some(read())).bytes_max;
    let most = MOST_FOR_ANY_FILE + MOST_FOR_A_BYTE * bytes as u64;
    assert!(taken <= most, "{taken} bytes of memory for a file of {bytes}: {most} at most");
    found.expect("it was read")
}

/// Checks that the bytes are refused as a model and as a snapshot, with this text in the reason.
#[track_caller]
fn refused(bytes: &[u8], reason: &str) {
    for error in read(bytes) {
        let error = error.expect("the file is refused");
        assert!(matches!(error, Error::Model(_) | Error::Architecture(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "no {reason:?} in: {error}");
    }
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The length of the header, the header, and the rest.
fn split(bytes: &[u8]) -> (usize, &str, &[u8]) {
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let length = u64::from_le_bytes(*length) as usize;
    let (header, data) = rest.split_at(length);
    (length, str::from_utf8(header).expect("a header is text"), data)
}

#[test]
fn the_files_that_are_broken_here_are_whole() {
    let [model, snapshot] = read(MODEL);
    assert!(model.is_none() && snapshot.is_some());
    assert!(read(SNAPSHOT).iter().all(Option::is_none));
}

#[test]
fn a_file_of_any_shorter_length_is_refused() {
    for whole in [MODEL, SNAPSHOT] {
        for length in 0..whole.len() {
            for error in read(&whole[..length]) {
                assert!(matches!(error, Some(Error::Model(_))), "{length}: {error:?}");
            }
        }
    }
}

/// Other digits, signs, ends of strings and invalid bytes replace each byte of JSON.
#[test]
fn each_byte_of_a_header_may_be_any_other() {
    let mut refused = BTreeMap::new();
    for whole in [MODEL, SNAPSHOT] {
        for place in 0..8 + split(whole).0 {
            for other in [0, 1, 9, b' ', b'"', b'-', b'0', b'9', b'=', b']', b'}', 0x7f, 0x80, 0xff]
            {
                let mut bytes = whole.to_vec();
                bytes[place] = other;
                for error in read(&bytes).into_iter().flatten() {
                    let kind = match error {
                        Error::Model(_) => "file",
                        Error::Architecture(_) => "network",
                        Error::Option { .. } => "option",
                        Error::Length { .. } => "length",
                        other => panic!("byte {place}: {other:?}"),
                    };
                    *refused.entry(kind).or_insert(0) += 1;
                }
            }
        }
    }
    let is_enough = refused["file"] > 10_000 && refused["option"] > 10;
    assert!(
        is_enough,
        "fewer than 10,000 were refused as files, or than 10 as options: {refused:?}"
    );
}

#[test]
fn lengths_that_overflow_or_are_not_there_are_refused() {
    let data = [0; 1024];
    for length in [1025, 1 << 20, (1 << 30) + 7, 100_000_000, 100_000_001, 1 << 40, u64::MAX] {
        refused(&[&length.to_le_bytes()[..], &data].concat(), "its header should take");
    }
    let weight = |shape: &str, end: &str| {
        let header = format!(
            r#"{{"0.weight":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#
        );
        file(&header, &data)
    };
    // Gigabytes and exabytes claimed in a kilobyte.
    refused(&weight("16384,65536", "4294967296"), "should take 4294967296 bytes");
    refused(&weight("2305843009213693951", "9223372036854775804"), "overflow");
    for (shape, end, reason) in [
        ("4294967296,4294967296", "1024", "overflow"),
        ("4611686018427387905", "4", "overflow"),
        ("18446744073709551616,1", "1024", "invalid type"),
        ("18446744073709551615,18446744073709551615,0", "0", "overflow"),
        ("16,16", "18446744073709551616", "invalid type"),
        ("16,15", "1024", "tensor"),
        ("-16,16", "1024", "invalid value"),
        ("1.6e1,16", "1024", "invalid type"),
    ] {
        refused(&weight(shape, end), reason);
    }
    // No values, in the largest possible number of rows.
    let header = r#"{"0.weight":{"dtype":"F32","shape":[9223372036854775807,0],"data_offsets":[0,0]},
        "0.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    refused(&file(header, &[]), "0.");
}

#[test]
fn offsets_that_leave_or_share_the_data_are_refused() {
    let (_, header, data) = split(MODEL);
    let offsets: Vec<&str> = header
        .match_indices("\"data_offsets\":[")
        .map(|(place, name)| {
            let rest = &header[place + name.len()..];
            &rest[..rest.find(']').expect("a list ends")]
        })
        .collect();
    assert!(offsets.len() > 5, "{header}");
    for found in &offsets {
        let (start, end) = found.split_once(',').expect("two places");
        let [from, to] = [start, end].map(|place| place.parse::<u64>().expect("a number"));
        for other in [
            format!("{},{}", from + 4, to + 4),
            format!("{},{}", from + (1 << 40), to + (1 << 40)),
            format!("{end},{start}"),
            format!("{from},{}", u64::MAX),
            format!("{},{}", u64::MAX - (to - from), u64::MAX),
        ] {
            let changed = header.replace(&format!("[{found}]"), &format!("[{other}]"));
            assert_ne!(changed, header);
            refused(&file(&changed, data), "its header cannot be read");
        }
    }
    // All tensors at the same offset.
    let mut shared = header.to_owned();
    for found in &offsets {
        shared = shared.replace(&format!("[{found}]"), "[0,48]");
    }
    refused(&file(&shared, data), "its header cannot be read");
}

#[test]
fn names_that_are_missing_or_doubled_are_refused() {
    let (_, header, data) = split(SNAPSHOT);
    let names: Vec<&str> = header
        .match_indices("\":{\"dtype\"")
        .map(|(end, _)| {
            let start = header[..end].rfind('"').expect("a name begins");
            &header[start + 1..end]
        })
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        let changed = header.replace(&format!("\"{name}\""), "\"another\"");
        let errors = read(&file(&changed, data));
        // The optimizer's state is not part of the model.
        assert!(errors[1].is_some() && errors[0].is_some(), "{name}");
        for other in names.iter().filter(|other| *other != name) {
            let changed = header.replace(&format!("\"{name}\""), &format!("\"{other}\""));
            refused(&file(&changed, data), &format!("\"{other}\" occurs twice"));
        }
        // Two equal entries are not ambiguous, but no program writes them, so they are refused, too.
        let start = header.find(&format!("\"{name}\":")).expect("the tensor");
        let entry = &header[start..=start + header[start..].find('}').expect("its end")];
        let twice = header.replace(entry, &format!("{entry},{entry}"));
        refused(&file(&twice, data), &format!("\"{name}\" occurs twice"));
    }
    let twice = header.replace("\"ztilde\":", "\"ztilde\":\"{}\",\"ztilde\":");
    refused(&file(&twice, data), "\"ztilde\" occurs twice");
    let twice = header.replacen('{', "{\"__metadata__\":{},", 1);
    refused(&file(&twice, data), "\"__metadata__\" occurs twice");
    let twice = header.replacen(r#"\"epsilon\":"#, r#"\"epsilon\":1,\"epsilon\":"#, 1);
    refused(&file(&twice, data), "duplicate field `epsilon`");
    let twice = header.replace(r#"\"steps\":6,\"place"#, r#"\"steps\":6,\"steps\":6,\"place"#);
    assert_ne!(twice, header);
    let error = Snapshot::from_bytes(&file(&twice, data)).unwrap_err().to_string();
    assert!(error.contains("duplicate field `steps`"), "{error}");
}

#[test]
fn the_longest_lists_and_deepest_nests_of_a_header_are_within_memory() {
    let list = |item: &str| {
        let items = vec![item; 50_000].join(",");
        format!(r#"{{"0.weight":{{"dtype":"F32","shape":[{items}],"data_offsets":[0,4]}}}}"#)
    };
    let entries = |entry: &dyn Fn(usize) -> String| {
        let entries: Vec<_> = (0..20_000).map(entry).collect();
        format!("{{{}}}", entries.join(","))
    };
    let tensor = |index| format!(r#""{index}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    for header in [
        list("1"),
        list("0"),
        entries(&tensor),
        format!("{{\"__metadata__\":{}}}", entries(&|index| format!("\"{index}\":\"\""))),
        "[".repeat(200_000),
        "{\"a\":".repeat(50_000),
        format!("{{\"__metadata__\":{{\"ztilde\":\"{}\"}}}}", "[".repeat(50_000)),
        format!("{{\"{}\":0}}", "\\u00e9".repeat(50_000)),
    ] {
        refused(&file(&header, &[0; 4]), "");
    }
}

/// Reading takes memory for a copy of the data, and for a file also for the file's bytes.
#[test]
fn a_real_file_takes_little_more_than_its_length() {
    let model = Parameters::initialize(&[300, 300, 10], &Default::default()).unwrap();
    let bytes = model.to_bytes().unwrap();
    let length = bytes.len() as u64;
    let taken = |read: &dyn Fn() -> Result<Parameters>| {
        let mut found = None;
        let taken = allocation_counter::measure(|| found = Some(read())).bytes_max;
        assert_eq!(found.expect("it was read").unwrap(), model);
        taken
    };
    let of_bytes = taken(&|| Parameters::from_bytes(&bytes));
    assert!(10 * of_bytes < 11 * length, "{of_bytes} bytes of memory for {length}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    model.save(&path).unwrap();
    let of_file = taken(&|| Parameters::load(&path));
    assert!(10 * of_file < 21 * length, "{of_file} bytes of memory for a file of {length}");
}

/// A sparse file, which takes hardly any disk space, and an endless device.
#[test]
#[cfg(unix)]
fn a_file_that_goes_on_is_read_no_further_than_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grown");
    for whole in [MODEL, SNAPSHOT] {
        fs::write(&path, whole).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 33).unwrap();
        let errors = [
            within_memory(whole.len(), || Parameters::load(&path)).err(),
            within_memory(whole.len(), || Snapshot::load(&path)).err(),
        ];
        for error in errors {
            let error = error.expect("it is too long").to_string();
            assert!(error.contains("but more follow the header"), "{error}");
        }
    }
    for device in ["/dev/zero", "/dev/urandom"] {
        let error = within_memory(8, || Parameters::load(device)).err();
        assert!(matches!(error, Some(Error::Model(_))), "{device}: {error:?}");
    }
}

/// No memory is allocated for claims of a header beyond the end of the file: gigabytes of a tensor, or a
/// header of a hundred megabytes.
#[test]
fn a_file_that_claims_gigabytes_takes_what_it_has() {
    let header =
        r#"{"0.weight":{"dtype":"F32","shape":[16384,65536],"data_offsets":[0,4294967296]}}"#;
    let long = [&99_999_999_u64.to_le_bytes()[..], &[b' '; 1024]].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims");
    for bytes in [file(header, &[0; 1024]), long] {
        fs::write(&path, &bytes).unwrap();
        let errors = [
            within_memory(bytes.len(), || Parameters::load(&path)).err(),
            within_memory(bytes.len(), || Snapshot::load(&path)).err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(Error::Model(_))), "{error:?}");
        }
    }
}

/// A pipe has no length, but a model in it is read to its end.
#[test]
#[cfg(unix)]
fn a_pipe_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || fs::write(path, SNAPSHOT))
    };
    let read = Snapshot::load(&path).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(read, Snapshot::from_bytes(SNAPSHOT).unwrap());
}

/// The initial files of fuzzing, and the files that it has found.
#[test]
fn the_corpus_of_fuzzing_is_read() {
    for target in ["model", "snapshot"] {
        let mut accepted = 0;
        let files =
            files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target));
        for path in &files {
            let errors = read(&fs::read(path).unwrap());
            accepted += usize::from(errors[usize::from(target == "snapshot")].is_none());
        }
        assert!(accepted >= 4, "{target}: {accepted} of {} files are accepted", files.len());
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the corpus is there");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
