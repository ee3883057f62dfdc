// Skip step: undoes what a step changed before a fault was found in it (shared/faults.wgsl), if the
// training skips such steps.
//
//     running_statistics = their values before the step
//     taken −= 1, of_network −= 1, skipped += 1, last_skipped = the step's number     (shared/counts.wgsl)
//
// update.wgsl, which runs before, has left the parameters and the optimizer's state unchanged. The
// faults of the step move from the gradients to the parameters, where they stay until the next step is
// skipped. One workgroup, which changes nothing after a step without a fault, or once an overflow has
// stopped the training.

struct Skip {
    stop: u32,     // quads before the stop
    faults: u32,   // quads after the stop: four for each layer
    vectors: u32,  // running statistics: a mean and a variance for each normalized layer
}

// A running mean or variance, in quads of `running`: `quads` current ones, followed by as many from
// before the step.
struct Running {
    first: u32,
    quads: u32,
}

// Binding 0 is the uniform skip: Skip (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> vectors: array<Running>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
    read_uniform();
    let first_fault = skip.stop + 2u;
    // A fault of the loss is recorded without the stop, as the last layer's first fault.
    let of_loss = gradients[first_fault + skip.faults - 4u].x;
    let has_fault = gradients[skip.stop].x != 0.0 || of_loss != 0.0;
    let has_stopped = parameters[skip.stop].x != 0.0;
    // All invocations read the faults before any is cleared.
    storageBarrier();
    if !has_fault || has_stopped {
        return;
    }
    for (var v = 0u; v < skip.vectors; v++) {
        let vector = vectors[v];
        for (var i = index; i < vector.quads; i += WORKGROUP_SIZE) {
            running[vector.first + i] = running[vector.first + vector.quads + i];
        }
    }
    for (var i = index; i < skip.faults; i += WORKGROUP_SIZE) {
        parameters[first_fault + i] = gradients[first_fault + i];
        gradients[first_fault + i] = vec4<f32>();
    }
    if index == 0u {
        gradients[skip.stop] = vec4<f32>();
        counts[TAKEN] -= 1u;
        counts[OF_NETWORK] -= 1u;
        counts[SKIPPED] += 1u;
        counts[LAST_SKIPPED] = counts[NUMBER] - 1u;
    }
}
