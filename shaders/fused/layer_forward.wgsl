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
// strip of the columns, as wide as a patch. In training it owns all rows of the batch, so it needs no results
// of other workgroups. In inference the rows are divided into chunks, too.
//
// A large batch (`division` in src/gpu/tile.rs) is also divided into chunks in training, and takes two
// dispatches. MEASURE computes the sums and each chunk's statistics. FINISH joins the statistics of the
// chunks, always in the same order, and computes the outputs.
//
// Matrices are row-major: a row is a sample, a column is a feature; rows are whole vectors of four
// ("quads"), padded with zeros. Training keeps the sums and the batch's statistics for the backward pass
// (layer_backward.wgsl) in the buffers of shared/batch_kept.wgsl; inference keeps neither
// (shared/batch_not_kept.wgsl).
//
// The statistics have three rows. The mean is the sum of the first two, center and rest: where |mean| is
// large against the standard deviation, a single f32 mean loses several 1e-3 standard deviations. The
// third row is the variance. The statistics of the chunks follow, in four rows each: center, rest, and
// the sum of the squares.
//
// One walk over the rows finds the variance without cancellation. Two passes over registers compute each
// tile's mean and sum of squares, which are joined with those of earlier tiles (Chan, Golub and LeVeque
// 1983). All are computed from differences from `center`, the first tile's mean.

struct Layer {
    rows: u32,
    columns: u32,
    inner: u32,    // features of the inputs
    weights: u32,  // quads of the parameters before the weights
    gamma: u32,    // before gamma, if the layer is normalized
    beta: u32,     // before beta, or before the biases
    momentum: f32,
    unbias: f32,  // rows / (rows − 1)
    chunk: u32,   // rows of a chunk, a multiple of TILE_ROWS
    stop: u32,    // quads of the parameters before the stop (shared/faults.wgsl)
    mean: u32,    // quads of the running statistics before the layer's mean
    variance: u32,
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

// An invocation's values for a quad of columns.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,  // The biases, if the layer is not normalized.
}

// The moments of the rows so far: the mean of their differences from `center`, and the sum of the squares of
// their differences from the mean.
struct Moments {
    count: f32,
    center: vec4<f32>,
    rest: vec4<f32>,
    squares: vec4<f32>,
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let stride = PATCH_QUADS * workgroups.x;
    for (var quad = PATCH_QUADS * workgroup.x; quad < quads(layer.columns); quad += stride) {
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
    var moments = array<Moments, TILES_ACROSS>();
    if PHASE != FINISH {
        for (var row = first_row; row < last_row; row += PATCH_ROWS) {
            var tiles = multiply(product(), row, first_quad, invocation);
            for (var down = 0u; down < TILES_DOWN; down++) {
                for (var across = 0u; across < TILES_ACROSS; across++) {
                    var tile = tiles[down][across];
                    let tile_row = row + down * TILE_ROWS;
                    let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
                    if NORMALIZATION == BATCH {
                        let is_first = tile_row == first_row;
                        let before = moments[across];
                        moments[across] = with_tile(before, &tile, tile_row, is_first, invocation);
                    }
                    store_tile(&tile, tile_row, quad, invocation);
                }
            }
        }
    }
    for (var across = 0u; across < TILES_ACROSS; across++) {
        let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
        compute_column(first_row, last_row, quad, moments[across], invocation);
    }
}

// The moments of the rows before a tile's, joined with those of the tile, if it has any. Whether it is
// the first is a parameter, as control flow around a barrier must not depend on the moments.
fn with_tile(
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
    var center = before.center;
    if is_first {
        center = tile_center(tile, count, invocation);
    }
    return joined(before, tile_moments(tile, count, center, invocation), vec4<f32>());
}

// The work after the product, for a quad of columns.
fn compute_column(
    first_row: u32,
    last_row: u32,
    quad: u32,
    moments_of_tiles: Moments,
    invocation: u32,
) {
    let stride = quads(layer.columns);
    let safe_quad = min(quad, stride - 1u);
    var moments = moments_of_tiles;
    if PHASE == FINISH {
        moments = joined_chunks(safe_quad);
    }
    let is_writer = quad < stride && own_row(invocation, 0u) == 0u;
    if PHASE == MEASURE {
        if is_writer {
            let first = (3u + 4u * (first_row / layer.chunk)) * stride + quad;
            put_statistic(first, moments.center);
            put_statistic(first + stride, moments.rest);
            put_statistic(first + 2u * stride, moments.squares);
        }
        return;
    }
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
    if NORMALIZATION == BATCH {
        column.center = moments.center;
        column.rest = moments.rest;
        column.inverse_std = 1.0 / sqrt(moments.squares / f32(layer.rows) + EPSILON);
        column.gamma = parameters[layer.gamma + quad];
    } else if NORMALIZATION == RUNNING {
        column.center = running[layer.mean + quad];
        column.inverse_std = 1.0 / sqrt(running[layer.variance + quad] + EPSILON);
        column.gamma = parameters[layer.gamma + quad];
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
    var scaled = product_at(index);
    if NORMALIZATION != NONE {
        // Two steps, center first: another order loses digits where the mean is large against the
        // standard deviation.
        let difference = rounded_quad(scaled - column.center, layer.rows);
        let centered = difference - column.rest;
        scaled = column.gamma * (centered * column.inverse_std);
    }
    let ztilde = scaled + column.beta;
    if NORMALIZATION == NONE {
        keep_sum(index, ztilde);
    }
    outputs[index] = inside(activations(ztilde), quad, layer.columns);
}

// The mean of a tile of `count` rows, rounded: the first row plus the mean difference from it. The sum of
// the rows would lose digits of a large mean, and the quotient of equal rows could differ from them.
fn tile_center(tile: ptr<function, Tile>, count: u32, invocation: u32) -> vec4<f32> {
    let first = column_first((*tile)[0], invocation);
    return first + differences_mean(tile, count, first, invocation);
}

// The mean difference from `center` in a tile of `count` rows.
fn differences_mean(
    tile: ptr<function, Tile>,
    count: u32,
    center: vec4<f32>,
    invocation: u32,
) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let difference = rounded_quad((*tile)[i] - center, layer.rows);
        sum += select(vec4<f32>(), difference, own_row(invocation, i) < count);
    }
    return mean_quad(column_sum(sum, invocation), count);
}

// The moments of a tile of `count` rows.
fn tile_moments(
    tile: ptr<function, Tile>,
    count: u32,
    center: vec4<f32>,
    invocation: u32,
) -> Moments {
    let rest = differences_mean(tile, count, center, invocation);
    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let is_row = own_row(invocation, i) < count;
        let difference = rounded_quad((*tile)[i] - center, layer.rows) - rest;
        sum += select(vec4<f32>(), difference * difference, is_row);
    }
    return Moments(f32(count), center, rest, column_sum(sum, invocation));
}

// The moments of the rows of both. `shift` leads from the center of the first to that of the second.
fn joined(a: Moments, b: Moments, shift: vec4<f32>) -> Moments {
    let count = a.count + b.count;
    let change = (shift + b.rest) - a.rest;
    let both = Moments(
        count,
        a.center,
        a.rest + mean_quad(change * b.count, u32(count)),
        a.squares + b.squares + change * change * (a.count * b.count / count),
    );
    if a.count == 0.0 {
        return b;
    }
    return both;
}

fn joined_chunks(quad: u32) -> Moments {
    let stride = quads(layer.columns);
    var moments = Moments();
    for (var row = 0u; row < layer.rows; row += layer.chunk) {
        let first = (3u + 4u * (row / layer.chunk)) * stride + quad;
        let count = f32(min(layer.chunk, layer.rows - row));
        let center = statistic_at(first);
        let rest = statistic_at(first + stride);
        let chunk = Moments(count, center, rest, statistic_at(first + 2u * stride));
        moments = joined(moments, chunk, rounded_quad(center - moments.center, layer.rows));
    }
    return moments;
}

fn moved(running: vec4<f32>, current: vec4<f32>) -> vec4<f32> {
    return (1.0 - layer.momentum) * running + layer.momentum * current;
}
