//! What `ztilde` can be told about the data, as it is typed.

use std::path::{Path, PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
    value_parser,
};
use serde::Serialize;

use super::text::Delimiter;
use crate::options::positive;

/// The most bytes of rows in memory, unless told.
pub(super) const MEMORY: u64 = 256 << 20;

/// What to learn from, and how to read it.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataOptions {
    /// What to learn from, plain or gzip: a table (CSV, TSV), a folder or a file of images (IDX, as
    /// MNIST has them), or arrays (.npy with --targets, .npz) [default: the 1,797 digits]
    #[arg(value_name = "DATA", help_heading = "Data")]
    pub(crate) data: Option<PathBuf>,

    /// Test on the rows of this file after each epoch, rather than on rows that are held out; a
    /// folder of images and an .npz file may have such rows themselves [default: none]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["held_out", "folds"])]
    pub(crate) test_data: Option<PathBuf>,

    /// The column to learn, by its name, or its number counted from 1 [default: the last one]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target: Option<String>,

    /// The targets where they are in a file of their own: labels beside images, or an .npy file
    /// [default: found by the name of the images]
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) targets: Option<PathBuf>,

    /// The columns to learn from: names, numbers and ranges such as 3-7, separated by commas
    /// [default: all others]
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) features: Option<String>,

    /// Columns to leave out [default: none]
    #[arg(long, value_name = "COLUMNS", conflicts_with = "features")]
    pub(crate) drop: Option<String>,

    /// Columns whose numbers are names: each value becomes an input of its own, as those of text
    /// columns do [default: none]
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) categorical: Option<String>,

    /// Whether the target is one of several classes, or a number [default: classes for text, and
    /// for whole numbers of at most 20 different values, each three times on average; a number
    /// otherwise]
    #[arg(long, value_enum)]
    pub(crate) task: Option<Task>,

    /// What becomes of rows with empty cells, NA, NaN, null or ?: fill takes the mean of the training
    /// rows, and no category; drop leaves the row out; error stops. A row without a target is left
    /// out in any case but the last
    #[arg(long, value_enum, default_value_t = Missing::Fill)]
    pub(crate) missing: Missing,

    /// How numbers become inputs: standardize to mean 0 and deviation 1, min-max to 0 to 1, both by
    /// the training rows; pixels divides by 255; none takes them as they are. The numbers of a
    /// target are standardized in any case, and results are in its own units
    /// [default: pixels for arrays of bytes, standardize for all else]
    #[arg(long, value_enum)]
    pub(crate) scale: Option<Scale>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) layout: Layout,

    /// Cross-validation: train as many times, each time holding out another of as many parts; tells
    /// each result, and their mean [default: none]
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["held_out", "model"],
        value_parser = value_parser!(u32).range(2..))]
    pub(crate) folds: Option<u32>,

    /// The most memory for the training rows. More of them are learned in shuffled blocks from a
    /// temporary file, in the folder that TMPDIR names
    #[arg(long, value_name = "MIB", default_value_t = 256.0, value_parser = positive)]
    pub(crate) memory: f64,
}

/// Rows whose columns are those that a model was trained on.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub(crate) struct KnownOptions {
    /// The rows, as `train` reads them; columns are found by their names if there are any, and may
    /// stand in another order [default: the 1,797 digits]
    #[arg(value_name = "DATA", help_heading = "Data")]
    pub(crate) data: Option<PathBuf>,

    /// The targets where they are in a file of their own: labels beside images, or an .npy file
    /// [default: found by the name of the images]
    #[arg(long, value_name = "FILE")]
    pub(crate) targets: Option<PathBuf>,

    /// What becomes of rows with empty cells, NA, NaN, null or ?: fill takes the mean of the training
    /// rows, and no category; drop leaves the row out; error stops
    #[arg(long, value_enum, default_value_t = Missing::Fill)]
    pub(crate) missing: Missing,

    #[command(flatten)]
    pub(crate) layout: Layout,
}

impl DataOptions {
    /// What is learned, in a few words.
    pub(crate) fn title(&self, target: &str) -> String {
        let name = name(self.data.as_deref());
        if self.data.is_some() { format!("{name}: learning {target:?}") } else { name }
    }
}

impl KnownOptions {
    /// The name of the data set.
    pub(crate) fn name(&self) -> String {
        name(self.data.as_deref())
    }
}

fn name(data: Option<&Path>) -> String {
    let name = data.and_then(Path::file_name);
    name.map_or_else(|| "digits".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// How a table of text is laid out.
#[derive(Args, Clone, Debug, Default, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct Layout {
    /// What stands between two cells [default: found by the first rows]
    #[arg(long, value_enum)]
    pub(crate) delimiter: Option<Delimiter>,

    /// Whether the first row names the columns [default: yes, if none of its cells is a number]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub(crate) header: Option<bool>,

    /// Lines at the beginning that are no part of the table
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    pub(crate) skip_lines: u64,
}

/// What is learned of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    Classification,
    Regression,
}

/// What becomes of rows with missing cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Missing {
    Fill,
    Drop,
    Error,
}

/// How numbers become inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scale {
    Standardize,
    MinMax,
    Pixels,
    None,
}

/// A file of options may have `true` and `false` there.
fn yes_or_no() -> impl TypedValueParser<Value = bool> {
    let values = [("yes", "true"), ("no", "false")];
    PossibleValuesParser::new(values.map(|(name, alias)| PossibleValue::new(name).alias(alias)))
        .map(|typed| ["yes", "true"].contains(&typed.as_str()))
}
