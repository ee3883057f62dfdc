// Normalize, backward: the gradient through the normalization, including its mean and variance.
//
//     grad_inputs = gamma / √(variance + EPSILON)
//                   · (grad_outputs − grad_beta / rows − normalized · grad_gamma / rows)
//     normalized  = (inputs − mean) / √(variance + EPSILON)
//
// (Ioffe and Szegedy, arXiv 1502.03167, section 3, with the three sums drawn together.) Inputs, mean
// and variance are those of normalize.wgsl, with the batch's own statistics; grad_gamma and grad_mean
// (which is grad_beta / rows, as the sum of two rows) come from normalize_gradients.wgsl.
//
// Matrices are row-major: a row is a sample, a column is a feature. An invocation owns one column and
// walks down its rows.

struct Shape {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
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
    let stride = WORKGROUP_SIZE * workgroups.x;
    for (var column = invocation.x; column < shape.columns; column += stride) {
        let center = mean[column];
        let rest = mean[shape.columns + column];
        let grad_center = grad_mean[column];
        let grad_rest = grad_mean[shape.columns + column];
        let inverse_std = 1.0 / sqrt(variance[column] + EPSILON);
        let scale = gamma[column] * inverse_std;
        let slope = grad_gamma[column] / f32(shape.rows);
        for (var row = invocation.y; row < shape.rows; row += workgroups.y) {
            let index = row * shape.columns + column;
            let normalized = ((inputs[index] - center) - rest) * inverse_std;
            let centered = (grad_outputs[index] - grad_center) - grad_rest;
            grad_inputs[index] = scale * (centered - normalized * slope);
        }
    }
}
