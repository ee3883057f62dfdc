// Loss: of every row of a batch, and its gradient.
//
//     softmax cross-entropy   row_loss     = log Σ_c exp(o[c]) − o[class]
//                             grad_outputs = (softmax(o) − (1 at the class, else 0)) / rows
//     mean squared error      row_loss     = average over c of (o[c] − t[c])²
//                             grad_outputs = 2 · (o − t) / (rows · columns)
//     binary cross-entropy    row_loss     = average over c of log(1 + exp(o[c])) − t[c] · o[c]
//                             grad_outputs = (sigmoid(o) − t) / (rows · columns)
//
// with a row's outputs o, which come from the output layer, and its targets t: values, or one class
// index. The batch's loss is the mean of the rows' (record_step.wgsl). `results` holds a pair per row:
// its loss and its accuracy, which is 1 if its first largest output is the class's, or the share of
// its outputs on the target's side of one half, or 0 for mean squared error.
//
// A class that is none makes the row's loss NaN, so that it shows, and its gradient 0, so that it does
// no harm. Row-major; an invocation owns a row.

struct Shape {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> outputs: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;  // class indices, or the bits of floats
@group(0) @binding(3) var<storage, read_write> results: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> grad_outputs: array<f32>;

override WORKGROUP_SIZE: u32;
override LOSS: u32;  // src/kernels/loss.rs numbers them in the order of Loss::ALL

const SOFTMAX_CROSS_ENTROPY = 0u;
const MEAN_SQUARED_ERROR = 1u;
const BINARY_CROSS_ENTROPY = 2u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var row = invocation.x; row < shape.rows; row += WORKGROUP_SIZE * workgroups.x) {
        switch LOSS {
            case SOFTMAX_CROSS_ENTROPY: { results[row] = softmax_cross_entropy(row); }
            case MEAN_SQUARED_ERROR: { results[row] = mean_squared_error(row); }
            default: { results[row] = binary_cross_entropy(row); }
        }
    }
}

fn softmax_cross_entropy(row: u32) -> vec2<f32> {
    let first = row * shape.columns;
    var largest = outputs[first];
    var guess = 0u;
    for (var column = 1u; column < shape.columns; column++) {
        if outputs[first + column] > largest {
            largest = outputs[first + column];
            guess = column;
        }
    }
    // The largest output is taken out of the exponents, so that none overflows, and out of the sum,
    // where its exponential is 1: log(1 + others) keeps a small loss's digits.
    var others = 0.0;
    for (var column = 0u; column < shape.columns; column++) {
        let share = exponential(outputs[first + column] - largest);
        others += select(share, 0.0, column == guess);
    }

    let class_index = targets[row];
    if class_index >= shape.columns {
        for (var column = 0u; column < shape.columns; column++) {
            grad_outputs[first + column] = 0.0;
        }
        // WGSL has no constant NaN: the row keeps the compiler from seeing one.
        return vec2<f32>(bitcast<f32>(0x7fc00000u | (row & 1u)), 0.0);
    }
    for (var column = 0u; column < shape.columns; column++) {
        let share = exponential(outputs[first + column] - largest) / (1.0 + others);
        let target_share = select(0.0, 1.0, column == class_index);
        grad_outputs[first + column] = (share - target_share) / f32(shape.rows);
    }
    let loss = log_one_plus(others) - (outputs[first + class_index] - largest);
    return vec2<f32>(loss, select(0.0, 1.0, guess == class_index));
}

fn mean_squared_error(row: u32) -> vec2<f32> {
    let columns = f32(shape.columns);
    var sum = 0.0;
    for (var column = 0u; column < shape.columns; column++) {
        let index = row * shape.columns + column;
        let difference = outputs[index] - bitcast<f32>(targets[index]);
        sum += difference * difference;
        grad_outputs[index] = 2.0 * difference / (f32(shape.rows) * columns);
    }
    return vec2<f32>(sum / columns, 0.0);
}

fn binary_cross_entropy(row: u32) -> vec2<f32> {
    let columns = f32(shape.columns);
    var sum = 0.0;
    var hits = 0.0;
    for (var column = 0u; column < shape.columns; column++) {
        let index = row * shape.columns + column;
        let output = outputs[index];
        let wanted = bitcast<f32>(targets[index]);
        // log(1 + exp(o)) is max(o, 0) + log(1 + exp(−|o|)), which never overflows.
        sum += log_one_plus(exponential(-abs(output))) + (max(output, 0.0) - wanted * output);
        hits += select(0.0, 1.0, (output > 0.0) == (wanted > 0.5));
        grad_outputs[index] = (sigmoid(output) - wanted) / (f32(shape.rows) * columns);
    }
    return vec2<f32>(sum / columns, hits / columns);
}
