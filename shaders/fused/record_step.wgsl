// Record step: writes the batch's loss and accuracy to the history, and counts the step.
//
//     history[taken % capacity] = mean of results[r], how many rows, the step's number
//     taken += 1, number += 1, of_network += 1                (shared/record.wgsl)
//     fault = 1, if the loss is not finite
//
// `results` are each row's loss and accuracy from the loss kernels, as bits (shared/loss_bits.wgsl), like
// the history. The counts are on the GPU, so that one encoder can hold many steps. Later kernels read
// the number of the step there, counted from 1. One workgroup.

struct Batch {
    rows: u32,
    capacity: u32,  // of the history, in steps
    fault: u32,     // values before the fault
}

// Binding 0 is the uniform batch: Batch (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> results: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> history: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> faults: array<f32>;

override WORKGROUP_SIZE: u32;

alias Sum = vec3<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    read_uniform();
    var sum = Sum();
    for (var row = index; row < batch.rows; row += WORKGROUP_SIZE) {
        sum = with_row(sum, results[row]);
    }
    sum = workgroup_sum(sum, index);
    if index == 0u {
        let mean = mean_bits(sum, batch.rows);
        record(mean, batch.rows, batch.capacity);
        if is_any_larger(loss_magnitude(mean), LARGEST_FLOAT) {
            faults[batch.fault] = 1.0;
        }
    }
}

fn unknown() -> u32 {
    return batch.rows;
}
