// Strip gradients: those of the biases and of the weights, for a strip of a layer's columns, from the
// gradients of its sums. Needs a tile and blocks.wgsl.
//
//     grad_biases[c] = Σ_r grad_sums[r, c]        grad_weights = grad_sumsᵀ · inputs
//
// The kernel has `layer`, `grad_sums` and `gradients`, as layer_backward.wgsl tells; its left_quad and
// right_quad give the factors of the product GRAD_WEIGHTS.

fn compute_grad_biases(first_quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    var sum = vec4<f32>();
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        var tile_sum = vec4<f32>();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < layer.rows && quad < stride {
                tile_sum += grad_sums[own * stride + quad];
            }
        }
        sum += tile_sum;
    }
    sum = column_sum(sum, invocation);
    if quad < stride && own_row(invocation, 0u) == 0u {
        gradients[layer.gamma + quad] = sum;
    }
}

// The rows of the weights that the strip's columns are.
fn compute_grad_weights(first_quad: u32, invocation: u32) {
    let product = Product(GRAD_WEIGHTS, layer.columns, layer.inner, layer.rows, true, false);
    let stride = quads(layer.inner);
    let last = min(4u * (first_quad + TILE_QUADS), layer.columns);
    strip_barrier();
    for (var tile_quad = 0u; tile_quad < stride; tile_quad += TILE_QUADS) {
        var tile = multiply(product, 4u * first_quad, tile_quad, invocation);
        let quad = tile_quad + own_quad(invocation);
        for (var i = 0u; i < OWN_ROWS; i++) {
            let row = 4u * first_quad + own_row(invocation, i);
            if row < last && quad < stride {
                gradients[layer.weights + row * stride + quad] = tile[i];
            }
        }
    }
}
