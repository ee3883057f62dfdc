// For layer_backward.wgsl where it computes no gradients of weights.

fn tasks_beside() -> u32 {
    return 0u;
}

fn compute_beside(task: u32, invocation: u32) {}

fn compute_weights_of_strip(first_quad: u32, invocation: u32) {}

fn weights_left_quad(index: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn weights_right_quad(index: u32) -> vec4<f32> {
    return vec4<f32>();
}
