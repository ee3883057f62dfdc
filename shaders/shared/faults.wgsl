// Faults: notes what a step must not be learned from. Needs magnitudes.wgsl.
//
// Behind the packed parameters, and behind the gradients, which are packed alike, there are the stop (two
// quads) and the faults of each layer (four quads, one for each kind). In the gradients the kernels on the way
// back write the stop's first quad and a quad of the layer's, where something is not finite, or too large.
// update.wgsl, which comes last, finds them, and from then on leaves all that was learned as it was before
// the step.
//
// A note is a whole quad. Compilers write a component by reading the quad, changing it and writing it back:
// of two workgroups that write components of one quad, one would undo what the other wrote. All who note the
// same fault write the same values.
//
// The kernel has `gradients`, and `layer.stop`, the quads of the gradients before the stop; `faults` are
// those before a layer's.

// Which of the layer's quads; src/layout.rs has their number, src/trainer/fault.rs reads them.
const STATISTICS_FAULT = 0u;
const LOSS_FAULT = 0u;  // of the output layer, which has no statistics
const GAMMA_FAULT = 1u;
const BIASES_FAULT = 1u;  // of a layer that has no gamma
const BETA_FAULT = 2u;
const WEIGHTS_FAULT = 3u;

const NOTED = vec4<f32>(1.0);

fn note_fault(faults: u32, fault: u32, found: vec4<u32>, largest: u32) {
    if is_any_larger(found, largest) {
        gradients[layer.stop] = NOTED;
        gradients[faults + fault] = NOTED;
    }
}
