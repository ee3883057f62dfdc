//! The reference's gradients along random directions through whole networks, compared with finite
//! differences.

use ndarray::Array2;
use proptest::prelude::*;
use ztilde::{Activation, Loss, TrainerOptions, reference};

use super::network::{Case, cases};
use super::{config, uniform, uniform_vector};

/// The step along a direction.
const STEP: f64 = 1e-5;

/// A network whose parameters and inputs are moved along a direction.
fn moved(
    network: &reference::Network,
    inputs: &Array2<f64>,
    seed: u64,
    step: f64,
) -> (reference::Network, Array2<f64>) {
    let mut network = network.clone();
    let learned = network.learned_mut();
    let directions = uniform_vector(seed, learned.len());
    for ((number, _), direction) in learned.into_iter().zip(&directions) {
        *number += step * direction;
    }
    let directions = uniform(!seed, [inputs.nrows(), inputs.ncols()]);
    (network, inputs + &(step * directions))
}

/// The side of the kink on which each pre-activation is.
fn sides(network: &reference::Network, inputs: &Array2<f64>) -> Vec<bool> {
    network
        .pass(inputs)
        .layers
        .iter()
        .flat_map(|layer| layer.ztilde.iter().map(|&ztilde| ztilde > 0.0))
        .collect()
}

proptest! {
    #![proptest_config(config(300))]

    /// The error of a central difference is proportional to the square of its step. After halving the
    /// step, it is a third of the change. The rounding of two losses, divided by the step, is 1e-9 at
    /// most.
    #[test]
    fn gradients_are_how_the_loss_changes(
        case in cases(2..12, 9),
        label_smoothing in prop::sample::select(vec![0.0, 0.3]),
        weighs_classes: bool,
    ) {
        let Case { loss, activation, .. } = case;
        let outputs = case.sizes[case.sizes.len() - 1] as usize;
        let is_classes = loss == Loss::SoftmaxCrossEntropy;
        let class_weights = (weighs_classes && is_classes)
            .then(|| (0..outputs).map(|class| 0.5 + class as f32).collect());
        let label_smoothing = if is_classes { label_smoothing } else { 0.0 };
        let options = TrainerOptions { loss, label_smoothing, class_weights, ..Default::default() };
        let network = reference::Network::from(&case.parameters());
        let (inputs, targets) = (case.inputs(), case.targets());
        let loss_of = |step: f64| {
            let (network, inputs) = moved(&network, &inputs, case.seed, step);
            reference::Trainer::new(network, &options).gradients(&inputs, &targets).0
        };
        if matches!(activation, Activation::Relu | Activation::LeakyRelu) {
            // If a kink lies in between, the differences are meaningless.
            let sides = [-STEP, 0.0, STEP].map(|step| {
                let (network, inputs) = moved(&network, &inputs, case.seed, step);
                sides(&network, &inputs)
            });
            prop_assume!(sides[0] == sides[1] && sides[1] == sides[2]);
        }
        let difference = |step: f64| (loss_of(step) - loss_of(-step)) / (2.0 * step);
        let [coarse, fine] = [STEP, STEP / 2.0].map(difference);

        let trainer = reference::Trainer::new(network, &options);
        let (loss, gradients) = trainer.gradients(&inputs, &targets);
        let learned = gradients.learned();
        let slope = learned.dot(&uniform_vector(case.seed, learned.len()))
            + (gradients.grad_inputs * uniform(!case.seed, [inputs.nrows(), inputs.ncols()])).sum();
        let bound = (coarse - fine).abs() + 1e-9 * (1.0 + loss) + 1e-9 * slope.abs();
        let error = (slope - fine).abs();
        assert!(error <= bound, "the gradient says {slope}, the loss {fine} ± {bound:e}");
    }
}
