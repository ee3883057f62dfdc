// Grad weights: a patch of the gradient of a layer's weights, and the gradient of its biases, from the
// gradient of its sums, over the rows of a slab. Needs a tile, blocks.wgsl, faults.wgsl and
// magnitudes.wgsl.
//
//     grad_weights = grad_sumsᵀ · inputs        grad_biases[c] = Σ_r grad_sums[r, c]
//
// A row of the weights is a column of the sums. The kernel has `gradients`, and in `layer` the rows of the
// batch, the rows of a slab (`slab_rows`) and the quads from one slab of the gradients to the next (`slab`);
// its left_quad and right_quad give grad_sums and inputs as the factors of a product.

struct Weights {
    product: u32,  // its number
    columns: u32,  // of the sums
    inner: u32,    // features of the inputs
    first: u32,    // quads of the gradients before them
    biases: u32,   // before the biases, if the layer has any
    faults: u32,   // before the layer's faults
}

fn compute_grad_weights(
    weights: Weights,
    first_column: u32,
    last_column: u32,
    first_quad: u32,
    first_row: u32,
    invocation: u32,
) {
    let last_row = min(first_row + layer.slab_rows, layer.rows);
    let product = Product(
        weights.product,
        weights.columns,
        weights.inner,
        first_row,
        last_row,
        Factor(0u, true),
        Factor(0u, false),
    );
    let stride = quads(weights.inner);
    let first = weights.first + first_row / layer.slab_rows * layer.slab;
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
    note_fault(weights.faults, WEIGHTS_FAULT, largest, LARGEST_GRADIENT);
}

// For the columns of a tile.
fn compute_grad_biases(weights: Weights, first_quad: u32, first_row: u32, invocation: u32) {
    let last_row = min(first_row + layer.slab_rows, layer.rows);
    let stride = quads(weights.columns);
    let quad = first_quad + own_quad(invocation);
    var sum = vec4<f32>();
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        // Adding per tile first makes few roundings of many.
        var tile_sum = vec4<f32>();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row && quad < stride {
                tile_sum += left_quad(weights.product, own * stride + quad);
            }
        }
        sum += tile_sum;
    }
    sum = column_sum(sum, invocation);
    if quad < stride && own_row(invocation, 0u) == 0u {
        let first = weights.biases + first_row / layer.slab_rows * layer.slab;
        sum = inside(sum, quad, weights.columns);
        gradients[first + quad] = sum;
        note_fault(weights.faults, BIASES_FAULT, magnitudes(sum), LARGEST_GRADIENT);
    }
}
