//! The functions that training minimizes.

use serde::{Deserialize, Serialize};

use super::check;
use crate::error::Result;

/// The function that training minimizes. Every loss is a mean, over the batch and over the outputs.
///
/// [`TrainerOptions`](super::TrainerOptions) may smooth the targets of softmax cross-entropy and weigh its
/// classes. [`evaluate`](crate::evaluate) always takes the plain loss.
///
/// ```
/// use ztilde::Loss;
///
/// let loss = Loss::from_name("mean-squared-error").expect("a name of Loss::name");
/// assert!(!loss.has_class_targets() && !loss.has_accuracy());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Loss {
    /// `−log softmax(outputs)[class]`, averaged over the batch. Targets are class indices; the
    /// network has one output per class.
    #[default]
    SoftmaxCrossEntropy,
    /// `(output − target)²`, averaged over the batch and the outputs.
    MeanSquaredError,
    /// `log(1 + exp(output)) − target · output`, averaged over the batch and the outputs: outputs
    /// are logits, targets lie between 0 and 1.
    BinaryCrossEntropy,
    /// `|output − target|`, averaged over the batch and the outputs. Its derivative at 0 is 0, as in PyTorch.
    MeanAbsoluteError,
    /// Half the squared error up to `delta`, and linear beyond: with `e = |output − target|`, `e² / 2` where
    /// `e ≤ delta`, `delta · (e − delta / 2)` elsewhere, averaged over the batch and the outputs.
    ///
    /// PyTorch's `huber_loss`.
    Huber {
        /// The error from which on the loss is linear; 1 is usual.
        delta: f64,
    },
}

/// The properties of a loss, without its formula.
struct Entry {
    name: &'static str,
    targets: TargetKind,
}

/// The targets that a loss compares the outputs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// A class index for each row.
    Classes,
    /// Any number for each output.
    Numbers,
    /// A number from 0 to 1 for each output.
    Probabilities,
}

impl Loss {
    /// Every loss, with its usual numbers, in the order in which `shaders/shared/row_loss.wgsl` numbers them.
    pub const ALL: [Self; 5] = [
        Self::SoftmaxCrossEntropy,
        Self::MeanSquaredError,
        Self::BinaryCrossEntropy,
        Self::MeanAbsoluteError,
        Self::Huber { delta: 1.0 },
    ];

    const fn entry(self) -> Entry {
        use TargetKind::{Classes, Numbers, Probabilities};
        match self {
            Self::SoftmaxCrossEntropy => Entry { name: "softmax-cross-entropy", targets: Classes },
            Self::MeanSquaredError => Entry { name: "mean-squared-error", targets: Numbers },
            Self::BinaryCrossEntropy => {
                Entry { name: "binary-cross-entropy", targets: Probabilities }
            }
            Self::MeanAbsoluteError => Entry { name: "mean-absolute-error", targets: Numbers },
            Self::Huber { .. } => Entry { name: "huber", targets: Numbers },
        }
    }

    /// The name in files, on the command line and in messages.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The loss of that [`name`](Self::name), with its usual numbers.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|loss| loss.name() == name)
    }

    /// The hyperparameters and their names.
    ///
    /// ```
    /// use ztilde::Loss;
    ///
    /// let mut loss = Loss::from_name("huber").expect("a name of Loss::name");
    /// for (name, value) in loss.hyperparameters() {
    ///     if name == "delta" {
    ///         *value = 0.5;
    ///     }
    /// }
    /// assert_eq!(loss, Loss::Huber { delta: 0.5 });
    /// ```
    pub fn hyperparameters(&mut self) -> Vec<(&'static str, &mut f64)> {
        match self {
            Self::SoftmaxCrossEntropy
            | Self::MeanSquaredError
            | Self::BinaryCrossEntropy
            | Self::MeanAbsoluteError => vec![],
            Self::Huber { delta } => vec![("delta", delta)],
        }
    }

    /// Whether targets are class indices, rather than a value per output.
    pub const fn has_class_targets(self) -> bool {
        matches!(self.targets(), TargetKind::Classes)
    }

    /// Whether outputs are right or wrong, so that they have an accuracy. Other losses have a root mean
    /// squared error.
    pub const fn has_accuracy(self) -> bool {
        !matches!(self.targets(), TargetKind::Numbers)
    }

    pub(crate) fn check(mut self) -> Result<()> {
        let is_positive = |value: f64| value > 0.0;
        let mut numbers = self.hyperparameters().into_iter();
        numbers.try_for_each(|(name, value)| check(name, *value, "finite and above 0", is_positive))
    }

    pub(crate) const fn targets(self) -> TargetKind {
        self.entry().targets
    }

    /// The number in the shaders.
    pub(crate) fn number(self) -> u32 {
        super::number_in(Self::ALL.map(Self::name), self.name())
    }
}
