// Gradient norm: the factor that keeps the gradient from being longer than CLIP_NORM.
//
//     clip_scale[0] = min(1, CLIP_NORM / (norm + 1e-6))        norm = √(Σ_i gradients[i]²)
//
// (PyTorch's clip_grad_norm_.) Two dispatches: `partial` leaves a sum per workgroup, `total` adds them
// up, one workgroup alone. The gradients of all parameters lie in one buffer; gaps in it are zero.

struct Length {
    length: u32,    // of the gradients, or of the partial sums
}

@group(0) @binding(0) var<uniform> shape: Length;
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

override WORKGROUP_SIZE: u32;
override CLIP_NORM: f32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn partial(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    var sum = 0.0;
    let first = WORKGROUP_SIZE * workgroup.x + index;
    for (var i = first; i < shape.length; i += WORKGROUP_SIZE * workgroups.x) {
        sum += inputs[i] * inputs[i];
    }
    sum = workgroup_sum(sum, index);
    if index == 0u {
        outputs[workgroup.x] = sum;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn total(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < shape.length; i += WORKGROUP_SIZE) {
        sum += inputs[i];
    }
    sum = workgroup_sum(sum, index);
    if index == 0u {
        outputs[0] = min(1.0, CLIP_NORM / (sqrt(sum) + 1e-6));
    }
}
