//! Training: a loss, its gradients, and the step that they make.

use ndarray::{Array1, Array2};

use super::{
    Gradients, LossGradient, Network, clip_scale, gradient_norm, loss, record_step,
    smoothed_cross_entropy, update, weigh_classes,
};
use crate::{
    data::Targets,
    options::{Loss, TrainerOptions},
};

/// A network that learns, one batch at a time. It uses the options of the loss, the optimizer and the
/// clipping; the caller chooses the batches.
///
/// ```
/// use ztilde::ndarray::array;
/// use ztilde::reference::{Layer, Network, Trainer};
/// use ztilde::{Activation, Loss, Optimizer, Targets, TrainerOptions};
///
/// let layers = vec![Layer::Linear { weights: array![[0.0]], biases: array![0.0] }];
/// let activation = Activation::Identity;
/// let network = Network { activation, epsilon: 1e-5, momentum: 0.1, layers };
/// let mut trainer = Trainer::new(network, &TrainerOptions {
///     loss: Loss::MeanSquaredError,
///     optimizer: Optimizer::gradient_descent(0.25),
///     ..Default::default()
/// });
/// // Two rows: 2 at 1, and 4 at 2. The outputs are 0 before the step.
/// let targets = Targets::from(vec![2.0_f32, 4.0]);
/// let (loss, accuracy) = trainer.step(&array![[1.0], [2.0]], &targets);
/// assert_eq!((loss, accuracy), ((4.0 + 16.0) / 2.0, 0.0));
/// // The gradients are −2 · 1 − 4 · 2 = −10 and −2 − 4 = −6.
/// let learned = Layer::Linear { weights: array![[2.5]], biases: array![1.5] };
/// assert_eq!(trainer.network().layers, [learned]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Trainer {
    network: Network,
    options: TrainerOptions,
    /// Steps done so far.
    steps: u64,
    /// One for each number that is learned.
    moments: Vec<Moments>,
}

/// The optimizer's state for a parameter. Values that the method does not use stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    /// Of the gradients; the velocity, if the method calls it so.
    mean: f64,
    mean_square: f64,
}

impl Trainer {
    /// A trainer before its first step.
    pub fn new(mut network: Network, options: &TrainerOptions) -> Self {
        let moments = vec![Moments::default(); network.learned_mut().len()];
        Self { network, options: options.clone(), steps: 0, moments }
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The loss of a batch and its gradients, before clipping and weight decay; changes nothing.
    ///
    /// # Panics
    ///
    /// As [`loss()`] does.
    pub fn gradients(&self, inputs: &Array2<f64>, targets: &Targets<'_>) -> (f64, Gradients) {
        let pass = self.network.pass(inputs);
        let LossGradient { row_losses, row_accuracies, grad_outputs } =
            self.loss(&pass.outputs, targets);
        let (loss, _accuracy) = record_step(&row_losses, &row_accuracies);
        (loss, self.network.backward(&pass, &grad_outputs))
    }

    /// One step. Returns the batch's loss and accuracy before the step; losses without an accuracy return 0.
    ///
    /// # Panics
    ///
    /// As [`loss()`] and [`Network::forward`] do.
    pub fn step(&mut self, inputs: &Array2<f64>, targets: &Targets<'_>) -> (f64, f64) {
        let pass = self.network.forward(inputs);
        let LossGradient { row_losses, row_accuracies, grad_outputs } =
            self.loss(&pass.outputs, targets);
        let gradients = self.network.backward(&pass, &grad_outputs);
        self.update(&gradients);
        record_step(&row_losses, &row_accuracies)
    }

    fn loss(&self, outputs: &Array2<f64>, targets: &Targets<'_>) -> LossGradient {
        let TrainerOptions { loss: kind, label_smoothing, class_weights, .. } = &self.options;
        let (Loss::SoftmaxCrossEntropy, Targets::Classes(classes)) = (*kind, targets) else {
            return loss(*kind, outputs, targets);
        };
        let weights = match class_weights {
            Some(weights) => {
                weigh_classes(&weights.iter().copied().map(f64::from).collect(), classes)
            }
            None => Array1::ones(outputs.ncols()),
        };
        smoothed_cross_entropy(outputs, classes, (*label_smoothing).into(), &weights)
    }

    fn update(&mut self, gradients: &Gradients) {
        self.steps += 1;
        let optimizer = &self.options.optimizer;
        let mut gradients = gradients.learned();
        if let Some(clip_norm) = self.options.clip_norm {
            gradients *= clip_scale(gradient_norm(&gradients), clip_norm);
        }
        let learned = self.network.learned_mut().into_iter();
        for ((parameter, is_weight), (gradient, moments)) in
            learned.zip(gradients.into_iter().zip(&mut self.moments))
        {
            let decays = is_weight || optimizer.decays_all;
            let Moments { mean, mean_square } = moments;
            update(optimizer, self.steps, decays, gradient, parameter, [mean, mean_square]);
        }
    }
}
