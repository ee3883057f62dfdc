// Network forward: all layers of a network in inference, from the inputs to the outputs.
//
//     sums = inputs · weightsᵀ
//     next inputs = activation(gamma · (sums − running_mean) / √(running_var + EPSILON) + beta)
//
// or, where a layer is not normalized,
//
//     next inputs = activation(sums + biases)        without the activation after the last layer
//
// One dispatch computes what layer_forward computes layer by layer. A workgroup owns the rows of one tile and
// takes them through all layers, so it waits for no other rows, and the activations stay in the caches. The
// layers alternate between the two halves of `scratch`, where each tile has a place of its own.
//
// Matrices are row-major. Their rows are whole vectors of four ("quads"), padded with zeros; only the outputs
// are contiguous, without padding.

struct Network {
    rows: u32,
    layers: u32,
    widest: u32,  // quads of a row of the scratch
    unused: u32,
    table: array<Entry, 16>,  // src/fused/network_forward.rs has the same number
}

struct Entry {
    columns: u32,
    inner: u32,         // features of the inputs
    weights: u32,       // quads of the parameters before the weights
    gamma: u32,         // before gamma
    beta: u32,          // before beta, or before the biases
    running_mean: u32,  // quads of the running statistics before the mean
    running_var: u32,
    is_normalized: u32,
}

// Binding 0 is the uniform network: Network (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> running: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> outputs: array<f32>;

override EPSILON: f32;

// The inputs of a layer's product: of the first layer, of the others.
const INPUTS = 0u;
const SCRATCH = 1u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    for (var row = TILE_ROWS * workgroup.x; row < network.rows; row += TILE_ROWS * workgroups.x) {
        compute_first_layer(row, invocation);
        for (var index = 1u; index < network.layers; index++) {
            storageBarrier();
            compute_layer(index, row, invocation);
        }
        storageBarrier();
        write_outputs(row, invocation);
    }
}

fn unknown() -> u32 {
    return network.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == INPUTS {
        return inputs[index];
    }
    return scratch[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    return parameters[index];
}

fn compute_first_layer(row: u32, invocation: u32) {
    let layer = network.table[0];
    let left = Factor(0u, false);
    let right = Factor(layer.weights, true);
    let product = Product(INPUTS, network.rows, layer.columns, 0u, layer.inner, left, right);
    for (var quad = 0u; quad < quads(layer.columns); quad += TILE_QUADS) {
        var tile = multiply(product, row, quad, invocation)[0][0];
        store_tile(&tile, 0u, layer, row, quad + own_quad(invocation), invocation);
        finish_rows(0u, layer, row, quad + own_quad(invocation), invocation);
    }
}

fn compute_layer(index: u32, row: u32, invocation: u32) {
    let layer = network.table[index];
    let left = Factor(place(index - 1u, row, quads(layer.inner)), false);
    let right = Factor(layer.weights, true);
    let product = Product(SCRATCH, network.rows, layer.columns, 0u, layer.inner, left, right);
    for (var quad = 0u; quad < quads(layer.columns); quad += TILE_QUADS) {
        var tile = multiply(product, row, quad, invocation)[0][0];
        store_tile(&tile, index, layer, row, quad + own_quad(invocation), invocation);
        finish_rows(index, layer, row, quad + own_quad(invocation), invocation);
    }
}

// Where row 0 would be if all rows of the scratch had `stride` quads and the tile at `row` kept its place.
// A tile keeps its place for layers of all widths.
fn place(index: u32, row: u32, stride: u32) -> u32 {
    return index % 2u * network.rows * network.widest + row * (network.widest - stride);
}

// Stores the product in memory, where a loop can walk the tile's rows without being unrolled by a compiler.
fn store_tile(
    tile: ptr<function, Tile>,
    index: u32,
    layer: Entry,
    row: u32,
    quad: u32,
    invocation: u32,
) {
    let stride = quads(layer.columns);
    let first = place(index, row, stride);
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < network.rows && quad < stride {
            scratch[first + own * stride + quad] = (*tile)[i];
        }
    }
}

fn finish_rows(index: u32, layer: Entry, row: u32, quad: u32, invocation: u32) {
    let stride = quads(layer.columns);
    if quad >= stride {
        return;
    }
    let is_last = index + 1u == network.layers;
    var column = Column();
    column.beta = parameters[layer.beta + quad];
    if layer.is_normalized != 0u {
        column.gamma = parameters[layer.gamma + quad];
        column.center = running[layer.running_mean + quad];
        column.inverse_std = inverse_std(running[layer.running_var + quad]);
    }
    let first = place(index, row, stride);
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < network.rows {
            let place = first + own * stride + quad;
            let sum = scratch[place];
            var output = sum + column.beta;
            if layer.is_normalized != 0u {
                output = column.gamma * normalized(sum, column, network.rows) + column.beta;
            }
            if !is_last {
                output = activations(output);
            }
            scratch[place] = inside(output, quad, layer.columns);
        }
    }
}

fn write_outputs(row: u32, invocation: u32) {
    let last = network.layers - 1u;
    let columns = network.table[last].columns;
    let first = place(last, row, quads(columns));
    let length = columns * min(TILE_ROWS, network.rows - row);
    for (var i = invocation; i < length; i += WORKGROUP_SIZE) {
        let column = i % columns;
        let quad = scratch[first + (row + i / columns) * quads(columns) + column / 4u];
        outputs[row * columns + i] = quad[column % 4u];
    }
}
