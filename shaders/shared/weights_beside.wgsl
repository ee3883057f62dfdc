// The gradients of the next layer's weights and biases, computed beside layer_backward.wgsl's own work, by
// other workgroups. Needs weights_patch.wgsl.

@group(0) @binding(7) var<storage, read> outputs: array<vec4<f32>>;  // the next layer's inputs

fn tasks_beside() -> u32 {
    return weights_tasks(layer.weights);
}

fn compute_beside(task: u32, invocation: u32) {
    compute_weights_task(layer.weights, HAS_BIASES, task, invocation);
}

fn compute_weights_of_strip(first_quad: u32, invocation: u32) {}

fn weights_left_quad(index: u32) -> vec4<f32> {
    return next_grad_sums[index];
}

fn weights_right_quad(index: u32) -> vec4<f32> {
    return outputs[index];
}
