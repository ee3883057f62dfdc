// Update: one step of the optimizer, parameter by parameter (shared/optimizer.wgsl).
//
// One buffer holds all parameters, weights first. The gradients and the optimizer's state have buffers of the
// same layout. The gradients come in slabs of the batch, which are added up here (shared/slab_sum.wgsl).
// `clip_scale` comes from gradient_norm.wgsl, and record_step.wgsl has counted this step already.
//
// If a kernel of this step has recorded a fault (shared/faults.wgsl), this step changes no parameters.
// Without SKIPS later steps change none either: the first step with a fault writes the stop's first quad, [1,
// step / 2¹⁶, step mod 2¹⁶, 0], and copies the layers' faults from the gradients.
//
// Parameters that the update itself would make infinite keep their values. Then all values of the stop's
// second quad become step mod 2¹⁶ + 1, and the next step stops with this step's number. Workgroups that write
// the same quad write the same values.
//
// Memory bandwidth limits this kernel, so it reads and writes each value once, four at a time ("a quad"). An
// invocation owns quads a whole dispatch apart.

struct Sizes {
    quads: u32,           // parameters, in fours; the stop follows them
    decaying_quads: u32,  // the number of them that decay: the weights, or all
    capacity: u32,        // of the rates, in steps
    faults: u32,          // quads after the stop: four for each layer
    count: u32,           // ranges of the gradients
    padding_1: u32,
    padding_2: u32,
    padding_3: u32,
    ranges: array<Range, 256>,
}

// Binding 0 is the uniform sizes: Sizes (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> rates: array<Rates>;
@group(0) @binding(3) var<storage, read> clip_scale: array<f32>;
@group(0) @binding(4) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> velocity: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> mean_square: array<vec4<f32>>;

override WORKGROUP_SIZE: u32;
override SKIPS: bool;  // whether a step with a fault is skipped, and does not stop the training

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    if has_stopped(invocation.x == 0u) {
        return;
    }
    let rate = rates_of_step();
    let scale = clip_scale[0];
    var is_overflow = false;
    // Read once: the table keeps the uniform out of private memory.
    let decaying_quads = sizes.decaying_quads;
    let count = sizes.count;
    let end = sizes.quads;
    for (var i = invocation.x; i < end; i += WORKGROUP_SIZE * workgroups.x) {
        let own = learned(i, parameters[i], scale * slab_sum(i, count), i < decaying_quads, rate);
        parameters[i] = own.parameter;
        is_overflow = is_overflow || own.is_overflow;
    }
    if is_overflow {
        parameters[sizes.quads + 1u] = vec4<f32>(overflow_of_this_step());
    }
}

fn rates_of_step() -> Rates {
    return scaled(rates[(counts[TAKEN] - 1u) % sizes.capacity], bitcast<f32>(counts[RATE]));
}

fn range_at(index: u32) -> Range {
    return sizes.ranges[index];
}

fn gradient_quad(index: u32) -> vec4<f32> {
    return gradients[index];
}

// The result does not depend on whether invocations of this dispatch see each other's writes.
fn has_stopped(is_first: bool) -> bool {
    if parameters[sizes.quads].x != 0.0 {
        return true;
    }
    let overflow = parameters[sizes.quads + 1u].x;
    let is_overflow = overflow != 0.0 && overflow != overflow_of_this_step();
    // A fault of the loss is recorded without the stop, as the last layer's first fault.
    let first_fault = sizes.quads + 2u;
    let of_loss = gradients[first_fault + sizes.faults - 4u].x;
    if gradients[sizes.quads].x == 0.0 && of_loss == 0.0 && !is_overflow {
        return false;
    }
    if SKIPS && !is_overflow {
        return true;  // In this step; skip_step.wgsl clears the faults.
    }
    if is_first {
        let number = counts[TAKEN] - u32(is_overflow);
        parameters[sizes.quads] = vec4<f32>(1.0, f32(number >> 16u), f32(number & 0xffffu), 0.0);
        // An overflow has no faults, and the parameters keep those of the step that was skipped last.
        for (var i = 0u; i < sizes.faults && !is_overflow; i++) {
            parameters[first_fault + i] = gradients[first_fault + i];
        }
    }
    return true;
}

fn overflow_of_this_step() -> f32 {
    return f32(counts[TAKEN] & 0xffffu) + 1.0;
}

fn velocity_at(i: u32) -> vec4<f32> {
    return velocity[i];
}

fn put_velocity(i: u32, value: vec4<f32>) {
    velocity[i] = value;
}

fn mean_square_at(i: u32) -> vec4<f32> {
    return mean_square[i];
}

fn put_mean_square(i: u32, value: vec4<f32>) {
    mean_square[i] = value;
}

fn unknown() -> u32 {
    return sizes.faults;
}
