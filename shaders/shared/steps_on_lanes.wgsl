// Steps on lanes: how the invocations of whole_steps.wgsl share values where a workgroup is one subgroup, whose
// invocations are the lanes of a CPU's vector register; steps_in_workgroup.wgsl does the same for GPUs.
//
// An access to memory costs as much as many multiplications there, and an array that is indexed by a variable is
// no longer in registers. So lanes read quads side by side, and broadcast them; LANES quads are added up over
// the lanes at once, of which each lane gets one.

const WORKGROUP_SIZE = LANES;

// The most quads of a layer's weights; those of a layer are in memory order.
const WEIGHTS = 4u * QUADS * QUADS;
const WEIGHT_TURNS = (WEIGHTS + LANES - 1u) / LANES;

// A quad for each lane.
alias Lent = array<vec4<f32>, LANES>;
alias WeightSums = array<Lent, WEIGHT_TURNS>;
alias Columns = array<Column, QUADS>;
// The lane's own quads of a layer's weights.
alias Block = array<vec4<f32>, WEIGHT_TURNS>;

var<workgroup> working: array<vec4<f32>, LEARNED>;
var<workgroup> gradients: array<vec4<f32>, LEARNED>;
// Of each layer, one for each lane.
var<private> own_columns: array<Column, OUTPUT.number>;
var<private> totals: array<vec4<f32>, 4>;

fn load_parameters() {
    for (var quad = own; quad < LEARNED; quad += LANES) {
        working[quad] = parameters[quad];
        gradients[quad] = vec4<f32>();
    }
}

fn store_parameters() {
    for (var quad = own; quad < LEARNED; quad += LANES) {
        parameters[quad] = working[quad];
    }
}

fn weight_quads(level: Level) -> u32 {
    return level.columns * quads(level.inner);
}

fn load_block(level: Level, block: ptr<function, Block>) {
    for (var turn = 0u; turn < WEIGHT_TURNS; turn++) {
        if turn * LANES < weight_quads(level) {
            let place = turn * LANES + own;
            let read = working[level.weights + min(place, weight_quads(level) - 1u)];
            (*block)[turn] = select(vec4<f32>(), read, place < weight_quads(level));
        }
    }
}

fn biases_of(level: Level) -> Row {
    let mine = working[min(level.beta + own, LEARNED - 1u)];
    let has_biases = !level.is_normalized && has_quad(level.columns, own);
    return broadcast(select(vec4<f32>(), mine, has_biases));
}

fn broadcast(mine: vec4<f32>) -> Row {
    var row = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        row[quad] = subgroupShuffle(mine, quad);
    }
    return row;
}

// Four rows of the weights, each at four inputs. Rows past the last are zero.
fn weights_at(level: Level, block: ptr<function, Block>, quad: u32, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        weight_at(level, block, 4u * quad, k),
        weight_at(level, block, 4u * quad + 1u, k),
        weight_at(level, block, 4u * quad + 2u, k),
        weight_at(level, block, 4u * quad + 3u, k),
    );
}

fn weight_at(level: Level, block: ptr<function, Block>, row: u32, k: u32) -> vec4<f32> {
    let place = row * quads(level.inner) + k;
    if row < level.columns {
        return subgroupShuffle((*block)[place / LANES], place % LANES);
    }
    return vec4<f32>();
}

fn own_parameter(first: u32) -> vec4<f32> {
    return working[min(first + own, LEARNED - 1u)];
}

fn put_gradient_quad(quad: u32, value: vec4<f32>) {
    gradients[quad] = value;
}

// The lane's quad of the sums over all lanes, which are always added up in the same order.
fn scattered_sum(values: ptr<function, Lent>) -> vec4<f32> {
    if LANES > 8u {
        for (var i = 0u; i < 8u; i++) {
            halve(values, i, 8u);
        }
    }
    if LANES > 4u {
        for (var i = 0u; i < 4u; i++) {
            halve(values, i, 4u);
        }
    }
    halve(values, 0u, 2u);
    halve(values, 1u, 2u);
    halve(values, 0u, 1u);
    return (*values)[0];
}

// Adds up pairs of lanes: one of a pair keeps the sum of a quad, the other that of a quad `half` further.
fn halve(values: ptr<function, Lent>, i: u32, half: u32) {
    let is_first = (own & half) == 0u;
    let first = (*values)[i];
    let second = (*values)[i + half];
    let lent = subgroupShuffleXor(select(first, second, is_first), half);
    (*values)[i] = select(second, first, is_first) + lent;
}

fn scattered_row(values: ptr<function, Row>) -> vec4<f32> {
    var lent = Lent();
    for (var quad = 0u; quad < QUADS; quad++) {
        lent[quad] = (*values)[quad];
    }
    return scattered_sum(&lent);
}

fn add_up(place: u32, values: ptr<function, Row>, width: u32) {
    totals[place] = scattered_row(values);
}

fn own_total(place: u32) -> vec4<f32> {
    return totals[place];
}

fn first_total(place: u32) -> vec4<f32> {
    return subgroupShuffle(totals[place], 0u);
}

fn totals_of(place: u32) -> Row {
    return broadcast(totals[place]);
}

// The mean as center and rest, and the variance, of the lane's own quad of columns.
struct Measured {
    center: vec4<f32>,
    rest: vec4<f32>,
    variance: vec4<f32>,
}

// Joins the lanes' moments (Chan, Golub and LeVeque 1983), from differences from the first lane's first row.
fn joined_column(level: Level, moments: ptr<function, OwnMoments>) -> Measured {
    let count = (*moments).count;
    let share = select(1.0, count, count > 0.0);
    var sums = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        let first = (*moments).first[quad];
        let shift = rounded_quad(first - subgroupShuffle(first, 0u), rows);
        sums[quad] = (*moments).differences[quad] + count * shift;
    }
    let rest = mean_quad(scattered_row(&sums), rows);
    var center = vec4<f32>();
    var squares = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        let first = (*moments).first[quad];
        let difference = (*moments).differences[quad] / share;
        let of_all = subgroupShuffle(first, 0u);
        center = select(center, of_all, own == quad);
        let shift = rounded_quad(first - of_all, rows);
        let change = (shift - subgroupShuffle(rest, quad)) + difference;
        let of_lane = (*moments).squares[quad] - count * difference * difference;
        squares[quad] = select(of_lane, vec4<f32>(), of_lane < vec4<f32>()) + count * change * change;
    }
    return Measured(center, rest, scattered_row(&squares) / f32(rows));
}

fn put_column(level: Level, column: Column) {
    own_columns[level.number] = column;
}

fn columns_of(level: Level) -> Columns {
    let mine = own_columns[level.number];
    var columns = Columns();
    for (var quad = 0u; quad < QUADS; quad++) {
        columns[quad] = Column(
            subgroupShuffle(mine.center, quad),
            subgroupShuffle(mine.rest, quad),
            subgroupShuffle(mine.inverse_std, quad),
            subgroupShuffle(mine.gamma, quad),
            subgroupShuffle(mine.beta, quad),
        );
    }
    return columns;
}

fn column_of(columns: ptr<function, Columns>, quad: u32) -> Column {
    return (*columns)[quad];
}

// A lane reads only what it has written itself.
fn share_columns() {}

fn add_weights(
    level: Level,
    sums: ptr<function, WeightSums>,
    grads: ptr<function, Row>,
    left: ptr<function, Row>,
) {
    let stride = quads(level.inner);
    for (var quad = 0u; quad < QUADS; quad++) {
        for (var k = 0u; k < QUADS; k++) {
            if has_quad(level.columns, quad) && has_quad(level.inner, k) {
                let factors = (*left)[k];
                let grad = (*grads)[quad];
                let first = 4u * quad * stride + k;
                add_weight(sums, first, factors, grad.x);
                add_weight(sums, first + stride, factors, grad.y);
                add_weight(sums, first + 2u * stride, factors, grad.z);
                add_weight(sums, first + 3u * stride, factors, grad.w);
            }
        }
    }
}

fn add_weight(sums: ptr<function, WeightSums>, place: u32, factors: vec4<f32>, grad: f32) {
    let before = (*sums)[place / LANES][place % LANES];
    (*sums)[place / LANES][place % LANES] = fma(factors, vec4<f32>(grad), before);
}

fn finish_weights(level: Level, sums: ptr<function, WeightSums>) {
    var largest = vec4<u32>();
    for (var turn = 0u; turn < WEIGHT_TURNS; turn++) {
        if turn * LANES < weight_quads(level) {
            var lent = (*sums)[turn];
            let sum = scattered_sum(&lent);
            if turn * LANES + own < weight_quads(level) {
                gradients[level.weights + turn * LANES + own] = sum;
            }
            largest = max(largest, magnitudes(sum));
        }
    }
    note(level, WEIGHTS_FAULT, largest, LARGEST_GRADIENT);
}

// The bits that any lane has.
fn all_found(bits: u32) -> u32 {
    var all = bits | subgroupShuffleXor(bits, 1u);
    all |= subgroupShuffleXor(all, 2u);
    if LANES > 4u {
        all |= subgroupShuffleXor(all, 4u);
    }
    if LANES > 8u {
        all |= subgroupShuffleXor(all, 8u);
    }
    return all;
}

fn squared_norm() -> f32 {
    var row = Row();
    for (var quad = own; quad < LEARNED; quad += LANES) {
        row[0] = fma(gradients[quad], gradients[quad], row[0]);
    }
    return dot(subgroupShuffle(scattered_row(&row), 0u), vec4<f32>(1.0));
}
