// Column sums: the gradient of the biases.
//
//     sums[c] = Σ_r inputs[r, c]
//
// The inputs are the gradient of a layer's pre-activations (`sums`), row-major: a row is a sample, a
// column is a feature. A workgroup owns COLUMNS features; LANES invocations share one, and each walks
// every LANES-th row.

struct Shape {
    rows: u32,
    columns: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

override COLUMNS: u32;
override LANES: u32;

@compute @workgroup_size(COLUMNS, LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    read_uniform();
    let stride = COLUMNS * workgroups.x;
    for (var first = COLUMNS * workgroup.x; first < shape.columns; first += stride) {
        let column = first + local.x;
        // Lanes beyond the last column have no rows, but must reach the barriers.
        let rows = select(0u, shape.rows, column < shape.columns);
        var sum = 0.0;
        for (var row = local.y; row < rows; row += LANES) {
            sum += inputs[row * shape.columns + column];
        }
        sum = lane_sum(sum, local.x, local.y);
        if local.y == 0u && column < shape.columns {
            sums[column] = sum;
        }
    }
}
