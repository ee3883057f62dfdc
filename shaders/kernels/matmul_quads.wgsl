// Matmul, quads: the product of two matrices, either one plain or transposed, whose rows are whole
// vectors of four ("quads").
//
//     outputs[r, c] = Σ_k left[r, k] · right[k, c]
//
// The same product as in matmul.wgsl, but several times as fast. All matrices are row-major. A workgroup owns
// a patch of the outputs; shared/tile_*.wgsl have the multiplication for each kind of device.

struct Shape {
    rows: u32,     // of the outputs
    columns: u32,  // of the outputs
    inner: u32,    // the length of a sum
}

// Binding 0 is the uniform shape: Shape (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> outputs: array<vec4<f32>>;

override LEFT_TRANSPOSED: bool;
override RIGHT_TRANSPOSED: bool;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    read_uniform();
    let quad_stride = PATCH_QUADS * workgroups.x;
    for (var row = PATCH_ROWS * workgroup.y; row < shape.rows; row += PATCH_ROWS * workgroups.y) {
        for (var quad = PATCH_QUADS * workgroup.x; quad < quads(shape.columns); quad += quad_stride) {
            compute_patch(row, quad, invocation);
        }
    }
}

fn left_quad(product: u32, index: u32) -> vec4<f32> {
    return left[index];
}

fn right_quad(product: u32, index: u32) -> vec4<f32> {
    return right[index];
}

fn compute_patch(first_row: u32, first_quad: u32, invocation: u32) {
    let left = Factor(0u, LEFT_TRANSPOSED);
    let right = Factor(0u, RIGHT_TRANSPOSED);
    let product = Product(0u, shape.rows, shape.columns, 0u, shape.inner, left, right);
    var tiles = multiply(product, first_row, first_quad, invocation);
    let stride = quads(shape.columns);
    for (var down = 0u; down < TILES_DOWN; down++) {
        for (var across = 0u; across < TILES_ACROSS; across++) {
            let quad = first_quad + across * TILE_QUADS + own_quad(invocation);
            for (var i = 0u; i < OWN_ROWS; i++) {
                let own = first_row + down * TILE_ROWS + own_row(invocation, i);
                if own < shape.rows && quad < stride {
                    outputs[own * stride + quad] = tiles[down][across][i];
                }
            }
        }
    }
}
