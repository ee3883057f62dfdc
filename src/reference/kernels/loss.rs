use ndarray::{Array1, Array2, Axis, Zip};

use super::activate::sigmoid;
use crate::data::Targets;
use crate::options::Loss;
use crate::reference::LossGradient;

/// The loss of a batch, row by row, and its gradient.
///
/// # Panics
///
/// If the targets are not of the kind that the loss compares with, or of another shape than the
/// outputs.
pub fn loss(loss: Loss, outputs: &Array2<f64>, targets: &Targets<'_>) -> LossGradient {
    let classes = || match targets {
        Targets::Classes(classes) => classes,
        Targets::Values(_) => panic!("{} compares with classes, not values", loss.name()),
    };
    let values = || match targets {
        Targets::Classes(_) => panic!("{} compares with values, not classes", loss.name()),
        Targets::Values(values) => {
            let values = values.iter().map(|&value| value.into()).collect();
            Array2::from_shape_vec(outputs.dim(), values).expect("one target per output")
        }
    };
    match loss {
        Loss::SoftmaxCrossEntropy => softmax_cross_entropy(outputs, classes()),
        Loss::MeanSquaredError => mean_squared_error(outputs, &values()),
        Loss::BinaryCrossEntropy => binary_cross_entropy(outputs, &values()),
        Loss::MeanAbsoluteError => mean_absolute_error(outputs, &values()),
        Loss::Huber { delta } => huber(outputs, &values(), delta),
    }
}

/// `−log softmax(outputs)[class]` of each row, and its gradient
/// `(softmax(outputs) − [column = class]) / rows`.
///
/// A row's accuracy is 1 if the first of its largest outputs is that of its class, and 0 otherwise, or if
/// its loss is NaN.
///
/// # Panics
///
/// If there is not one class per row, or a class is no column of the outputs.
pub fn softmax_cross_entropy(outputs: &Array2<f64>, classes: &[u32]) -> LossGradient {
    smoothed_cross_entropy(outputs, classes, 0.0, &Array1::ones(outputs.ncols()))
}

/// `w · Σ t · −log softmax(outputs)` of each row, and its gradient `w · (softmax(outputs) − t) / rows`,
/// with `t = (1 − label_smoothing) · [column = class] + label_smoothing / columns`, and `w` the weight of
/// the row's class.
///
/// The weights are those of the classes in this batch, from [`weigh_classes`](crate::reference::weigh_classes()).
///
/// # Panics
///
/// As [`softmax_cross_entropy`]; and if there is not one weight per column.
pub fn smoothed_cross_entropy(
    outputs: &Array2<f64>,
    classes: &[u32],
    label_smoothing: f64,
    class_weights: &Array1<f64>,
) -> LossGradient {
    let (rows, columns) = outputs.dim();
    assert_eq!(classes.len(), rows, "classes for {rows} rows of outputs");
    assert_eq!(class_weights.len(), columns, "weights for {columns} columns of outputs");
    let mut row_losses = Array1::zeros(rows);
    let mut row_accuracies = Array1::zeros(rows);
    let mut grad_outputs = Array2::zeros((rows, columns));
    for (row, &class) in classes.iter().enumerate() {
        let class = class as usize;
        let outputs = outputs.row(row);
        let (best, largest) = outputs.indexed_iter().fold((0, outputs[0]), |best, (column, &x)| {
            if x > best.1 { (column, x) } else { best }
        });
        // Without the largest output taken out, its exponential could overflow.
        let powers = outputs.mapv(|x| (x - largest).exp());
        let loss_of = |column: usize| powers.sum().ln() - (outputs[column] - largest);
        let weight = class_weights[class];
        let mut targets = Array1::from_elem(columns, weight * label_smoothing / columns as f64);
        targets[class] += weight * (1.0 - label_smoothing);
        // A class with target 0 has no loss, even if its output is −∞.
        let wanted = targets.indexed_iter().filter(|&(_, &target)| target != 0.0);
        let loss: f64 = wanted.map(|(column, target)| target * loss_of(column)).sum();
        row_losses[row] = loss;
        row_accuracies[row] = f64::from(best == class && !loss.is_nan());
        let shares = &powers / powers.sum();
        grad_outputs.row_mut(row).assign(&(shares * weight - targets));
    }
    grad_outputs /= rows as f64;
    LossGradient { row_losses, row_accuracies, grad_outputs }
}

/// `(output − target)²`, averaged over each row, and its gradient
/// `2 · (output − target) / (rows · columns)`. There is no accuracy: it is 0.
///
/// # Panics
///
/// If there is no output.
pub fn mean_squared_error(outputs: &Array2<f64>, targets: &Array2<f64>) -> LossGradient {
    let errors = outputs - targets;
    let row_losses = errors.powi(2).mean_axis(Axis(1)).expect("a loss needs at least one output");
    LossGradient {
        row_losses,
        row_accuracies: Array1::zeros(outputs.nrows()),
        grad_outputs: errors * (2.0 / outputs.len() as f64),
    }
}

/// `|output − target|`, averaged over each row, and its gradient
/// `sign(output − target) / (rows · columns)`. There is no accuracy: it is 0.
///
/// # Panics
///
/// If there is no output.
pub fn mean_absolute_error(outputs: &Array2<f64>, targets: &Array2<f64>) -> LossGradient {
    let errors = outputs - targets;
    // Not `signum`, which is 1 at 0.
    let direction = |error: f64| if error == 0.0 { 0.0 } else { error.signum() };
    LossGradient {
        row_losses: errors.mapv(f64::abs).mean_axis(Axis(1)).expect("a loss needs an output"),
        row_accuracies: Array1::zeros(outputs.nrows()),
        grad_outputs: errors.mapv(direction) / outputs.len() as f64,
    }
}

/// With `e = |output − target|`: `e² / 2` where `e ≤ delta`, `delta · (e − delta / 2)` elsewhere, averaged
/// over each row. Its gradient is `output − target`, between `−delta` and `delta`, divided by
/// `rows · columns`. There is no accuracy: it is 0.
///
/// # Panics
///
/// If there is no output.
pub fn huber(outputs: &Array2<f64>, targets: &Array2<f64>, delta: f64) -> LossGradient {
    let errors = outputs - targets;
    let loss = |error: f64| match error.abs() {
        size if size > delta => delta * (size - 0.5 * delta),
        size => 0.5 * size * size,
    };
    LossGradient {
        row_losses: errors.mapv(loss).mean_axis(Axis(1)).expect("a loss needs an output"),
        row_accuracies: Array1::zeros(outputs.nrows()),
        grad_outputs: errors.mapv(|error| error.clamp(-delta, delta)) / outputs.len() as f64,
    }
}

/// `log(1 + exp(output)) − target · output`, averaged over each row, and its gradient
/// `(sigmoid(output) − target) / (rows · columns)`.
///
/// A row's accuracy is the share of outputs above 0 where the target is above ½, or not above
/// where it is not; 0 where its loss is NaN.
///
/// # Panics
///
/// If there is no output.
pub fn binary_cross_entropy(outputs: &Array2<f64>, targets: &Array2<f64>) -> LossGradient {
    let pairs = || Zip::from(outputs).and(targets);
    // log(1 + exp(x)) = max(x, 0) + log(1 + exp(−|x|)), and that exponential cannot overflow.
    let losses =
        pairs().map_collect(|&x, &target| x.max(0.0) + (-x.abs()).exp().ln_1p() - target * x);
    let right = pairs().map_collect(|&x, &target| f64::from((x > 0.0) == (target > 0.5)));
    let grads = pairs().map_collect(|&x, &target| sigmoid(x) - target);
    let mean = |values: Array2<f64>| values.mean_axis(Axis(1)).expect("a loss needs an output");
    let [row_losses, mut row_accuracies] = [losses, right].map(mean);
    row_accuracies.zip_mut_with(&row_losses, |accuracy, loss| {
        *accuracy = if loss.is_nan() { 0.0 } else { *accuracy };
    });
    LossGradient { row_losses, row_accuracies, grad_outputs: grads / outputs.len() as f64 }
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

    /// For each class, and for targets above and below one half.
    #[test]
    fn outputs_that_are_nan_are_not_right() {
        let outputs = Array2::from_elem([2, 2], f64::NAN);
        let losses = [
            softmax_cross_entropy(&outputs, &[0, 1]),
            binary_cross_entropy(&outputs, &arr2(&[[0.0, 0.0], [1.0, 1.0]])),
        ];
        for loss in losses {
            assert!(loss.row_losses.iter().all(|loss| loss.is_nan()));
            assert_eq!(loss.row_accuracies, arr1(&[0.0, 0.0]));
        }
    }
}
