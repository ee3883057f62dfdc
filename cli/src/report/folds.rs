//! The results of a cross-validation.

use serde::{Serialize, Serializer, ser::SerializeMap};
use ztilde::Loss;

use super::{
    baseline::Baseline,
    end::Training,
    epoch::Epoch,
    measures::{decimals, measure, measures},
};

/// One training of a cross-validation.
#[derive(Serialize)]
pub(crate) struct Fold {
    /// Counted from 1.
    pub(crate) fold: u32,
    #[serde(flatten)]
    pub(crate) training: Training,
}

/// Mean and standard deviation (n − 1) of the folds' results.
pub(crate) struct Summary {
    loss: Loss,
    /// In the order of [`measures`].
    mean: Vec<f64>,
    deviation: Vec<f64>,
    /// The mean accuracy, or RMSE, of the folds' baselines.
    baseline: f64,
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let names = measures(self.loss.has_accuracy()).iter();
        for (name, (mean, deviation)) in names.zip(self.mean.iter().zip(&self.deviation)) {
            map.serialize_entry(&format!("test_{name}"), mean)?;
            map.serialize_entry(&format!("test_{name}_deviation"), deviation)?;
        }
        // The second measure is the one that a baseline has.
        let name = measures(self.loss.has_accuracy())[1];
        map.serialize_entry("baseline", &serde_json::json!({ name: self.baseline }))?;
        map.end()
    }
}

impl Fold {
    /// The head of the table whose rows [`Fold::line`] makes.
    pub(crate) fn head(loss: Loss) -> String {
        Epoch::head(loss, true).replacen("epoch", " fold", 1)
    }

    /// The kept epoch, under the number of the fold, with the time of all epochs.
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
        let values: Vec<Vec<f64>> = measures(loss.has_accuracy()).iter().map(values).collect();
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let deviation = |values: &Vec<f64>| {
            let mean = mean(values);
            let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            (squares / (values.len() as f64 - 1.0)).sqrt()
        };
        let baselines = folds.iter().filter_map(|fold| fold.training.last.baseline.as_ref());
        let baselines = baselines.map(Baseline::measure).collect();
        Self {
            loss,
            mean: values.iter().map(mean).collect(),
            deviation: values.iter().map(deviation).collect(),
            baseline: mean(&baselines),
        }
    }

    pub(crate) fn line(&self, folds: u32) -> String {
        let measures = match self.loss.has_accuracy() {
            false => format!(
                "test RMSE {} ± {}, test R² {} ± {}",
                decimals(self.mean[1]),
                decimals(self.deviation[1]),
                decimals(self.mean[2]),
                decimals(self.deviation[2])
            ),
            true => format!(
                "test accuracy {:.2} % ± {:.2} %",
                100.0 * self.mean[1],
                100.0 * self.deviation[1]
            ),
        };
        let baseline = match self.loss.has_accuracy() {
            false => format!("RMSE {} (always the mean", decimals(self.baseline)),
            true => {
                format!("accuracy {:.2} % (always the most frequent class", 100.0 * self.baseline)
            }
        };
        format!(
            "{measures}, the mean and deviation of {folds} folds; baseline: {baseline} in training)"
        )
    }
}

#[cfg(test)]
mod tests {
    use ztilde::Evaluation;

    use super::*;
    use crate::report::{End, Final};

    const CLASSES: Evaluation = Evaluation { loss: 1.0, accuracy: Some(1.0), rmse: None, r2: None };

    #[test]
    fn folds_have_a_mean_and_a_deviation() {
        let fold = |accuracy| Fold {
            fold: 1,
            training: Training {
                epochs: Vec::new(),
                last: Final {
                    epoch: 1,
                    test: Some(Evaluation { accuracy: Some(accuracy), ..CLASSES }),
                    baseline: None,
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
