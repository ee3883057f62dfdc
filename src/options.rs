//! The app's options, as plain data: the functions of the network, and how it is trained.

mod activation;
mod loss;
mod optimizer;
mod schedule;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use activation::Activation;
pub use loss::Loss;
pub(crate) use loss::TargetKind;
pub use optimizer::{Method, Optimizer};
pub use schedule::Schedule;

/// The functions of a network between its layers, and its initialization.
///
/// ```
/// use ztilde::{Activation, NetworkOptions, Parameters};
///
/// let options = NetworkOptions { activation: Activation::Gelu, seed: 7, ..Default::default() };
/// let parameters = Parameters::initialize(&[4, 16, 3], &options)?;
/// assert!(options.batch_norm && parameters.has_batch_norm());
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkOptions {
    /// The function after each hidden layer. Default: [`Activation::Relu`].
    pub activation: Activation,
    /// Whether hidden layers are normalized over the batch (and have no biases: the mean
    /// subtraction would cancel them). Default: true.
    pub batch_norm: bool,
    /// Added to the variance, inside the root. Default: 1e-5.
    pub epsilon: f32,
    /// The weight of the *new* value: `running = (1 − momentum) · running + momentum · batch`.
    /// PyTorch's convention; Keras's momentum is one minus this. Default: 0.1.
    pub momentum: f32,
    /// Seed of the initial weights. Default: 0.
    pub seed: u64,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            activation: Activation::default(),
            batch_norm: true,
            epsilon: 1e-5,
            momentum: 0.1,
            seed: 0,
        }
    }
}

impl NetworkOptions {
    pub(crate) fn check(&self) -> Result<()> {
        check_epsilon(self.epsilon)?;
        check_momentum(self.momentum)
    }
}

pub(crate) fn check_epsilon(epsilon: f32) -> Result<()> {
    check("epsilon", epsilon, "finite and above 0", |value| value > 0.0)
}

pub(crate) fn check_momentum(momentum: f32) -> Result<()> {
    check("momentum", momentum, "between 0 and 1", |value| (0.0..=1.0).contains(&value))
}

/// What happens to the rows that do not fill a batch at the end of an epoch.
///
/// ```
/// use ztilde::{Remainder, batches};
///
/// // Ten rows are two batches of four, and two rows that are left.
/// assert_eq!(batches(10, 4, Remainder::Drop), 2);
/// assert_eq!(batches(10, 4, Remainder::Keep), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remainder {
    /// They are left out of this epoch; the next one shuffles again and leaves out other rows. The
    /// default, because the statistics of a batch of a few rows would spoil the running statistics.
    #[default]
    Drop,
    /// They form a smaller batch.
    Keep,
}

/// The reaction of training to a loss, a gradient or batch statistics that are not finite.
///
/// In both cases the GPU detects this within the step, and leaves the parameters unchanged.
///
/// ```
/// use ztilde::{OnFault, TrainerOptions};
///
/// let options = TrainerOptions { on_fault: OnFault::SkipStep, ..Default::default() };
/// assert_eq!(TrainerOptions::default().on_fault, OnFault::Stop);
/// # assert_ne!(options, TrainerOptions::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnFault {
    /// The training stops for good: neither this step nor a later one changes the parameters. Choose
    /// this for data that is known to be valid, where such a step means that the training diverges.
    #[default]
    Stop,
    /// The step is skipped as if it had never been encoded: parameters, running statistics, the
    /// optimizer's state and its count of steps stay bit-identical.
    /// [`Trainer::skipped`](crate::Trainer::skipped) counts such steps. Choose this for streams of
    /// samples, some of which a broken sensor may spoil.
    ///
    /// An update that overflows because the learning rate is far too large always stops the training.
    SkipStep,
}

impl OnFault {
    pub(crate) fn skips(self) -> bool {
        self == Self::SkipStep
    }
}

/// How a network learns.
///
/// ```
/// use ztilde::{Loss, Optimizer, Schedule, TrainerOptions};
///
/// let options = TrainerOptions {
///     batch_size: 256,
///     loss: Loss::MeanSquaredError,
///     optimizer: Optimizer {
///         schedule: Schedule::Cosine { steps: 5000, last: 0.0 },
///         ..Optimizer::adamw(0.003, 0.01)
///     },
///     clip_norm: Some(1.0),
///     ..Default::default()
/// };
/// # assert_eq!(options.seed, 0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerOptions {
    /// Rows per step; at least 2 with batch normalization. Default: 64.
    pub batch_size: u32,
    /// The function that training minimizes. Default: [`Loss::SoftmaxCrossEntropy`].
    pub loss: Loss,
    /// The share of softmax cross-entropy's targets that is spread evenly over the classes: a row of
    /// class y is compared with `(1 − label_smoothing) · [c = y] + label_smoothing / classes`. At least
    /// 0 and below 1, and 0 with other losses. Default: 0.
    pub label_smoothing: f32,
    /// The weight of each class in softmax cross-entropy, for example to emphasize rare classes: a
    /// weight per output, finite and at least 0, and above 0 for at least one class. Default: none;
    /// every row counts the same.
    ///
    /// A row's loss, with its smoothed labels, is multiplied by the weight of the row's class. The
    /// batch's loss is the sum over the rows, divided by the sum of their weights. Only the ratios of the
    /// weights matter.
    ///
    /// Without label smoothing this is PyTorch's convention. With it, PyTorch multiplies each part of a
    /// smoothed target by the weight of that part's class, so that a rare class with a large weight can
    /// outweigh the row's own class: then every row is assigned to the rare class.
    ///
    /// A batch whose rows all weigh 0 has loss 0 and gradient 0. Accuracies ignore the weights.
    pub class_weights: Option<Vec<f32>>,
    /// How a step moves the parameters. Default: Adam with learning rate 0.001.
    pub optimizer: Optimizer,
    /// The largest Euclidean norm that all gradients together may have; a longer gradient is scaled
    /// down to it. Default: none.
    pub clip_norm: Option<f64>,
    /// What happens to rows that do not fill a batch. Default: [`Remainder::Drop`].
    pub remainder: Remainder,
    /// Seed of the shuffles. Default: 0.
    pub seed: u64,
    /// The reaction to a step that is not finite. Default: [`OnFault::Stop`].
    pub on_fault: OnFault,
    /// The text of a [`Tuning`](crate::Tuning), or of several, a line each: how this step is computed fastest
    /// on this device. Default: empty, and the cost model decides.
    ///
    /// It changes no bit of a result. Text that is damaged, or that is for another adapter, driver, version
    /// or step, is ignored: [`Trainer::is_tuned`](crate::Trainer::is_tuned) says whether it is in use. It is
    /// not serialized, and no part of a [`Snapshot`](crate::Snapshot).
    #[serde(skip)]
    pub tuning: String,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            batch_size: 64,
            loss: Loss::default(),
            label_smoothing: 0.0,
            class_weights: None,
            optimizer: Optimizer::default(),
            clip_norm: None,
            remainder: Remainder::default(),
            seed: 0,
            on_fault: OnFault::default(),
            tuning: String::new(),
        }
    }
}

impl TrainerOptions {
    /// Checks the options for a network with this many outputs.
    pub(crate) fn check(&self, outputs: u32) -> Result<()> {
        check("batch_size", self.batch_size, "at least 1", |value| value >= 1.0)?;
        self.loss.check()?;
        let share = |value: f64| (0.0..1.0).contains(&value);
        check("label_smoothing", self.label_smoothing, "at least 0 and below 1", share)?;
        if self.loss != Loss::SoftmaxCrossEntropy && self.label_smoothing != 0.0 {
            let value = format!("{} with {}", self.label_smoothing, self.loss.name());
            let expected = "0 with other losses than softmax-cross-entropy";
            return Err(Error::Option { option: "label_smoothing", value, expected });
        }
        self.check_class_weights(outputs)?;
        if let Some(norm) = self.clip_norm {
            check("clip_norm", norm, "finite and above 0", |value| value > 0.0)?;
        }
        self.optimizer.check()
    }

    fn check_class_weights(&self, outputs: u32) -> Result<()> {
        let Some(weights) = &self.class_weights else {
            return Ok(());
        };
        let option = "class_weights";
        if self.loss != Loss::SoftmaxCrossEntropy {
            let value = format!("of {} values with {}", weights.len(), self.loss.name());
            let expected = "none with other losses than softmax-cross-entropy";
            return Err(Error::Option { option, value, expected });
        }
        let [found, needed] = [weights.len() as u64, outputs.into()];
        if found != needed {
            let why = format!("one for each of {outputs} outputs");
            return Err(Error::Length { what: option, found, needed, why });
        }
        let is_weight = |weight: f32| weight.is_finite() && weight >= 0.0;
        if let Some(class) = weights.iter().position(|&weight| !is_weight(weight)) {
            let value = format!("{} for class {class}", weights[class]);
            return Err(Error::Option { option, value, expected: "finite and at least 0" });
        }
        if weights.iter().all(|&weight| weight == 0.0) {
            let value = format!("0 for each of {found} classes");
            return Err(Error::Option { option, value, expected: "above 0 for at least one" });
        }
        Ok(())
    }
}

/// The place of a name in a list that has every name.
fn number_in<const N: usize>(names: [&'static str; N], name: &str) -> u32 {
    let place = names.iter().position(|listed| *listed == name);
    place.expect("ALL has every variant") as u32
}

/// The most digits of a value in a message. Longer values get an exponent.
const MOST_DIGITS: usize = 64;

fn check(
    option: &'static str,
    value: impl Into<f64> + Copy + Display,
    expected: &'static str,
    accepts: impl Fn(f64) -> bool,
) -> Result<()> {
    let exact: f64 = value.into();
    // The GPU computes in f32, where 1e-60 is 0 and 1e60 infinite.
    let rounded = f64::from(exact as f32);
    if rounded.is_finite() && accepts(rounded) {
        return Ok(());
    }
    let lost_in_rounding = exact.is_finite() && accepts(exact);
    let in_f32 = if lost_in_rounding { format!(" ({rounded} in f32)") } else { String::new() };
    let value = value.to_string();
    let value = if value.len() > MOST_DIGITS { format!("{exact:e}") } else { value };
    Err(Error::Option { option, value: format!("{value}{in_f32}"), expected })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use super::*;

    /// The variants of a type, which serde lists in its message about a variant that does not exist.
    fn variants<T: DeserializeOwned>() -> BTreeSet<String> {
        let message = serde_json::from_str::<T>("\"\"").err().expect("no variant has no name");
        message.to_string().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    /// The variant of a value in JSON, where a variant with numbers is an object.
    fn variant(value: impl Serialize) -> String {
        match serde_json::to_value(value).unwrap() {
            serde_json::Value::Object(object) => object.into_iter().next().unwrap().0,
            other => other.as_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn all_lists_every_variant_once_under_its_name_in_files() {
        assert_eq!(variants::<Activation>(), Activation::ALL.map(variant).into());
        assert_eq!(Activation::ALL.map(variant), Activation::ALL.map(Activation::name));
        assert_eq!(variants::<Loss>(), Loss::ALL.map(variant).into());
        assert_eq!(Loss::ALL.map(variant), Loss::ALL.map(Loss::name));
        // Several names share a variant.
        assert_eq!(variants::<Method>(), Method::ALL.map(variant).into());
        let names = BTreeSet::from(Method::ALL.map(Method::name));
        assert_eq!(names.len(), Method::ALL.len(), "{names:?}");
    }
}
