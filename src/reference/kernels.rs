//! The twins of the public kernels.

mod activate;
mod activate_backward;
mod add_biases;
mod batch_statistics;
mod column_sums;
mod loss;
mod matmul;
mod normalize;
mod normalize_backward;
mod normalize_gradients;

pub use activate::activate;
pub use activate_backward::activate_backward;
pub use add_biases::add_biases;
pub use batch_statistics::{Statistics, batch_statistics};
pub use column_sums::column_sums;
pub use loss::*;
pub use matmul::matmul;
pub use normalize::normalize;
pub use normalize_backward::normalize_backward;
pub use normalize_gradients::{NormalizeGradients, normalize_gradients};
