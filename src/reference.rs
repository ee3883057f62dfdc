//! The same network on the CPU, in f64, with ndarray: what the kernels are checked against.
//!
//! Every kernel has a twin here of the same name, a pure function that reads like the formula;
//! [`Network`] and [`Trainer`] call them in order.
//! Matrices are row-major; a row is a sample, a column is a feature. Nothing here is fast, and
//! shapes that do not fit each other panic, as ndarray does.

use ndarray::{Array1, Array2};

mod activate;
mod activate_backward;
mod add_biases;
mod batch_statistics;
mod column_sums;
mod copy_rows;
mod gather_rows;
mod gradient_norm;
mod layer_backward;
mod layer_forward;
mod loss;
mod matmul;
mod network;
mod network_forward;
mod normalize;
mod normalize_backward;
mod normalize_gradients;
mod output_layer;
mod record_step;
mod skip_step;
mod trainer;
mod update;
mod weigh_classes;

pub use activate::activate;
pub use activate_backward::activate_backward;
pub use add_biases::add_biases;
pub use batch_statistics::{Statistics, batch_statistics};
pub use column_sums::column_sums;
pub use copy_rows::copy_rows;
pub use gather_rows::gather_rows;
pub use gradient_norm::{clip_scale, gradient_norm};
pub use layer_backward::layer_backward;
pub use layer_forward::layer_forward;
pub use loss::{
    binary_cross_entropy, loss, mean_squared_error, smoothed_cross_entropy, softmax_cross_entropy,
};
pub use matmul::matmul;
pub use network::{Gradients, Layer, LayerGradients, LayerPass, Network, Pass};
pub use network_forward::network_forward;
pub use normalize::normalize;
pub use normalize_backward::normalize_backward;
pub use normalize_gradients::{NormalizeGradients, normalize_gradients};
pub use output_layer::output_layer;
pub use record_step::record_step;
pub use skip_step::skip_step;
pub use trainer::Trainer;
pub use update::{adam, gradient_descent, momentum, rmsprop};
pub use weigh_classes::weigh_classes;

/// The loss of a batch, row by row, and its gradient.
///
/// ```
/// use ztilde::ndarray::array;
/// use ztilde::reference::mean_squared_error;
///
/// let outputs = array![[1.0, 2.0], [3.0, 4.0]];
/// let targets = array![[1.0, 0.0], [3.0, 5.0]];
/// let loss = mean_squared_error(&outputs, &targets);
/// assert_eq!(loss.row_losses, array![4.0 / 2.0, 1.0 / 2.0]);
/// assert_eq!(loss.grad_outputs, array![[0.0, 1.0], [0.0, -0.5]]); // 2 · (output − target) / 4
/// assert_eq!(loss.row_accuracies, array![0.0, 0.0]); // there is none
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LossGradient {
    /// `[rows]`: the loss of each row. The batch's loss is their mean.
    pub row_losses: Array1<f64>,
    /// `[rows]`: the accuracy of each row, from 0 to 1; 0 for losses that have none.
    pub row_accuracies: Array1<f64>,
    /// `[rows, outputs]`: the gradient of the batch's loss by the outputs.
    pub grad_outputs: Array2<f64>,
}
