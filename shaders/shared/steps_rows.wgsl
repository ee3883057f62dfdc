// Steps, rows: how whole_steps.wgsl reads, writes and multiplies rows of quads, and what row_loss.wgsl reads
// and writes. Needs quads.wgsl and magnitudes.wgsl.

fn is_row(i: u32) -> bool {
    return i * WORKGROUP_SIZE + own < rows;
}

fn has_quad(columns: u32, quad: u32) -> bool {
    return 4u * quad < columns;
}

// The row of the i-th turn, from a matrix that starts there, or zeros past the end.
fn row_of(first: u32, columns: u32, i: u32) -> Row {
    var values = Row();
    if is_row(i) {
        let place = first + (i * WORKGROUP_SIZE + own) * quads(columns);
        for (var quad = 0u; quad < QUADS; quad++) {
            if has_quad(columns, quad) {
                values[quad] = bitcast<vec4<f32>>(memory[place + quad]);
            }
        }
    }
    return values;
}

// Stores the row of the i-th turn, if it is one.
fn put_row(first: u32, columns: u32, i: u32, values: ptr<function, Row>) {
    if is_row(i) {
        let place = first + (i * WORKGROUP_SIZE + own) * quads(columns);
        for (var quad = 0u; quad < QUADS; quad++) {
            if has_quad(columns, quad) {
                memory[place + quad] = bits_of_quad((*values)[quad]);
            }
        }
    }
}

// Stores a row that can be looked at after the last step, if this is one. A CPU's lanes go through a branch
// that none of them takes, but not through a loop.
fn show(first: u32, columns: u32, i: u32, values: ptr<function, Row>, is_last: bool) {
    let times = select(0u, 1u, is_last);
    for (var time = 0u; time < times; time++) {
        put_row(first, columns, i, values);
    }
}

// inputs · weightsᵀ, in the order of the inputs, and the biases.
fn product(
    level: Level,
    block: ptr<function, Block>,
    biases: ptr<function, Row>,
    left: ptr<function, Row>,
) -> Row {
    var sums = *biases;
    for (var quad = 0u; quad < QUADS; quad++) {
        if has_quad(level.columns, quad) {
            var sum = sums[quad];
            for (var k = 0u; k < QUADS; k++) {
                if has_quad(level.inner, k) {
                    let factors = (*left)[k];
                    let weights = transpose(weights_at(level, block, quad, k));
                    sum = fma(weights[0], vec4<f32>(factors.x), sum);
                    sum = fma(weights[1], vec4<f32>(factors.y), sum);
                    sum = fma(weights[2], vec4<f32>(factors.z), sum);
                    sum = fma(weights[3], vec4<f32>(factors.w), sum);
                }
            }
            sums[quad] = sum;
        }
    }
    return sums;
}

// grad_sums · weights.
fn product_back(level: Level, block: ptr<function, Block>, grads: ptr<function, Row>) -> Row {
    var sums = Row();
    for (var quad = 0u; quad < QUADS; quad++) {
        if has_quad(level.columns, quad) {
            let grad = (*grads)[quad];
            for (var k = 0u; k < QUADS; k++) {
                if has_quad(level.inner, k) {
                    let weights = weights_at(level, block, quad, k);
                    var sum = fma(weights[0], vec4<f32>(grad.x), sums[k]);
                    sum = fma(weights[1], vec4<f32>(grad.y), sum);
                    sum = fma(weights[2], vec4<f32>(grad.z), sum);
                    sums[k] = fma(weights[3], vec4<f32>(grad.w), sum);
                }
            }
        }
    }
    return sums;
}

// What row_loss.wgsl reads and writes.

fn output_at(row: u32, column: u32) -> f32 {
    return outputs[column / 4u][column % 4u];
}

fn target_at(row: u32, column: u32) -> u32 {
    if HAS_CLASS_TARGETS {
        return targets[first_of_batch + row];
    }
    return targets[(first_of_batch + row) * OUTPUT.columns + column];
}

fn class_weight(class_index: u32) -> f32 {
    return 1.0;
}

fn put_gradient(row: u32, column: u32, gradient: f32) {
    grad_outputs[column / 4u][column % 4u] = gradient;
}
