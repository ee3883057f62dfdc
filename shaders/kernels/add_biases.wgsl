// Add biases: adds the biases to every row of a matrix, in place.
//
//     sums[r, c] += biases[c]
//
// The matrix is the product of a layer without batch normalization (matmul.wgsl), row-major: a row
// is a sample, a column is a feature. An invocation owns elements a whole dispatch apart.

struct Shape {
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> biases: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    let length = shape.rows * shape.columns;
    for (var i = invocation.x; i < length; i += WORKGROUP_SIZE * workgroups.x) {
        sums[i] += biases[i % shape.columns];
    }
}
