//! The readers of untrusted bytes, for fuzzing and for the replay of its corpus.

use std::{io::Cursor, panic};

use crate::{checkpoint, data};

/// Reads a data set of any format that `train` knows, and converts its rows to inputs. Then reads it
/// again, as `evaluate` would read it for the resulting model.
///
/// # Errors
///
/// The error message of `train`.
pub fn data_set(bytes: &[u8]) -> Result<(), String> {
    data::read_bytes(bytes).map_err(|failure| failure.to_string())
}

/// Keeps back the messages of panics that become errors, for the rest of the process.
///
/// The parquet crate panics on some broken files, and a check of an adapter may end in a panic. Rust prints the
/// message of a panic before anyone can catch the panic, and only a hook can keep it back. A program calls this once, at its start.
pub fn silence_guarded_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !data::is_guarded() && !ztilde::check::is_running() {
            usual(panic);
        }
    }));
}

/// Reads a checkpoint as `train --resume` does.
///
/// # Errors
///
/// The error message of `train`, without the name of the file.
pub fn checkpoint(bytes: &[u8]) -> Result<(), String> {
    checkpoint::parse(Cursor::new(bytes)).map(drop)
}

/// Reads the `run.json` of a checkpoint. In a checkpoint a checksum protects it from random bytes.
///
/// # Errors
///
/// The error message of `train`, without the name of the file.
pub fn run(bytes: &[u8]) -> Result<(), String> {
    checkpoint::parse_run(bytes).map(drop)
}
