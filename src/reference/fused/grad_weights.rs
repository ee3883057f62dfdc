use ndarray::{Array1, Array2};

use crate::reference::{column_sums, matmul};

/// The gradients of a layer's weights and of its biases, from those of its sums.
///
/// ```
/// use ndarray::array;
///
/// let (grad_sums, inputs) = (array![[1.0], [2.0]], array![[3.0, 4.0], [5.0, 6.0]]);
/// let (grad_weights, grad_biases) = ztilde::reference::grad_weights(&grad_sums, &inputs);
/// assert_eq!(grad_weights, array![[13.0, 16.0]]);
/// assert_eq!(grad_biases, array![3.0]);
/// ```
pub fn grad_weights(grad_sums: &Array2<f64>, inputs: &Array2<f64>) -> (Array2<f64>, Array1<f64>) {
    (matmul(grad_sums.t(), inputs.view()), column_sums(grad_sums))
}
