use ndarray::{Array1, Array2};

use super::NormalizeGradients;

/// The gradient by the inputs of [`normalize`](super::normalize()) in training, where the mean and
/// the variance are the batch's own and so depend on the inputs too:
///
/// `gamma / √(variance + epsilon) · (grad_outputs − grad_beta / n − normalized · grad_gamma / n)`
///
/// with n rows and `normalized = (inputs − mean) / √(variance + epsilon)`; the derivation is in
/// Ioffe and Szegedy, arXiv 1502.03167, section 3.
pub fn normalize_backward(
    inputs: &Array2<f64>,
    mean: &Array1<f64>,
    variance: &Array1<f64>,
    gamma: &Array1<f64>,
    gradients: &NormalizeGradients,
    grad_outputs: &Array2<f64>,
    epsilon: f64,
) -> Array2<f64> {
    let rows = inputs.nrows() as f64;
    let inverse_std = variance.mapv(|variance| (variance + epsilon).sqrt().recip());
    let normalized = (inputs - mean) * &inverse_std;
    let through_mean = &gradients.grad_beta / rows;
    let through_variance = normalized * &gradients.grad_gamma / rows;
    (grad_outputs - &through_mean - through_variance) * inverse_std * gamma
}
