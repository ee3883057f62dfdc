// Gather rows: copies a mini-batch from a data set on the GPU, in the order of the epoch.
//
//     batch_inputs[r, ·]  = inputs[order[batch · batch_size + r], ·]       batch = number − first_number
//     batch_targets[r, ·] = targets[order[batch · batch_size + r], ·]
//
// `number` is the step's (shared/counts.wgsl). `order` starts with first_number, the number of the
// epoch's first step; the epoch's permutation of the rows follows. A data set larger than one binding is
// stored in several parts: each dispatch reads one part, and copies the rows in it.
//
// Matrices are row-major. Values are copied bit by bit, so the targets may be floats or class indices. Inputs
// that are whole vectors of four are copied as such vectors: Element is one (shared/element_quad.wgsl) or a
// value (shared/element_value.wgsl). An element is an input or a target: a row has its inputs first. An invocation owns elements a whole dispatch apart.

struct Batch {
    rows: u32,     // of this batch, which may be an epoch's last, smaller one
    columns: u32,  // of the inputs, in elements
    stride: u32,   // elements from one row of the batch's inputs to the next
    targets: u32,  // of a row
    batch_size: u32,
    part_first_row: u32,
    part_rows: u32,
}

// Binding 0 is the uniform batch: Batch (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> inputs: array<Element>;
@group(0) @binding(4) var<storage, read> targets: array<u32>;
@group(0) @binding(5) var<storage, read_write> batch_inputs: array<Element>;
@group(0) @binding(6) var<storage, read_write> batch_targets: array<u32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    let first = 1u + (counts[NUMBER] - order[0]) * batch.batch_size;
    let width = batch.columns + batch.targets;
    for (var i = invocation.x; i < batch.rows * width; i += WORKGROUP_SIZE * workgroups.x) {
        let own = i / width;
        // Rows before the part wrap around to numbers beyond it.
        let row = order[first + own] - batch.part_first_row;
        if row < batch.part_rows {
            let column = i % width;
            if column < batch.columns {
                batch_inputs[own * batch.stride + column] = inputs[row * batch.columns + column];
            } else {
                let place = column - batch.columns;
                batch_targets[own * batch.targets + place] = targets[row * batch.targets + place];
            }
        }
    }
}
