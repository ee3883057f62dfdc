// Steps in a workgroup: how the invocations of whole_steps.wgsl share values on a GPU, through workgroup memory;
// steps_on_lanes.wgsl does the same for the lanes of a CPU's vector register.
//
// The parameters and their gradients stay in workgroup memory for all steps. `exchange` has room for
// EXCHANGED quads of each invocation, which src/plan/whole.rs appends.

const WORKGROUP_SIZE = 128u;

// The parts in which a sum over the invocations is added up side by side.
const PARTS = 16u;

const EXCHANGE = EXCHANGED * WORKGROUP_SIZE;

// The most quads of a layer's weights, and those of an invocation.
const WEIGHTS = 4u * QUADS * QUADS;
const WEIGHT_TURNS = (WEIGHTS + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;

// Rows of both factors of the weights' gradients that are exchanged at once.
const SLICE = EXCHANGE / (2u * QUADS);

// An invocation's sums of the weights that it owns.
alias WeightSums = array<vec4<f32>, WEIGHT_TURNS>;
// All weights are in workgroup memory.
alias Block = u32;
// The columns of a layer are there, too.
alias Columns = Level;

var<workgroup> working: array<vec4<f32>, LEARNED>;
var<workgroup> gradients: array<vec4<f32>, LEARNED>;
var<workgroup> exchange: array<vec4<f32>, EXCHANGE>;
var<workgroup> parts: array<vec4<f32>, EXCHANGED * PARTS>;
var<workgroup> totals: array<vec4<f32>, 4u * QUADS>;
// Center, rest and inverse_std of each layer's columns.
var<workgroup> normalizing: array<array<vec4<f32>, 3>, OUTPUT.number * QUADS>;
var<workgroup> found_bits: array<atomic<u32>, 3>;
var<private> found_turn: u32;

fn load_parameters() {
    for (var quad = own; quad < LEARNED; quad += WORKGROUP_SIZE) {
        working[quad] = parameters[quad];
        gradients[quad] = vec4<f32>();
    }
    if own < 3u {
        atomicStore(&found_bits[own], 0u);
    }
    workgroupBarrier();
}

fn store_parameters() {
    for (var quad = own; quad < LEARNED; quad += WORKGROUP_SIZE) {
        parameters[quad] = working[quad];
    }
}

fn load_block(level: Level, block: ptr<function, Block>) {}

fn biases_of(level: Level) -> Row {
    var row = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        if !level.is_normalized && has_quad(level.columns, quad) {
            row[quad] = working[level.beta + quad];
        }
    }
    return row;
}

// Four rows of the weights, each at four inputs. Rows past the last are zero.
fn weights_at(level: Level, block: ptr<function, Block>, quad: u32, k: u32) -> mat4x4<f32> {
    let stride = quads(level.inner);
    let first = level.weights + 4u * quad * stride + k;
    var rows_of_weights = mat4x4<f32>();
    rows_of_weights[0] = working[first];
    if 4u * quad + 1u < level.columns {
        rows_of_weights[1] = working[first + stride];
    }
    if 4u * quad + 2u < level.columns {
        rows_of_weights[2] = working[first + 2u * stride];
    }
    if 4u * quad + 3u < level.columns {
        rows_of_weights[3] = working[first + 3u * stride];
    }
    return rows_of_weights;
}

fn own_parameter(first: u32) -> vec4<f32> {
    return working[first + own];
}

fn put_gradient_quad(quad: u32, value: vec4<f32>) {
    gradients[quad] = value;
}

// Adds up a row over all invocations, always in the same order: in parts, and then the parts. `exchange` must
// no longer be read.
fn add_up(place: u32, values: ptr<function, Row>, width: u32) {
    for (var first = 0u; first < QUADS; first += EXCHANGED) {
        if has_quad(width, first) {
            for (var i = 0u; i < EXCHANGED; i++) {
                exchange[i * WORKGROUP_SIZE + own] = (*values)[min(first + i, QUADS - 1u)];
            }
            workgroupBarrier();
            if own < EXCHANGED * PARTS {
                let begin = own / PARTS * WORKGROUP_SIZE + own % PARTS;
                var sum = vec4<f32>();
                for (var i = 0u; i < WORKGROUP_SIZE; i += PARTS) {
                    sum += exchange[begin + i];
                }
                parts[own] = sum;
            }
            workgroupBarrier();
            if own < EXCHANGED && first + own < QUADS {
                var total = vec4<f32>();
                for (var part = 0u; part < PARTS; part++) {
                    total += parts[own * PARTS + part];
                }
                totals[place * QUADS + first + own] = total;
            }
            workgroupBarrier();
        }
    }
}

fn own_total(place: u32) -> vec4<f32> {
    return totals[place * QUADS + own];
}

fn first_total(place: u32) -> vec4<f32> {
    return totals[place * QUADS];
}

fn totals_of(place: u32) -> Row {
    var row = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        row[quad] = totals[place * QUADS + quad];
    }
    return row;
}

// The mean as center and rest, and the variance, of the invocation's own quad of columns.
struct Measured {
    center: vec4<f32>,
    rest: vec4<f32>,
    variance: vec4<f32>,
}

// Joins the invocations' moments (Chan, Golub and LeVeque 1983), from differences from the first row.
fn joined_column(level: Level, moments: ptr<function, OwnMoments>) -> Measured {
    if own == 0u {
        for (var quad = 0u; quad < QUADS; quad++) {
            totals[OF_RESULTS * QUADS + quad] = (*moments).first[quad];
        }
    }
    workgroupBarrier();
    let count = (*moments).count;
    let share = select(1.0, count, count > 0.0);
    var sums = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        let shift = rounded_quad((*moments).first[quad] - totals[OF_RESULTS * QUADS + quad], rows);
        sums[quad] = (*moments).differences[quad] + count * shift;
    }
    add_up(OF_BIASES, &sums, level.columns);
    var squares = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        let difference = (*moments).differences[quad] / share;
        let shift = rounded_quad((*moments).first[quad] - totals[OF_RESULTS * QUADS + quad], rows);
        let change = (shift - mean_quad(totals[OF_BIASES * QUADS + quad], rows)) + difference;
        let of_own = (*moments).squares[quad] - count * difference * difference;
        squares[quad] = select(of_own, vec4<f32>(), of_own < vec4<f32>()) + count * change * change;
    }
    add_up(OF_BETA, &squares, level.columns);
    let quad = min(own, QUADS - 1u);
    return Measured(
        totals[OF_RESULTS * QUADS + quad],
        mean_quad(totals[OF_BIASES * QUADS + quad], rows),
        totals[OF_BETA * QUADS + quad] / f32(rows),
    );
}

fn put_column(level: Level, column: Column) {
    let place = level.number * QUADS + own;
    normalizing[place] = array(column.center, column.rest, column.inverse_std);
}

fn share_columns() {
    workgroupBarrier();
}

fn columns_of(level: Level) -> Columns {
    return level;
}

fn column_of(level: ptr<function, Columns>, quad: u32) -> Column {
    let place = (*level).number * QUADS + quad;
    return Column(
        normalizing[place][0],
        normalizing[place][1],
        normalizing[place][2],
        working[(*level).gamma + quad],
        working[(*level).beta + quad],
    );
}

// A row's quad of one of the factors, turned so that invocations next to each other meet in no memory bank.
fn exchange_place(quad: u32, row: u32) -> u32 {
    return quad * SLICE + (row + quad) % SLICE;
}

// Adds the products of all invocations' rows to the sums of the invocations that own the weights. If there are fewer
// weights than invocations, several invocations share one, and each adds up a part of the rows.
fn add_weights(
    level: Level,
    sums: ptr<function, WeightSums>,
    grads: ptr<function, Row>,
    left: ptr<function, Row>,
) {
    let stride = quads(level.inner);
    let tasks = level.columns * stride;
    let shares = max(WORKGROUP_SIZE / tasks, 1u);
    for (var slice = 0u; slice < WORKGROUP_SIZE; slice += SLICE) {
        if own >= slice && own < slice + SLICE {
            for (var quad = 0u; quad < QUADS; quad++) {
                exchange[exchange_place(quad, own - slice)] = (*left)[quad];
                exchange[exchange_place(QUADS + quad, own - slice)] = (*grads)[quad];
            }
        }
        workgroupBarrier();
        let end = min(SLICE, WORKGROUP_SIZE - slice);
        for (var turn = 0u; turn < WEIGHT_TURNS; turn++) {
            let place = turn * WORKGROUP_SIZE + own;
            let task = place % tasks;
            if turn * WORKGROUP_SIZE < tasks && place < shares * tasks {
                let row_of_weights = task / stride;
                var sum = (*sums)[turn];
                for (var row = place / tasks; row < end; row += shares) {
                    let grad = exchange[exchange_place(QUADS + row_of_weights / 4u, row)];
                    let factors = exchange[exchange_place(task % stride, row)];
                    sum = fma(factors, vec4<f32>(grad[row_of_weights % 4u]), sum);
                }
                (*sums)[turn] = sum;
            }
        }
        workgroupBarrier();
    }
}

fn finish_weights(level: Level, sums: ptr<function, WeightSums>) {
    let tasks = level.columns * quads(level.inner);
    let shares = max(WORKGROUP_SIZE / tasks, 1u);
    var largest = vec4<u32>();
    if shares > 1u {
        exchange[own] = (*sums)[0];
    }
    workgroupBarrier();
    for (var turn = 0u; turn < WEIGHT_TURNS; turn++) {
        let task = turn * WORKGROUP_SIZE + own;
        if task < tasks {
            var sum = (*sums)[turn];
            for (var share = 1u; share < shares; share++) {
                sum += exchange[share * tasks + task];
            }
            gradients[level.weights + task] = sum;
            largest = max(largest, magnitudes(sum));
        }
    }
    workgroupBarrier();
    note(level, WEIGHTS_FAULT, largest, LARGEST_GRADIENT);
}

// The bits that any invocation has. After this an invocation sees what others wrote. Calls take places in turn:
// past the barrier of a call, the place of the call before is no longer read, and not yet written again.
fn all_found(bits: u32) -> u32 {
    let place = found_turn;
    found_turn = (place + 1u) % 3u;
    atomicOr(&found_bits[place], bits);
    workgroupBarrier();
    if own == 0u {
        atomicStore(&found_bits[(place + 2u) % 3u], 0u);
    }
    return atomicLoad(&found_bits[place]);
}

fn squared_norm() -> f32 {
    var row = Row();
    for (var quad = own; quad < LEARNED; quad += WORKGROUP_SIZE) {
        row[0] = fma(gradients[quad], gradients[quad], row[0]);
    }
    add_up(OF_BIASES, &row, 4u);
    return dot(first_total(OF_BIASES), vec4<f32>(1.0));
}
