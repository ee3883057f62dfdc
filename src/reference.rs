//! The same network on the CPU, in f64, with ndarray: what the kernels are checked against.
//!
//! Every kernel, public or the library's own, has a twin here of the same name, a pure function that reads
//! like the formula; [`Network`] and [`Trainer`] call them in order.
//! Matrices are row-major; a row is a sample, a column is a feature. Nothing here is fast, and
//! shapes that do not fit each other panic, as ndarray does.

use ndarray::{Array1, Array2};

mod fused;
mod kernels;
mod layer;
mod network;
mod trainer;

pub use fused::*;
pub use kernels::*;
pub use layer::{Layer, LayerGradients, LayerPass};
pub use network::{Gradients, Network, Pass};
pub use trainer::Trainer;

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
