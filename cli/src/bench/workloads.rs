//! The six networks that speed is measured on, for the benches and for `ztilde bench`.

use ztilde::{Activation, Loss};

/// A network and the batches that it is trained on.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Rows of a batch.
    pub(crate) batch_size: u32,
    pub(crate) layer_sizes: &'static [u32],
    pub(crate) activation: Activation,
    pub(crate) loss: Loss,
}

pub(crate) const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "digits",
        batch_size: 64,
        layer_sizes: &[64, 128, 64, 10],
        activation: Activation::Relu,
        loss: Loss::SoftmaxCrossEntropy,
    },
    Workload {
        name: "paper",
        batch_size: 60,
        layer_sizes: &[784, 100, 100, 100, 10],
        activation: Activation::Sigmoid,
        loss: Loss::SoftmaxCrossEntropy,
    },
    Workload {
        name: "mnist",
        batch_size: 256,
        layer_sizes: &[784, 512, 256, 10],
        activation: Activation::Relu,
        loss: Loss::SoftmaxCrossEntropy,
    },
    Workload {
        name: "wide",
        batch_size: 1024,
        layer_sizes: &[1024, 1024, 1024, 1024, 10],
        activation: Activation::Relu,
        loss: Loss::SoftmaxCrossEntropy,
    },
    Workload {
        name: "tall",
        batch_size: 16384,
        layer_sizes: &[32, 64, 64, 64, 64, 3],
        activation: Activation::Relu,
        loss: Loss::MeanSquaredError,
    },
    Workload {
        name: "tiny",
        batch_size: 256,
        layer_sizes: &[2, 16, 16, 3],
        activation: Activation::Relu,
        loss: Loss::MeanSquaredError,
    },
];

impl Workload {
    pub(crate) fn outputs(&self) -> u32 {
        self.layer_sizes[self.layer_sizes.len() - 1]
    }
}
