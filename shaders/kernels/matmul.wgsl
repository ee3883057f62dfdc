// Matmul: the product of two matrices, either one plain or transposed.
//
//     outputs[r, c] = Σ_k left[r, k] · right[k, c]
//
// It computes all three products of a layer: inputs · weightsᵀ, grad_sums · weights, and grad_sumsᵀ · inputs.
// Strides define how to walk an operand, so a transposed operand needs no copy.
//
// All matrices are row-major. An invocation owns a tile of TILE × TILE outputs in registers: for
// every k it reads TILE values of each operand and does TILE² multiplications with them.

struct Product {
    rows: u32,     // of the outputs
    columns: u32,  // of the outputs
    inner: u32,    // the length of a sum
    left_row_stride: u32,
    left_inner_stride: u32,
    right_inner_stride: u32,
    right_column_stride: u32,
}

// Binding 0 is the uniform product: Product (src/gpu/declaration.rs).
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> outputs: array<f32>;

// A tile is four vectors of four. src/kernels/matmul.rs has the same number; a test compares both.
const TILE = 4u;

override WORKGROUP_SIZE: u32;  // along each of the two dimensions

@compute @workgroup_size(WORKGROUP_SIZE, WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    read_uniform();
    let stride = TILE * WORKGROUP_SIZE * workgroups.xy;
    for (var row = TILE * invocation.y; row < product.rows; row += stride.y) {
        for (var column = TILE * invocation.x; column < product.columns; column += stride.x) {
            compute_tile(row, column);
        }
    }
}

fn compute_tile(row: u32, column: u32) {
    // At the edges a tile reads its last row or column again instead of reading past the end, and does not
    // store the products.
    let rows = min(row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(product.rows - 1u));
    let columns = min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(product.columns - 1u));
    var left_index = rows * product.left_row_stride;
    var right_index = columns * product.right_column_stride;
    var sums = array<vec4<f32>, TILE>();
    for (var k = 0u; k < product.inner; k++) {
        let right_values = vec4<f32>(
            right[right_index.x], right[right_index.y], right[right_index.z], right[right_index.w],
        );
        sums[0] += left[left_index.x] * right_values;
        sums[1] += left[left_index.y] * right_values;
        sums[2] += left[left_index.z] * right_values;
        sums[3] += left[left_index.w] * right_values;
        left_index += vec4<u32>(product.left_inner_stride);
        right_index += vec4<u32>(product.right_inner_stride);
    }
    let rows_left = min(TILE, product.rows - row);
    let columns_left = min(TILE, product.columns - column);
    for (var r = 0u; r < rows_left; r++) {
        for (var c = 0u; c < columns_left; c++) {
            outputs[(row + r) * product.columns + column + c] = sums[r][c];
        }
    }
}
