//! The readers of what may be broken, of bytes rather than of files: what fuzzing goes through, and the
//! replay of its corpus.

use std::io::Cursor;

use crate::{checkpoint, data};

/// Reads a data set of any format that `train` knows, and makes inputs of its rows. It is then read once
/// more, as `evaluate` reads it for the model that would come of it.
///
/// # Errors
///
/// What `train` would tell.
pub fn data_set(bytes: &[u8]) -> Result<(), String> {
    data::read_bytes(bytes).map_err(|failure| failure.to_string())
}

/// Reads a checkpoint as `train --resume` does.
///
/// # Errors
///
/// What `train` would tell, without the name of the file.
pub fn checkpoint(bytes: &[u8]) -> Result<(), String> {
    checkpoint::parse(Cursor::new(bytes)).map(drop)
}

/// Reads the `run.json` of a checkpoint, whose checksum guards it from bytes that are just any.
///
/// # Errors
///
/// What `train` would tell, without the name of the file.
pub fn run(bytes: &[u8]) -> Result<(), String> {
    checkpoint::parse_run(bytes).map(drop)
}
