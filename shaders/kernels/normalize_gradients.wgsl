// Normalize, gradients: the gradients of gamma and beta, two sums per feature.
//
//     grad_beta[c]  = Σ_r grad_outputs[r, c]
//     grad_gamma[c] = Σ_r grad_outputs[r, c] · normalized[r, c]
//     normalized    = (inputs − mean) / √(variance + EPSILON)
//
// Inputs, mean and variance are those of normalize.wgsl, with the batch's own statistics. The sums of
// `normalized` are then zero, so subtracting a constant from grad_outputs does not change grad_gamma. The
// kernel subtracts their mean, to avoid cancellation. normalize_backward.wgsl needs this mean, too: it is the
// sum of the two rows of `grad_mean`.
//
// A row is a sample, or a pixel of one; a column is a feature (shared/layout.wgsl). A workgroup owns
// COLUMNS features; LANES invocations share one, and each walks every LANES-th row, so that neighboring
// invocations read neighboring values. For images, a workgroup owns one feature.

struct Shape {
    inputs: Layout,
    mean: Layout,
    variance: Layout,
    grad_outputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> grad_outputs: array<f32>;
@group(0) @binding(5) var<storage, read_write> grad_gamma: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad_beta: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad_mean: array<f32>;

override COLUMNS: u32;
override LANES: u32;
override EPSILON: f32;

@compute @workgroup_size(COLUMNS, LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    read_uniform();
    let stride = COLUMNS * workgroups.x;
    for (var first = COLUMNS * workgroup.x; first < shape.columns; first += stride) {
        reduce_column(first + local.x, local.x, local.y);
    }
}

fn reduce_column(column: u32, local_column: u32, lane: u32) {
    let is_column = column < shape.columns;
    // Lanes beyond the last column have no rows, but must reach the barriers.
    let rows = select(0u, shape.rows, is_column);
    let count = f32(shape.rows);

    // Sums of differences from the first row lose no digits to a large mean.
    let safe_column = min(column, shape.columns - 1u);
    let first_row = grad_outputs[place(shape.grad_outputs, 0u, safe_column)];
    var sum = 0.0;
    for (var row = lane; row < rows; row += LANES) {
        sum += rounded(grad_outputs[place(shape.grad_outputs, row, column)] - first_row, shape.rows);
    }
    let grad_center = first_row + lane_sum(sum, local_column, lane) / count;

    let center = mean[place(shape.mean, 0u, safe_column)];
    let rest = mean[place(shape.mean, 1u, safe_column)];
    let inverse_std = 1.0 / sqrt(variance[place(shape.variance, 0u, safe_column)] + EPSILON);
    var difference_sum = 0.0;
    var product_sum = 0.0;
    for (var row = lane; row < rows; row += LANES) {
        let input = inputs[place(shape.inputs, row, column)];
        let grad = grad_outputs[place(shape.grad_outputs, row, column)];
        let difference = rounded(grad - grad_center, shape.rows);
        let normalized = (rounded(input - center, shape.rows) - rest) * inverse_std;
        difference_sum += difference;
        product_sum += difference * normalized;
    }
    difference_sum = lane_sum(difference_sum, local_column, lane);
    product_sum = lane_sum(product_sum, local_column, lane);

    if is_column && lane == 0u {
        grad_gamma[column] = product_sum;
        grad_beta[column] = count * grad_center + difference_sum;
        grad_mean[column] = grad_center;
        grad_mean[shape.columns + column] = difference_sum / count;
    }
}
