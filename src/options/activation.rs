//! The functions after hidden layers.

use serde::{Deserialize, Serialize};

/// The function after each hidden layer.
///
/// Not `#[non_exhaustive]`: an app that exports models fails to compile at a new activation, and does not
/// fail at run time.
///
/// ```
/// use ztilde::Activation;
///
/// assert_eq!(Activation::from_name("leaky-relu"), Some(Activation::LeakyRelu));
/// assert_eq!(Activation::ALL.map(Activation::name)[0], "relu");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// `x · tanh(log(1 + exp(x)))`.
    Mish,
    /// `x` where it is positive, `exp(x) − 1` elsewhere: alpha is 1, as is PyTorch's default.
    Elu,
    /// `log(1 + exp(x))`.
    Softplus,
    /// GELU with tanh, `0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`, as in GPT-2.
    GeluTanh,
}

/// The properties of an activation, without its formula.
struct Entry {
    name: &'static str,
    /// Whether it passes about half of its inputs, as ReLU does: the initial weights then have twice the
    /// variance.
    keeps_half: bool,
}

impl Activation {
    /// Every activation, in the order in which `shaders/shared/activation.wgsl` numbers them.
    pub const ALL: [Self; 11] = [
        Self::Relu,
        Self::LeakyRelu,
        Self::Tanh,
        Self::Sigmoid,
        Self::Gelu,
        Self::Silu,
        Self::Identity,
        Self::Mish,
        Self::Elu,
        Self::Softplus,
        Self::GeluTanh,
    ];

    const fn entry(self) -> Entry {
        match self {
            Self::Relu => Entry { name: "relu", keeps_half: true },
            Self::LeakyRelu => Entry { name: "leaky-relu", keeps_half: true },
            Self::Tanh => Entry { name: "tanh", keeps_half: false },
            Self::Sigmoid => Entry { name: "sigmoid", keeps_half: false },
            Self::Gelu => Entry { name: "gelu", keeps_half: true },
            Self::Silu => Entry { name: "silu", keeps_half: true },
            Self::Identity => Entry { name: "identity", keeps_half: false },
            Self::Mish => Entry { name: "mish", keeps_half: true },
            Self::Elu => Entry { name: "elu", keeps_half: true },
            Self::Softplus => Entry { name: "softplus", keeps_half: false },
            Self::GeluTanh => Entry { name: "gelu-tanh", keeps_half: true },
        }
    }

    /// The slope of [`Activation::LeakyRelu`] below 0: PyTorch's default.
    pub const NEGATIVE_SLOPE: f32 = 0.01;

    /// The name in files and on the command line: `relu`, `leaky-relu`, …
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The activation of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|activation| activation.name() == name)
    }

    pub(crate) const fn keeps_half(self) -> bool {
        self.entry().keeps_half
    }

    /// The number in the shaders.
    pub(crate) fn number(self) -> u32 {
        super::number_in(Self::ALL.map(Self::name), self.name())
    }
}
