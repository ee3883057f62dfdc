//! The options about data, as they are typed.

use std::path::{Path, PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
    value_parser,
};
use serde::Serialize;

use crate::{data::cell::Words, failure::Failure, values::positive};

/// The default limit of the rows in memory, in bytes.
pub(crate) const MEMORY: u64 = 256 << 20;

/// The data to train on, and how to read them.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Data", next_display_order = 1)]
pub(crate) struct DataOptions {
    /// The data to train on: a table, images or arrays; - for stdin [default: the 1,797 digits]
    ///
    /// A table is text (CSV, TSV) or Parquet, images are a folder or a file (IDX, as MNIST has
    /// them), arrays are .npy (with --targets) or .npz. Any of them may be gzip.
    #[arg(value_name = "DATA", help_heading = "Data", display_order = 0)]
    pub(crate) data: Option<PathBuf>,

    /// Test on the rows of this file instead of held-out rows of DATA [default: none]
    ///
    /// A folder of images or an .npz file may contain a test set of its own.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["held_out", "folds"])]
    pub(crate) test_data: Option<PathBuf>,

    /// The column to predict, by its name, or its number counted from 1 [default: the last one]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target: Option<String>,

    /// The file that has the targets, if DATA has none [default: found by the name of the images]
    ///
    /// Labels beside images, or an .npy file.
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) targets: Option<PathBuf>,

    /// The input columns: names, numbers and ranges such as 3-7, separated by commas
    /// [default: all others]
    #[arg(hide_short_help = true, long, value_name = "COLUMNS")]
    pub(crate) features: Option<String>,

    /// Columns to leave out [default: none]
    #[arg(long, value_name = "COLUMNS", conflicts_with = "features")]
    pub(crate) drop: Option<String>,

    /// Treat these numeric columns as categories [default: none]
    ///
    /// Each value becomes an input of its own, as in a column of text.
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) categorical: Option<String>,

    /// Whether the target is one of several classes, or a number [default: by its values]
    ///
    /// By its values: classes for text, and for whole numbers of at most 20 different values, each
    /// three times on average; a number otherwise.
    #[arg(long, value_enum)]
    pub(crate) task: Option<Task>,

    /// What to do with missing values
    ///
    /// With fill and drop, rows without a target are left out.
    #[arg(long, value_enum, default_value_t = Missing::Fill)]
    pub(crate) missing: Missing,

    /// How numbers become inputs [default: pixels for arrays of bytes, standardize for all else]
    ///
    /// Numeric targets are always standardized; results are in the target's units.
    #[arg(hide_short_help = true, long, value_enum)]
    pub(crate) scale: Option<Scale>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) layout: Layout,

    /// Cross-validation: train this many times, and hold out another part each time [default: none]
    ///
    /// Prints each result and their mean.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["held_out", "model"],
        value_parser = value_parser!(u32).range(2..))]
    pub(crate) folds: Option<u32>,

    /// The limit of memory for the training rows
    ///
    /// If they take more, they are read in shuffled blocks from a temporary file, in the folder that
    /// TMPDIR names.
    #[arg(hide_short_help = true, long, value_name = "MIB", default_value_t = 256.0, value_parser = positive)]
    pub(crate) memory: f64,
}

/// Rows with the columns of a model's training table.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data", next_display_order = 1)]
pub(crate) struct KnownOptions {
    /// The rows, as `train` reads them [default: the 1,797 digits]
    ///
    /// Columns are found by their names, in any order; without names, by their position. If a folder of
    /// images or an .npz file has a test set, that is used. To use the training images instead, name their
    /// file.
    #[arg(value_name = "DATA", help_heading = "Data", display_order = 0)]
    pub(crate) data: Option<PathBuf>,

    /// The file that has the targets, if DATA has none [default: found by the name of the images]
    ///
    /// Labels beside images, or an .npy file.
    #[arg(long, value_name = "FILE")]
    pub(crate) targets: Option<PathBuf>,

    /// What to do with missing values and unknown categories [default: fill; with --strict: error]
    ///
    /// A category is unknown if no training row has it. Notes on stderr and the report count missing and
    /// unknown cells for each column. With fill and drop, rows without a target are left out.
    #[arg(long, value_enum)]
    pub(crate) missing: Option<Missing>,

    /// Stop at the first missing value or unknown category
    ///
    /// With --missing fill or drop, only unknown categories are errors.
    #[arg(long)]
    pub(crate) strict: bool,

    #[command(flatten)]
    pub(crate) layout: Layout,
}

impl DataOptions {
    /// A short title of the task.
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

/// Rows with the columns of a model's training table, with or without targets.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data", next_display_order = 1)]
pub(crate) struct UnlabeledOptions {
    /// The rows, in any form that `train` reads; - for stdin [default: stdin]
    ///
    /// Columns are found by their names, in any order; without names, by their position. A target column
    /// is ignored. If a folder of images or an .npz file has a test set, that is used. To use the training
    /// images instead, name their file.
    #[arg(value_name = "DATA", help_heading = "Data", display_order = 0)]
    pub(crate) data: Option<PathBuf>,

    /// What to do with missing values and unknown categories [default: fill; with --strict: error]
    ///
    /// A category is unknown if no training row has it. Notes on stderr count missing and unknown cells for
    /// each column, after the last row.
    #[arg(long, value_name = "MISSING", value_parser = fill_or_error())]
    pub(crate) missing: Option<Missing>,

    /// Stop at the first missing value or unknown category
    ///
    /// With --missing fill, only unknown categories are errors. If DATA is a file, or with --output, an error
    /// leaves no output.
    #[arg(long)]
    pub(crate) strict: bool,

    #[command(flatten)]
    pub(crate) layout: Layout,
}

/// Every row has a prediction, so `drop` is not possible.
fn fill_or_error() -> impl TypedValueParser<Value = Missing> {
    let values = [Missing::Fill, Missing::Error].map(|missing| missing.to_possible_value());
    PossibleValuesParser::new(values.into_iter().flatten())
        .map(|text| if text == "error" { Missing::Error } else { Missing::Fill })
}

/// How a table of text is laid out.
#[derive(Args, Clone, Debug, Default, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct Layout {
    /// The delimiter between cells [default: detected from the first rows]
    #[arg(hide_short_help = true, long, value_enum)]
    pub(crate) delimiter: Option<Delimiter>,

    /// Whether the first row is a header [default: detected]
    ///
    /// It is a header if it contains no numbers, or if all its numbers are those of the columns (0, 1, 2 …),
    /// or equally spaced years (1990, 1991, 1992 …).
    #[arg(hide_short_help = true, long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub(crate) header: Option<bool>,

    /// How many lines to skip above the table
    #[arg(hide_short_help = true, long, value_name = "LINES", default_value_t = 0)]
    pub(crate) skip_lines: u64,

    #[allow(rustdoc::invalid_html_tags, reason = "the help shows <NA> as it is")]
    /// Words for a missing value, separated by commas [default: NA, N/A, NaN, null, None, <NA>, #N/A, ?]
    ///
    /// They replace the default words; with "" only empty cells are missing, which always are. A word in
    /// quotes is a category, unless its column holds numbers. The model file keeps the words.
    #[arg(hide_short_help = true, long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) missing_values: Option<String>,
}

impl Layout {
    /// The words of `--missing-values`, if it is set.
    pub(crate) fn words(&self) -> Result<Option<Words>, Failure> {
        let words = self.missing_values.as_deref().map(Words::list).transpose();
        words.map_err(|why| Failure::input(format!("--missing-values: {why}")))
    }
}

/// The delimiter between cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delimiter {
    Comma,
    Semicolon,
    Tab,
    Bar,
    Spaces,
}

impl Delimiter {
    pub(crate) const BYTES: [(Self, u8); 4] =
        [(Self::Comma, b','), (Self::Semicolon, b';'), (Self::Tab, b'\t'), (Self::Bar, b'|')];

    pub(crate) fn byte(self) -> Option<u8> {
        Self::BYTES.iter().find(|(delimiter, _)| *delimiter == self).map(|(_, byte)| *byte)
    }
}

/// Whether the network predicts a class or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    Classification,
    Regression,
}

/// What to do with missing values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Missing {
    /// Replaces a number with the mean of the training rows, and a category with none
    Fill,
    /// Leaves the row out
    Drop,
    /// Stops
    Error,
}

/// How numbers become inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scale {
    /// To mean 0 and deviation 1, by the training rows
    Standardize,
    /// To the range from 0 to 1, by the training rows
    MinMax,
    /// Divided by 255
    Pixels,
    /// As they are
    None,
}

/// A file of options may have `true` and `false` there.
fn yes_or_no() -> impl TypedValueParser<Value = bool> {
    let values = [("yes", "true"), ("no", "false")];
    PossibleValuesParser::new(values.map(|(name, alias)| PossibleValue::new(name).alias(alias)))
        .map(|typed| ["yes", "true"].contains(&typed.as_str()))
}
