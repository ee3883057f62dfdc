// Normalize, backward: the gradient through the normalization, including its mean and variance.
//
//     grad_inputs = gamma / √(variance + EPSILON)
//                   · (grad_outputs − grad_beta / rows − normalized · grad_gamma / rows)
//     normalized  = (inputs − mean) / √(variance + EPSILON)
//
// (Ioffe and Szegedy, arXiv 1502.03167, section 3, with its sums combined.) Inputs, mean
// and variance are those of normalize.wgsl, with the batch's own statistics; grad_gamma and grad_mean
// (which is grad_beta / rows, as the sum of two rows) come from normalize_gradients.wgsl.
//
// A row is a sample, or a pixel of one; a column is a feature (shared/layout.wgsl). An invocation owns
// one column and walks down some of its rows.

struct Shape {
    inputs: Layout,
    mean: Layout,
    variance: Layout,
    grad_outputs: Layout,
    grad_inputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> grad_gamma: array<f32>;
@group(0) @binding(6) var<storage, read> grad_mean: array<f32>;
@group(0) @binding(7) var<storage, read> grad_outputs: array<f32>;
@group(0) @binding(8) var<storage, read_write> grad_inputs: array<f32>;

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
        let grad_center = grad_mean[column];
        let grad_rest = grad_mean[shape.columns + column];
        let inverse_std = 1.0 / sqrt(variance[place(shape.variance, 0u, column)] + EPSILON);
        let scale = gamma[column] * inverse_std;
        let slope = grad_gamma[column] / f32(shape.rows);
        for (var row = first.y; row < shape.rows; row += step.y) {
            let input = inputs[place(shape.inputs, row, column)];
            let grad = grad_outputs[place(shape.grad_outputs, row, column)];
            let normalized = (rounded(input - center, shape.rows) - rest) * inverse_std;
            let centered = rounded(grad - grad_center, shape.rows) - grad_rest;
            let grad_input = scale * (centered - normalized * slope);
            grad_inputs[place(shape.grad_inputs, row, column)] = grad_input;
        }
    }
}
