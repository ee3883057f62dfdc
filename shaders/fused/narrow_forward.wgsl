// Narrow forward: all layers of a narrow network in inference, each row by one invocation.
//
//     sums = inputs · weightsᵀ
//     next inputs = activation(gamma · (sums − running_mean) / √(running_var + EPSILON) + beta)
//
// or, where a layer is not normalized,
//
//     next inputs = activation(sums + biases)        without the activation after the last layer
//
// network_forward.wgsl computes the same, tile by tile. Here the values of a row stay in registers, and the
// parameters are uniforms at places that a compiler knows. On a GPU they are operands without a load; on a CPU
// one load serves all lanes, if it stands outside of loops.
//
// So src/fused/narrow_forward/text.rs appends `compute`, which calls these functions once for each quad of each
// layer: a loop over layers of different widths would have to index the registers.
//
// Rows of the inputs and outputs may start any distance apart. An Input and an Output are as many neighboring
// values as divide a row: 4, 2 or 1.

struct Network {
    rows: u32,
    inputs: u32,         // Inputs before the first row
    input_stride: u32,   // Inputs from one row to the next
    outputs: u32,        // Outputs before the first row
    output_stride: u32,
}

// Binding 0 is the uniform network: Network (src/gpu/declaration.rs).
@group(0) @binding(1) var<uniform> parameters: array<vec4<f32>, PARAMETERS>;
@group(0) @binding(2) var<storage, read> inputs: array<Input>;
@group(0) @binding(3) var<storage, read_write> outputs: array<Output>;
@group(0) @binding(4) var<uniform> running: array<vec4<f32>, RUNNING>;

override WORKGROUP_SIZE: u32;
override EPSILON: f32;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    compute(invocation.x + invocation.y * WORKGROUP_SIZE * workgroups.x);
}

fn unknown() -> u32 {
    return network.rows;
}

// The place of a row among the inputs. Rows past the end are the last one again, and are not written.
fn first_input(row: u32) -> u32 {
    return network.inputs + min(row, network.rows - 1u) * network.input_stride;
}

fn first_output(row: u32) -> u32 {
    return network.outputs + row * network.output_stride;
}

// Adds the products of `count` features with the weights of four columns, whose quads are at these places.
fn with_products(sum: vec4<f32>, features: vec4<f32>, weights: vec4<u32>, count: u32) -> vec4<f32> {
    let steps = transpose(mat4x4<f32>(
        parameters[weights.x],
        parameters[weights.y],
        parameters[weights.z],
        parameters[weights.w],
    ));
    var sums = with_product(sum, features.x, steps[0]);
    if count > 1u {
        sums = with_product(sums, features.y, steps[1]);
    }
    if count > 2u {
        sums = with_product(sums, features.z, steps[2]);
    }
    if count > 3u {
        sums = with_product(sums, features.w, steps[3]);
    }
    return sums;
}

// As the device's tiles add a product (shared/tile_subgroup.wgsl, shared/tile_workgroup.wgsl), for the same
// bits.
fn with_product(sum: vec4<f32>, feature: f32, weights: vec4<f32>) -> vec4<f32> {
    if IS_FMA {
        return fma(weights, vec4<f32>(feature), sum);
    }
    return sum + feature * weights;
}

// A quad of a normalized layer before the activation. The numbers are places of quads. The sum is rounded as if
// it was stored: a compiler may otherwise subtract the mean before it adds the last product.
fn normalized_quad(sum: vec4<f32>, gamma: u32, beta: u32, mean: u32, variance: u32) -> vec4<f32> {
    let inverse_std = inverse_std(running[variance]);
    let column =
        Column(running[mean], vec4<f32>(), inverse_std, parameters[gamma], parameters[beta]);
    let rounded = rounded_quad(sum, network.rows);
    return column.gamma * normalized(rounded, column, network.rows) + column.beta;
}

// A quad of a layer with biases before the activation.
fn biased_quad(sum: vec4<f32>, biases: u32) -> vec4<f32> {
    return rounded_quad(sum, network.rows) + parameters[biases];
}
