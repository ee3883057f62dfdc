//! The twins of the library's own kernels.

mod copy_rows;
mod gather_rows;
mod grad_weights;
mod gradient_norm;
mod layer_backward;
mod layer_forward;
mod network_forward;
mod output_layer;
mod record_step;
mod skip_step;
mod update;
mod weigh_classes;
mod whole_steps;

pub use copy_rows::copy_rows;
pub use gather_rows::gather_rows;
pub use grad_weights::grad_weights;
pub use gradient_norm::{clip_scale, gradient_norm};
pub use layer_backward::layer_backward;
pub use layer_forward::layer_forward;
pub use network_forward::network_forward;
pub use output_layer::output_layer;
pub use record_step::record_step;
pub use skip_step::skip_step;
pub use update::*;
pub use weigh_classes::weigh_classes;
pub use whole_steps::whole_steps;
