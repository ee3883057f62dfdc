use ndarray::{Array2, Axis};

/// The rows of `matrix` that `order` names, in that order.
///
/// # Panics
///
/// If `order` names a row that there is not.
pub fn gather_rows(matrix: &Array2<f64>, order: &[u32]) -> Array2<f64> {
    let order: Vec<usize> = order.iter().map(|&row| row as usize).collect();
    matrix.select(Axis(0), &order)
}
