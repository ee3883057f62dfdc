//! The result of a constant prediction, which a useful network must beat.

use serde::Serialize;
use ztilde::Evaluation;

use super::measures::decimals;
use crate::data::{Preprocessing, TargetSums};

/// The best constant prediction, and its result on the tested rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Baseline {
    /// The most frequent class, or the mean in the table's own units.
    answer: Answer,
    /// The rows that determine the answer.
    answer_from: AnswerFrom,
    /// For classes: the share of rows that have the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// For numbers: the root of the mean squared error, in the table's own units.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmse: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Answer {
    Class(String),
    Number(f64),
}

/// The rows that determine an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AnswerFrom {
    TrainingRows,
    /// The model does not contain the number of training rows of each class.
    TestedRows,
}

impl Baseline {
    /// The answer follows from the number of training rows of each class, if that is known.
    pub(crate) fn new(
        preprocessing: &Preprocessing,
        learned: Option<&[u64]>,
        tested: &TargetSums,
    ) -> Self {
        let target = &preprocessing.target;
        let rows = tested.rows() as f64;
        let Some(classes) = target.classes() else {
            // The network's unit is the deviation of the training rows, and its 0 is their mean.
            let rmse = (tested.squares / rows).sqrt() * preprocessing.target_scale();
            return Self {
                answer: Answer::Number(target.in_own_units(0.0)),
                answer_from: AnswerFrom::TrainingRows,
                accuracy: None,
                rmse: Some(rmse),
            };
        };
        let counts = learned.unwrap_or(&tested.of_class);
        let largest = |best: usize, at: usize| if counts[at] > counts[best] { at } else { best };
        let class = (0..counts.len()).fold(0, largest);
        Self {
            answer: Answer::Class(classes[class].clone()),
            answer_from: match learned {
                Some(_) => AnswerFrom::TrainingRows,
                None => AnswerFrom::TestedRows,
            },
            accuracy: Some(tested.of_class[class] as f64 / rows),
            rmse: None,
        }
    }

    /// The accuracy of a class, or the RMSE of a number.
    pub(super) fn measure(&self) -> f64 {
        self.accuracy.or(self.rmse).unwrap_or(f64::NAN)
    }

    pub(crate) fn line(&self) -> String {
        let rows = match self.answer_from {
            AnswerFrom::TrainingRows => "in training",
            AnswerFrom::TestedRows => "of these rows",
        };
        match &self.answer {
            Answer::Class(class) => format!(
                "baseline: accuracy {:.2} % (always {class:?}, the most frequent class {rows})",
                100.0 * self.measure()
            ),
            Answer::Number(mean) => format!(
                "baseline: RMSE {} (always {}, the mean {rows})",
                decimals(self.measure()),
                decimals(*mean)
            ),
        }
    }

    /// A warning, if a result does not beat the baseline.
    pub(crate) fn remark(&self, found: &Evaluation) -> Option<String> {
        let (is_better, measure) = match (found.accuracy, found.rmse) {
            (Some(accuracy), _) => (accuracy > self.measure(), "accuracy"),
            (None, rmse) => (rmse.is_some_and(|rmse| rmse < self.measure()), "RMSE"),
        };
        let remark = || format!("the network's {measure} is no better than the baseline's");
        (!is_better).then(remark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Target, TargetValues};

    fn preprocessing(values: TargetValues) -> Preprocessing {
        let target = Target::new("late", None, values);
        Preprocessing { target, ..Preprocessing::plain(1) }
    }

    #[test]
    fn the_most_frequent_class_is_that_of_the_training_rows() {
        let names = ["no", "yes"].map(str::to_owned).to_vec();
        let preprocessing = preprocessing(TargetValues::Classes(names));
        let tested = TargetSums { of_class: vec![1, 3], squares: 0.0 };
        let learned = Baseline::new(&preprocessing, Some(&[9, 2]), &tested);
        assert_eq!(
            learned.line(),
            "baseline: accuracy 25.00 % (always \"no\", the most frequent class in training)"
        );
        let unknown = Baseline::new(&preprocessing, None, &tested);
        assert!(
            unknown.line().contains("75.00 % (always \"yes\", the most frequent class of these")
        );
        let json = serde_json::to_value(&learned).unwrap();
        let expected = serde_json::json!(
            {"answer": "no", "answer_from": "training-rows", "accuracy": 0.25});
        assert_eq!(json, expected);
        let found = |accuracy| {
            let accuracy = Some(accuracy);
            learned.remark(&Evaluation { loss: 1.0, accuracy, rmse: None, r2: None })
        };
        assert!(found(0.25).is_some_and(|remark| remark.contains("no better than the baseline's")));
        assert_eq!(found(0.5), None);
    }

    #[test]
    fn the_mean_is_that_of_the_training_rows() {
        let preprocessing = preprocessing(TargetValues::Number { shift: 100.0, scale: 5.0 });
        // Two rows: 110 and 85.
        let tested = TargetSums { of_class: vec![2], squares: 4.0 + 9.0 };
        let found = Baseline::new(&preprocessing, Some(&[7]), &tested);
        let rmse = ((100.0_f64 + 225.0) / 2.0).sqrt();
        assert!((found.measure() - rmse).abs() < 1e-12, "{found:?}");
        assert!(found.line().contains("(always 100.0000, the mean in training)"), "{found:?}");
        let remark = |rmse| {
            found.remark(&Evaluation { loss: 1.0, accuracy: None, rmse: Some(rmse), r2: None })
        };
        assert_eq!(remark(12.0), None);
        assert!(remark(13.0).is_some() && remark(f64::NAN).is_some());
    }
}
