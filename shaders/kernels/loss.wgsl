// Loss: the loss of every row of a batch, and its gradient.
//
//     results[r]   = loss and accuracy of row r        the batch's are their means (record_step.wgsl)
//     grad_outputs = gradient of the batch's loss
//
// shared/row_loss.wgsl has the formulas. The outputs come from the output layer; the targets are values,
// or one class index per row, then the weights of the classes if there are any. The accuracy is 1 if the
// row's first largest output is the class's, or the share of its outputs on the target's side of one half,
// or 0 for mean squared error.
//
// Matrices are row-major: a row is a sample, a column is a feature. Rows of the outputs and of their gradient
// start `stride` values apart, and rows of the gradient are padded with zeros. An invocation owns a row
// (shared/row_alone.wgsl), or a workgroup shares it (shared/row_together.wgsl).

struct Shape {
    rows: u32,
    columns: u32,
    stride: u32,
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> outputs: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;  // class indices, and the bits of floats
@group(0) @binding(3) var<storage, read_write> results: array<vec2<u32>>;  // shared/loss_bits.wgsl
@group(0) @binding(4) var<storage, read_write> grad_outputs: array<f32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let lane = own_lane(invocation);
    let stride = row_stride(workgroups.x);
    for (var row = first_row(workgroup.x, invocation); row < shape.rows; row += stride) {
        let result = row_loss(row, shape.rows, shape.columns, lane);
        if lane == 0u {
            results[row] = result;
        }
        for (var column = shape.columns + lane; column < shape.stride; column += ROW_LANES) {
            put_gradient(row, column, 0.0);
        }
    }
}

fn unknown() -> u32 {
    return shape.rows;
}

fn output_at(row: u32, column: u32) -> f32 {
    return outputs[row * shape.stride + column];
}

fn target_at(row: u32, column: u32) -> u32 {
    if HAS_CLASS_TARGETS {
        return targets[row];
    }
    return targets[row * shape.columns + column];
}

fn class_weight(class_index: u32) -> f32 {
    if HAS_CLASS_WEIGHTS {
        return bitcast<f32>(targets[shape.rows + class_index]);
    }
    return 1.0;
}

fn put_gradient(row: u32, column: u32, gradient: f32) {
    grad_outputs[row * shape.stride + column] = gradient;
}
