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
// a workgroup owns a strip of the columns, as wide as a patch, for all rows of the batch, or for a chunk of
// them (src/plan.rs). The sums over a chunk are made of leaves (src/plan/order.rs). MEASURE computes
// grad_outputs and each leaf's sums; FINISH joins the leaves in their order and computes grad_sums. WHOLE does
// both. A layer without normalization needs no FINISH.
//
// One of three files says where the gradients of weights and biases are computed: of this layer, after a
// strip's other gradients (shared/weights_with_layer.wgsl); of the next layer, by other workgroups
// (shared/weights_beside.wgsl); or in another dispatch (shared/weights_elsewhere.wgsl).
//
// layer_forward.wgsl wrote the sums and the statistics, and describes the layout of the matrices. The sums of
// a leaf overwrite its statistics. `gradients` are packed like the parameters.
//
// The mean of `normalized` is 0, so subtracting a constant from grad_ztilde does not change grad_gamma. The
// sums use differences from `center`, the mean of grad_ztilde over the first tile, to avoid cancellation.
//
// Values that are not finite are recorded (shared/faults.wgsl).

struct Layer {
    weights: Weights,   // whose gradients are computed here, if any
    rows: u32,
    columns: u32,
    next_columns: u32,
    next_weights: u32,  // quads of the parameters before the next layer's weights
    gamma: u32,         // before gamma, in parameters and in gradients
    beta: u32,
    chunk: u32,         // rows of a chunk
    leaf: u32,          // rows of a leaf
    stop: u32,          // quads of the gradients before the stop
    faults: u32,        // before the layer's faults
    first: u32,   // workgroup of this part of the dispatch
    groups: u32,  // of all parts
}

// Binding 0 is the uniform layer: Layer (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> next_grad_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> grad_sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> gradients: array<vec4<f32>>;

override PHASE: u32;  // src/fused/layer_backward.rs numbers them
override BATCH_NORM: bool;
override HAS_BIASES: bool;  // of the layer whose weights' gradients are computed here
override EPSILON: f32;

const WHOLE = 0u;
const MEASURE = 1u;
const FINISH = 2u;

// The other product is GRAD_WEIGHTS.
const GRAD_OUTPUTS = 0u;

// The leaves that FINISH reads at once.
const LEAVES_AT_ONCE = 8u;

// Sums over rows: of the differences of grad_ztilde from `center`, of their products with normalized, and of
// normalized, whose sum is 0 only over all rows.
struct Sums {
    center: vec4<f32>,
    differences: vec4<f32>,
    products: vec4<f32>,
    normalized: vec4<f32>,
}

// The leaves so far, joined. Sums are of differences from the first leaf's center.
struct Joined {
    sums: Sums,
    differences: CompensatedSum,
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let tasks_beside = tasks_beside();
    let strips = strips(layer.columns);
    let tasks = tasks_beside + strips * parts(layer.rows, layer.chunk);
    for (var task = layer.first + workgroup.x; task < tasks; task += layer.groups) {
        if task < tasks_beside {
            compute_beside(task, invocation);
        } else {
            let own = task - tasks_beside;
            let quad = PATCH_QUADS * (own % strips);
            compute_chunk(layer.chunk * (own / strips), quad, invocation);
            compute_weights_of_strip(quad, invocation);
        }
    }
}

fn unknown() -> u32 {
    return layer.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_OUTPUTS {
        return next_grad_sums[index];
    }
    return weights_left_quad(index);
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_OUTPUTS {
        return parameters[index];
    }
    return weights_right_quad(index);
}

fn compute_chunk(first_row: u32, first_quad: u32, invocation: u32) {
    let last_row = min(first_row + layer.chunk, layer.rows);
    if PHASE != FINISH {
        multiply_rows(first_row, last_row, first_quad, invocation);
    }
    for (var across = 0u; across < TILES_ACROSS; across++) {
        let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
        if BATCH_NORM {
            compute_column(first_row, last_row, quad, invocation);
        } else {
            activate_rows(first_row, last_row, quad, invocation);
        }
    }
}

// The work after the product in a normalized layer, for a quad of columns.
fn compute_column(first_row: u32, last_row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let safe_quad = min(quad, stride - 1u);
    let column = loaded_column(safe_quad);
    let is_writer = quad < stride && own_row(invocation, 0u) == 0u;
    var total: Joined;
    if PHASE == FINISH {
        total = joined_leaves(safe_quad);
    } else {
        for (var row = first_row; row < last_row; row += layer.leaf) {
            let last = min(row + layer.leaf, last_row);
            let leaf = leaf_sums(row, last, safe_quad, column, invocation);
            if PHASE == WHOLE {
                total = with_leaf(total, leaf, row);
            } else if is_writer {
                put_leaf(row, quad, leaf);
            }
        }
    }
    if PHASE == MEASURE {
        return;
    }
    total.sums.differences = total.differences.sum;
    if is_writer && first_row == 0u {
        let sum = f32(layer.rows) * total.sums.center + total.sums.differences;
        write_vectors(quad, total.sums.products, sum);
    }
    finish_rows(first_row, last_row, quad, column, total.sums, invocation);
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
    return Column(
        statistics[quad],
        statistics[stride + quad],
        inverse_std(statistics[2u * stride + quad]),
        parameters[layer.gamma + quad],
        parameters[layer.beta + quad],
    );
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

// The sums over a leaf.
fn leaf_sums(
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
    // A leaf alone has no other center to shift to.
    if layer.leaf < layer.rows {
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

// The leaves before the one at `row`, joined with that one.
fn with_leaf(before: Joined, leaf: Sums, row: u32) -> Joined {
    var total = before;
    if row == 0u {
        total.sums.center = leaf.center;
    }
    let count = f32(min(layer.leaf, layer.rows - row));
    // From the leaf's center to the first one's.
    let shift = leaf.center - total.sums.center;
    let differences = leaf.differences + count * shift;
    total.differences = compensated_sum(before.differences, differences, layer.rows);
    total.sums.products += leaf.products + shift * leaf.normalized;
    return total;
}

fn put_leaf(row: u32, quad: u32, leaf: Sums) {
    let stride = quads(layer.columns);
    let first = leaf_row(row / layer.leaf) * stride + quad;
    statistics[first] = leaf.center;
    statistics[first + stride] = leaf.differences;
    statistics[first + 2u * stride] = leaf.products;
    statistics[first + 3u * stride] = leaf.normalized;
}

// Reads some leaves at once, as layer_forward.wgsl does.
fn joined_leaves(quad: u32) -> Joined {
    var total = Joined();
    for (var row = 0u; row < layer.rows; row += LEAVES_AT_ONCE * layer.leaf) {
        var leaves: array<Sums, LEAVES_AT_ONCE>;
        for (var i = 0u; i < LEAVES_AT_ONCE; i++) {
            leaves[i] = leaf_at(min(row + i * layer.leaf, layer.rows - 1u), quad);
        }
        for (var i = 0u; i < LEAVES_AT_ONCE; i++) {
            let first_row = row + i * layer.leaf;
            if first_row < layer.rows {
                total = with_leaf(total, leaves[i], first_row);
            }
        }
    }
    return total;
}

// The sums of the leaf that has this row.
fn leaf_at(row: u32, quad: u32) -> Sums {
    let stride = quads(layer.columns);
    let first = leaf_row(row / layer.leaf) * stride + quad;
    return Sums(
        statistics[first],
        statistics[first + stride],
        statistics[first + 2u * stride],
        statistics[first + 3u * stride],
    );
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
    return normalized(sums[index], column, layer.rows);
}

// For the elements of grad_sums that still hold grad_outputs.
fn grad_ztilde(index: u32, normalized: vec4<f32>, column: Column) -> vec4<f32> {
    return grad_sums[index] * activation_slopes(column.gamma * normalized + column.beta);
}
