// The loss and accuracy of a row of outputs, and the gradient, which may overwrite the outputs. Needs
// exponential.wgsl, loss_bits.wgsl and magnitudes.wgsl. The kernel defines output_at, target_at,
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

// Loss and accuracy, as bits. `rows` are those of the batch.
fn row_loss(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    switch LOSS {
        case SOFTMAX_CROSS_ENTROPY: { return softmax_cross_entropy(row, rows, columns); }
        case MEAN_SQUARED_ERROR: { return mean_squared_error(row, rows, columns); }
        case BINARY_CROSS_ENTROPY: { return binary_cross_entropy(row, rows, columns); }
        case MEAN_ABSOLUTE_ERROR: { return mean_absolute_error(row, rows, columns); }
        case HUBER: { return huber(row, rows, columns); }
        default: { return loss_bits(not_a_number(), 0.0, true); }
    }
}

fn softmax_cross_entropy(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    var largest = output_at(row, 0u);
    var guess = 0u;
    var has_nan = is_nan(largest);
    for (var column = 1u; column < columns; column++) {
        let candidate = output_at(row, column);
        if candidate > largest {
            largest = candidate;
            guess = column;
        }
        has_nan = has_nan || is_nan(candidate);
    }
    // The largest output is taken out of the exponents, so that none overflows, and out of the sum,
    // where its exponential is 1: log(1 + others) keeps a small loss's digits.
    var others = 0.0;
    for (var column = 0u; column < columns; column++) {
        let share = exponential(output_at(row, column) - largest);
        others += select(share, 0.0, column == guess);
    }

    let class_index = target_at(row, 0u);
    if class_index >= columns {
        for (var column = 0u; column < columns; column++) {
            put_gradient(row, column, 0.0);
        }
        return loss_bits(0.0, 0.0, true);
    }
    let log_sum = log_one_plus(others);
    let weight = class_weight(class_index);
    let own_target = (1.0 - LABEL_SMOOTHING) * weight;
    let even_target = LABEL_SMOOTHING / f32(columns) * weight;
    var loss = own_target * (log_sum - (output_at(row, class_index) - largest));
    if LABEL_SMOOTHING > 0.0 {
        for (var column = 0u; column < columns; column++) {
            loss += even_target * (log_sum - (output_at(row, column) - largest));
        }
    }
    for (var column = 0u; column < columns; column++) {
        let share = exponential(output_at(row, column) - largest);  // of 1 + others
        var wanted = select(0.0, own_target, column == class_index);
        if LABEL_SMOOTHING > 0.0 {
            wanted += even_target;
        }
        // Subtracts before it divides: an inexact quotient would leave a gradient where the exact one is
        // 0.
        let difference = share * weight - wanted * (1.0 + others);
        put_gradient(row, column, difference / ((1.0 + others) * f32(rows)));
    }
    return loss_bits(loss, select(0.0, 1.0, guess == class_index && !has_nan), has_nan);
}

fn mean_squared_error(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = 0u; column < columns; column++) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        let difference = output - wanted;
        sum += difference * difference;
        has_nan = has_nan || is_nan(output) || is_nan(wanted);
        put_gradient(row, column, 2.0 * difference / (f32(rows) * f32(columns)));
    }
    return loss_bits(sum / f32(columns), 0.0, has_nan);
}

fn mean_absolute_error(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = 0u; column < columns; column++) {
        let output = output_at(row, column);
        let wanted = bitcast<f32>(target_at(row, column));
        let difference = output - wanted;
        sum += abs(difference);
        has_nan = has_nan || is_nan(output) || is_nan(wanted);
        let direction = select(sign(difference), difference, is_nan(difference));
        put_gradient(row, column, direction / (f32(rows) * f32(columns)));
    }
    return loss_bits(sum / f32(columns), 0.0, has_nan);
}

fn huber(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    var sum = 0.0;
    var has_nan = false;
    for (var column = 0u; column < columns; column++) {
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
    return loss_bits(sum / f32(columns), 0.0, has_nan);
}

fn binary_cross_entropy(row: u32, rows: u32, columns: u32) -> vec2<u32> {
    var sum = 0.0;
    var hits = 0.0;
    var has_nan = false;
    var are_probabilities = true;
    for (var column = 0u; column < columns; column++) {
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
    if !are_probabilities {
        for (var column = 0u; column < columns; column++) {
            put_gradient(row, column, 0.0);
        }
        return loss_bits(0.0, 0.0, true);
    }
    let accuracy = select(hits / f32(columns), 0.0, has_nan);
    return loss_bits(sum / f32(columns), accuracy, has_nan);
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
