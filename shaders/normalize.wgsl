// Normalize: give every feature of a batch zero mean and unit variance, then scale and shift it.
//
//     outputs[r, c] = gamma[c] · (inputs[r, c] − mean[c]) / √(variance[c] + EPSILON) + beta[c]
//
// In training, mean and variance are the batch's own (batch_statistics.wgsl); in inference they are
// running_mean and running_var. The kernel cannot tell the two apart, and need not. `mean` has two
// rows, whose sum is the mean; the second row of a running mean is zero.
//
// Matrices are row-major: a row is a sample, a column is a feature. An invocation owns one column and
// walks down its rows: it reads the vectors once, and neighbors read neighbors.

struct Shape {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read_write> outputs: array<f32>;

// No defaults: src/kernels/normalize.rs holds the numbers, once.
override WORKGROUP_SIZE: u32;
override EPSILON: f32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let stride = WORKGROUP_SIZE * workgroups.x;
    for (var column = invocation.x; column < shape.columns; column += stride) {
        let center = mean[column];
        let rest = mean[shape.columns + column];
        let inverse_std = 1.0 / sqrt(variance[column] + EPSILON);
        let scale = gamma[column];
        let shift = beta[column];
        for (var row = invocation.y; row < shape.rows; row += workgroups.y) {
            let index = row * shape.columns + column;
            // Center first, in two steps: anything else loses digits where the mean is large against
            // the standard deviation.
            let normalized = ((inputs[index] - center) - rest) * inverse_std;
            outputs[index] = scale * normalized + shift;
        }
    }
}
