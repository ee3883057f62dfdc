// Faults: records values of a step that are not finite. Needs magnitudes.wgsl and fault_kinds.wgsl.
//
// The packed parameters, and the gradients, which are packed alike, are followed by the stop (two quads)
// and the faults of each layer (four quads, one for each kind). If a value is not finite, or too large, the
// kernels of the backward pass write the stop's first quad and one of the layer's quads in the gradients.
// update.wgsl runs last, reads them, and from then on leaves the parameters as they were before the step. If
// the training skips such steps, skip_step.wgsl clears them.
//
// A record is a whole quad, and all workgroups that record the same fault write the same values. A compiler
// may write a component by reading, changing and writing back its quad, which would undo another workgroup's
// component.
//
// The kernel declares `gradients`, and `layer.stop`, the number of quads before the stop. `faults` is the
// number of quads before a layer's faults.

const NOTED = vec4<f32>(1.0);

fn note_fault(faults: u32, fault: u32, found: vec4<u32>, largest: u32) {
    if is_any_larger(found, largest) {
        gradients[layer.stop] = NOTED;
        gradients[faults + fault] = NOTED;
    }
}
