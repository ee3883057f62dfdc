// Activate: the activation function, element by element.
//
//     outputs[r, c] = activation(inputs[r, c])
//
// The inputs are ztilde (normalize.wgsl), or a layer's pre-activations with biases. A row is a sample,
// or a pixel of a sample; a column is a feature (shared/layout.wgsl). A contiguous matrix is treated as
// one row. An invocation owns one column and walks down some of its rows.

struct Shape {
    inputs: Layout,
    outputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

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
            let input = inputs[place(shape.inputs, row, column)];
            outputs[place(shape.outputs, row, column)] = activation(input);
        }
    }
}

fn unknown() -> u32 {
    return shape.rows;
}
