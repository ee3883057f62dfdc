// Copy rows: a matrix to a place where its rows start at other distances.
//
//     outputs[r, c] = inputs[r, c]
//
// An app's rows lie one behind the other; the kernels that multiply matrices want whole vectors of four.
// Row-major; what fills up the rows of the outputs is left alone. An invocation owns elements a whole
// dispatch apart.

struct Shape {
    rows: u32,
    columns: u32,
    inputs_stride: u32,  // values from one row to the next
    outputs_stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let length = shape.rows * shape.columns;
    for (var i = invocation.x; i < length; i += WORKGROUP_SIZE * workgroups.x) {
        let row = i / shape.columns;
        let column = i % shape.columns;
        outputs[row * shape.outputs_stride + column] = inputs[row * shape.inputs_stride + column];
    }
}
