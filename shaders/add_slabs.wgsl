// Add slabs: the gradients of the weights and biases over a whole batch, from those over its slabs.
//
//     gradients[0, i] = Σ_s gradients[s, i]        in the order of the slabs
//
// layer_backward.wgsl left them: a row for each slab, packed like the parameters, with zeros in all rows but
// the first for what is neither. An invocation owns vectors of four a whole dispatch apart.

struct Shape {
    slabs: u32,
    quads: u32,    // of a slab
    learned: u32,  // of these; the stop and the faults come behind them
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < shape.learned; i += WORKGROUP_SIZE * workgroups.x) {
        var sum = gradients[i];
        for (var slab = 1u; slab < shape.slabs; slab++) {
            sum += gradients[slab * shape.quads + i];
        }
        gradients[i] = sum;
    }
}
