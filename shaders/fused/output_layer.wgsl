// Output layer: the output layer of a batch, from its inputs to its gradients.
//
//     outputs      = inputs · weightsᵀ + biases
//     loss, grad_sums = the loss of the batch, and its gradient by the outputs
//     grad_biases[c] = Σ_r grad_sums[r, c]        grad_weights = grad_sumsᵀ · inputs
//     history[taken % capacity] = the rows' mean loss and accuracy, how many rows, the step's number
//     taken += 1, number += 1, of_network += 1                (shared/record.wgsl)
//
// One dispatch of one workgroup computes what layer_forward, loss, record_step and layer_backward compute. If
// the layer is no wider than a tile and has few rows, waiting for more dispatches would cost more than their
// work. With more rows, it computes what layer_forward and loss compute (ROW_BY_ROW): each workgroup stops at
// the gradients of its rows' outputs, and writes their losses and accuracies instead of the history.
//
// shared/row_loss.wgsl has the formulas of the losses, layer_forward.wgsl the layout of the matrices. The
// gradient of the outputs overwrites the outputs. Values that are not finite are recorded
// (shared/faults.wgsl).

struct Layer {
    weights: Weights,  // in the parameters, and in the gradients, which have one slab
    rows: u32,
    columns: u32,
    inner: u32,     // features of the inputs
    capacity: u32,  // of the history, in steps
    stop: u32,      // quads of the gradients before the stop
}

// Binding 0 is the uniform layer: Layer (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;  // as loss.wgsl has them
@group(0) @binding(4) var<storage, read_write> grad_sums: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> counts: array<u32>;
@group(0) @binding(7) var<storage, read_write> history: array<vec2<u32>>;  // as record_step.wgsl has it

override ROW_BY_ROW: bool;

// The other product is GRAD_WEIGHTS.
const OUTPUTS = 0u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let stride = TILE_ROWS * workgroups.x;
    var sum = vec3<f32>();
    for (var row = TILE_ROWS * workgroup.x; row < layer.rows; row += stride) {
        compute_outputs(row, invocation);
        storageBarrier();
        for (var i = invocation; i < min(TILE_ROWS, layer.rows - row); i += WORKGROUP_SIZE) {
            let result = row_loss(row + i, layer.rows, layer.columns, 0u);
            if ROW_BY_ROW {
                history[row + i] = result;
            } else {
                sum = with_row(sum, result);
            }
        }
    }
    if ROW_BY_ROW {
        return;
    }
    sum = invocation_sum(sum, invocation);
    if invocation == 0u {
        let mean = mean_bits(sum, layer.rows);
        record(mean, layer.rows, layer.capacity);
        note_fault(layer.weights.faults, LOSS_FAULT, loss_magnitude(mean), LARGEST_FLOAT);
    }
    storageBarrier();
    compute_grad_biases(layer.weights, 0u, 0u, invocation);
    for (var quad = 0u; quad < quads(layer.inner); quad += TILE_QUADS) {
        compute_grad_weights(layer.weights, 0u, layer.columns, quad, 0u, invocation);
    }
}

fn unknown() -> u32 {
    return layer.rows;
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return grad_sums[index];
    }
    return inputs[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return inputs[index];
    }
    return parameters[index];
}

fn compute_outputs(row: u32, invocation: u32) {
    let left = Factor(0u, false);
    let right = Factor(layer.weights.first, true);
    let product = Product(OUTPUTS, layer.rows, layer.columns, 0u, layer.inner, left, right);
    let stride = quads(layer.columns);
    let quad = own_quad(invocation);
    let biases = parameters[layer.weights.biases + min(quad, stride - 1u)];
    var tile = multiply(product, row, 0u, invocation)[0][0];
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = row + own_row(invocation, i);
        if own < layer.rows && quad < stride {
            grad_sums[own * stride + quad] = inside(tile[i] + biases, quad, layer.columns);
        }
    }
}

fn output_at(row: u32, column: u32) -> f32 {
    return grad_sums[row * quads(layer.columns) + column / 4u][column % 4u];
}

fn target_at(row: u32, column: u32) -> u32 {
    if HAS_CLASS_TARGETS {
        return targets[row];
    }
    return targets[row * layer.columns + column];
}

fn class_weight(class_index: u32) -> f32 {
    if HAS_CLASS_WEIGHTS {
        return bitcast<f32>(targets[layer.rows + class_index]);
    }
    return 1.0;
}

fn put_gradient(row: u32, column: u32, gradient: f32) {
    grad_sums[row * quads(layer.columns) + column / 4u][column % 4u] = gradient;
}
