use ndarray::{Array1, Array2};

/// `matrix + biases`: one bias for each column.
pub fn add_biases(matrix: &Array2<f64>, biases: &Array1<f64>) -> Array2<f64> {
    matrix + biases
}
