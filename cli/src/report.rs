//! The results of a training: the object that `--json` writes, and the lines of the table.

mod baseline;
mod end;
mod epoch;
mod folds;
mod measures;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    adapter::Description,
    data::{self, FilledColumn, Preprocessing},
};
pub(crate) use baseline::Baseline;
pub(crate) use end::{End, Final, Training};
pub(crate) use epoch::{Epoch, panels};
pub(crate) use folds::{Fold, Summary};
pub(crate) use measures::decimals;

/// The report of a training.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) data: Data<'a>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The program, device and options of a run. Every file that a run writes has them, so that the run can
/// be repeated.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// The version of this binary.
    pub(crate) version: String,
    pub(crate) adapter: Description,
    /// The options, under their names on the command line.
    pub(crate) options: Map<String, Value>,
}

/// The data of a training and of its tests.
#[derive(Serialize)]
pub(crate) struct Data<'a> {
    /// The rows of DATA: the training rows, and the held-out rows unless there is a test file.
    pub(crate) rows: u64,
    /// The number of input columns, and of the inputs that they become.
    pub(crate) features: usize,
    pub(crate) inputs: usize,
    pub(crate) columns: Option<Vec<&'a str>>,
    pub(crate) target: &'a str,
    pub(crate) classes: Option<usize>,
    pub(crate) class_names: Option<&'a [String]>,
    pub(crate) notes: &'a [String],
    /// The columns with filled cells: of DATA, and of `--test-data`.
    pub(crate) filled: Vec<FilledColumn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_filled: Option<Vec<FilledColumn>>,
    /// The seconds that it took to read all rows and convert them to inputs.
    pub(crate) read_seconds: f64,
    pub(crate) prepare_seconds: f64,
}

/// The results of a training.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Once(Training),
    /// The trainings with and without batch normalization.
    Compared {
        with_batch_norm: Training,
        without_batch_norm: Training,
    },
    Folds {
        folds: Vec<Fold>,
        #[serde(rename = "final")]
        last: Summary,
    },
}

impl<'a> Data<'a> {
    /// All but the notes and times.
    pub(crate) fn new(read: &data::Data, preprocessing: &'a Preprocessing) -> Self {
        let Preprocessing { has_header, columns, target, .. } = preprocessing;
        let names = || columns.iter().map(|column| column.name.as_str()).collect();
        let (filled, test_filled) = read.filled();
        Self {
            rows: read.rows(),
            features: columns.len(),
            inputs: preprocessing.inputs(),
            columns: has_header.then(names),
            target: &target.name,
            classes: target.classes().map(<[String]>::len),
            class_names: target.classes(),
            notes: &[],
            filled,
            test_filled,
            read_seconds: 0.0,
            prepare_seconds: 0.0,
        }
    }
}

impl Origin {
    pub(crate) fn new(adapter: Description, options: Map<String, Value>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), adapter, options }
    }
}
