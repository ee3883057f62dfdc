//! An epoch, as a line of the table, an entry of the report, and a point of the curves.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser::SerializeMap};
use ztilde::{Evaluation, Loss};

use super::measures::{decimals, entries};
use crate::plot::{Panel, Series};

/// One epoch. Training losses and accuracies are those of its batches, each before its step; test
/// results are those of the network after the epoch.
pub(crate) struct Epoch {
    pub(crate) epoch: u32,
    pub(crate) train: Evaluation,
    pub(crate) test: Option<Evaluation>,
    /// The seconds of the training, without the test.
    pub(crate) seconds: f64,
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("epoch", &self.epoch)?;
        let has_accuracy = self.train.accuracy.is_some();
        entries(&mut map, "train", has_accuracy, Some(&self.train))?;
        entries(&mut map, "test", has_accuracy, self.test.as_ref())?;
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
        let read = Self { epoch, train, test: evaluation("test"), seconds };
        let written = serde_json::to_value(&read).map_err(D::Error::custom)?;
        match measures.keys().find(|name| written.get(name.as_str()).is_none()) {
            Some(name) => Err(D::Error::custom(format!("unknown field `{name}`"))),
            None => Ok(read),
        }
    }
}

/// The head of the test results for targets that are numbers.
const NUMBERS: &str = "  test loss  test RMSE  test R²";

impl Epoch {
    /// The head of the table whose rows [`Epoch::line`] makes.
    pub(crate) fn head(loss: Loss, tested: bool) -> String {
        let (train, test) = match loss.has_accuracy() {
            true => ("  train accuracy", "  test loss  test accuracy"),
            // The mini-batches have no RMSE unless their loss is its square.
            false if loss == Loss::MeanSquaredError => ("  train RMSE", NUMBERS),
            false => ("", NUMBERS),
        };
        format!("epoch  train loss{train}{}  seconds", if tested { test } else { "" })
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

/// The epochs of trainings as curves: the loss, and the accuracy or the RMSE. The prefix of a training's
/// curves in the legend is empty for a single training.
pub(crate) fn panels(trainings: &[(&str, &[Epoch])], loss: Loss) -> Vec<Panel> {
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
    let second = match loss.has_accuracy() {
        true => panel("accuracy (%)", true, |found| found.accuracy.map(|share| 100.0 * share)),
        false => panel("RMSE", false, |found| found.rmse),
    };
    let loss = format!("loss ({})", loss.name());
    vec![panel(&loss, false, |found| Some(found.loss)), second]
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
}
