// Layer forward: a layer of a batch, from its inputs to its outputs.
//
//     sums    = inputs · weightsᵀ
//     outputs = activation(gamma · (sums − mean) / √(variance + EPSILON) + beta)
//
// or, where the layer is not normalized,
//
//     sums    = inputs · weightsᵀ + biases        outputs = activation(sums)
//
// In inference, mean and variance are the running ones. In training they are the batch's own, and move
// the running ones:
//
//     mean[c]     = average of sums[·, c]
//     variance[c] = average of (sums[·, c] − mean[c])²             divides by rows
//     running_mean[c] = (1 − momentum) · running_mean[c] + momentum · mean[c]
//     running_var[c]  = (1 − momentum) · running_var[c]  + momentum · variance[c] · rows / (rows − 1)
//
// What matmul, batch_statistics, normalize and activate compute, in one dispatch: a workgroup owns a
// strip of the columns, as wide as a tile, in training for all rows of the batch, so that nothing has
// to be known of other workgroups. Otherwise the tiles of a strip have a workgroup each.
//
// Matrices are row-major: a row is a sample, a column is a feature; rows are whole vectors of four
// ("quads"), filled up with zeros. Where KEEPS_SUMS, the sums stay for the way back
// (layer_backward.wgsl), as do the batch's statistics. These have three rows: the mean is the sum of
// the first two (center and rest: a rounded mean would be wrong by many deviations' thousandths where
// the mean is large against the deviation), the third is the variance.
//
// The variance is exact, and found in one walk: each tile's mean and sum of squares, in two passes over
// registers, join those of the tiles before (Chan, Golub and LeVeque 1983). All are taken of
// differences from `center`, the first tile's mean.

struct Layer {
    rows: u32,
    columns: u32,
    inner: u32,    // features of the inputs
    weights: u32,  // quads of the parameters before the weights
    gamma: u32,    // before gamma, or before the biases
    beta: u32,     // before beta
    momentum: f32,
    unbias: f32,  // rows / (rows − 1)
}

@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> running_var: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> outputs: array<vec4<f32>>;

override NORMALIZATION: u32;  // src/kernels/layer_forward.rs numbers them
override KEEPS_SUMS: bool;
override EPSILON: f32;

const NONE = 0u;
const RUNNING = 1u;
const BATCH = 2u;

// What an invocation knows of a quad of columns.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,  // The biases, if the layer is not normalized.
    beta: vec4<f32>,
}

// Of the rows seen so far: the mean of their differences from `center`, and the sum of the squares of
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
    let stride = TILE_QUADS * workgroups.x;
    for (var quad = TILE_QUADS * workgroup.x; quad < quads(layer.columns); quad += stride) {
        if NORMALIZATION == BATCH {
            compute_strip(quad, invocation);
            continue;
        }
        for (var row = TILE_ROWS * workgroup.y; row < layer.rows; row += TILE_ROWS * workgroups.y) {
            compute_tile(row, quad, invocation);
        }
    }
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    return inputs[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    return parameters[layer.weights + index];
}

fn product() -> Product {
    return Product(0u, layer.rows, layer.columns, layer.inner, false, true);
}

fn compute_tile(row: u32, first_quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    let safe_quad = min(quad, stride - 1u);
    var tile = multiply(product(), row, first_quad, invocation);
    store_tile(&tile, row, quad, invocation);
    var column = Column();
    column.gamma = parameters[layer.gamma + safe_quad];
    if NORMALIZATION == RUNNING {
        column.center = running_mean[safe_quad];
        column.inverse_std = 1.0 / sqrt(running_var[safe_quad] + EPSILON);
        column.beta = parameters[layer.beta + safe_quad];
    }
    finish_rows(row, quad, column, invocation);
}

fn compute_strip(first_quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    let is_own = quad < stride;
    var moments = Moments();
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        var tile = multiply(product(), row, first_quad, invocation);
        moments = joined(moments, &tile, row, invocation);
        store_tile(&tile, row, quad, invocation);
    }

    let variance = moments.squares / f32(layer.rows);
    if is_own && own_row(invocation, 0u) == 0u {
        statistics[quad] = moments.center;
        statistics[stride + quad] = moments.rest;
        statistics[2u * stride + quad] = variance;
        running_mean[quad] = moved(running_mean[quad], moments.center + moments.rest);
        running_var[quad] = moved(running_var[quad], layer.unbias * variance);
    }
    let safe_quad = min(quad, stride - 1u);
    let column = Column(
        moments.center,
        moments.rest,
        1.0 / sqrt(variance + EPSILON),
        parameters[layer.gamma + safe_quad],
        parameters[layer.beta + safe_quad],
    );
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        finish_rows(row, quad, column, invocation);
    }
}

// The product, where the rows are finished from: memory is where the tile's rows can be walked in a
// loop that no compiler unrolls.
fn store_tile(tile: ptr<function, Tile>, row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < layer.rows && quad < stride {
            if NORMALIZATION == BATCH || KEEPS_SUMS {
                sums[own * stride + quad] = (*tile)[i];
            } else {
                outputs[own * stride + quad] = (*tile)[i];
            }
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
        if own >= layer.rows {
            break;
        }
        let index = own * stride + quad;
        var ztilde: vec4<f32>;
        if NORMALIZATION == NONE {
            ztilde = product_at(index) + column.gamma;
            if KEEPS_SUMS {
                sums[index] = ztilde;
            }
        } else {
            // Center first, in two steps: anything else loses digits where the mean is large against
            // the standard deviation.
            let centered = (product_at(index) - column.center) - column.rest;
            ztilde = column.gamma * (centered * column.inverse_std) + column.beta;
        }
        outputs[index] = inside(activations(ztilde), quad, layer.columns);
    }
}

fn product_at(index: u32) -> vec4<f32> {
    if NORMALIZATION == BATCH || KEEPS_SUMS {
        return sums[index];
    }
    return outputs[index];
}

// The moments of the rows before, joined by those of a tile that starts at `row`.
fn joined(before: Moments, tile: ptr<function, Tile>, row: u32, invocation: u32) -> Moments {
    let count = f32(min(TILE_ROWS, layer.rows - row));
    var center = before.center;
    var sum = vec4<f32>();
    if row == 0u {
        for (var i = 0u; i < OWN_ROWS; i++) {
            sum += select(vec4<f32>(), (*tile)[i], own_row(invocation, i) < layer.rows);
        }
        center = column_sum(sum, invocation) / count;
    }
    sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let is_row = row + own_row(invocation, i) < layer.rows;
        sum += select(vec4<f32>(), (*tile)[i] - center, is_row);
    }
    let rest = column_sum(sum, invocation) / count;
    sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let is_row = row + own_row(invocation, i) < layer.rows;
        let difference = select(vec4<f32>(), ((*tile)[i] - center) - rest, is_row);
        sum += difference * difference;
    }
    let squares = column_sum(sum, invocation);
    let total = before.count + count;
    let change = rest - before.rest;
    return Moments(
        total,
        center,
        before.rest + change * (count / total),
        before.squares + squares + change * change * (before.count * count / total),
    );
}

fn moved(running: vec4<f32>, current: vec4<f32>) -> vec4<f32> {
    return (1.0 - layer.momentum) * running + layer.momentum * current;
}
