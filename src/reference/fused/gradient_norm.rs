use ndarray::Array1;

/// The Euclidean norm of all gradients together.
pub fn gradient_norm(gradients: &Array1<f64>) -> f64 {
    gradients.dot(gradients).sqrt()
}

/// The factor of the gradients that limits their norm to `clip_norm`:
/// `min(1, clip_norm / (norm + 1e-6))`, or NaN if the norm is, as in PyTorch's `clip_grad_norm_`.
pub fn clip_scale(norm: f64, clip_norm: f64) -> f64 {
    let scale = clip_norm / (norm + 1e-6);
    if scale > 1.0 { 1.0 } else { scale }
}
