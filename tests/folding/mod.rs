//! The allowed difference between folded and unfolded networks.

use ndarray::Array2;
use ztilde::{Activation, Layer, Parameters, reference};

/// Half the distance of neighboring floats, relative to their magnitude.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// The steepest slope of all activations: GELU's is 1.13, SiLU's 1.1.
const STEEPEST: f64 = 1.13;

/// The bound of each output, if the values of a layer with `n` inputs are rounded `roundings(n)` times.
///
/// Each rounding moves an inner product by [`ROUNDING`] times the sum of its terms' magnitudes at most
/// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). In a folded layer these terms are
/// `|inputs| · |weights'|ᵀ` and `|biases'|`; in an unfolded one the scaled mean and beta replace the
/// biases, and are `|biases'| + 2 |beta|` at most. The errors of the layers before pass through
/// `|weights'|` and the activations.
pub(crate) fn bounds(
    parameters: &Parameters,
    inputs: &Array2<f64>,
    roundings: impl Fn(usize) -> f64,
) -> Array2<f64> {
    let folded = reference::Network::from(&parameters.folded());
    let mut outputs = inputs.clone();
    let mut errors = Array2::zeros(inputs.dim());
    for (index, layer) in folded.layers.iter().enumerate() {
        let reference::Layer::Linear { weights, biases } = layer else {
            panic!("layer {index} is not folded");
        };
        let beta = match &parameters.layers[index] {
            Layer::Linear { biases, .. } => biases.mapv(f64::from),
            Layer::Normalized { batch_norm, .. } => batch_norm.beta.mapv(f64::from),
        };
        let magnitudes = weights.mapv(f64::abs).reversed_axes();
        let sums = outputs.mapv(f64::abs).dot(&magnitudes);
        let sums = sums + biases.mapv(f64::abs) + 2.0 * beta.mapv(f64::abs);
        let own = roundings(weights.ncols()) * ROUNDING * sums;
        errors = errors.dot(&magnitudes) + own;
        let ztilde = outputs.dot(&weights.t()) + biases;
        let is_last = index + 1 == folded.layers.len();
        let activation = if is_last { Activation::Identity } else { folded.activation };
        outputs = reference::activate(&ztilde, activation);
        // Activations are rounded, too: by a few units.
        errors = errors * STEEPEST + roundings(4) * ROUNDING * outputs.mapv(f64::abs);
    }
    errors
}
