//! The formats of files: text, Parquet, IDX images and NumPy arrays, each plain or gzip.

pub(crate) mod array;
pub(crate) mod head;
pub(crate) mod idx;
pub(crate) mod lines;
pub(crate) mod numpy;
pub(crate) mod parquet;
pub(crate) mod source;
pub(crate) mod text;
