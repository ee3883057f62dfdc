// Copy rows: copies a matrix to one with another stride.
//
//     outputs[r, c] = inputs[r, c]
//
// An app's rows may have any stride (shared/layout.wgsl), but the kernels that multiply matrices need rows of
// whole vectors of four. Padding, and values between the rows of the outputs, stay unchanged. Values are
// copied bit by bit, so they may be floats or class indices. An invocation owns elements a whole dispatch
// apart.

struct Shape {
    inputs: Layout,
    outputs: Layout,
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<u32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<u32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    let length = shape.rows * shape.columns;
    for (var i = invocation.x; i < length; i += WORKGROUP_SIZE * workgroups.x) {
        let row = i / shape.columns;
        let column = i % shape.columns;
        outputs[place(shape.outputs, row, column)] = inputs[place(shape.inputs, row, column)];
    }
}
