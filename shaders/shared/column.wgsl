// Column: a quad of columns of a normalized layer, as layer_forward.wgsl and layer_backward.wgsl take it. Needs
// rounded.wgsl, and the kernel's EPSILON.

// The mean is the sum of two floats, center and rest.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,
}

fn inverse_std(variance: vec4<f32>) -> vec4<f32> {
    return 1.0 / sqrt(variance + EPSILON);
}

// In two steps, center first: another order loses digits where the mean is large against the standard
// deviation.
fn normalized(sum: vec4<f32>, column: Column, rows: u32) -> vec4<f32> {
    return (rounded_quad(sum - column.center, rows) - column.rest) * column.inverse_std;
}

// The row of the statistics where a leaf's four rows begin: the batch's own three come first.
fn leaf_row(leaf: u32) -> u32 {
    return 3u + 4u * leaf;
}
