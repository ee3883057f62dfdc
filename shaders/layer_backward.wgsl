// Layer backward: the gradients of a layer, from those of the sums of the layer after it.
//
//     grad_outputs = next_grad_sums · next_weights
//     grad_ztilde  = grad_outputs · activation′(ztilde)
//     grad_beta[c] = Σ_r grad_ztilde[r, c]
//     grad_gamma[c] = Σ_r grad_ztilde[r, c] · normalized[r, c]
//     grad_sums    = gamma / √(variance + EPSILON)
//                    · (grad_ztilde − grad_beta / rows − normalized · grad_gamma / rows)
//     grad_weights = grad_sumsᵀ · inputs
//
// or, where the layer is not normalized, with ztilde = sums,
//
//     grad_sums = grad_ztilde        grad_biases[c] = Σ_r grad_ztilde[r, c]
//
// For the output layer, grad_sums come from the loss (loss.wgsl), and the rest is as without
// normalization.
//
// What matmul, activate_backward, normalize_gradients and normalize_backward compute, in one dispatch:
// a workgroup owns a strip of the columns, as wide as a tile, for all rows of the batch. The sums and
// the statistics are those that layer_forward.wgsl left, which tells the layout of the matrices;
// `gradients` are packed like the parameters.
//
// normalized has no mean, so a constant may be taken from grad_ztilde in the sum for grad_gamma: the
// sums are taken of differences from `center`, its mean over the first tile, so that nothing is lost to
// a large mean.

struct Layer {
    rows: u32,
    columns: u32,
    next_columns: u32,
    inner: u32,         // features of the inputs
    next_weights: u32,  // quads of the parameters before the next layer's weights
    gamma: u32,         // before gamma, or before the biases, in parameters and in gradients
    beta: u32,
    weights: u32,
}

@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> next_grad_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> inputs: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> grad_sums: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradients: array<vec4<f32>>;

override BATCH_NORM: bool;
override IS_LAST: bool;
override EPSILON: f32;

// The two products.
const GRAD_OUTPUTS = 0u;
const GRAD_WEIGHTS = 1u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let stride = TILE_QUADS * workgroups.x;
    for (var quad = TILE_QUADS * workgroup.x; quad < quads(layer.columns); quad += stride) {
        if IS_LAST {
            compute_grad_biases(quad, invocation);
        } else if BATCH_NORM {
            compute_normalized_strip(quad, invocation);
        } else {
            compute_linear_strip(quad, invocation);
        }
        compute_grad_weights(quad, invocation);
    }
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return grad_sums[index];
    }
    return next_grad_sums[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    if product == GRAD_WEIGHTS {
        return inputs[index];
    }
    return parameters[layer.next_weights + index];
}

// What an invocation knows of a quad of columns.
struct Column {
    center: vec4<f32>,
    rest: vec4<f32>,
    inverse_std: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,
}

// grad_outputs, into the memory of grad_sums.
fn multiply_strip(first_quad: u32, invocation: u32) {
    let product =
        Product(GRAD_OUTPUTS, layer.rows, layer.columns, layer.next_columns, false, false);
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        var tile = multiply(product, row, first_quad, invocation);
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < layer.rows && quad < stride {
                grad_sums[own * stride + quad] = tile[i];
            }
        }
    }
}

fn compute_normalized_strip(first_quad: u32, invocation: u32) {
    multiply_strip(first_quad, invocation);
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    let safe_quad = min(quad, stride - 1u);
    let column = Column(
        statistics[safe_quad],
        statistics[stride + safe_quad],
        1.0 / sqrt(statistics[2u * stride + safe_quad] + EPSILON),
        parameters[layer.gamma + safe_quad],
        parameters[layer.beta + safe_quad],
    );
    let count = f32(layer.rows);

    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let own = own_row(invocation, i);
        if own < layer.rows {
            let index = own * stride + safe_quad;
            sum += grad_ztilde(index, normalized(index, column), column);
        }
    }
    let center = column_sum(sum, invocation) / f32(min(TILE_ROWS, layer.rows));

    var difference_sum = vec4<f32>();
    var product_sum = vec4<f32>();
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        // A tile's sums join those of the tiles before: many small roundings become few.
        var tile_differences = vec4<f32>();
        var tile_products = vec4<f32>();
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < layer.rows {
                let index = own * stride + safe_quad;
                let normalized = normalized(index, column);
                let difference = grad_ztilde(index, normalized, column) - center;
                tile_differences += difference;
                tile_products += difference * normalized;
            }
        }
        difference_sum += tile_differences;
        product_sum += tile_products;
    }
    difference_sum = column_sum(difference_sum, invocation);
    let grad_gamma = column_sum(product_sum, invocation);
    if quad >= stride {
        return;
    }
    if own_row(invocation, 0u) == 0u {
        let grad_beta = count * center + difference_sum;
        gradients[layer.gamma + quad] = inside(grad_gamma, quad, layer.columns);
        gradients[layer.beta + quad] = inside(grad_beta, quad, layer.columns);
    }

    let scale = column.gamma * column.inverse_std;
    let rest = difference_sum / count;
    let slope = grad_gamma / count;
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < layer.rows {
                let index = own * stride + quad;
                let normalized = normalized(index, column);
                let centered = (grad_ztilde(index, normalized, column) - center) - rest;
                let grad = scale * (centered - normalized * slope);
                grad_sums[index] = inside(grad, quad, layer.columns);
            }
        }
    }
}

fn normalized(index: u32, column: Column) -> vec4<f32> {
    return ((sums[index] - column.center) - column.rest) * column.inverse_std;
}

// Where grad_sums holds grad_outputs still.
fn grad_ztilde(index: u32, normalized: vec4<f32>, column: Column) -> vec4<f32> {
    return grad_sums[index] * activation_slopes(column.gamma * normalized + column.beta);
}

fn compute_linear_strip(first_quad: u32, invocation: u32) {
    multiply_strip(first_quad, invocation);
    let stride = quads(layer.columns);
    let quad = first_quad + own_quad(invocation);
    for (var row = 0u; row < layer.rows; row += TILE_ROWS) {
        for (var i = 0u; i < OWN_ROWS; i++) {
            let own = row + own_row(invocation, i);
            if own < layer.rows && quad < stride {
                let index = own * stride + quad;
                let grad = grad_sums[index] * activation_slopes(sums[index]);
                grad_sums[index] = inside(grad, quad, layer.columns);
            }
        }
    }
    compute_grad_biases(first_quad, invocation);
}
