// Weights patch: a patch of the gradient of a layer's weights, and the gradient of its biases, from the gradient
// of its sums, over the rows of a slab. Needs a tile, blocks.wgsl, faults.wgsl and magnitudes.wgsl.
//
//     grad_weights = grad_sumsᵀ · inputs        grad_biases[c] = Σ_r grad_sums[r, c]
//
// A row of the weights is a column of the sums. The kernel has `gradients`, and the rows of the batch in
// `layer.rows`; its left_quad and right_quad give grad_sums and inputs as the factors of GRAD_WEIGHTS.

struct Weights {
    columns: u32,    // of the sums
    inner: u32,      // features of the inputs
    first: u32,      // quads of the gradients before the weights
    biases: u32,     // before the biases, if the layer has any
    faults: u32,     // before the layer's faults
    slab_rows: u32,  // rows of a slab, a multiple of four
    slabs: u32,      // before the second slab: of the weights, and then of the biases
    slab: u32,       // quads from there to the third
}

const GRAD_WEIGHTS = 1u;

// The number of parts of this length; the last one may be shorter.
fn parts(length: u32, length_of_part: u32) -> u32 {
    return (length + length_of_part - 1u) / length_of_part;
}

fn strips(columns: u32) -> u32 {
    return parts(quads(columns), PATCH_QUADS);
}

fn weights_tasks(weights: Weights) -> u32 {
    let patches = parts(weights.columns, PATCH_ROWS) * strips(weights.inner);
    return patches * parts(layer.rows, weights.slab_rows);
}

// A patch of grad_weights over a slab, and the grad_biases of its rows with the first of them.
fn compute_weights_task(weights: Weights, has_biases: bool, task: u32, invocation: u32) {
    let patches_down = parts(weights.columns, PATCH_ROWS);
    let patches = patches_down * strips(weights.inner);
    let slab = task / patches;
    let column = PATCH_ROWS * (task % patches_down);
    let first_quad = PATCH_QUADS * (task % patches / patches_down);
    if has_biases && first_quad == 0u {
        let last = quads(min(column + PATCH_ROWS, weights.columns));
        for (var quad = column / 4u; quad < last; quad += TILE_QUADS) {
            compute_grad_biases(weights, quad, slab, invocation);
        }
    }
    compute_grad_weights(weights, column, weights.columns, first_quad, slab, invocation);
}

// Quads of the gradients before a slab's weights.
fn weights_of_slab(weights: Weights, slab: u32) -> u32 {
    return select(weights.slabs + (slab - 1u) * weights.slab, weights.first, slab == 0u);
}

fn biases_of_slab(weights: Weights, slab: u32) -> u32 {
    let behind = weights_of_slab(weights, slab) + weights.columns * quads(weights.inner);
    return select(behind, weights.biases, slab == 0u);
}

fn compute_grad_weights(
    weights: Weights,
    first_column: u32,
    last_column: u32,
    first_quad: u32,
    slab: u32,
    invocation: u32,
) {
    let first_row = slab * weights.slab_rows;
    let product = Product(
        GRAD_WEIGHTS,
        weights.columns,
        weights.inner,
        first_row,
        min(first_row + weights.slab_rows, layer.rows),
        Factor(0u, true),
        Factor(0u, false),
    );
    let stride = quads(weights.inner);
    let first = weights_of_slab(weights, slab);
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
fn compute_grad_biases(weights: Weights, first_quad: u32, slab: u32, invocation: u32) {
    let first_row = slab * weights.slab_rows;
    let last_row = min(first_row + weights.slab_rows, layer.rows);
    let stride = quads(weights.columns);
    let quad = first_quad + own_quad(invocation);
    var sum = vec4<f32>();
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        // Adding per tile first makes few roundings of many.
        var tile_sum = vec4<f32>();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row && quad < stride {
                tile_sum += left_quad(GRAD_WEIGHTS, own * stride + quad);
            }
        }
        sum += tile_sum;
    }
    sum = column_sum(sum, invocation);
    if quad < stride && own_row(invocation, 0u) == 0u {
        sum = inside(sum, quad, weights.columns);
        gradients[biases_of_slab(weights, slab) + quad] = sum;
        note_fault(weights.faults, BIASES_FAULT, magnitudes(sum), LARGEST_GRADIENT);
    }
}
