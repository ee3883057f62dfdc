// Clip factor: what limits the norm of the gradient to CLIP_NORM, from its square. Needs magnitudes.wgsl.
//
//     min(1, CLIP_NORM / (norm + 1e-6))        NaN if the norm is
//
// (PyTorch's clip_grad_norm_.)

override CLIP_NORM: f32;

fn clip_factor(square: f32) -> f32 {
    let scale = CLIP_NORM / (sqrt(square) + 1e-6);
    return select(1.0, scale, scale < 1.0 || is_nan(square));
}
