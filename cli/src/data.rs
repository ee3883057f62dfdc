//! The training data: tables of text, images, arrays, or the built-in digits.
//!
//! A file is read once, into a [`Table`](tables::table::Table) of numbers. The rows are split, and scales
//! are fitted to the training rows. Then numbers become inputs, in the same way for training rows, test rows
//! and later files. The folders stand on floors: one `cell`, the `columns`, the `formats` of files, `tables`,
//! and `rows` for the network.

mod bytes;
mod cell;
mod columns;
pub(crate) mod digits;
mod formats;
mod input;
mod options;
mod rows;
mod tables;
mod testing;
mod training;
mod unlabeled;

pub(crate) use bytes::read_bytes;
#[cfg(test)]
pub(crate) use cell::forms::Form;
pub(crate) use cell::{finite, reading::category_place};
pub(crate) use columns::{
    gaps::FilledColumn,
    preprocessing::{Column, Preprocessing, Target, TargetValues, Values},
};
pub(crate) use formats::parquet::is_guarded;
pub(crate) use options::{DataOptions, KnownOptions, UnlabeledOptions};
pub(crate) use rows::{
    Rows, TargetSums,
    blocks::{Room, Visit, visits},
    fit::Statistics,
};
pub(crate) use testing::{Known, known_rows};
pub(crate) use training::{Data, HeldOut, Prepared};
pub(crate) use unlabeled::Unlabeled;
