// Whole steps: several training steps of a small network, one after the other, in one workgroup.
//
//     for each batch: forward, loss, history, backward, update
//
// One dispatch computes what the other kernels of a step compute, with barriers instead of dispatches. An
// invocation owns rows of the batch, a workgroup apart, and takes each through a layer in registers:
//
//     measure   for each layer, first one first: the sums of a row, and the statistics of the columns
//     lose      the loss of a row, and its gradient by the outputs
//     descend   for each layer, last one first: grad_sums of a row, its share of the gradients of weights and
//               biases, and its gradient by ztilde of the layer before
//     update    each invocation owns quads of the parameters, a workgroup apart
//
// The formulas are those of layer_forward.wgsl, row_loss.wgsl, layer_backward.wgsl, record_step.wgsl,
// gradient_norm.wgsl, update.wgsl and skip_step.wgsl. shared/steps_rows.wgsl and shared/steps_books.wgsl are parts
// of this kernel. Between the phases `memory` holds a row's sums and its gradient by ztilde. A row is an array
// of QUADS quads, as many as the widest level has.
//
// The levels are constants, so that the compiler unrolls the loops over a row, which then stays in registers:
// src/fused/whole_steps.rs appends LEVEL_0, LEVEL_1, … and OUTPUT, the functions that take all levels in turn,
// QUADS, and LEARNED, the quads of the parameters before the stop (shared/faults.wgsl).
//
// One of two files says how invocations share values: shared/steps_on_lanes.wgsl, where they are the lanes of a
// CPU's vector register, and shared/steps_in_workgroup.wgsl. Level 0 is
// the inputs, and level n is layer n; rows are whole quads, padded with zeros.

struct Run {
    steps: u32,
    rows: u32,        // of a batch
    own_rows: u32,    // of an invocation, if it has the most
    decaying: u32,    // quads of the parameters that decay
    unbias: f32,      // rows / (rows − 1)
    momentum: f32,    // of the running statistics
    velocity: u32,    // quads of `memory` before the velocity, and so on
    mean_square: u32,
    history: u32,
    capacity: u32,    // of the history, in steps
    rates: u32,
    rate_capacity: u32,
}

// A layer, or the inputs.
struct Level {
    number: u32,
    columns: u32,
    inner: u32,           // columns of the level before
    is_normalized: bool,
    is_repeated: bool,    // whether its sums are computed again from the inputs, and not kept
    weights: u32,         // quads of the parameters before the weights
    gamma: u32,
    beta: u32,            // or biases
    mean: u32,            // quads of the running statistics before the layer's mean
    variance: u32,
    sums: u32,            // quads of `memory` before the sums, or the inputs of all batches
    statistics: u32,
    outputs: u32,
    grads: u32,           // the gradient by ztilde
}

// Binding 0 is the uniform run: Run (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> targets: array<u32>;  // as loss.wgsl has them, of all batches
@group(0) @binding(2) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> memory: array<vec4<u32>>;  // floats, as bits

override EPSILON: f32;
override CLIPS: bool;
override SKIPS: bool;  // whether a step with a fault is skipped, and does not stop the training

alias Row = array<vec4<f32>, QUADS>;

// A row of a level.
struct Activated {
    normalized: Row,
    slopes: Row,
    outputs: Row,
}

// The moments of an invocation's own rows: their number, the first, the sum of the differences from that, and
// the sum of their squares.
struct OwnMoments {
    count: f32,
    first: Row,
    differences: Row,
    squares: Row,
}

var<private> first_of_batch: u32;  // of this step's batch
var<private> rows: u32;
var<private> own: u32;  // the invocation
// A row of the output layer, and its gradient.
var<private> outputs: Row;
var<private> grad_outputs: Row;

// The sums over the rows, by what they are of.
const OF_BIASES = 0u;
const OF_BETA = 1u;
const OF_GAMMA = 2u;
const OF_RESULTS = 3u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) invocation: u32) {
    read_uniform();
    own = invocation;
    rows = run.rows;
    let steps = run.steps;
    open_books();
    load_parameters();
    for (var step = 0u; step < steps; step++) {
        first_of_batch = step * rows;
        take_step(step + 1u == steps);
    }
    store_parameters();
    if invocation == 0u {
        store_books();
    }
}

fn unknown() -> u32 {
    return rows;
}

fn take_step(is_last: bool) {
    found = 0u;
    measure_all(is_last);
    lose_all(is_last);
    descend_all();
    update();
}

// The sums of a layer, or the inputs, in the i-th turn. `block` is that of the level, if its sums are repeated.
fn sums_of(level: Level, block: ptr<function, Block>, i: u32) -> Row {
    if level.number > 0u && !level.is_repeated {
        return row_of(level.sums, level.columns, i);
    }
    var left = row_of(LEVEL_0.sums + first_of_batch * quads(LEVEL_0.columns), LEVEL_0.columns, i);
    if level.number == 0u {
        return left;
    }
    var biases = biases_of(level);
    return product(level, block, &biases, &left);
}

fn activated(
    level: Level,
    block: ptr<function, Block>,
    columns: ptr<function, Columns>,
    i: u32,
) -> Activated {
    var sums = sums_of(level, block, i);
    var result = Activated();
    for (var quad = 0u; quad < QUADS; quad++) {
        if has_quad(level.columns, quad) {
            if level.number == 0u {
                result.outputs[quad] = sums[quad];
            } else {
                var ztilde = sums[quad];
                if level.is_normalized {
                    let column = column_of(columns, quad);
                    result.normalized[quad] = normalized(sums[quad], column, rows);
                    ztilde = column.gamma * result.normalized[quad] + column.beta;
                }
                // A loop, as a compiler sees all activations before it drops all but one.
                var outputs_of_quad = vec4<f32>();
                var slopes = vec4<f32>();
                for (var column = 0u; column < 4u; column++) {
                    outputs_of_quad[column] = activation(ztilde[column]);
                    slopes[column] = activation_slope(ztilde[column]);
                }
                result.outputs[quad] = inside(outputs_of_quad, quad, level.columns);
                result.slopes[quad] = slopes;
            }
        }
    }
    return result;
}

// Forward through a hidden layer.
fn measure(before: Level, level: Level, is_last: bool) {
    let turns = run.own_rows;
    var block_before: Block;
    if before.is_repeated {
        load_block(before, &block_before);
    }
    var block: Block;
    load_block(level, &block);
    var biases = biases_of(level);
    var columns = columns_of(before);
    var moments = OwnMoments();
    for (var i = 0u; i < turns; i++) {
        var left = activated(before, &block_before, &columns, i).outputs;
        if before.number > 0u {
            show(before.outputs, before.columns, i, &left, is_last);
        }
        var sums = product(level, &block, &biases, &left);
        if level.is_repeated {
            show(level.sums, level.columns, i, &sums, is_last);
        } else {
            put_row(level.sums, level.columns, i, &sums);
        }
        if level.is_normalized {
            for (var quad = 0u; quad < QUADS; quad++) {
                moments.first[quad] = select(moments.first[quad], sums[quad], i == 0u);
                let difference = rounded_quad(sums[quad] - moments.first[quad], rows);
                let own_difference = select(vec4<f32>(), difference, is_row(i));
                moments.differences[quad] += own_difference;
                moments.squares[quad] = fma(own_difference, own_difference, moments.squares[quad]);
            }
            moments.count += select(0.0, 1.0, is_row(i));
        }
    }
    if level.is_normalized {
        let column = joined_column(level, &moments);
        if has_quad(level.columns, own) {
            finish_columns(level, column);
        }
        share_columns();
    }
}

// Keeps the statistics of the invocation's own quad of columns.
fn finish_columns(level: Level, column: Measured) {
    let variance = column.variance;
    put_column(level, Column(
        column.center,
        column.rest,
        inverse_std(variance),
        own_parameter(level.gamma),
        own_parameter(level.beta),
    ));
    let mean = column.center + column.rest;
    note(level, STATISTICS_FAULT, magnitudes(mean), LARGEST_STATISTIC);
    note(level, STATISTICS_FAULT, magnitudes(variance), LARGEST_STATISTIC);
    let stride = quads(level.columns);
    let place = level.statistics + own;
    memory[place] = bits_of_quad(column.center);
    memory[place + stride] = bits_of_quad(column.rest);
    memory[place + 2u * stride] = bits_of_quad(variance);
    move_running(level.mean + own, stride, mean);
    move_running(level.variance + own, stride, run.unbias * variance);
}

// What the backward pass through a layer adds up over the rows.
struct Backward {
    biases: Row,
    betas: Row,
    gammas: Row,
}

// Adds the i-th row. `grads` is its grad_sums, `below` the level before.
fn add_row(
    sums: ptr<function, Backward>,
    weight_sums: ptr<function, WeightSums>,
    before: Level,
    level: Level,
    i: u32,
    block: ptr<function, Block>,
    grads: ptr<function, Row>,
    below: ptr<function, Activated>,
) {
    for (var quad = 0u; quad < QUADS; quad++) {
        (*grads)[quad] = select(vec4<f32>(), (*grads)[quad], is_row(i));
        (*sums).biases[quad] += (*grads)[quad];
    }
    var left = (*below).outputs;
    add_weights(level, weight_sums, grads, &left);
    if before.number > 0u {
        var grads_before = product_back(level, block, grads);
        for (var quad = 0u; quad < QUADS; quad++) {
            grads_before[quad] *= (*below).slopes[quad];
            (*sums).betas[quad] += grads_before[quad];
            (*sums).gammas[quad] += grads_before[quad] * (*below).normalized[quad];
        }
        put_row(before.grads, before.columns, i, &grads_before);
    }
}

// Adds up the sums of all invocations, and keeps the gradients.
fn finish_backward(
    sums: ptr<function, Backward>,
    weight_sums: ptr<function, WeightSums>,
    before: Level,
    level: Level,
) {
    finish_weights(level, weight_sums);
    if !level.is_normalized {
        var row = (*sums).biases;
        add_up(OF_BIASES, &row, level.columns);
        put_vector(level, level.beta, OF_BIASES, BIASES_FAULT);
    }
    if before.is_normalized {
        var row = (*sums).betas;
        add_up(OF_BETA, &row, before.columns);
        row = (*sums).gammas;
        add_up(OF_GAMMA, &row, before.columns);
        put_vector(before, before.beta, OF_BETA, BETA_FAULT);
        put_vector(before, before.gamma, OF_GAMMA, GAMMA_FAULT);
    }
}

// Through the output layer: forward, the loss, and backward.
fn lose(before: Level, level: Level, is_last: bool) {
    let turns = run.own_rows;
    var block_before: Block;
    if before.is_repeated {
        load_block(before, &block_before);
    }
    var block: Block;
    load_block(level, &block);
    var biases = biases_of(level);
    var columns = columns_of(before);
    var sums = Backward();
    var weight_sums = WeightSums();
    var results = vec3<f32>();
    for (var i = 0u; i < turns; i++) {
        var below = activated(before, &block_before, &columns, i);
        var left = below.outputs;
        show(before.outputs, before.columns, i, &left, is_last);
        outputs = product(level, &block, &biases, &left);
        grad_outputs = Row();
        // Past the end, the last row.
        let row = min(i * WORKGROUP_SIZE + own, rows - 1u);
        let result = row_loss(row, rows, level.columns, 0u);
        results = select(results, with_row(results, result), is_row(i));
        var grads = grad_outputs;
        add_row(&sums, &weight_sums, before, level, i, &block, &grads, &below);
    }
    finish_backward(&sums, &weight_sums, before, level);
    var of_results = Row();
    of_results[0] = vec4<f32>(results, 0.0);
    add_up(OF_RESULTS, &of_results, 3u);
    record_step(mean_bits(first_total(OF_RESULTS).xyz, rows));
}

// Backward through a hidden layer.
fn descend(before: Level, level: Level) {
    let turns = run.own_rows;
    var block_before: Block;
    if before.is_repeated {
        load_block(before, &block_before);
    }
    var block: Block;
    load_block(level, &block);
    var columns = columns_of(level);
    var columns_before = columns_of(before);
    var means = totals_of(OF_BETA);
    var slopes = totals_of(OF_GAMMA);
    for (var quad = 0u; quad < QUADS; quad++) {
        means[quad] = mean_quad(means[quad], rows);
        slopes[quad] /= f32(rows);
    }
    var sums = Backward();
    var weight_sums = WeightSums();
    for (var i = 0u; i < turns; i++) {
        var grads = row_of(level.grads, level.columns, i);
        if level.is_normalized {
            var values = sums_of(level, &block, i);
            for (var quad = 0u; quad < QUADS; quad++) {
                if has_quad(level.columns, quad) {
                    let column = column_of(&columns, quad);
                    let normal = normalized(values[quad], column, rows);
                    let centered = rounded_quad(grads[quad] - means[quad], rows);
                    let scale = column.gamma * column.inverse_std;
                    grads[quad] = scale * (centered - normal * slopes[quad]);
                }
            }
        }
        var below = activated(before, &block_before, &columns_before, i);
        add_row(&sums, &weight_sums, before, level, i, &block, &grads, &below);
    }
    finish_backward(&sums, &weight_sums, before, level);
}

// The gradient of the invocation's own quad of biases, gamma or beta.
fn put_vector(level: Level, first: u32, sums: u32, fault: u32) {
    if has_quad(level.columns, own) {
        let sum = inside(own_total(sums), own, level.columns);
        put_gradient_quad(first + own, sum);
        note(level, fault, magnitudes(sum), LARGEST_GRADIENT);
    }
}
