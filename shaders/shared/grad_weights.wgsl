// Grad weights: a patch of the gradient of a layer's weights, from that of its sums, over the rows of a
// slab. Needs a tile and blocks.wgsl.
//
//     grad_weights = grad_sumsᵀ · inputs
//
// The kernel has `layer` and `gradients`, as layer_backward.wgsl tells; its left_quad and right_quad
// give the factors of the product GRAD_WEIGHTS. A row of the weights is a column of the sums. Needs
// faults.wgsl and magnitudes.wgsl as well.

fn compute_grad_weights(
    first_column: u32,
    last_column: u32,
    first_quad: u32,
    first_row: u32,
    invocation: u32,
) {
    let last_row = min(first_row + layer.chunk, layer.rows);
    let product = Product(
        GRAD_WEIGHTS,
        layer.columns,
        layer.inner,
        first_row,
        last_row,
        Factor(0u, true),
        Factor(0u, false),
    );
    let stride = quads(layer.inner);
    let first = layer.weights + first_row / layer.chunk * layer.slab;
    var tiles = multiply(product, first_column, first_quad, invocation);
    var largest = vec4<u32>();
    for (var down = 0u; down < TILES_DOWN; down++) {
        for (var across = 0u; across < TILES_ACROSS; across++) {
            let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
            for (var i = 0u; i < OWN_ROWS; i++) {
                let column = first_column + down * TILE_ROWS + own_row(invocation, i);
                if column < last_column && quad < stride {
                    gradients[first + column * stride + quad] = tiles[down][across][i];
                    largest = max(largest, magnitudes(tiles[down][across][i]));
                }
            }
        }
    }
    note_fault(WEIGHTS_FAULT, largest, LARGEST_GRADIENT);
}
