use ndarray::{Array2, ArrayView2};

/// `left · right`. For a transposed operand hand in its `.t()`.
///
/// # Panics
///
/// If `left` has not as many columns as `right` has rows.
pub fn matmul(left: ArrayView2<f64>, right: ArrayView2<f64>) -> Array2<f64> {
    left.dot(&right)
}
