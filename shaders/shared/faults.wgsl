// Faults: notes what a step must not be learned from. Needs magnitudes.wgsl.
//
// The packed parameters, and the gradients, which are packed alike, end in a quad that tells whether
// learning has stopped, and one for each layer. The kernels on the way back set a value of their layer's
// quad of the gradients where something is not finite, or too large. update.wgsl, which comes last, finds
// it, and from then on leaves all that was learned as it was before the step.
//
// The kernel has `gradients`, and `layer.faults`, the quads of the gradients before that of the layer.
// Whoever comes upon the same fault writes the same value.

// Which value of the quad; src/trainer/fault.rs reads them.
const STATISTICS_FAULT = 0u;
const LOSS_FAULT = 0u;  // of the output layer, which has no statistics
const GAMMA_FAULT = 1u;
const BIASES_FAULT = 1u;  // of a layer that has no gamma
const BETA_FAULT = 2u;
const WEIGHTS_FAULT = 3u;

fn note_fault(fault: u32, found: vec4<u32>, largest: u32) {
    if is_any_larger(found, largest) {
        gradients[layer.faults][fault] = 1.0;
    }
}
