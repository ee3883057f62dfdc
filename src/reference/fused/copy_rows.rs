use ndarray::Array2;

/// The values of a matrix, row by row, with each row filled up with zeros to `stride` values.
pub fn copy_rows(matrix: &Array2<f64>, stride: usize) -> Vec<f64> {
    let mut values = vec![0.0; matrix.nrows() * stride];
    for (place, row) in values.chunks_mut(stride).zip(matrix.rows()) {
        place.iter_mut().zip(row).for_each(|(place, &value)| *place = value);
    }
    values
}
