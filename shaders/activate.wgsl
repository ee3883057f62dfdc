// Activate: the activation function, element by element.
//
//     outputs[i] = activation(inputs[i])
//
// The inputs are ztilde (normalize.wgsl), or a layer's sums with biases. An invocation owns elements
// a whole dispatch apart.

struct Length {
    length: u32,
}

@group(0) @binding(0) var<uniform> shape: Length;
@group(0) @binding(1) var<storage, read> inputs: array<f32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

override WORKGROUP_SIZE: u32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    for (var i = invocation.x; i < shape.length; i += WORKGROUP_SIZE * workgroups.x) {
        outputs[i] = activation(inputs[i]);
    }
}
