use ndarray::{Array2, Axis, Zip};

use super::{LossGradient, activate::sigmoid};

/// `log(1 + exp(output)) − target · output`, averaged over each row, and its gradient
/// `(sigmoid(output) − target) / (rows · columns)`.
///
/// A row's accuracy is the share of outputs above 0 where the target is above ½, or not above
/// where it is not.
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
    LossGradient {
        row_losses: losses
            .mean_axis(Axis(1))
            .expect("a loss needs at least one output"),
        row_accuracies: right
            .mean_axis(Axis(1))
            .expect("a loss needs at least one output"),
        grad_outputs: grads / outputs.len() as f64,
    }
}
