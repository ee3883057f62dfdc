//! What a training came to: the object that `--json` writes, and the lines of the table.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::adapter::Description;

/// The whole of a training.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) adapter: Description,
    pub(crate) options: Map<String, Value>,
    pub(crate) data: Data,
    pub(crate) epochs: Vec<Epoch>,
    #[serde(rename = "final")]
    pub(crate) last: Final,
}

/// What was learned from and tested on, together.
#[derive(Serialize)]
pub(crate) struct Data {
    pub(crate) rows: u32,
    pub(crate) features: u32,
    pub(crate) classes: u32,
}

/// One epoch. Losses and accuracies in training are those of its batches, as they were learned
/// from; in testing, those of the network as it was afterwards.
#[derive(Serialize)]
pub(crate) struct Epoch {
    pub(crate) epoch: u32,
    pub(crate) train_loss: f64,
    pub(crate) train_accuracy: f64,
    pub(crate) test_loss: Option<f64>,
    pub(crate) test_accuracy: Option<f64>,
    /// How long the training took, without the test.
    pub(crate) seconds: f64,
}

/// The end of a training.
#[derive(Serialize)]
pub(crate) struct Final {
    pub(crate) test_loss: Option<f64>,
    pub(crate) test_accuracy: Option<f64>,
    pub(crate) steps: u64,
    /// How long the training took, without the tests.
    pub(crate) seconds: f64,
    pub(crate) samples_per_second: f64,
}

impl Epoch {
    /// The head of the table whose rows [`Epoch::line`] makes.
    pub(crate) fn head(tested: bool) -> String {
        let test = if tested { "  test loss  test accuracy" } else { "" };
        format!("epoch  train loss  train accuracy{test}  seconds")
    }

    pub(crate) fn line(&self) -> String {
        let (epoch, loss) = (self.epoch, decimals(self.train_loss));
        let mut line = format!("{epoch:>5}  {loss:>10}  {:>12.2} %", 100.0 * self.train_accuracy);
        if let (Some(loss), Some(accuracy)) = (self.test_loss, self.test_accuracy) {
            line += &format!("  {:>9}  {:>11.2} %", decimals(loss), 100.0 * accuracy);
        }
        line + &format!("  {:>7.2}", self.seconds)
    }
}

/// Four decimals, or as many digits where the number is too large for its column.
fn decimals(loss: f64) -> String {
    if loss < 10_000.0 { format!("{loss:.4}") } else { format!("{loss:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let mut epoch = Epoch {
            epoch: 7,
            train_loss: 1.0,
            train_accuracy: 1.0,
            test_loss: Some(0.5),
            test_accuracy: Some(0.25),
            seconds: 0.125,
        };
        assert_eq!(Epoch::head(true).len(), epoch.line().len());
        (epoch.train_loss, epoch.test_loss) = (9999.5, Some(1e38));
        assert_eq!(Epoch::head(true).len(), epoch.line().len());
        (epoch.test_loss, epoch.test_accuracy) = (None, None);
        assert_eq!(Epoch::head(false).len(), epoch.line().len());
    }
}
