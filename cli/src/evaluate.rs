//! `ztilde evaluate`: the results of a saved model on a data set.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;
use ztilde::{Dataset, Evaluation, Loss, Network, Targets};

use crate::{
    adapter::{self, Description},
    data::{FilledColumn, Known, KnownOptions, Preprocessing, known_rows},
    failure::Failure,
    forward,
    model::{self, ModelOptions},
    output::{self, Json},
    plot::{PictureFile, Theme, confusion_matrix, scatter},
    report::{Baseline, decimals},
    run::Tested,
};

/// The most classes whose confusion matrix fits a terminal.
const MOST_PRINTED_CLASSES: usize = 12;

/// Evaluates a saved model on a data set
///
/// The rows are read and scaled as the training rows were, which the model file describes. For classes, the
/// results are the loss, the accuracy and the confusion matrix; for numbers, the loss, RMSE and R². The
/// baseline is a constant prediction: the most frequent class, or the mean, of the training rows.
#[derive(Args)]
pub(crate) struct Evaluate {
    /// A model file that `train --model` wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    #[command(flatten)]
    data: KnownOptions,

    /// Draw the confusion matrix, or predicted against true values, as .svg or .png
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Results")]
    plot: Option<PictureFile>,

    /// The colors of the plot
    #[arg(long, value_enum, default_value_t, requires = "plot", help_heading = "Results")]
    theme: Theme,

    /// Write the results as JSON, to a file or to stdout (-)
    ///
    /// With stdout, all other lines go to stderr. `filled` counts missing values and unknown categories for
    /// each column that has any. `baseline` is the accuracy, or the RMSE, of a constant prediction.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1,
        default_missing_value = "-", help_heading = "Results")]
    json: Option<Json>,
}

/// The object that `--json` writes.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    adapter: Description,
    /// How the model was trained, according to its file.
    model: Option<serde_json::Value>,
    rows: u64,
    /// The columns with filled cells.
    filled: Vec<FilledColumn>,
    loss: f64,
    accuracy: Option<f64>,
    rmse: Option<f64>,
    r2: Option<f64>,
    /// The result of a constant prediction.
    baseline: Baseline,
    class_names: Option<&'a [String]>,
    /// The number of rows of each class that were predicted as each class.
    confusion: Option<Vec<Vec<u64>>>,
    /// Numbers, row by row, in the table's own units.
    true_values: Option<Vec<f64>>,
    predicted_values: Option<Vec<f64>>,
}

impl Evaluate {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.plot.as_ref().map_or(Ok(()), |plot| output::check_writable(plot.path()))?;
        self.json.as_ref().map_or(Ok(()), Json::check)?;
        let (parameters, preprocessing) = model::load(&self.model, &ModelOptions::default())?;
        let Some(preprocessing) = preprocessing else {
            return Err(Failure::input(format!(
                "{}: the model does not say how rows become its inputs: `ztilde train --model` did \
                 not write it",
                self.model.display()
            )));
        };
        let Known { rows, targets, notes, filled } = known_rows(&self.data, &preprocessing)?;
        notes.iter().for_each(|note| output::note(&format!("note: {note}")));
        let (adapter, device, queue) = adapter::open()?;
        let network = Network::from_parameters(&device, &queue, &parameters)?;
        let mut answers = Answers::new(&preprocessing);
        rows.visit(|dataset| {
            let at_once = forward::rows_at_once(&network);
            (0..dataset.rows()).step_by(at_once as usize).try_for_each(|first| {
                let end = dataset.rows().min(first.saturating_add(at_once));
                let part = dataset.select(&(first..end).collect::<Vec<_>>())?;
                answers.take(&device, &network, &part)
            })
        })?;
        let evaluation = answers.evaluation();
        let learned = model::rows_of_classes(&parameters, &preprocessing.target);
        let baseline = Baseline::new(&preprocessing, learned.as_deref(), &targets);
        self.tell(rows.count(), &evaluation, &baseline, &answers)?;
        if let Some(file) = &self.plot {
            answers.draw(file, self.theme, &self.data, rows.count(), &evaluation)?;
        }
        let Some(json) = &self.json else {
            return Ok(());
        };
        let Evaluation { loss, accuracy, rmse, r2 } = evaluation;
        let values = rmse.map(|_| answers.numbers.iter().copied().unzip());
        let (true_values, predicted_values) = values.unzip();
        json.write(&Report {
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            model: model::origin(&parameters),
            rows: rows.count(),
            filled,
            loss,
            accuracy,
            rmse,
            r2,
            baseline,
            class_names: preprocessing.target.classes(),
            confusion: accuracy.map(|_| answers.confusion.clone()),
            true_values,
            predicted_values,
        })
    }

    /// Prints lines: to stdout, or to stderr if the JSON goes to stdout.
    fn tell(
        &self,
        rows: u64,
        found: &Evaluation,
        baseline: &Baseline,
        answers: &Answers<'_>,
    ) -> Result<(), Failure> {
        let line = |line: &str| match self.json {
            Some(Json::Stdout) => {
                output::note(line);
                Ok(())
            }
            _ => output::print(line),
        };
        let (result, loss, baseline_line) = (summary(found), decimals(found.loss), baseline.line());
        line(&format!("{result} on {rows} rows, loss {loss}; {baseline_line}"))?;
        if let Some(remark) = baseline.remark(found) {
            output::note(&format!("note: {remark}"));
        }
        match answers.preprocessing.target.classes() {
            Some(classes) if classes.len() <= MOST_PRINTED_CLASSES => {
                answers.confusion_lines(classes).iter().try_for_each(|text| line(text))
            }
            _ => Ok(()),
        }
    }
}

fn summary(found: &Evaluation) -> String {
    match (found.accuracy, found.rmse, found.r2) {
        (Some(accuracy), ..) => format!("accuracy {:.2} %", 100.0 * accuracy),
        (None, Some(rmse), Some(r2)) => format!("RMSE {}, R² {}", decimals(rmse), decimals(r2)),
        (None, rmse, _) => format!("RMSE {}", decimals(rmse.unwrap_or(f64::NAN))),
    }
}

/// The predictions of a model, and the targets.
struct Answers<'a> {
    preprocessing: &'a Preprocessing,
    rows: u64,
    tested: Tested,
    /// `[class][predicted]`; empty for numbers.
    confusion: Vec<Vec<u64>>,
    /// True and predicted numbers, in the table's own units; none for classes.
    numbers: Vec<(f64, f64)>,
}

impl<'a> Answers<'a> {
    fn new(preprocessing: &'a Preprocessing) -> Self {
        let classes = preprocessing.target.classes().map_or(0, <[String]>::len);
        let confusion = vec![vec![0; classes]; classes];
        let numbers = Vec::new();
        Self { preprocessing, rows: 0, tested: Tested::new(), confusion, numbers }
    }

    fn take(
        &mut self,
        device: &wgpu::Device,
        network: &Network,
        part: &Dataset,
    ) -> Result<(), Failure> {
        // A data set is row-major in memory.
        let inputs = part.inputs().as_slice().unwrap_or_default();
        let outputs = forward::outputs(device, network, inputs)?;
        forward::check_finite(&outputs, self.rows)?;
        self.rows += u64::from(part.rows());
        let targets = part.targets();
        match targets {
            Targets::Classes(classes) => {
                self.tested.take(
                    &ztilde::evaluate(&outputs, targets, Loss::SoftmaxCrossEntropy)?,
                    targets,
                );
                for (row, &class) in outputs.rows().into_iter().zip(classes.iter()) {
                    self.confusion[class as usize][forward::largest(row)] += 1;
                }
            }
            Targets::Values(values) => {
                self.tested
                    .take(&ztilde::evaluate(&outputs, targets, Loss::MeanSquaredError)?, targets);
                let own = |value: f32| self.preprocessing.target.in_own_units(value.into());
                self.numbers.extend(
                    values.iter().zip(&outputs).map(|(&truth, &found)| (own(truth), own(found))),
                );
            }
        }
        Ok(())
    }

    fn evaluation(&self) -> Evaluation {
        let found = self.tested.evaluation();
        let scale = self.preprocessing.target_scale();
        Evaluation { rmse: found.rmse.map(|rmse| rmse * scale), ..found }
    }

    fn draw(
        &self,
        file: &PictureFile,
        theme: Theme,
        data: &KnownOptions,
        rows: u64,
        found: &Evaluation,
    ) -> Result<(), Failure> {
        let title = format!("{}: {} on {rows} rows", data.name(), summary(found));
        match self.preprocessing.target.classes() {
            Some(classes) => confusion_matrix(file, theme, &title, classes, &self.confusion),
            None => scatter(file, theme, &title, &self.preprocessing.target.name, &self.numbers),
        }
    }

    /// The confusion matrix as a table: a line for each class, a column for each predicted class.
    fn confusion_lines(&self, classes: &[String]) -> Vec<String> {
        let name = |name: &String| name.chars().take(12).collect::<String>();
        let count_width = self.confusion.iter().flatten().max().map_or(1, |c| c.to_string().len());
        let names: Vec<String> = classes.iter().map(name).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = width.max(count_width).max("class".len());
        let row = |first: &str, cells: &mut dyn Iterator<Item = String>| {
            let cells: String = cells.map(|cell| format!("  {cell:>width$}")).collect();
            format!("{first:>width$}{cells}")
        };
        let head = row("class", &mut names.iter().cloned());
        let lines = names
            .iter()
            .zip(&self.confusion)
            .map(|(name, counts)| row(name, &mut counts.iter().map(u64::to_string)));
        std::iter::once("rows of each class, by predicted class:".to_owned())
            .chain([head])
            .chain(lines)
            .collect()
    }
}
