//! What a training came to: the object that `--json` writes, and the lines of the table.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser::SerializeMap};
use serde_json::{Map, Value};
use ztilde::{Evaluation, Loss};

use crate::{
    adapter::Description,
    plot::{Panel, Series},
};

/// The whole of a training.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) data: Data<'a>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// With what a run was done. It is in every file that a run leaves, so that it can be done again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Of this binary.
    pub(crate) version: String,
    pub(crate) adapter: Description,
    /// Under the names of the command line.
    pub(crate) options: Map<String, Value>,
}

/// What was learned from and tested on.
#[derive(Serialize)]
pub(crate) struct Data<'a> {
    /// Both together, without a file to test on.
    pub(crate) rows: u64,
    /// Columns that are learned from, and the inputs that they make.
    pub(crate) features: usize,
    pub(crate) inputs: usize,
    pub(crate) columns: Option<Vec<&'a str>>,
    pub(crate) target: &'a str,
    pub(crate) classes: Option<usize>,
    pub(crate) class_names: Option<&'a [String]>,
    pub(crate) notes: &'a [String],
    /// How long it took to read all rows, and to make inputs of them.
    pub(crate) read_seconds: f64,
    pub(crate) prepare_seconds: f64,
}

/// What training came to.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Once(Training),
    /// With batch normalization, and without.
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

/// One training.
#[derive(Serialize)]
pub(crate) struct Training {
    pub(crate) epochs: Vec<Epoch>,
    #[serde(rename = "final")]
    pub(crate) last: Final,
}

/// One epoch. Losses and accuracies in training are those of its batches, as they were learned
/// from; in testing, those of the network as it was afterwards.
pub(crate) struct Epoch {
    pub(crate) epoch: u32,
    pub(crate) train: Evaluation,
    pub(crate) test: Option<Evaluation>,
    /// How long the training took, without the test.
    pub(crate) seconds: f64,
}

/// The end of a training.
pub(crate) struct Final {
    /// The epoch whose parameters were kept, and how they did.
    pub(crate) epoch: u32,
    pub(crate) test: Option<Evaluation>,
    /// Decides what a test consists of.
    pub(crate) loss: Loss,
    pub(crate) end: End,
    pub(crate) steps: u64,
    /// How long the training took, without the tests.
    pub(crate) seconds: f64,
    pub(crate) samples_per_second: f64,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    Epochs,
    Patience,
    TimeLimit,
}

/// One training of a cross-validation.
#[derive(Serialize)]
pub(crate) struct Fold {
    /// Counted from 1.
    pub(crate) fold: u32,
    #[serde(flatten)]
    pub(crate) training: Training,
}

/// Mean and deviation (dividing by one less than the folds) of what the folds came to.
pub(crate) struct Summary {
    loss: Loss,
    /// In the order of [`measures`].
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// What an evaluation under a loss consists of.
fn measures(loss: Loss) -> &'static [&'static str] {
    match loss {
        Loss::MeanSquaredError => &["loss", "rmse", "r2"],
        _ => &["loss", "accuracy"],
    }
}

fn measure(name: &str, evaluation: &Evaluation) -> Option<f64> {
    match name {
        "accuracy" => evaluation.accuracy,
        "rmse" => evaluation.rmse,
        "r2" => evaluation.r2,
        _ => Some(evaluation.loss),
    }
}

fn entries<M: SerializeMap>(
    map: &mut M,
    prefix: &str,
    loss: Loss,
    evaluation: Option<&Evaluation>,
) -> Result<(), M::Error> {
    measures(loss).iter().try_for_each(|name| {
        let value = evaluation.and_then(|evaluation| measure(name, evaluation));
        map.serialize_entry(&format!("{prefix}_{name}"), &value)
    })
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("epoch", &self.epoch)?;
        entries(&mut map, "train", self.loss(), Some(&self.train))?;
        entries(&mut map, "test", self.loss(), self.test.as_ref())?;
        map.serialize_entry("seconds", &self.seconds)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Entries {
            epoch: u32,
            seconds: f64,
            #[serde(flatten)]
            measures: BTreeMap<String, Option<f64>>,
        }
        let Entries { epoch, seconds, measures } = Entries::deserialize(deserializer)?;
        let evaluation = |prefix: &str| {
            let measure = |name| measures.get(&format!("{prefix}_{name}")).copied().flatten();
            Some(Evaluation {
                loss: measure("loss")?,
                accuracy: measure("accuracy"),
                rmse: measure("rmse"),
                r2: measure("r2"),
            })
        };
        let train = evaluation("train").ok_or_else(|| D::Error::missing_field("train_loss"))?;
        Ok(Self { epoch, train, test: evaluation("test"), seconds })
    }
}

impl Origin {
    pub(crate) fn new(adapter: Description, options: Map<String, Value>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), adapter, options }
    }
}

impl Serialize for Final {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entries(&mut map, "test", self.loss, self.test.as_ref())?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("end", &self.end)?;
        map.serialize_entry("steps", &self.steps)?;
        map.serialize_entry("seconds", &self.seconds)?;
        map.serialize_entry("samples_per_second", &self.samples_per_second)?;
        map.end()
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let names = measures(self.loss).iter();
        for (name, (mean, deviation)) in names.zip(self.mean.iter().zip(&self.deviation)) {
            map.serialize_entry(&format!("test_{name}"), mean)?;
            map.serialize_entry(&format!("test_{name}_deviation"), deviation)?;
        }
        map.end()
    }
}

impl Epoch {
    /// Only numbers as targets have no accuracy.
    fn loss(&self) -> Loss {
        match self.train.accuracy {
            None => Loss::MeanSquaredError,
            Some(_) => Loss::SoftmaxCrossEntropy,
        }
    }

    /// The head of the table whose rows [`Epoch::line`] makes.
    pub(crate) fn head(loss: Loss, tested: bool) -> String {
        let (train, test) = match loss {
            Loss::MeanSquaredError => ("train RMSE", "  test loss  test RMSE  test R²"),
            _ => ("train accuracy", "  test loss  test accuracy"),
        };
        format!("epoch  train loss  {train}{}  seconds", if tested { test } else { "" })
    }

    pub(crate) fn line(&self) -> String {
        let (epoch, loss) = (self.epoch, decimals(self.train.loss));
        let mut line = format!("{epoch:>5}  {loss:>10}");
        if let Some(accuracy) = self.train.accuracy {
            line += &format!("  {:>12.2} %", 100.0 * accuracy);
        } else if let Some(rmse) = self.train.rmse {
            line += &format!("  {:>10}", decimals(rmse));
        }
        if let Some(test) = &self.test {
            line += &format!("  {:>9}", decimals(test.loss));
            if let Some(accuracy) = test.accuracy {
                line += &format!("  {:>11.2} %", 100.0 * accuracy);
            } else if let Some(rmse) = test.rmse {
                let r2 = test.r2.map_or_else(String::new, decimals);
                line += &format!("  {:>9}  {r2:>7}", decimals(rmse));
            }
        }
        line + &format!("  {:>7.2}", self.seconds)
    }
}

/// The epochs of trainings as curves: the loss, and the accuracy or the RMSE. What stands before each
/// training's curves in the legend is empty for a single one.
pub(crate) fn panels(trainings: &[(&str, &[Epoch])]) -> Vec<Panel> {
    type Curve = (&'static str, bool, fn(&Epoch) -> Option<&Evaluation>);
    const CURVES: [Curve; 2] = [
        ("in training", true, |epoch| Some(&epoch.train)),
        ("held out", false, |epoch| epoch.test.as_ref()),
    ];
    let panel = |values: &str, is_percentage, value: fn(&Evaluation) -> Option<f64>| {
        let mut series = Vec::new();
        for (color, (training, epochs)) in trainings.iter().enumerate() {
            for (name, is_dashed, of) in CURVES {
                let point = |epoch: &Epoch| Some((f64::from(epoch.epoch), value(of(epoch)?)?));
                let points: Vec<_> = epochs.iter().filter_map(point).collect();
                let name = format!("{training}{name}");
                if !points.is_empty() {
                    series.push(Series { name, color, is_dashed, points });
                }
            }
        }
        Panel { values: values.to_owned(), is_percentage, series }
    };
    let mut epochs = trainings.iter().flat_map(|training| training.1);
    let is_class = epochs.all(|epoch| epoch.train.accuracy.is_some());
    let second = match is_class {
        true => panel("accuracy (%)", true, |found| found.accuracy.map(|share| 100.0 * share)),
        false => panel("RMSE", false, |found| found.rmse),
    };
    let loss = if is_class { "loss (cross-entropy)" } else { "loss (mean squared error)" };
    vec![panel(loss, false, |found| Some(found.loss)), second]
}

impl End {
    /// A sentence on an end that came before all epochs were over.
    pub(crate) fn remark(self, epoch: u32, epochs: u32) -> Option<String> {
        match self {
            Self::Epochs => None,
            Self::Patience => Some(format!(
                "stopped after epoch {epoch} of {epochs}: the test loss no longer comes down"
            )),
            Self::TimeLimit => {
                Some(format!("stopped in epoch {epoch} of {epochs}: the time is over"))
            }
        }
    }
}

impl Final {
    /// What was found on the rows that were held out, if there are any.
    pub(crate) fn line(&self, rows: Option<u64>) -> Option<String> {
        let (test, rows) = (self.test?, rows?);
        let result = match (test.accuracy, test.rmse) {
            (Some(accuracy), _) => format!("test accuracy {:.2} %", 100.0 * accuracy),
            (None, rmse) => {
                let r2 = test.r2.map_or_else(String::new, |r2| format!(", R² {}", decimals(r2)));
                format!("test RMSE {}{r2}", decimals(rmse.unwrap_or_default()))
            }
        };
        Some(format!("{result} on {rows} rows that were held out"))
    }
}

impl Fold {
    /// The head of the table whose rows [`Fold::line`] makes.
    pub(crate) fn head(loss: Loss) -> String {
        Epoch::head(loss, true).replacen("epoch", " fold", 1)
    }

    /// The epoch that was kept, under the number of the fold, with the time of all.
    pub(crate) fn line(&self) -> String {
        let Training { epochs, last } = &self.training;
        let kept = epochs.iter().find(|epoch| epoch.epoch == last.epoch);
        kept.map_or_else(String::new, |kept| {
            Epoch { epoch: self.fold, seconds: last.seconds, ..*kept }.line()
        })
    }
}

impl Summary {
    pub(crate) fn new(folds: &[Fold], loss: Loss) -> Self {
        let values = |name: &&str| -> Vec<f64> {
            let value = |fold: &Fold| measure(name, fold.training.last.test.as_ref()?);
            folds.iter().filter_map(value).collect()
        };
        let values: Vec<Vec<f64>> = measures(loss).iter().map(values).collect();
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let deviation = |values: &Vec<f64>| {
            let mean = mean(values);
            let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            (squares / (values.len() as f64 - 1.0)).sqrt()
        };
        Self {
            loss,
            mean: values.iter().map(mean).collect(),
            deviation: values.iter().map(deviation).collect(),
        }
    }

    pub(crate) fn line(&self, folds: u32) -> String {
        let measures = match self.loss {
            Loss::MeanSquaredError => format!(
                "test RMSE {} ± {}, test R² {} ± {}",
                decimals(self.mean[1]),
                decimals(self.deviation[1]),
                decimals(self.mean[2]),
                decimals(self.deviation[2])
            ),
            _ => format!(
                "test accuracy {:.2} % ± {:.2} %",
                100.0 * self.mean[1],
                100.0 * self.deviation[1]
            ),
        };
        format!("{measures}, the mean and deviation of {folds} folds")
    }
}

/// Four decimals, or as many digits where the number is too large for its column.
pub(crate) fn decimals(number: f64) -> String {
    if number.abs() < 10_000.0 { format!("{number:.4}") } else { format!("{number:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: Evaluation = Evaluation { loss: 1.0, accuracy: Some(1.0), rmse: None, r2: None };
    const VALUES: Evaluation =
        Evaluation { loss: 1.0, accuracy: None, rmse: Some(1e5), r2: Some(-0.5) };

    fn widths(loss: Loss, epoch: &Epoch) -> [usize; 2] {
        let head = Epoch::head(loss, epoch.test.is_some());
        [head.chars().count(), epoch.line().chars().count()]
    }

    #[test]
    fn the_table_is_aligned() {
        let mut epoch = Epoch { epoch: 7, train: CLASSES, test: Some(CLASSES), seconds: 0.125 };
        let is_aligned = |loss, epoch: &Epoch| {
            let [head, line] = widths(loss, epoch);
            assert_eq!(head, line, "{}", epoch.line());
        };
        is_aligned(Loss::SoftmaxCrossEntropy, &epoch);
        epoch.train.loss = 9999.5;
        epoch.test = Some(Evaluation { loss: 1e38, ..CLASSES });
        is_aligned(Loss::SoftmaxCrossEntropy, &epoch);
        epoch.test = None;
        is_aligned(Loss::SoftmaxCrossEntropy, &epoch);
        epoch = Epoch { train: VALUES, test: Some(VALUES), ..epoch };
        is_aligned(Loss::MeanSquaredError, &epoch);
        epoch.test = None;
        is_aligned(Loss::MeanSquaredError, &epoch);
    }

    #[test]
    fn folds_have_a_mean_and_a_deviation() {
        let fold = |accuracy| Fold {
            fold: 1,
            training: Training {
                epochs: Vec::new(),
                last: Final {
                    epoch: 1,
                    test: Some(Evaluation { accuracy: Some(accuracy), ..CLASSES }),
                    loss: Loss::SoftmaxCrossEntropy,
                    end: End::Epochs,
                    steps: 1,
                    seconds: 1.0,
                    samples_per_second: 1.0,
                },
            },
        };
        let summary = Summary::new(&[fold(0.9), fold(1.0)], Loss::SoftmaxCrossEntropy);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["test_accuracy"], 0.95);
        assert!(
            (json["test_accuracy_deviation"].as_f64().unwrap() - 0.005_f64.sqrt()).abs() < 1e-12
        );
        assert!(
            summary.line(2).starts_with("test accuracy 95.00 % ± 7.07 %"),
            "{}",
            summary.line(2)
        );
    }
}
