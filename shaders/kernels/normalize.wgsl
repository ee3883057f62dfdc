// Normalize: give every feature of a batch zero mean and unit variance, then scale and shift it.
//
//     outputs[r, c] = gamma[c] · (inputs[r, c] − mean[c]) / √(variance[c] + EPSILON) + beta[c]
//
// In training, mean and variance are the batch's own (batch_statistics.wgsl); in inference they are
// running_mean and running_var. The kernel is the same for both. `mean` has two
// rows, whose sum is the mean; the second row of a running mean is zero.
//
// A row is a sample, or a pixel of one; a column is a feature (shared/layout.wgsl). An invocation owns
// one column and walks down some of its rows: it reads the vectors once, and neighboring invocations
// read neighboring values.

struct Shape {
    inputs: Layout,
    mean: Layout,
    variance: Layout,
    outputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
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
    read_uniform();
    let first = columns_and_rows(invocation);
    let step = columns_and_rows(vec3<u32>(WORKGROUP_SIZE, 1u, 1u) * workgroups);
    for (var column = first.x; column < shape.columns; column += step.x) {
        let center = mean[place(shape.mean, 0u, column)];
        let rest = mean[place(shape.mean, 1u, column)];
        let inverse_std = 1.0 / sqrt(variance[place(shape.variance, 0u, column)] + EPSILON);
        let scale = gamma[column];
        let shift = beta[column];
        for (var row = first.y; row < shape.rows; row += step.y) {
            // Two steps, center first: another order loses digits if the mean is large against the
            // standard deviation.
            let input = inputs[place(shape.inputs, row, column)];
            let normalized = (rounded(input - center, shape.rows) - rest) * inverse_std;
            outputs[place(shape.outputs, row, column)] = scale * normalized + shift;
        }
    }
}
