// Layer backward: the gradients of a layer, from the gradients of the next layer's sums.
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
// One dispatch computes what matmul, activate_backward, normalize_gradients and normalize_backward compute:
// a workgroup owns a strip of the columns, as wide as a patch, for all rows of the batch.
//
// If that leaves too few workgroups for the GPU (`division` in src/gpu/tile.rs), COLUMNS computes all but
// grad_weights and grad_biases. A large batch is also divided into chunks of rows: MEASURE, instead of
// COLUMNS, computes grad_outputs and each chunk's sums. FINISH adds these sums, always in the same order, and
// computes grad_sums. A layer without normalization needs no FINISH.
//
// WEIGHTS then computes grad_weights and grad_biases, with a workgroup for each patch of the weights and each
// slab of the batch. The share of a slab of the batch goes to one slab of `gradients` (shared/slab_sum.wgsl).
// If the layer before has a COLUMNS or a MEASURE, other workgroups of that dispatch do this work
// (NEXT_WEIGHTS).
//
// layer_forward.wgsl wrote the sums and the statistics, and describes the layout of the matrices. The sums of
// the chunks overwrite the sums of its chunks. `gradients` are packed like the parameters.
//
// The mean of `normalized` is 0, so subtracting a constant from grad_ztilde does not change grad_gamma. The
// sums use differences from `center`, the mean of grad_ztilde over the first tile, to avoid cancellation.
//
// Values that are not finite are recorded (shared/faults.wgsl).

struct Layer {
    rows: u32,
    columns: u32,
    next_columns: u32,
    inner: u32,         // features of the inputs
    next_weights: u32,  // quads of the parameters before the next layer's weights
    gamma: u32,         // before gamma, if the layer is normalized, in parameters and in gradients
    beta: u32,          // before beta, or before the biases
    weights: u32,
    chunk: u32,         // rows of a chunk
    slab_rows: u32,     // rows of a slab
    slab: u32,          // quads from one slab of the gradients to the next
    stop: u32,          // quads of the gradients before the stop
    faults: u32,        // before the layer's faults
    next_biases: u32,   // before the next layer's biases
    next_faults: u32,   // before its faults
}

// Binding 0 is the uniform layer: Layer (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> next_grad_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> inputs: array<vec4<f32>>;  // the next layer's, for NEXT_WEIGHTS
@group(0) @binding(6) var<storage, read_write> grad_sums: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradients: array<vec4<f32>>;

override PHASE: u32;  // src/fused/layer_backward.rs numbers them
override BATCH_NORM: bool;
override IS_LAST: bool;
override NEXT_WEIGHTS: bool;
override NEXT_HAS_BIASES: bool;
override EPSILON: f32;

const WHOLE = 0u;
const COLUMNS = 1u;
const MEASURE = 2u;
const FINISH = 3u;
const WEIGHTS = 4u;

// The products.
const GRAD_OUTPUTS = 0u;
const GRAD_WEIGHTS = 1u;
const GRAD_NEXT_WEIGHTS = 2u;

// An invocation's values for a quad of columns.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,
}

// Sums over rows: of the differences of grad_ztilde from `center`, of their products with normalized, and of
// normalized, whose sum is 0 only over all rows.
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
    read_uniform();
    let tasks_of_next = select(0u, slab_tasks(next_weights()), NEXT_WEIGHTS);
    let tasks = tasks_of_next + own_tasks();
    for (var task = workgroup.x; task < tasks; task += workgroups.x) {
        if NEXT_WEIGHTS && task < tasks_of_next {
            compute_slab_patch(next_weights(), NEXT_HAS_BIASES, task, invocation);
        } else {
            compute_task(task - tasks_of_next, invocation);
        }
    }
}

fn own_tasks() -> u32 {
    if PHASE == WEIGHTS {
        return slab_tasks(own_weights());
    }
    return strips(layer.columns) * parts(layer.rows, layer.chunk);
}

// A patch of the weights for the rows of a slab, or a strip of the columns for the rows of a chunk.
fn compute_task(task: u32, invocation: u32) {
    if PHASE == WEIGHTS {
        compute_slab_patch(own_weights(), !BATCH_NORM, task, invocation);
        return;
    }
    let quad = PATCH_QUADS * (task % strips(layer.columns));
    compute_chunk(layer.chunk * (task / strips(layer.columns)), quad, invocation);
    if PHASE == WHOLE {
        compute_strip(quad, invocation);
    }
}

// The number of parts of this length; the last one may be shorter.
fn parts(length: u32, length_of_part: u32) -> u32 {
    return (length + length_of_part - 1u) / length_of_part;
}

fn strips(columns: u32) -> u32 {
    return parts(quads(columns), PATCH_QUADS);
}

fn own_weights() -> Weights {
    return Weights(
        GRAD_WEIGHTS,
        layer.columns,
        layer.inner,
        layer.weights,
        layer.beta,
        layer.faults,
    );
}

fn next_weights() -> Weights {
    return Weights(
        GRAD_NEXT_WEIGHTS,
        layer.next_columns,
        layer.columns,
        layer.next_weights,
        layer.next_biases,
        layer.next_faults,
    );
}

// grad_biases and grad_weights for the columns of a strip.
fn compute_strip(first_quad: u32, invocation: u32) {
    if !BATCH_NORM {
        for (var across = 0u; across < TILES_ACROSS; across++) {
            let quad = first_quad + across * TILE_QUADS;
            compute_grad_biases(own_weights(), quad, 0u, invocation);
        }
    }
    strip_barrier();
    let first = 4u * first_quad;
    let last = min(first + 4u * PATCH_QUADS, layer.columns);
    for (var column = first; column < last; column += PATCH_ROWS) {
        for (var quad = 0u; quad < quads(layer.inner); quad += PATCH_QUADS) {
            compute_grad_weights(own_weights(), column, last, quad, 0u, invocation);
        }
    }
}

fn slab_tasks(weights: Weights) -> u32 {
    let patches = parts(weights.columns, PATCH_ROWS) * strips(weights.inner);
    return patches * parts(layer.rows, layer.slab_rows);
}

// A patch of grad_weights over a slab of the batch, and the grad_biases of its rows with the first of them.
fn compute_slab_patch(weights: Weights, has_biases: bool, task: u32, invocation: u32) {
    let patches_down = parts(weights.columns, PATCH_ROWS);
    let patches = patches_down * strips(weights.inner);
    let row = layer.slab_rows * (task / patches);
    let column = PATCH_ROWS * (task % patches_down);
    let first_quad = PATCH_QUADS * (task % patches / patches_down);
    if has_biases && first_quad == 0u {
        let last = quads(min(column + PATCH_ROWS, weights.columns));
        for (var quad = column / 4u; quad < last; quad += TILE_QUADS) {
            compute_grad_biases(weights, quad, row, invocation);
        }
    }
    compute_grad_weights(weights, column, weights.columns, first_quad, row, invocation);
}

fn unknown() -> u32 {
    return layer.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return grad_sums[index];
    }
    return next_grad_sums[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_OUTPUTS {
        return parameters[index];
    }
    return inputs[index];
}

fn compute_chunk(first_row: u32, first_quad: u32, invocation: u32) {
    let last_row = min(first_row + layer.chunk, layer.rows);
    if PHASE != FINISH && !IS_LAST {
        multiply_rows(first_row, last_row, first_quad, invocation);
    }
    for (var across = 0u; across < TILES_ACROSS; across++) {
        let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
        if BATCH_NORM {
            compute_column(first_row, last_row, quad, invocation);
        } else if !IS_LAST {
            activate_rows(first_row, last_row, quad, invocation);
        }
    }
}

// The work after the product in a normalized layer, for a quad of columns.
fn compute_column(first_row: u32, last_row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let safe_quad = min(quad, stride - 1u);
    let column = loaded_column(safe_quad);
    var chunk: Sums;
    if PHASE == FINISH {
        chunk = joined_chunks(safe_quad);
    } else {
        chunk = normalized_sums(first_row, last_row, safe_quad, column, invocation);
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
    finish_rows(first_row, last_row, quad, column, chunk, invocation);
}

// The gradients of gamma and beta. Also checks the statistics of the layer.
fn write_vectors(quad: u32, products: vec4<f32>, sum: vec4<f32>) {
    let stride = quads(layer.columns);
    let grad_gamma = inside(products, quad, layer.columns);
    let grad_beta = inside(sum, quad, layer.columns);
    gradients[layer.gamma + quad] = grad_gamma;
    gradients[layer.beta + quad] = grad_beta;
    note_fault(layer.faults, GAMMA_FAULT, magnitudes(grad_gamma), LARGEST_GRADIENT);
    note_fault(layer.faults, BETA_FAULT, magnitudes(grad_beta), LARGEST_GRADIENT);
    for (var row = 0u; row < 3u; row++) {
        let statistic = inside(statistics[row * stride + quad], quad, layer.columns);
        note_fault(layer.faults, STATISTICS_FAULT, magnitudes(statistic), LARGEST_STATISTIC);
    }
}

fn loaded_column(quad: u32) -> Column {
    let stride = quads(layer.columns);
    var column: Column;
    column.center = statistics[quad];
    column.rest = statistics[stride + quad];
    column.inverse_std = 1.0 / sqrt(statistics[2u * stride + quad] + EPSILON);
    column.gamma = parameters[layer.gamma + quad];
    column.beta = parameters[layer.beta + quad];
    return column;
}

// Stores grad_outputs in the memory of grad_sums, where a loop can walk its rows without being unrolled by a
// compiler.
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
    // An error in this mean shifts every row of grad_sums, and grad_weights sums it over all rows.
    var differences = CompensatedSum();
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        // Adding per tile first makes few roundings of many.
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
        differences = compensated_sum(differences, tile.differences, layer.rows);
        total.products += tile.products;
        total.normalized += tile.normalized;
    }
    total.center = center;
    total.differences = column_sum(differences.sum, invocation);
    total.products = column_sum(total.products, invocation);
    if PHASE == MEASURE {
        total.normalized = column_sum(total.normalized, invocation);
    }
    return total;
}

// In a layer without normalization this is grad_sums.
fn activate_rows(first_row: u32, last_row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    if quad >= stride {
        return;
    }
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < last_row {
                let index = own * stride + quad;
                let grad = grad_sums[index] * activation_slopes(sums[index]);
                grad_sums[index] = inside(grad, quad, layer.columns);
            }
        }
    }
}

fn joined_chunks(quad: u32) -> Sums {
    let stride = quads(layer.columns);
    var total = Sums();
    total.center = statistics[3u * stride + quad];
    var differences = CompensatedSum();
    for (var row = 0u; row < layer.rows; row += layer.chunk) {
        let first = (3u + 4u * (row / layer.chunk)) * stride + quad;
        let count = f32(min(layer.chunk, layer.rows - row));
        // From the chunk's center to the first one's.
        let shift = statistics[first] - total.center;
        let of_chunk = statistics[first + stride] + count * shift;
        differences = compensated_sum(differences, of_chunk, layer.rows);
        total.products += statistics[first + 2u * stride] + shift * statistics[first + 3u * stride];
    }
    total.differences = differences.sum;
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
    let rest = mean_quad(total.differences, layer.rows);
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

// For the elements of grad_sums that still hold grad_outputs.
fn grad_ztilde(index: u32, normalized: vec4<f32>, column: Column) -> vec4<f32> {
    return grad_sums[index] * activation_slopes(column.gamma * normalized + column.beta);
}
