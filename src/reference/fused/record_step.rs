use ndarray::Array1;

/// The loss and the accuracy of a step: the means over its rows.
pub fn record_step(row_losses: &Array1<f64>, row_accuracies: &Array1<f64>) -> (f64, f64) {
    let rows = row_losses.len() as f64;
    (row_losses.sum() / rows, row_accuracies.sum() / rows)
}
