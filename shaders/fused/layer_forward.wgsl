// Layer forward: a layer of a batch, from its inputs to its outputs.
//
//     sums    = inputs · weightsᵀ
//     outputs = activation(gamma · (sums − mean) / √(variance + EPSILON) + beta)
//
// or, where the layer is not normalized,
//
//     sums    = inputs · weightsᵀ + biases        outputs = activation(sums)
//
// In inference, mean and variance are the running statistics. In training they are the batch's own, and move
// the running statistics:
//
//     mean[c]     = average of sums[·, c]
//     variance[c] = average of (sums[·, c] − mean[c])²             divides by rows
//     running_mean[c] = (1 − momentum) · running_mean[c] + momentum · mean[c]
//     running_var[c]  = (1 − momentum) · running_var[c]  + momentum · variance[c] · rows / (rows − 1)
//
// A second row of both holds the values before the step. They are restored if the step turns out to have
// a fault (shared/faults.wgsl).
//
// One dispatch computes what matmul, batch_statistics, normalize and activate compute. A workgroup owns a
// strip of the columns, as wide as a patch, for all rows of the batch, or for a chunk of them (src/plan.rs).
//
// The statistics of a batch are made of leaves (src/plan/order.rs), which any workgroup may compute.
// MEASURE computes the sums and each leaf's statistics; FINISH joins the leaves in their order, and computes
// the outputs. WHOLE does both.
//
// Matrices are row-major: a row is a sample, a column is a feature; rows are whole vectors of four
// ("quads"), padded with zeros. Training keeps the sums and the batch's statistics for the backward pass
// (layer_backward.wgsl) in the buffers of shared/batch_kept.wgsl; inference keeps neither
// (shared/batch_not_kept.wgsl).
//
// The statistics have three rows. The mean is the sum of the first two, center and rest: where |mean| is
// large against the standard deviation, a single f32 mean loses several 1e-3 standard deviations. The
// third row is the variance. The statistics of the leaves follow, in four rows each: center, rest, and
// the sum of the squares.
//
// One walk over the rows finds the variance without cancellation. Two passes over registers compute each
// tile's mean and sum of squares, which are joined with those of earlier tiles of the leaf (Chan, Golub and
// LeVeque 1983). All are computed from differences from `center`, the mean of the leaf's first tile.

struct Layer {
    rows: u32,
    columns: u32,
    inner: u32,    // features of the inputs
    weights: u32,  // quads of the parameters before the weights
    gamma: u32,    // before gamma
    beta: u32,     // before beta, or before the biases
    momentum: f32,
    unbias: f32,  // rows / (rows − 1)
    chunk: u32,   // rows of a chunk, a multiple of PATCH_ROWS
    leaf: u32,    // rows of a leaf, a multiple of TILE_ROWS
    stop: u32,    // quads of the parameters before the stop (shared/faults.wgsl)
    mean: u32,    // quads of the running statistics before the layer's mean
    variance: u32,
    first: u32,   // strip of this part of the dispatch
    groups: u32,  // workgroups of all parts, side by side
}

// Binding 0 is the uniform layer: Layer (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> outputs: array<vec4<f32>>;

override NORMALIZATION: u32;  // src/fused/layer_forward.rs numbers them
override PHASE: u32;
override EPSILON: f32;

const NONE = 0u;
const RUNNING = 1u;
const BATCH = 2u;

const WHOLE = 0u;
const MEASURE = 1u;
const FINISH = 2u;

// The leaves that FINISH reads at once.
const LEAVES_AT_ONCE = 8u;

// What a walk over the rows of a column has found: the moments of the leaf so far, and of the leaves before.
struct Walk {
    leaf: Moments,
    leaves: Moments,
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let stride = PATCH_QUADS * layer.groups;
    let first = PATCH_QUADS * (layer.first + workgroup.x);
    for (var quad = first; quad < quads(layer.columns); quad += stride) {
        let chunk_stride = layer.chunk * workgroups.y;
        for (var row = layer.chunk * workgroup.y; row < layer.rows; row += chunk_stride) {
            compute_chunk(row, quad, invocation);
        }
    }
}

fn unknown() -> u32 {
    return layer.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    return inputs[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    return parameters[index];
}

fn product() -> Product {
    let left = Factor(0u, false);
    let right = Factor(layer.weights, true);
    return Product(0u, layer.rows, layer.columns, 0u, layer.inner, left, right);
}

fn compute_chunk(first_row: u32, first_quad: u32, invocation: u32) {
    let last_row = min(first_row + layer.chunk, layer.rows);
    let quad = first_quad + own_quad(invocation);
    let next_quad = quad + TILE_QUADS;
    // Written out, without loops over the tiles: a driver may not unroll a loop around a barrier, and would
    // keep the patch in memory.
    var walk = Walk();
    var next_walk = Walk();
    if PHASE != FINISH {
        for (var row = first_row; row < last_row; row += PATCH_ROWS) {
            let tiles = multiply(product(), row, first_quad, invocation);
            walk = with_tiles(walk, tiles[0][0], tiles[TILES_DOWN - 1u][0], row, quad, invocation);
            if TILES_ACROSS > 1u {
                let upper = tiles[0][TILES_ACROSS - 1u];
                let lower = tiles[TILES_DOWN - 1u][TILES_ACROSS - 1u];
                next_walk = with_tiles(next_walk, upper, lower, row, next_quad, invocation);
            }
        }
    }
    compute_column(first_row, last_row, quad, walk.leaves, invocation);
    if TILES_ACROSS > 1u {
        compute_column(first_row, last_row, next_quad, next_walk.leaves, invocation);
    }
}

// The walk over the rows, after the tiles of a patch in one column of tiles.
fn with_tiles(
    before: Walk,
    upper: Tile,
    lower: Tile,
    row: u32,
    quad: u32,
    invocation: u32,
) -> Walk {
    let walk = with_tile(before, upper, row, quad, invocation);
    if TILES_DOWN > 1u {
        return with_tile(walk, lower, row + TILE_ROWS, quad, invocation);
    }
    return walk;
}

fn with_tile(before: Walk, tile: Tile, row: u32, quad: u32, invocation: u32) -> Walk {
    var walk = before;
    var own_tile = tile;
    if NORMALIZATION == BATCH {
        walk.leaf = with_rows(walk.leaf, &own_tile, row, row % layer.leaf == 0u, invocation);
        walk.leaves = with_ended_leaf(walk.leaves, walk.leaf, row, quad, invocation);
    }
    store_tile(&own_tile, row, quad, invocation);
    return walk;
}

// The leaves before, joined with the leaf of these moments, if the tile at `row` is its last. MEASURE leaves
// the joining to FINISH.
fn with_ended_leaf(leaves: Moments, leaf: Moments, row: u32, quad: u32, invocation: u32) -> Moments {
    let end = row + TILE_ROWS;
    if row >= layer.rows || (end < layer.rows && end % layer.leaf != 0u) {
        return leaves;
    }
    if PHASE == WHOLE {
        return with_leaf(leaves, leaf);
    }
    let stride = quads(layer.columns);
    if quad < stride && own_row(invocation, 0u) == 0u {
        let first = leaf_row(row / layer.leaf) * stride + quad;
        put_statistic(first, leaf.center);
        put_statistic(first + stride, leaf.rest);
        put_statistic(first + 2u * stride, leaf.squares);
    }
    return leaves;
}

// The moments of the leaf's rows before a tile's, joined with those of the tile, if it has any. Whether the tile
// is the leaf's first is a parameter, as control flow around a barrier must not depend on the moments.
fn with_rows(
    before: Moments,
    tile: ptr<function, Tile>,
    row: u32,
    is_first: bool,
    invocation: u32,
) -> Moments {
    let count = min(TILE_ROWS, layer.rows - min(row, layer.rows));
    if count == 0u {
        return before;
    }
    var rows_before = before;
    if is_first {
        rows_before = Moments();
        rows_before.center = tile_center(tile, count, invocation);
    }
    let moments = tile_moments(tile, count, rows_before.center, invocation);
    return joined(rows_before, moments, vec4<f32>());
}

// The work after the product, for a quad of columns.
fn compute_column(
    first_row: u32,
    last_row: u32,
    quad: u32,
    leaves: Moments,
    invocation: u32,
) {
    if PHASE == MEASURE {
        return;
    }
    let stride = quads(layer.columns);
    let safe_quad = min(quad, stride - 1u);
    var moments = leaves;
    if PHASE == FINISH {
        moments = joined_leaves(safe_quad);
    }
    let is_writer = quad < stride && own_row(invocation, 0u) == 0u;
    if NORMALIZATION == BATCH && is_writer && first_row == 0u {
        write_statistics(moments, quad);
    }
    let column = finished_column(moments, safe_quad);
    for (var row = first_row; row < last_row; row += TILE_ROWS) {
        finish_rows(row, quad, column, invocation);
    }
}

fn write_statistics(moments: Moments, quad: u32) {
    let stride = quads(layer.columns);
    let variance = moments.squares / f32(layer.rows);
    put_statistic(quad, moments.center);
    put_statistic(stride + quad, moments.rest);
    put_statistic(2u * stride + quad, variance);
    let mean_place = layer.mean + quad;
    let variance_place = layer.variance + quad;
    if parameters[layer.stop].x != 0.0 {
        running[mean_place] = running[mean_place + stride];
        running[variance_place] = running[variance_place + stride];
        return;
    }
    let before = array(running[mean_place], running[variance_place]);
    running[mean_place + stride] = before[0];
    running[variance_place + stride] = before[1];
    running[mean_place] = moved(before[0], moments.center + moments.rest);
    running[variance_place] = moved(before[1], layer.unbias * variance);
}

fn finished_column(moments: Moments, quad: u32) -> Column {
    var column = Column();
    column.beta = parameters[layer.beta + quad];
    if NORMALIZATION == NONE {
        return column;
    }
    column.gamma = parameters[layer.gamma + quad];
    if NORMALIZATION == BATCH {
        column.center = moments.center;
        column.rest = moments.rest;
        column.inverse_std = inverse_std(moments.squares / f32(layer.rows));
    } else {
        column.center = running[layer.mean + quad];
        column.inverse_std = inverse_std(running[layer.variance + quad]);
    }
    return column;
}

// Stores the product in memory, where a loop can walk the tile's rows without being unrolled by a compiler.
fn store_tile(tile: ptr<function, Tile>, row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < layer.rows && quad < stride {
            put_product(own * stride + quad, (*tile)[i]);
        }
    }
}

// From the product to the outputs, for the rows of a tile.
fn finish_rows(row: u32, quad: u32, column: Column, invocation: u32) {
    let stride = quads(layer.columns);
    if quad >= stride {
        return;
    }
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < layer.rows {
            finish_quad(own * stride + quad, quad, column);
        }
    }
}

fn finish_quad(index: u32, quad: u32, column: Column) {
    var ztilde: vec4<f32>;
    if NORMALIZATION == NONE {
        ztilde = product_at(index) + column.beta;
        keep_sum(index, ztilde);
    } else {
        ztilde = column.gamma * normalized(product_at(index), column, layer.rows) + column.beta;
    }
    outputs[index] = inside(activations(ztilde), quad, layer.columns);
}

// Reads some leaves at once: one after the other, each would wait for the memory.
fn joined_leaves(quad: u32) -> Moments {
    var moments = Moments();
    for (var row = 0u; row < layer.rows; row += LEAVES_AT_ONCE * layer.leaf) {
        var leaves: array<Moments, LEAVES_AT_ONCE>;
        for (var i = 0u; i < LEAVES_AT_ONCE; i++) {
            leaves[i] = leaf_at(min(row + i * layer.leaf, layer.rows - 1u), quad);
        }
        for (var i = 0u; i < LEAVES_AT_ONCE; i++) {
            if row + i * layer.leaf < layer.rows {
                moments = with_leaf(moments, leaves[i]);
            }
        }
    }
    return moments;
}

// The moments of the leaf that has this row.
fn leaf_at(row: u32, quad: u32) -> Moments {
    let stride = quads(layer.columns);
    let first = leaf_row(row / layer.leaf) * stride + quad;
    return Moments(
        f32(min(layer.leaf, layer.rows - row / layer.leaf * layer.leaf)),
        statistic_at(first),
        statistic_at(first + stride),
        statistic_at(first + 2u * stride),
    );
}

fn moved(running: vec4<f32>, current: vec4<f32>) -> vec4<f32> {
    return (1.0 - layer.momentum) * running + layer.momentum * current;
}
