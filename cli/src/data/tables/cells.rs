//! The cells that a table was read into, and the error for a cell that is missing.

use std::io::{BufWriter, Seek, Write};

use crate::{
    data::formats::{
        array::{Array, Element},
        text::Text,
    },
    failure::Failure,
};

/// The most bytes of cells in memory. A larger table is stored in a temporary file.
const IN_MEMORY: usize = 64 << 20;

/// The cells that were read, as bytes.
pub(crate) struct Cells {
    writer: BufWriter<tempfile::SpooledTempFile>,
    bytes: u64,
    pub(crate) rows: u64,
}

impl Cells {
    pub(crate) fn new() -> Self {
        let writer = BufWriter::with_capacity(1 << 18, tempfile::spooled_tempfile(IN_MEMORY));
        Self { writer, bytes: 0, rows: 0 }
    }

    pub(crate) fn push(&mut self, number: f64) -> Result<(), Failure> {
        let bytes = number.to_ne_bytes();
        self.bytes += bytes.len() as u64;
        self.writer.write_all(&bytes).map_err(|error| Failure::temporary_file(&error))
    }

    pub(crate) fn finish(self, file: &str, width: usize) -> Result<Array, Failure> {
        let Self { writer, bytes, rows } = self;
        if rows == 0 {
            return Err(Failure::input(format!("{file}: there is a header, but no rows")));
        }
        let mut storage =
            writer.into_inner().map_err(|error| Failure::temporary_file(error.error()))?;
        storage.rewind().map_err(|error| Failure::temporary_file(&error))?;
        let (storage, shape) = (Box::new(storage), [rows, width as u64]);
        Array::new(file.to_owned(), storage, [0, bytes], Element::NATIVE_F64, &shape, false)
            .map_err(|error| Failure::input(format!("{file}: {error}")))
    }
}

/// The error for a missing cell.
pub(crate) fn missing(text: &Text, line: u64, column: usize) -> Failure {
    Failure::input(format!(
        "{}, {} {line}, {}: the value is missing; --missing fill accepts it",
        text.file,
        text.unit(),
        text.names.describe(column)
    ))
}
