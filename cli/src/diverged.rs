//! What is left to say when a loss or a parameter is no longer finite: in which layer it began.

use ndarray::ArrayView;
use ztilde::{Layer, Parameters};

use crate::failure::Failure;

/// Fails if a step has left parameters that cannot be kept. The loss of a step is that before it.
pub(crate) fn check_finite(step: u64, parameters: &Parameters) -> Result<(), Failure> {
    match first_not_finite(parameters) {
        None => Ok(()),
        Some(_) => Err(diverged(&format!("step {step} was too large"), parameters)),
    }
}

/// Says what was seen, and names the first layer with a parameter that is not finite.
pub(crate) fn diverged(seen: &str, parameters: &Parameters) -> Failure {
    let place = match first_not_finite(parameters) {
        Some((index, name)) if index + 1 == parameters.layers.len() => {
            format!("the first numbers that are not finite are {name} of the output layer")
        }
        Some((index, name)) => {
            format!(
                "the first numbers that are not finite are {name} of hidden layer {}",
                index + 1
            )
        }
        None => {
            "all parameters are still finite, so the output layer's sums are too large".to_owned()
        }
    };
    Failure::diverged(format!(
        "training diverged: {seen}; {place}. A smaller --learning-rate or a --clip-norm may help"
    ))
}

/// The first layer that holds NaN or an infinity, and what of it.
fn first_not_finite(parameters: &Parameters) -> Option<(usize, &'static str)> {
    let layers = parameters.layers.iter().enumerate();
    layers.into_iter().find_map(|(index, layer)| Some((index, not_finite(layer)?)))
}

/// The name of the first tensor of a layer that holds NaN or an infinity.
fn not_finite(layer: &Layer) -> Option<&'static str> {
    fn finite<D: ndarray::Dimension>(values: ArrayView<'_, f32, D>) -> bool {
        values.iter().all(|value| value.is_finite())
    }
    let tensors = match layer {
        Layer::Linear { weights, biases } => {
            vec![("weights", finite(weights.view())), ("biases", finite(biases.view()))]
        }
        Layer::Normalized { weights, batch_norm } => vec![
            ("weights", finite(weights.view())),
            ("gamma", finite(batch_norm.gamma.view())),
            ("beta", finite(batch_norm.beta.view())),
            ("running_mean", finite(batch_norm.running_mean.view())),
            ("running_var", finite(batch_norm.running_var.view())),
        ],
    };
    tensors.into_iter().find(|(_, finite)| !finite).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};
    use ztilde::{Activation, BatchNorm};

    use super::*;

    fn parameters() -> Parameters {
        let normalized = |outputs, inputs| Layer::Normalized {
            weights: Array2::zeros([outputs, inputs]),
            batch_norm: BatchNorm {
                gamma: Array1::ones(outputs),
                beta: Array1::zeros(outputs),
                running_mean: Array1::zeros(outputs),
                running_var: Array1::ones(outputs),
                batches: 1,
            },
        };
        let output = Layer::Linear { weights: Array2::zeros([2, 4]), biases: Array1::zeros(2) };
        Parameters {
            activation: Activation::Relu,
            epsilon: 1e-5,
            momentum: 0.1,
            layers: vec![normalized(3, 2), normalized(4, 3), output],
            notes: String::new(),
        }
    }

    #[test]
    fn names_the_step_and_the_first_layer() {
        let message = |parameters| diverged("the loss of step 57 is NaN", &parameters).to_string();
        assert!(check_finite(57, &parameters()).is_ok());
        assert!(message(parameters()).contains("all parameters are still finite"));

        let mut broken = parameters();
        let Layer::Linear { biases, .. } = &mut broken.layers[2] else { unreachable!() };
        biases[1] = f32::NAN;
        assert!(message(broken.clone()).contains("biases of the output layer"));

        let Layer::Normalized { batch_norm, .. } = &mut broken.layers[1] else { unreachable!() };
        batch_norm.running_var[3] = f32::INFINITY;
        let kept = check_finite(57, &broken).unwrap_err().to_string();
        assert!(kept.contains("step 57") && kept.contains("running_var"), "{kept}");
        let message = message(broken);
        assert!(message.contains("the loss of step 57 is NaN"), "{message}");
        assert!(message.contains("running_var of hidden layer 2"), "{message}");
    }
}
