//! The readers of untrusted bytes, for fuzzing and for the replay of its corpus.

use std::io::Cursor;

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

/// Whether a panic of this thread would become an error of a reader.
#[must_use]
pub fn is_guarded() -> bool {
    data::is_guarded()
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
