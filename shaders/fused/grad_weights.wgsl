// Grad weights: the gradients of a layer's weights and biases, from the gradients of its sums.
//
//     grad_weights = grad_sumsᵀ · inputs        grad_biases[c] = Σ_r grad_sums[r, c]
//
// A workgroup computes a patch of the weights over the rows of a slab of the batch (src/plan/order.rs). Each slab
// has its own place in `gradients`, and update.wgsl adds them up. layer_backward.wgsl computes the same where
// that takes no dispatch more (shared/weights_patch.wgsl).
//
// Matrices are as layer_forward.wgsl has them. `gradients` are packed like the parameters. Values that are not
// finite are recorded (shared/faults.wgsl).

struct Layer {
    weights: Weights,
    rows: u32,
    stop: u32,  // quads of the gradients before the stop
    first: u32,   // workgroup of this part of the dispatch
    groups: u32,  // of all parts
}

// Binding 0 is the uniform layer: Layer (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> grad_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> gradients: array<vec4<f32>>;

override HAS_BIASES: bool;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let first = layer.first + workgroup.x;
    for (var task = first; task < weights_tasks(layer.weights); task += layer.groups) {
        compute_weights_task(layer.weights, HAS_BIASES, task, invocation);
    }
}

fn unknown() -> u32 {
    return layer.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    return grad_sums[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    return inputs[index];
}
