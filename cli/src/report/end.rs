//! A training that has ended: its epochs, the reason for the end, and the kept parameters.

use serde::{Serialize, Serializer, ser::SerializeMap};
use ztilde::{Evaluation, Loss};

use super::{
    baseline::Baseline,
    epoch::Epoch,
    measures::{decimals, entries},
};
use crate::wording::plural;

/// One training.
#[derive(Serialize)]
pub(crate) struct Training {
    pub(crate) epochs: Vec<Epoch>,
    #[serde(rename = "final")]
    pub(crate) last: Final,
}

/// The end of a training.
pub(crate) struct Final {
    /// The epoch whose parameters were kept, with its results.
    pub(crate) epoch: u32,
    pub(crate) test: Option<Evaluation>,
    /// The result of a constant prediction in the same test.
    pub(crate) baseline: Option<Baseline>,
    /// The loss, which decides on the measures of a test.
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

impl Serialize for Final {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entries(&mut map, "test", self.loss.has_accuracy(), self.test.as_ref())?;
        map.serialize_entry("baseline", &self.baseline)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("end", &self.end)?;
        map.serialize_entry("steps", &self.steps)?;
        map.serialize_entry("seconds", &self.seconds)?;
        map.serialize_entry("samples_per_second", &self.samples_per_second)?;
        map.end()
    }
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
    /// The result on the held-out rows, if there are any.
    pub(crate) fn line(&self, rows: Option<u64>) -> Option<String> {
        let (test, rows) = (self.test?, rows?);
        let result = match (test.accuracy, test.rmse) {
            (Some(accuracy), _) => format!("test accuracy {:.2} %", 100.0 * accuracy),
            (None, rmse) => {
                let r2 = test.r2.map_or_else(String::new, |r2| format!(", R² {}", decimals(r2)));
                format!("test RMSE {}{r2}", decimals(rmse.unwrap_or_default()))
            }
        };
        Some(format!("{result} on {}", plural(rows, "held-out row")))
    }
}
