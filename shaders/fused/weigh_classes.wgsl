// Weigh classes: the weight of each class, divided by the mean weight of the rows of the batch.
//
//     targets[rows + c] = class_weights[c] · rows / Σ_r class_weights[targets[r]]
//
// so that the mean over the rows of their weighted losses (row_loss.wgsl) is the weighted mean. If all
// rows weigh 0, so does every class. A row whose class does not exist weighs 0. A NaN weight makes all
// weights of a batch with such a row NaN.
//
// The class indices of the rows are inputs. The weights are stored after them, as the bits of floats.
// One workgroup.

struct Batch {
    rows: u32,
    classes: u32,
}

// Binding 0 is the uniform batch: Batch (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> class_weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> targets: array<u32>;

override WORKGROUP_SIZE: u32;

alias Sum = f32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    read_uniform();
    // Read once, before the loop: if the loop read it again, Mesa's software driver for OpenGL would lose the
    // value for invocations that have left the loop.
    let rows = batch.rows;
    let classes = batch.classes;
    var sum = 0.0;
    for (var row = index; row < rows; row += WORKGROUP_SIZE) {
        let class_index = targets[row];
        if class_index < classes {
            sum += class_weights[class_index];
        }
    }
    let total = workgroup_sum(sum, index);
    var scale = 0.0;
    if total > 0.0 || is_nan(total) {
        scale = f32(rows) / total;
    }
    for (var class_index = index; class_index < classes; class_index += WORKGROUP_SIZE) {
        targets[rows + class_index] = bits_of(scale * class_weights[class_index]);
    }
}

fn unknown() -> u32 {
    return batch.rows;
}
