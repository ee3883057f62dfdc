use ndarray::{Array1, Array2, Axis};

use super::LossGradient;

/// `(output − target)²`, averaged over each row, and its gradient
/// `2 · (output − target) / (rows · columns)`. There is no accuracy: it is 0.
///
/// # Panics
///
/// If there is no output.
pub fn mean_squared_error(outputs: &Array2<f64>, targets: &Array2<f64>) -> LossGradient {
    let errors = outputs - targets;
    let row_losses = errors
        .powi(2)
        .mean_axis(Axis(1))
        .expect("a loss needs at least one output");
    LossGradient {
        row_losses,
        row_accuracies: Array1::zeros(outputs.nrows()),
        grad_outputs: errors * (2.0 / outputs.len() as f64),
    }
}
