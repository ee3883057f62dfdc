// Batch statistics: mean and variance of every feature over the batch. Moves the running statistics.
//
//     mean[c]     = average of inputs[·, c]
//     variance[c] = average of (inputs[·, c] − mean[c])²             divides by rows
//     running_mean[c] = (1 − momentum) · running_mean[c] + momentum · mean[c]
//     running_var[c]  = (1 − momentum) · running_var[c]  + momentum · variance[c] · rows / (rows − 1)
//
// The inputs are a layer's pre-activations (matmul.wgsl): a row is a sample, or a pixel of a sample; a
// column is a feature (shared/layout.wgsl). A workgroup owns COLUMNS features, or one feature of images.
// LANES invocations share a feature, and each walks every LANES-th row, so that neighboring invocations
// read neighboring values.
//
// `mean` has two rows, and the mean is their sum: where |mean| is large against the standard deviation, a
// single f32 mean loses several 1e-3 standard deviations. The second row is the mean of the differences from
// the first.

struct Batch {
    inputs: Layout,
    rows: u32,
    columns: u32,
    momentum: f32,
    unbias: f32,  // rows / (rows − 1)
}

// Binding 0 is the uniform batch: Batch (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> running_var: array<f32>;

override COLUMNS: u32;
override LANES: u32;

@compute @workgroup_size(COLUMNS, LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    read_uniform();
    let stride = COLUMNS * workgroups.x;
    for (var first = COLUMNS * workgroup.x; first < batch.columns; first += stride) {
        measure_column(first + local.x, local.x, local.y);
    }
}

fn measure_column(column: u32, local_column: u32, lane: u32) {
    let is_column = column < batch.columns;
    // Lanes beyond the last column have no rows, but must reach the barriers.
    let rows = select(0u, batch.rows, is_column);
    let count = f32(batch.rows);

    // Sums of differences from the first row lose no digits to a large mean.
    let first_row = inputs[place(batch.inputs, 0u, min(column, batch.columns - 1u))];
    var sum = 0.0;
    for (var row = lane; row < rows; row += LANES) {
        sum += rounded(inputs[place(batch.inputs, row, column)] - first_row, batch.rows);
    }
    let center = first_row + lane_sum(sum, local_column, lane) / count;

    sum = 0.0;
    for (var row = lane; row < rows; row += LANES) {
        sum += rounded(inputs[place(batch.inputs, row, column)] - center, batch.rows);
    }
    let rest = lane_sum(sum, local_column, lane) / count;

    sum = 0.0;
    for (var row = lane; row < rows; row += LANES) {
        let input = inputs[place(batch.inputs, row, column)];
        let difference = rounded(input - center, batch.rows) - rest;
        sum += difference * difference;
    }
    let spread = lane_sum(sum, local_column, lane) / count;

    if is_column && lane == 0u {
        mean[column] = center;
        mean[batch.columns + column] = rest;
        variance[column] = spread;
        running_mean[column] = moved(running_mean[column], center + rest);
        running_var[column] = moved(running_var[column], batch.unbias * spread);
    }
}

fn moved(running: f32, current: f32) -> f32 {
    return (1.0 - batch.momentum) * running + batch.momentum * current;
}
