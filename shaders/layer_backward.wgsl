// Layer backward: the gradients of a layer, from those of the sums of the layer after it.
//
//     grad_outputs = next_grad_sums · next_weights
//     grad_ztilde  = grad_outputs · activation′(ztilde)
//     grad_beta[c] = Σ_r grad_ztilde[r, c]
//     grad_gamma[c] = Σ_r grad_ztilde[r, c] · normalized[r, c]
//     grad_sums    = gamma / √(variance + EPSILON)
//                    · (grad_ztilde − grad_beta / rows − normalized · grad_gamma / rows)
//     grad_weights = grad_sumsᵀ · inputs
//
// or, where the layer is not normalized, with ztilde = sums,
//
//     grad_sums = grad_ztilde        grad_biases[c] = Σ_r grad_ztilde[r, c]
//
// For the output layer, grad_sums come from the loss (loss.wgsl), and the rest is as without
// normalization.
//
// What matmul, activate_backward, normalize_gradients and normalize_backward compute, in one dispatch:
// a workgroup owns a strip of the columns, as wide as a patch, for all rows of the batch.
//
// Where that leaves a GPU with too little to do at once (`division` in src/gpu/tile.rs), grad_weights take a
// dispatch of their own: COLUMNS computes all else, and WEIGHTS multiplies grad_sums with the inputs, a
// workgroup for each patch. A large batch is divided into chunks of rows as well: in the place of COLUMNS,
// MEASURE computes grad_outputs and each chunk's sums; FINISH joins these, always in the same order, and
// computes grad_sums; and WEIGHTS divides the batch into slabs, whose shares of grad_weights lie in one
// slab of `gradients` each (add_slabs.wgsl).
//
// The sums and the statistics are those that layer_forward.wgsl left, which tells the layout of the
// matrices; the sums of the chunks are where it had those of its chunks. `gradients` are packed like
// the parameters.
//
// normalized has no mean, so a constant may be taken from grad_ztilde in the sum for grad_gamma: the
// sums are taken of differences from `center`, its mean over the first tile, so that nothing is lost to
// a large mean.
//
// What is not finite is noted (shared/faults.wgsl).

struct Layer {
    rows: u32,
    columns: u32,
    next_columns: u32,
    inner: u32,         // features of the inputs
    next_weights: u32,  // quads of the parameters before the next layer's weights
    gamma: u32,         // before gamma, or before the biases, in parameters and in gradients
    beta: u32,
    weights: u32,
    chunk: u32,         // rows of a chunk, or of a slab
    slab: u32,          // quads from one slab of the gradients to the next
    stop: u32,          // quads of the gradients before the stop
    faults: u32,        // before the layer's faults
}

@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> next_grad_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> grad_sums: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradients: array<vec4<f32>>;

override PHASE: u32;  // src/kernels/layer_backward.rs numbers them
override BATCH_NORM: bool;
override IS_LAST: bool;
override EPSILON: f32;

const WHOLE = 0u;
const COLUMNS = 1u;
const MEASURE = 2u;
const FINISH = 3u;
const WEIGHTS = 4u;

// The two products.
const GRAD_OUTPUTS = 0u;
const GRAD_WEIGHTS = 1u;

// What an invocation knows of a quad of columns.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,
}

// Sums over rows: of the differences of grad_ztilde from `center`, of their products with normalized,
// and of normalized, which only all rows together make zero.
struct Sums {
    center: vec4<f32>,
    differences: vec4<f32>,
    products: vec4<f32>,
    normalized: vec4<f32>,
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    if PHASE == WEIGHTS {
        compute_slabs(workgroup, workgroups, invocation);
        return;
    }
    let stride = PATCH_QUADS * workgroups.x;
    for (var quad = PATCH_QUADS * workgroup.x; quad < quads(layer.columns); quad += stride) {
        let chunk_stride = layer.chunk * workgroups.y;
        for (var row = layer.chunk * workgroup.y; row < layer.rows; row += chunk_stride) {
            compute_chunk(row, quad, invocation);
        }
        if PHASE == WHOLE {
            strip_barrier();
            compute_strip(4u * quad, invocation);
        }
    }
}

// The patches of grad_weights for the columns of a strip.
fn compute_strip(first_column: u32, invocation: u32) {
    let last = min(first_column + 4u * PATCH_QUADS, layer.columns);
    for (var column = first_column; column < last; column += PATCH_ROWS) {
        for (var input = 0u; input < quads(layer.inner); input += PATCH_QUADS) {
            compute_grad_weights(column, last, input, 0u, invocation);
        }
    }
}

// The patches of grad_weights, and the slabs of the batch, divided among the workgroups.
fn compute_slabs(workgroup: vec3<u32>, workgroups: vec3<u32>, invocation: u32) {
    let column_stride = PATCH_ROWS * workgroups.x;
    let input_stride = PATCH_QUADS * workgroups.y;
    let row = layer.chunk * workgroup.z;
    for (var column = PATCH_ROWS * workgroup.x; column < layer.columns; column += column_stride) {
        for (var quad = PATCH_QUADS * workgroup.y; quad < quads(layer.inner); quad += input_stride) {
            compute_grad_weights(column, layer.columns, quad, row, invocation);
        }
    }
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return grad_sums[index];
    }
    return next_grad_sums[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return inputs[index];
    }
    return parameters[index];
}

fn compute_chunk(first_row: u32, first_quad: u32, invocation: u32) {
    let last_row = min(first_row + layer.chunk, layer.rows);
    if PHASE != FINISH && !IS_LAST {
        multiply_rows(first_row, last_row, first_quad, invocation);
    }
    for (var across = 0u; across < TILES_ACROSS; across++) {
        let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
        compute_column(first_row, last_row, quad, invocation);
    }
}

// What comes after the product, for a quad of columns.
fn compute_column(first_row: u32, last_row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let safe_quad = min(quad, stride - 1u);
    let column = loaded_column(safe_quad);
    var chunk: Sums;
    if PHASE == FINISH {
        chunk = joined_chunks(safe_quad);
    } else if BATCH_NORM {
        chunk = normalized_sums(first_row, last_row, safe_quad, column, invocation);
    } else {
        chunk = linear_sums(first_row, last_row, quad, invocation);
    }
    let is_writer = quad < stride && own_row(invocation, 0u) == 0u;
    if PHASE == MEASURE {
        if is_writer {
            let first = (3u + 4u * (first_row / layer.chunk)) * stride + quad;
            statistics[first] = chunk.center;
            statistics[first + stride] = chunk.differences;
            statistics[first + 2u * stride] = chunk.products;
            statistics[first + 3u * stride] = chunk.normalized;
        }
        return;
    }
    if is_writer && first_row == 0u {
        let sum = f32(layer.rows) * chunk.center + chunk.differences;
        write_vectors(quad, chunk.products, sum);
    }
    if BATCH_NORM {
        finish_rows(first_row, last_row, quad, column, chunk, invocation);
    }
}

// The gradients of gamma and beta, or of the biases; and a look at what the layer was normalized with.
fn write_vectors(quad: u32, products: vec4<f32>, sum: vec4<f32>) {
    let stride = quads(layer.columns);
    let grad_sum = inside(sum, quad, layer.columns);
    if !BATCH_NORM {
        gradients[layer.gamma + quad] = grad_sum;
        note_fault(BIASES_FAULT, magnitudes(grad_sum), LARGEST_GRADIENT);
        return;
    }
    let grad_gamma = inside(products, quad, layer.columns);
    gradients[layer.gamma + quad] = grad_gamma;
    gradients[layer.beta + quad] = grad_sum;
    note_fault(GAMMA_FAULT, magnitudes(grad_gamma), LARGEST_GRADIENT);
    note_fault(BETA_FAULT, magnitudes(grad_sum), LARGEST_GRADIENT);
    for (var row = 0u; row < 3u; row++) {
        let statistic = inside(statistics[row * stride + quad], quad, layer.columns);
        note_fault(STATISTICS_FAULT, magnitudes(statistic), LARGEST_STATISTIC);
    }
}

fn loaded_column(quad: u32) -> Column {
    var column = Column();
    if BATCH_NORM {
        let stride = quads(layer.columns);
        column.center = statistics[quad];
        column.rest = statistics[stride + quad];
        column.inverse_std = 1.0 / sqrt(statistics[2u * stride + quad] + EPSILON);
        column.gamma = parameters[layer.gamma + quad];
        column.beta = parameters[layer.beta + quad];
    }
    return column;
}

// grad_outputs, into the memory of grad_sums: there its rows can be walked in a loop that no compiler
// unrolls.
fn multiply_rows(first_row: u32, last_row: u32, first_quad: u32, invocation: u32) {
    let left = Factor(0u, false);
    let right = Factor(layer.next_weights, false);
    let product =
        Product(GRAD_OUTPUTS, layer.rows, layer.columns, 0u, layer.next_columns, left, right);
    let stride = quads(layer.columns);
    for (var row = first_row; row < last_row; row += PATCH_ROWS) {
        var tiles = multiply(product, row, first_quad, invocation);
        for (var down = 0u; down < TILES_DOWN; down++) {
            for (var across = 0u; across < TILES_ACROSS; across++) {
                let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
                for (var i = 0u; i < OWN_ROWS; i++) {
                    let own = row + down * TILE_ROWS + own_row(invocation, i);
                    if own < layer.rows && quad < stride {
                        grad_sums[own * stride + quad] = tiles[down][across][i];
                    }
                }
            }
        }
    }
}

fn normalized_sums(
    first_row: u32,
    last_row: u32,
    quad: u32,
    column: Column,
    invocation: u32,
) -> Sums {
    let stride = quads(layer.columns);
    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = first_row + own_row(invocation, i);
        if own < last_row {
            let index = own * stride + quad;
            sum += grad_ztilde(index, normalized_at(index, column), column);
        }
    }
    let first_count = f32(min(TILE_ROWS, last_row - first_row));
    let center = column_sum(sum, invocation) / first_count;

    var total = Sums();
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        // A tile's sums join those of the tiles before: many small roundings become few.
        var tile = Sums();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row {
                let index = own * stride + quad;
                let normalized = normalized_at(index, column);
                let grad = grad_ztilde(index, normalized, column);
                let difference = rounded_quad(grad - center, layer.rows);
                tile.differences += difference;
                tile.products += difference * normalized;
                tile.normalized += normalized;
            }
        }
        total.differences += tile.differences;
        total.products += tile.products;
        total.normalized += tile.normalized;
    }
    total.center = center;
    total.differences = column_sum(total.differences, invocation);
    total.products = column_sum(total.products, invocation);
    if PHASE == MEASURE {
        total.normalized = column_sum(total.normalized, invocation);
    }
    return total;
}

// Without a normalization the gradients of the sums are finished on the way.
fn linear_sums(first_row: u32, last_row: u32, quad: u32, invocation: u32) -> Sums {
    let stride = quads(layer.columns);
    var sum = vec4<f32>();
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        var tile_sum = vec4<f32>();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row && quad < stride {
                let index = own * stride + quad;
                var grad = grad_sums[index];
                if !IS_LAST {
                    grad = inside(grad * activation_slopes(sums[index]), quad, layer.columns);
                    grad_sums[index] = grad;
                }
                tile_sum += grad;
            }
        }
        sum += tile_sum;
    }
    var total = Sums();
    total.differences = column_sum(sum, invocation);
    return total;
}

fn joined_chunks(quad: u32) -> Sums {
    let stride = quads(layer.columns);
    var total = Sums();
    total.center = statistics[3u * stride + quad];
    for (var row = 0u; row < layer.rows; row += layer.chunk) {
        let first = (3u + 4u * (row / layer.chunk)) * stride + quad;
        let count = f32(min(layer.chunk, layer.rows - row));
        // From the chunk's center to the first one's.
        let shift = statistics[first] - total.center;
        total.differences += statistics[first + stride] + count * shift;
        total.products += statistics[first + 2u * stride] + shift * statistics[first + 3u * stride];
    }
    return total;
}

fn finish_rows(
    first_row: u32,
    last_row: u32,
    quad: u32,
    column: Column,
    total: Sums,
    invocation: u32,
) {
    let stride = quads(layer.columns);
    if quad >= stride {
        return;
    }
    let scale = column.gamma * column.inverse_std;
    let rest = total.differences / f32(layer.rows);
    let slope = total.products / f32(layer.rows);
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row {
                let index = own * stride + quad;
                let normalized = normalized_at(index, column);
                let grad = grad_ztilde(index, normalized, column);
                let centered = rounded_quad(grad - total.center, layer.rows) - rest;
                let grad_sum = scale * (centered - normalized * slope);
                grad_sums[index] = inside(grad_sum, quad, layer.columns);
            }
        }
    }
}

fn normalized_at(index: u32, column: Column) -> vec4<f32> {
    return (rounded_quad(sums[index] - column.center, layer.rows) - column.rest) * column.inverse_std;
}

// Where grad_sums holds grad_outputs still.
fn grad_ztilde(index: u32, normalized: vec4<f32>, column: Column) -> vec4<f32> {
    return grad_sums[index] * activation_slopes(column.gamma * normalized + column.beta);
}
