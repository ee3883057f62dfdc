use ndarray::{Array1, Array2};

use super::LossGradient;

/// `−log softmax(outputs)[class]` of each row, and its gradient
/// `(softmax(outputs) − [column = class]) / rows`.
///
/// A row counts as right where the first of its largest outputs is that of its class.
///
/// # Panics
///
/// If there is not one class per row, or a class is no column of the outputs.
pub fn softmax_cross_entropy(outputs: &Array2<f64>, classes: &[u32]) -> LossGradient {
    let (rows, columns) = outputs.dim();
    assert_eq!(classes.len(), rows, "classes for {rows} rows of outputs");
    let mut row_losses = Array1::zeros(rows);
    let mut row_accuracies = Array1::zeros(rows);
    let mut grad_outputs = Array2::zeros((rows, columns));
    for (row, &class) in classes.iter().enumerate() {
        let class = class as usize;
        let outputs = outputs.row(row);
        let (best, largest) = outputs
            .indexed_iter()
            .fold(
                (0, outputs[0]),
                |best, (column, &x)| {
                    if x > best.1 { (column, x) } else { best }
                },
            );
        // Without the largest output taken out, its exponential could overflow.
        let powers = outputs.mapv(|x| (x - largest).exp());
        row_losses[row] = powers.sum().ln() - (outputs[class] - largest);
        row_accuracies[row] = f64::from(best == class);
        let mut grad_row = grad_outputs.row_mut(row);
        grad_row.assign(&(&powers / powers.sum()));
        grad_row[class] -= 1.0;
    }
    grad_outputs /= rows as f64;
    LossGradient {
        row_losses,
        row_accuracies,
        grad_outputs,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{arr1, arr2};

    use super::*;

    #[test]
    fn the_first_of_the_largest_outputs_counts() {
        let outputs = arr2(&[[0.0, 7.0, 7.0], [0.0, 7.0, 7.0], [7.0, 0.0, 7.0]]);
        let loss = softmax_cross_entropy(&outputs, &[1, 2, 0]);
        assert_eq!(loss.row_accuracies, arr1(&[1.0, 0.0, 1.0]));
    }
}
