use ndarray::{Array1, Array2, Axis};

/// The gradients by the scale and the shift of a batch normalization.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGradients {
    /// `Σ grad_outputs · normalized`, over the rows.
    pub grad_gamma: Array1<f64>,
    /// `Σ grad_outputs`, over the rows.
    pub grad_beta: Array1<f64>,
}

/// The two column sums that are `grad_gamma` and `grad_beta`, with
/// `normalized = (inputs − mean) / √(variance + epsilon)`.
pub fn normalize_gradients(
    inputs: &Array2<f64>,
    mean: &Array1<f64>,
    variance: &Array1<f64>,
    grad_outputs: &Array2<f64>,
    epsilon: f64,
) -> NormalizeGradients {
    let inverse_std = variance.mapv(|variance| (variance + epsilon).sqrt().recip());
    let normalized = (inputs - mean) * inverse_std;
    NormalizeGradients {
        grad_gamma: (grad_outputs * normalized).sum_axis(Axis(0)),
        grad_beta: grad_outputs.sum_axis(Axis(0)),
    }
}
