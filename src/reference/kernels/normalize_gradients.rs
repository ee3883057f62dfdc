use ndarray::{Array1, Array2, Axis};

/// The gradients of the loss by the scale and the shift of a batch normalization.
///
/// ```
/// use ztilde::ndarray::array;
/// use ztilde::reference::{batch_statistics, normalize_gradients};
///
/// let inputs = array![[1.0, 10.0], [5.0, 14.0]];
/// let grad_outputs = array![[0.0, 1.0], [2.0, 3.0]];
/// let batch = batch_statistics(&inputs);
/// // With this epsilon all normalized values are ±½: √(4 + 12) = 4. 1e-5 is usual.
/// let gradients =
///     normalize_gradients(&inputs, &batch.mean, &batch.variance, &grad_outputs, 12.0);
/// assert_eq!(gradients.grad_gamma, array![1.0, 1.0]);
/// assert_eq!(gradients.grad_beta, array![2.0, 4.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGradients {
    /// `[columns]`: `Σ grad_outputs · normalized`, over the rows.
    pub grad_gamma: Array1<f64>,
    /// `[columns]`: `Σ grad_outputs`, over the rows.
    pub grad_beta: Array1<f64>,
}

/// The gradients of the loss by gamma and beta, from its gradient by the outputs of
/// [`normalize`](super::normalize()): two sums over the rows, with
/// `normalized = (inputs − mean) / √(variance + epsilon)` (Ioffe and Szegedy, arXiv 1502.03167, section 3).
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
