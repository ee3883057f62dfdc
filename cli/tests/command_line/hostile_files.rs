//! Forged and damaged data sets and checkpoints. Each is refused with a reason, and reading it takes no more
//! memory than a small file may.

mod parquet;

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use ztilde_cli::readers;

/// The most memory that reading any of these files may take. The buffers of a reader of text take a
/// quarter of a megabyte of it.
const MOST_BYTES: u64 = 8 << 20;

#[track_caller]
fn within_memory(read: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    // The backtrace of a panic, where the environment asks for it, takes more.
    static SILENT: Once = Once::new();
    SILENT.call_once(readers::silence_guarded_panics);
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
