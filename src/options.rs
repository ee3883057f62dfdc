//! The choices that an app makes, as plain data: what the network computes, and how it learns.

use std::fmt::Display;

use crate::error::{Error, Result};

/// The function after each hidden layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`; its derivative at 0 is 0, as in PyTorch.
    #[default]
    Relu,
    /// `x` where it is positive, [`Activation::NEGATIVE_SLOPE`]` · x` elsewhere.
    LeakyRelu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `x · Φ(x)` with the normal distribution's Φ: the exact form, not the one with tanh.
    Gelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x`: a linear layer.
    Identity,
}

impl Activation {
    /// Every activation, in the order in which the shaders number them.
    pub const ALL: [Self; 7] = [
        Self::Relu,
        Self::LeakyRelu,
        Self::Tanh,
        Self::Sigmoid,
        Self::Gelu,
        Self::Silu,
        Self::Identity,
    ];

    /// The slope of [`Activation::LeakyRelu`] below 0: PyTorch's default.
    pub const NEGATIVE_SLOPE: f32 = 0.01;

    /// The name in files and on the command line: `relu`, `leaky-relu`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::LeakyRelu => "leaky-relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::Identity => "identity",
        }
    }

    /// The activation of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|activation| activation.name() == name)
    }
}

/// What training makes small. Every loss is a mean, over the batch and over the outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
}

impl Loss {
    /// Every loss.
    pub const ALL: [Self; 3] =
        [Self::SoftmaxCrossEntropy, Self::MeanSquaredError, Self::BinaryCrossEntropy];

    /// The name on the command line and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SoftmaxCrossEntropy => "softmax-cross-entropy",
            Self::MeanSquaredError => "mean-squared-error",
            Self::BinaryCrossEntropy => "binary-cross-entropy",
        }
    }

    /// The loss of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|loss| loss.name() == name)
    }

    /// Whether targets are class indices, rather than a value per output.
    pub const fn has_class_targets(self) -> bool {
        matches!(self, Self::SoftmaxCrossEntropy)
    }
}

/// What a network computes between its layers, and how it starts.
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
    /// PyTorch's convention; Keras's number is one minus this. Default: 0.1.
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
        check("epsilon", self.epsilon, "finite and above 0", |value| value > 0.0)?;
        check("momentum", self.momentum, "between 0 and 1", |value| (0.0..=1.0).contains(&value))
    }
}

/// How a step moves the parameters, once their gradients are known.
///
/// In the formulas `g` is the gradient (clipped, and with `weight_decay · p` added to it where the
/// decay is not decoupled), `p` the parameter, `t` the step counted from 1, and `rate` the
/// learning rate of that step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// `p −= rate · g`.
    GradientDescent,
    /// `v = momentum · v + g`, then `p −= rate · v`; with `nesterov`, `p −= rate · (g + momentum · v)`.
    ///
    /// PyTorch's form. The lecture's averaged form, `v = β·v + (1 − β)·g`, takes the same path with
    /// a learning rate that is 1 / (1 − β) times as large.
    Momentum {
        /// How much of the velocity is kept; 0.9 is usual.
        momentum: f64,
        /// Whether to look ahead along the velocity (Nesterov).
        nesterov: bool,
    },
    /// `s = smoothing · s + (1 − smoothing) · g²`, then `p −= rate · g / (√s + epsilon)`.
    RmsProp {
        /// How much of the mean square is kept; PyTorch's default is 0.99.
        smoothing: f64,
        /// Outside the root; 1e-8.
        epsilon: f64,
    },
    /// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, then
    /// `p −= rate / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + epsilon)` (Kingma and Ba, arXiv 1412.6980).
    Adam {
        /// How much of the mean is kept; 0.9.
        beta1: f64,
        /// How much of the mean square is kept; 0.999.
        beta2: f64,
        /// Outside the root; 1e-8.
        epsilon: f64,
        /// Whether weight decay acts on the parameters directly, `p −= rate · weight_decay · p`
        /// (AdamW, arXiv 1711.05101), rather than through the gradient.
        decoupled: bool,
    },
}

impl Method {
    /// Whether it remembers a velocity, or mean, of each gradient.
    pub const fn has_velocity(self) -> bool {
        matches!(self, Self::Momentum { .. } | Self::Adam { .. })
    }

    /// Whether it remembers the mean square of each gradient.
    pub const fn has_mean_square(self) -> bool {
        matches!(self, Self::RmsProp { .. } | Self::Adam { .. })
    }
}

/// How the learning rate moves with the steps. Computed on the CPU, in f64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The same for all steps.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` steps.
    Step {
        /// Steps between two changes; at least 1.
        every: u64,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// Half a cosine from the learning rate down to `last · learning rate`, over `steps` steps;
    /// then it stays there.
    Cosine {
        /// Steps until the end; at least 1.
        steps: u64,
        /// The share of the learning rate that is left at the end.
        last: f64,
    },
}

/// The method, its learning rate, and the decay of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// How a step moves the parameters.
    pub method: Method,
    /// The learning rate, before the schedule.
    pub learning_rate: f64,
    /// How the learning rate moves with the steps.
    pub schedule: Schedule,
    /// Pulls the weights (never gamma, beta or biases) towards 0. Default: 0.
    pub weight_decay: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::adam(1e-3)
    }
}

impl Optimizer {
    /// A method with a constant learning rate and no weight decay.
    pub const fn new(method: Method, learning_rate: f64) -> Self {
        Self { method, learning_rate, schedule: Schedule::Constant, weight_decay: 0.0 }
    }

    /// Plain gradient descent.
    pub const fn gradient_descent(learning_rate: f64) -> Self {
        Self::new(Method::GradientDescent, learning_rate)
    }

    /// Gradient descent with momentum; 0.9 is usual.
    pub const fn momentum(learning_rate: f64, momentum: f64) -> Self {
        Self::new(Method::Momentum { momentum, nesterov: false }, learning_rate)
    }

    /// Gradient descent with Nesterov's momentum.
    pub const fn nesterov(learning_rate: f64, momentum: f64) -> Self {
        Self::new(Method::Momentum { momentum, nesterov: true }, learning_rate)
    }

    /// `RMSprop` with smoothing 0.99 and epsilon 1e-8.
    pub const fn rmsprop(learning_rate: f64) -> Self {
        Self::new(Method::RmsProp { smoothing: 0.99, epsilon: 1e-8 }, learning_rate)
    }

    /// Adam with betas 0.9 and 0.999, and epsilon 1e-8.
    pub const fn adam(learning_rate: f64) -> Self {
        let method = Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: false };
        Self::new(method, learning_rate)
    }

    /// `AdamW`: Adam with decoupled weight decay.
    pub const fn adamw(learning_rate: f64, weight_decay: f64) -> Self {
        let method = Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true };
        Self { weight_decay, ..Self::new(method, learning_rate) }
    }

    /// The learning rate of a step, counted from 1.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1);
        self.learning_rate
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Step { every, factor } => factor.powf((done / every.max(1)) as f64),
                Schedule::Cosine { steps, last } => {
                    let progress = (done as f64 / steps.max(1) as f64).min(1.0);
                    last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
                }
            }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let share = |value: f64| (0.0..1.0).contains(&value);
        let from_zero = |value: f64| value >= 0.0;
        let positive = |value: f64| value > 0.0;
        check("learning_rate", self.learning_rate, "finite and above 0", positive)?;
        check("weight_decay", self.weight_decay, "finite and at least 0", from_zero)?;
        match self.method {
            Method::GradientDescent => {}
            Method::Momentum { momentum, .. } => {
                check("momentum", momentum, "at least 0 and below 1", share)?;
            }
            Method::RmsProp { smoothing, epsilon } => {
                check("smoothing", smoothing, "at least 0 and below 1", share)?;
                check("the optimizer's epsilon", epsilon, "finite and above 0", positive)?;
            }
            Method::Adam { beta1, beta2, epsilon, .. } => {
                check("beta1", beta1, "at least 0 and below 1", share)?;
                check("beta2", beta2, "at least 0 and below 1", share)?;
                check("the optimizer's epsilon", epsilon, "finite and above 0", positive)?;
            }
        }
        match self.schedule {
            Schedule::Constant => Ok(()),
            Schedule::Step { every, factor } => {
                check("the schedule's every", every as f64, "at least 1", positive)?;
                check("the schedule's factor", factor, "finite and above 0", positive)
            }
            Schedule::Cosine { steps, last } => {
                check("the schedule's steps", steps as f64, "at least 1", positive)?;
                check("the schedule's last", last, "finite and at least 0", from_zero)
            }
        }
    }
}

/// What becomes of the rows that do not fill a batch at the end of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Remainder {
    /// They wait for the next epoch, whose shuffle brings others to the end. The default: a last
    /// batch of a few rows has statistics of a few rows, and ruins the running ones.
    #[default]
    Drop,
    /// They make a smaller batch.
    Keep,
}

/// How a network learns.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Rows per step; at least 2 with batch normalization. Default: 64.
    pub batch_size: u32,
    /// What training makes small. Default: [`Loss::SoftmaxCrossEntropy`].
    pub loss: Loss,
    /// How a step moves the parameters. Default: Adam with learning rate 0.001.
    pub optimizer: Optimizer,
    /// The largest Euclidean norm that all gradients together may have; a longer gradient is scaled
    /// down to it. Default: none.
    pub clip_norm: Option<f64>,
    /// What becomes of the rows that do not fill a batch. Default: [`Remainder::Drop`].
    pub remainder: Remainder,
    /// Seed of the shuffles. Default: 0.
    pub seed: u64,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            batch_size: 64,
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            clip_norm: None,
            remainder: Remainder::default(),
            seed: 0,
        }
    }
}

impl TrainerOptions {
    pub(crate) fn check(&self) -> Result<()> {
        check("batch_size", self.batch_size, "at least 1", |value| value >= 1.0)?;
        if let Some(norm) = self.clip_norm {
            check("clip_norm", norm, "finite and above 0", |value| value > 0.0)?;
        }
        self.optimizer.check()
    }
}

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
    Err(Error::Option { option, value: format!("{value}{in_f32}"), expected })
}
