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

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn rows_may_be_left_out_and_come_twice() {
        let matrix = arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let gathered = gather_rows(&matrix, &[2, 0, 2, 2]);
        assert_eq!(gathered, arr2(&[[5.0, 6.0], [1.0, 2.0], [5.0, 6.0], [5.0, 6.0]]));
    }
}
