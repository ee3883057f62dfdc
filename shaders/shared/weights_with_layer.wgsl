// The gradients of a layer's weights and biases, computed by layer_backward.wgsl after the other gradients of a
// strip. Needs weights_patch.wgsl.

@group(0) @binding(7) var<storage, read> inputs: array<vec4<f32>>;

fn tasks_beside() -> u32 {
    return 0u;
}

fn compute_beside(task: u32, invocation: u32) {}

fn compute_weights_of_strip(first_quad: u32, invocation: u32) {
    let weights = layer.weights;
    let slabs = parts(layer.rows, weights.slab_rows);
    if HAS_BIASES {
        for (var i = 0u; i < slabs * TILES_ACROSS; i++) {
            let quad = first_quad + i % TILES_ACROSS * TILE_QUADS;
            compute_grad_biases(weights, quad, i / TILES_ACROSS, invocation);
        }
    }
    strip_barrier();
    let first = 4u * first_quad;
    let last = min(first + 4u * PATCH_QUADS, layer.columns);
    for (var slab = 0u; slab < slabs; slab++) {
        for (var column = first; column < last; column += PATCH_ROWS) {
            for (var quad = 0u; quad < quads(weights.inner); quad += PATCH_QUADS) {
                compute_grad_weights(weights, column, last, quad, slab, invocation);
            }
        }
    }
}

fn weights_left_quad(index: u32) -> vec4<f32> {
    return grad_sums[index];
}

fn weights_right_quad(index: u32) -> vec4<f32> {
    return inputs[index];
}
