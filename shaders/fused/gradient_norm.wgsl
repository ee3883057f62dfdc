// Gradient norm: the factor that limits the norm of the gradient to CLIP_NORM.
//
//     clip_scale[0] = min(1, CLIP_NORM / (norm + 1e-6))        norm = √(Σ_i gradients[i]²)
//
// A NaN gradient makes the factor NaN (shared/clip_factor.wgsl). There are two dispatches: `partial`
// writes a sum per workgroup, and `total`, a single workgroup, adds these up. The gradients of all
// parameters are in one buffer, once for each slab of the batch (shared/slab_sum.wgsl); gaps in it are
// zero. Both read four values at a time ("a quad").

struct Length {
    quads: u32,    // of the first slab of the gradients, or of the partial sums
    count: u32,    // ranges of the gradients
    padding_1: u32,
    padding_2: u32,
    ranges: array<Range, 256>,
}

// Binding 0 is the uniform length: Length (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

override WORKGROUP_SIZE: u32;

alias Sum = f32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn partial(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    read_uniform();
    var sum = 0.0;
    let first = WORKGROUP_SIZE * workgroup.x + index;
    for (var i = first; i < length.quads; i += WORKGROUP_SIZE * workgroups.x) {
        let quad = slab_sum(i, length.count);
        sum += dot(quad, quad);
    }
    sum = workgroup_sum(sum, index);
    if index == 0u {
        outputs[workgroup.x] = sum;
    }
}

fn range_at(index: u32) -> Range {
    return length.ranges[index];
}

fn gradient_quad(index: u32) -> vec4<f32> {
    return inputs[index];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn total(@builtin(local_invocation_index) index: u32) {
    read_uniform();
    var sum = 0.0;
    for (var i = index; i < length.quads; i += WORKGROUP_SIZE) {
        sum += dot(inputs[i], vec4<f32>(1.0));
    }
    sum = workgroup_sum(sum, index);
    if index == 0u {
        outputs[0] = clip_factor(sum);
    }
}

fn unknown() -> u32 {
    return length.count;
}
