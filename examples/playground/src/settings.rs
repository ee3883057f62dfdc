//! The user's settings.

use clap::ValueEnum;
use ztilde::{Activation, Loss, Method, NetworkOptions, Optimizer, TrainerOptions};

use crate::data_sets::{DataSet, Points};

/// The networks that are trained, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Networks {
    /// One, with batch normalization.
    BatchNorm,
    /// One, without.
    Plain,
    /// Both, with the same seed, on the same batches.
    Both,
}

/// Everything but the pace: the same settings give the same numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) data_set: DataSet,
    /// The number of training points; the same number is held out.
    pub(crate) points: u32,
    /// The standard deviation of the points' noise.
    pub(crate) noise: f32,
    pub(crate) networks: Networks,
    /// Units of each hidden layer.
    pub(crate) hidden_layers: Vec<u32>,
    pub(crate) activation: Activation,
    pub(crate) method: Method,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
    pub(crate) batch_size: u32,
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_set: DataSet::Spirals,
            points: 400,
            noise: 0.02,
            networks: Networks::Both,
            hidden_layers: vec![16, 16, 16],
            activation: Activation::Relu,
            method: Method::GradientDescent,
            learning_rate: 0.1,
            weight_decay: 0.0,
            batch_size: 64,
            seed: 0,
        }
    }
}

impl Networks {
    pub(crate) const ALL: [Self; 3] = [Self::BatchNorm, Self::Plain, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BatchNorm => "on",
            Self::Plain => "off",
            Self::Both => "compare",
        }
    }

    /// For each network, whether it is normalized.
    pub(crate) fn batch_norms(self) -> &'static [bool] {
        match self {
            Self::BatchNorm => &[true],
            Self::Plain => &[false],
            Self::Both => &[true, false],
        }
    }
}

impl Settings {
    /// Two coordinates in, one logit out.
    pub(crate) fn layer_sizes(&self) -> Vec<u32> {
        [&[2], self.hidden_layers.as_slice(), &[1]].concat()
    }

    pub(crate) fn network_options(&self, batch_norm: bool) -> NetworkOptions {
        let Self { activation, seed, .. } = *self;
        NetworkOptions { activation, batch_norm, seed, ..Default::default() }
    }

    pub(crate) fn trainer_options(&self) -> TrainerOptions {
        TrainerOptions {
            batch_size: self.batch_size,
            loss: Loss::BinaryCrossEntropy,
            optimizer: self.optimizer(),
            seed: self.seed,
            ..Default::default()
        }
    }

    fn optimizer(&self) -> Optimizer {
        let Self { method, learning_rate, weight_decay, .. } = *self;
        Optimizer { weight_decay, ..Optimizer::new(method, learning_rate) }
    }

    /// The training points, and the same number of held-out points.
    pub(crate) fn draw_points(&self) -> [Points; 2] {
        let Self { points, noise, seed, .. } = *self;
        [0, 1].map(|draw| self.data_set.points(points, noise, seed, draw))
    }

    /// Whether a network with the settings `self` can continue with `other`: only the learning rate may
    /// differ.
    pub(crate) fn differs_only_in_rate(&self, other: &Self) -> bool {
        *other == Self { learning_rate: other.learning_rate, ..self.clone() }
    }
}
