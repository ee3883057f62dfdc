// Activate, backward: the gradient through the activation function, element by element.
//
//     grad_inputs[r, c] = grad_outputs[r, c] · activation′(inputs[r, c])
//
// The inputs are those of activate.wgsl. As there, an invocation owns one column and walks down some of its
// rows.

struct Shape {
    inputs: Layout,
    grad_outputs: Layout,
    grad_inputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read> grad_outputs: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_inputs: array<f32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    let first = columns_and_rows(invocation);
    let step = columns_and_rows(vec3<u32>(WORKGROUP_SIZE, 1u, 1u) * workgroups);
    for (var column = first.x; column < shape.columns; column += step.x) {
        for (var row = first.y; row < shape.rows; row += step.y) {
            let slope = activation_slope(inputs[place(shape.inputs, row, column)]);
            let grad = grad_outputs[place(shape.grad_outputs, row, column)];
            grad_inputs[place(shape.grad_inputs, row, column)] = grad * slope;
        }
    }
}

fn unknown() -> u32 {
    return shape.rows;
}
