use ndarray::{Array1, Array2, Axis};

/// The sum of the slabs' shares of the gradients.
pub fn add_slabs(gradients: &Array2<f64>) -> Array1<f64> {
    gradients.sum_axis(Axis(0))
}
