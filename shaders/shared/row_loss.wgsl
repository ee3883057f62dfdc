// The loss and accuracy of a row of outputs, and the gradient, which may overwrite the outputs where an
// invocation has a row alone. Needs exponential.wgsl, loss_bits.wgsl, magnitudes.wgsl, and row_alone.wgsl or
// row_together.wgsl, which say how many invocations share a row. The kernel defines output_at, target_at,
// class_weight and put_gradient, which read and write them.
//
//     softmax cross-entropy   loss     = w · Σ_c t[c] · (log Σ_k exp(o[k]) − o[c])
//                             gradient = w · (softmax(o)[c] − t[c]) / rows
//                             with t[c] = (1 at the class, else 0) · (1 − S) + S / columns,
//                             S = LABEL_SMOOTHING, and w the weight of the row's class in this batch
//                             (weigh_classes.wgsl), or 1
//     mean squared error      loss     = average over c of (o[c] − t[c])²
//                             gradient = 2 · (o − t) / (rows · columns)
//     binary cross-entropy    loss     = average over c of log(1 + exp(o[c])) − t[c] · o[c]
//                             gradient = (sigmoid(o) − t) / (rows · columns)
//     mean absolute error     loss     = average over c of |o[c] − t[c]|
//                             gradient = sign(o − t) / (rows · columns)
//     Huber                   loss     = average over c of s · (|o[c] − t[c]| − s / 2)
//                             gradient = sign(o − t) · s / (rows · columns)
//                             with s = the smaller one of |o[c] − t[c]| and DELTA
//
// with a row's outputs o and its targets t: values, or one class index.
//
// A class that does not exist, or a target of binary cross-entropy outside 0 to 1, makes the row's loss
// NaN, which shows in the history, and its gradient 0. A NaN output, or a NaN target of the mean squared
// or absolute error, makes both NaN.

override LOSS: u32;  // the place in Loss::ALL
override HAS_CLASS_TARGETS: bool;
override LABEL_SMOOTHING: f32;
override HAS_CLASS_WEIGHTS: bool;
override DELTA: f32;  // of Huber

const SOFTMAX_CROSS_ENTROPY = 0u;
const MEAN_SQUARED_ERROR = 1u;
const BINARY_CROSS_ENTROPY = 2u;
const MEAN_ABSOLUTE_ERROR = 3u;
const HUBER = 4u;

// An output, and its column.
struct Largest {
    value: f32,
    column: u32,
}

// Loss and accuracy, as bits, the same for all invocations of the row. `rows` are those of the batch, and `lane`
// is the invocation's first column.
fn row_loss(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    switch LOSS {
        case SOFTMAX_CROSS_ENTROPY: { return softmax_cross_entropy(row, rows, columns, lane); }
        case MEAN_SQUARED_ERROR: { return mean_squared_error(row, rows, columns, lane); }
        case BINARY_CROSS_ENTROPY: { return binary_cross_entropy(row, rows, columns, lane); }
        case MEAN_ABSOLUTE_ERROR: { return mean_absolute_error(row, rows, columns, lane); }
        case HUBER: { return huber(row, rows, columns, lane); }
        default: { return loss_bits(not_a_number(), 0.0, true); }
    }
}

fn softmax_cross_entropy(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    let first = min(lane, columns - 1u);
    var own = Largest(output_at(row, first), first);
    var has_own_nan = is_nan(own.value);
    for (var column = first + ROW_LANES; column < columns; column += ROW_LANES) {
        let candidate = output_at(row, column);
        if candidate > own.value {
            own = Largest(candidate, column);
        }
        has_own_nan = has_own_nan || is_nan(candidate);
    }
    let found = row_largest(own, lane);
    let largest = found.value;
    let guess = found.column;
    let has_nan = is_in_row(has_own_nan, lane);
    // The largest output is taken out of the exponents, so that none overflows, and out of the sum,
    // where its exponential is 1: log(1 + others) keeps a small loss's digits.
    var own_others = 0.0;
    for (var column = lane; column < columns; column += ROW_LANES) {
        let share = exponential(output_at(row, column) - largest);
        own_others += select(share, 0.0, column == guess);
    }
    let others = row_sum(own_others, lane);

    let class_index = target_at(row, 0u);
    let is_class = class_index < columns;
    let log_sum = log_one_plus(others);
    let weight = select(0.0, class_weight(min(class_index, columns - 1u)), is_class);
    let own_target = (1.0 - LABEL_SMOOTHING) * weight;
    let even_target = LABEL_SMOOTHING / f32(columns) * weight;
    var loss = own_target * (log_sum - (output_at(row, min(class_index, columns - 1u)) - largest));
    if LABEL_SMOOTHING > 0.0 {
        var own_loss = select(0.0, loss, lane == 0u);
        for (var column = lane; column < columns; column += ROW_LANES) {
            own_loss += even_target * (log_sum - (output_at(row, column) - largest));
        }
        loss = row_sum(own_loss, lane);
    }
    for (var column = lane; column < columns; column += ROW_LANES) {
        let share = exponential(output_at(row, column) - largest);  // of 1 + others
        var wanted = select(0.0, own_target, column == class_index);
        if LABEL_SMOOTHING > 0.0 {
            wanted += even_target;
        }
        let difference = share * weight - wanted * (1.0 + others);
        let gradient = difference / ((1.0 + others) * f32(rows));
        put_gradient(row, column, select(0.0, gradient, is_class));
    }
    let is_hit = is_class && guess == class_index && !has_nan;
    return loss_bits(loss, select(0.0, 1.0, is_hit), has_nan || !is_class);
}

// The larger output; of equal ones the first.
fn larger(a: Largest, b: Largest) -> Largest {
    let is_first = b.value == a.value && b.column < a.column;
    if b.value > a.value || is_first {
        return b;
    }
    return a;
}

// Whether it is so for any invocation of the row.
fn is_in_row(own: bool, lane: u32) -> bool {
    return row_sum(select(0.0, 1.0, own), lane) > 0.0;
}

fn mean_squared_error(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = lane; column < columns; column += ROW_LANES) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        let difference = output - wanted;
        sum += difference * difference;
        has_nan = has_nan || is_nan(output) || is_nan(wanted);
        put_gradient(row, column, 2.0 * difference / (f32(rows) * f32(columns)));
    }
    return loss_bits(row_sum(sum, lane) / f32(columns), 0.0, is_in_row(has_nan, lane));
}

fn mean_absolute_error(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = lane; column < columns; column += ROW_LANES) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        let difference = output - wanted;
        sum += abs(difference);
        has_nan = has_nan || is_nan(output) || is_nan(wanted);
        let direction = select(sign(difference), difference, is_nan(difference));
        put_gradient(row, column, direction / (f32(rows) * f32(columns)));
    }
    return loss_bits(row_sum(sum, lane) / f32(columns), 0.0, is_in_row(has_nan, lane));
}

fn huber(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = lane; column < columns; column += ROW_LANES) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        let difference = output - wanted;
        let size = abs(difference);
        let slope = select(size, DELTA, size > DELTA);
        sum += slope * (size - 0.5 * slope);
        has_nan = has_nan || is_nan(output) || is_nan(wanted);
        let pull = select(sign(difference) * slope, difference, is_nan(difference));
        put_gradient(row, column, pull / (f32(rows) * f32(columns)));
    }
    return loss_bits(row_sum(sum, lane) / f32(columns), 0.0, is_in_row(has_nan, lane));
}

fn binary_cross_entropy(row: u32, rows: u32, columns: u32, lane: u32) -> vec2<u32> {
    var sum = 0.0;
    var hits = 0.0;
    var has_nan = false;
    var are_probabilities = true;
    for (var column = lane; column < columns; column += ROW_LANES) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        // log(1 + exp(o)) is max(o, 0) + log(1 + exp(−|o|)), which never overflows.
        let above = select(0.0, output, output > 0.0);
        sum += log_one_plus(exponential(-abs(output))) + (above - wanted * output);
        has_nan = has_nan || is_nan(output);
        hits += select(0.0, 1.0, (output > 0.0) == (wanted > 0.5));
        put_gradient(row, column, sigmoid_less(output, wanted) / (f32(rows) * f32(columns)));
        are_probabilities = are_probabilities && is_probability(wanted);
    }
    let has_other = is_in_row(!are_probabilities, lane);
    if has_other {
        for (var column = lane; column < columns; column += ROW_LANES) {
            put_gradient(row, column, 0.0);
        }
    }
    let is_faulty = is_in_row(has_nan, lane) || has_other;
    let accuracy = select(row_sum(hits, lane) / f32(columns), 0.0, is_faulty);
    return loss_bits(row_sum(sum, lane) / f32(columns), accuracy, is_faulty);
}

// Whether a value is from 0 to 1, by its bits: a compiler may assume that floats in a comparison are not
// NaN. The second test is for −0.
fn is_probability(value: f32) -> bool {
    let bits = bits_of(value);
    return bits <= 0x3f800000u || bits == 0x80000000u;
}

// sigmoid(output) − wanted. Subtracts before it divides, so that a difference of 0 stays 0.
fn sigmoid_less(output: f32, wanted: f32) -> f32 {
    let e = exponential(-abs(output));
    return (select(e, 1.0, output >= 0.0) - wanted * (1.0 + e)) / (1.0 + e);
}
