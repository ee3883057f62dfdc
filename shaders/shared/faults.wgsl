// Faults: notes what a step must not be learned from. Needs magnitudes.wgsl.
//
// The packed parameters, and the gradients, which are packed alike, end in a quad that tells whether
// learning has to stop, the stop, and one for each layer, its faults. In the gradients the kernels on the
// way back set the stop's first value, and one of the layer's, where something is not finite, or too
// large; its second value is set if the loss is. update.wgsl, which comes last, finds it, and from then
// on leaves all that was learned as it was before the step.
//
// The kernel has `gradients`, and `layer.stop`, the quads of the gradients before the stop; `faults` are
// those before a layer's. Whoever comes upon the same fault writes the same values.

// Which value of the layer's quad; src/trainer/fault.rs reads them.
const STATISTICS_FAULT = 0u;  // or the loss, of the output layer
const GAMMA_FAULT = 1u;
const BIASES_FAULT = 1u;  // of a layer that has no gamma
const BETA_FAULT = 2u;
const WEIGHTS_FAULT = 3u;

fn note_fault(faults: u32, fault: u32, found: vec4<u32>, largest: u32) {
    if is_any_larger(found, largest) {
        gradients[layer.stop].x = 1.0;
        gradients[faults][fault] = 1.0;
    }
}
