use ndarray::{Array1, Array2, Axis};

/// The sum of each column: the gradient by the biases, from the gradient by the biased sums.
pub fn column_sums(inputs: &Array2<f64>) -> Array1<f64> {
    inputs.sum_axis(Axis(0))
}
