//! How a step moves the parameters: the method, its learning rate, and the decay of the weights.

use serde::{Deserialize, Serialize};

use super::{Schedule, check};
use crate::error::Result;

/// How a step moves the parameters, once their gradients are known.
///
/// In the formulas `g` is the gradient (clipped, and with `weight_decay · p` added unless the decay is
/// decoupled), `p` the parameter, `t` the step counted from 1, and `rate` the learning rate of that
/// step.
///
/// ```
/// use ztilde::{Method, Optimizer};
///
/// let nesterov = Method::Momentum { momentum: 0.9, nesterov: true };
/// assert_eq!(Optimizer::new(nesterov, 0.1), Optimizer::nesterov(0.1, 0.9));
/// assert!(nesterov.has_velocity() && !nesterov.has_mean_square());
/// assert_eq!(nesterov.name(), "nesterov");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Method {
    /// `p −= rate · g`.
    GradientDescent,
    /// `v = momentum · v + g`, then `p −= rate · v`; with `nesterov`, `p −= rate · (g + momentum · v)`.
    ///
    /// PyTorch's form. The lecture's averaged form, `v = β·v + (1 − β)·g`, makes the same updates with a
    /// learning rate 1 / (1 − β) times as large.
    Momentum {
        /// The share of the velocity that is kept; 0.9 is usual.
        momentum: f64,
        /// Whether to look ahead along the velocity (Nesterov).
        nesterov: bool,
    },
    /// `s = smoothing · s + (1 − smoothing) · g²`, then `p −= rate · g / (√s + epsilon)`.
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// The share of the mean square that is kept; PyTorch's default is 0.99.
        smoothing: f64,
        /// Outside the root; 1e-8.
        epsilon: f64,
    },
    /// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, then
    /// `p −= rate / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + epsilon)` (Kingma and Ba, arXiv 1412.6980).
    Adam {
        /// The share of the mean that is kept; 0.9 is usual.
        beta1: f64,
        /// The share of the mean square that is kept; 0.999 is usual.
        beta2: f64,
        /// Outside the root; 1e-8.
        epsilon: f64,
        /// Whether weight decay acts on the parameters directly, `p −= rate · weight_decay · p`
        /// (AdamW, arXiv 1711.05101), rather than through the gradient.
        decoupled: bool,
    },
    /// `p −= rate · sign(β₁·m + (1 − β₁)·g)`, then `m = β₂·m + (1 − β₂)·g`; weight decay acts on the
    /// parameters directly (Chen et al., arXiv 2302.06675).
    Lion {
        /// The share of the mean in the direction of a step; 0.9 is usual.
        beta1: f64,
        /// The share of the mean that is kept; 0.99 is usual.
        beta2: f64,
    },
}

/// The properties of a method, without its formula.
struct Entry {
    name: &'static str,
    /// The usual learning rate and weight decay.
    usual: [f64; 2],
    /// Whether it keeps a velocity, or mean, of each gradient.
    has_velocity: bool,
    /// Whether it keeps the mean square of each gradient.
    has_mean_square: bool,
    /// Whether weight decay acts on the parameters directly, rather than through the gradient.
    is_decoupled: bool,
}

impl Method {
    /// Every method, with its usual hyperparameters, in the order in which `shaders/shared/optimizer.wgsl` numbers
    /// them.
    pub const ALL: [Self; 7] = [
        Self::GradientDescent,
        Self::Momentum { momentum: 0.9, nesterov: false },
        Self::Momentum { momentum: 0.9, nesterov: true },
        Self::RmsProp { smoothing: 0.99, epsilon: 1e-8 },
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: false },
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true },
        Self::Lion { beta1: 0.9, beta2: 0.99 },
    ];

    const fn entry(self) -> Entry {
        let plain = Entry {
            name: "gradient-descent",
            usual: [0.1, 0.0],
            has_velocity: false,
            has_mean_square: false,
            is_decoupled: false,
        };
        let momentum = Entry { name: "momentum", usual: [0.01, 0.0], has_velocity: true, ..plain };
        let adam = Entry {
            name: "adam",
            usual: [0.001, 0.0],
            has_velocity: true,
            has_mean_square: true,
            ..plain
        };
        match self {
            Self::GradientDescent => plain,
            Self::Momentum { nesterov: false, .. } => momentum,
            Self::Momentum { nesterov: true, .. } => Entry { name: "nesterov", ..momentum },
            Self::RmsProp { .. } => {
                Entry { name: "rmsprop", usual: [0.001, 0.0], has_mean_square: true, ..plain }
            }
            Self::Adam { decoupled: false, .. } => adam,
            Self::Adam { decoupled: true, .. } => {
                Entry { name: "adamw", usual: [0.001, 0.01], is_decoupled: true, ..adam }
            }
            Self::Lion { .. } => {
                Entry { name: "lion", usual: [1e-4, 0.1], is_decoupled: true, ..momentum }
            }
        }
    }

    /// The hyperparameters and their names.
    ///
    /// ```
    /// use ztilde::Method;
    ///
    /// let mut method = Method::from_name("rmsprop").expect("a name of Method::name");
    /// for (name, value) in method.hyperparameters() {
    ///     if name == "smoothing" {
    ///         *value = 0.9;
    ///     }
    /// }
    /// assert_eq!(method, Method::RmsProp { smoothing: 0.9, epsilon: 1e-8 });
    /// ```
    pub fn hyperparameters(&mut self) -> Vec<(&'static str, &mut f64)> {
        match self {
            Self::GradientDescent => vec![],
            Self::Momentum { momentum, nesterov: _ } => vec![("momentum", momentum)],
            Self::RmsProp { smoothing, epsilon } => {
                vec![("smoothing", smoothing), (EPSILON, epsilon)]
            }
            Self::Adam { beta1, beta2, epsilon, decoupled: _ } => {
                vec![("beta1", beta1), ("beta2", beta2), (EPSILON, epsilon)]
            }
            Self::Lion { beta1, beta2 } => vec![("beta1", beta1), ("beta2", beta2)],
        }
    }

    /// The name on the command line: `gradient-descent`, `momentum`, `nesterov`, …
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The method of that [`name`](Self::name), with its usual hyperparameters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether the method keeps a velocity, or mean, of each gradient.
    pub const fn has_velocity(self) -> bool {
        self.entry().has_velocity
    }

    /// Whether the method keeps the mean square of each gradient.
    pub const fn has_mean_square(self) -> bool {
        self.entry().has_mean_square
    }

    /// Whether weight decay acts on the parameters directly, rather than through the gradient.
    pub const fn is_decoupled(self) -> bool {
        self.entry().is_decoupled
    }

    /// The number in the shader.
    pub(crate) fn number(self) -> u32 {
        super::number_in(Self::ALL.map(Self::name), self.name())
    }
}

/// The only hyperparameter that is not below 1.
const EPSILON: &str = "epsilon";

/// The method, its learning rate, and the decay of the weights.
///
/// ```
/// use ztilde::Optimizer;
///
/// // Four steps of warm-up: the rate rises by a fifth of 0.001 a step.
/// let optimizer = Optimizer { warm_up: 4, weight_decay: 1e-4, ..Optimizer::adam(0.001) };
/// assert_eq!(optimizer.learning_rate_at(1), 0.001 / 5.0);
/// assert_eq!(optimizer.learning_rate_at(5), 0.001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// How a step moves the parameters.
    pub method: Method,
    /// The learning rate, before the schedule.
    pub learning_rate: f64,
    /// How the learning rate moves with the steps.
    pub schedule: Schedule,
    /// The number of steps over which the learning rate rises, on top of the schedule: until the ramp is
    /// over, the rate of step t, counted from 1, is t / (`warm_up` + 1) times the schedule's. The
    /// schedule runs at the same time, so it ends at the same step as without a ramp. Default: 0, no
    /// ramp.
    ///
    /// In PyTorch, `ChainedScheduler` of the schedule and
    /// `LinearLR(start_factor=1 / (warm_up + 1), total_iters=warm_up)`.
    pub warm_up: u64,
    /// Pulls the weights towards 0. Default: 0.
    pub weight_decay: f64,
    /// Whether the decay also acts on gamma, beta and biases, as it does by default in PyTorch's
    /// optimizers. Default: false.
    pub decays_all: bool,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::adam(1e-3)
    }
}

impl Optimizer {
    /// A method with a constant learning rate and no weight decay.
    pub const fn new(method: Method, learning_rate: f64) -> Self {
        let schedule = Schedule::Constant;
        let (warm_up, weight_decay, decays_all) = (0, 0.0, false);
        Self { method, learning_rate, schedule, warm_up, weight_decay, decays_all }
    }

    /// A method with its usual learning rate and weight decay.
    ///
    /// ```
    /// use ztilde::{Method, Optimizer};
    ///
    /// let adamw = Method::from_name("adamw").expect("a name of Method::name");
    /// assert_eq!(Optimizer::usual(adamw), Optimizer::adamw(0.001, 0.01));
    /// ```
    pub const fn usual(method: Method) -> Self {
        let [learning_rate, weight_decay] = method.entry().usual;
        Self { weight_decay, ..Self::new(method, learning_rate) }
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

    /// Lion with betas 0.9 and 0.99, and decoupled weight decay. Its steps have the size of the learning rate,
    /// so its paper takes a 3rd to a 10th of Adam's rate, and 3 to 10 times its weight decay.
    pub const fn lion(learning_rate: f64, weight_decay: f64) -> Self {
        let method = Method::Lion { beta1: 0.9, beta2: 0.99 };
        Self { weight_decay, ..Self::new(method, learning_rate) }
    }

    /// The learning rate of a step, counted from 1.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1);
        let rate = self.learning_rate * self.schedule.share(done);
        if done < self.warm_up {
            return rate * ((done + 1) as f64 / (self.warm_up as f64 + 1.0));
        }
        rate
    }

    pub(crate) fn check(&self) -> Result<()> {
        let share = |value: f64| (0.0..1.0).contains(&value);
        let from_zero = |value: f64| value >= 0.0;
        let positive = |value: f64| value > 0.0;
        check("learning_rate", self.learning_rate, "finite and above 0", positive)?;
        check("weight_decay", self.weight_decay, "finite and at least 0", from_zero)?;
        let mut method = self.method;
        for (name, &mut value) in method.hyperparameters() {
            if name == EPSILON {
                check("the optimizer's epsilon", value, "finite and above 0", positive)?;
            } else {
                check(name, value, "at least 0 and below 1", share)?;
            }
        }
        self.schedule.check()
    }
}
