// Matmul, subgroup: the product of two matrices, either one plain or transposed, on software adapters.
//
//     outputs[r, c] = Σ_k left[r, k] · right[k, c]
//
// What matmul.wgsl computes, in the shape that a CPU likes. There a workgroup is one subgroup, whose
// LANES invocations are the lanes of a vector register; every access to memory costs as much as many
// multiplications, and workgroup memory and barriers cost more than that. So a subgroup owns ROWS ×
// 4 · LANES outputs in registers, and its lanes lend each other what they have read.
//
// All matrices are row-major, with rows that are whole vectors of four ("quads"). Four steps of k at a
// time: a lane reads its 4 × 4 block of the right factor, whose columns are its own, and its share of
// the left one, four rows of which it lends to all lanes one after the other. Which rows those are
// depends on how the left factor lies in memory.
//
// The module is compiled without the compiler's own checks: indices are kept within the matrices here.

struct Product {
    rows: u32,     // of the outputs
    columns: u32,  // of the outputs
    inner: u32,    // the length of a sum
}

@group(0) @binding(0) var<uniform> product: Product;
@group(0) @binding(1) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> outputs: array<vec4<f32>>;

override LEFT_TRANSPOSED: bool;
override RIGHT_TRANSPOSED: bool;

// src/kernels/matmul_subgroup.rs has the same numbers, and a test compares.
const LANES = 8u;
const ROWS = 32u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = product.columns / 4u;
    for (var row = ROWS * workgroup.y; row < product.rows; row += ROWS * workgroups.y) {
        for (var quad = LANES * workgroup.x; quad < quads; quad += LANES * workgroups.x) {
            compute_tile(row, quad + lane, lane);
        }
    }
}

fn compute_tile(first_row: u32, quad: u32, lane: u32) {
    let quads = product.columns / 4u;
    // A lane beyond the last column reads that again, and does not store what it makes of it.
    let safe_quad = min(quad, quads - 1u);
    var sums = array<vec4<f32>, ROWS>();
    for (var k = 0u; k < product.inner; k += 4u) {
        let lent = left_block(first_row, k, lane);
        let own = right_block(safe_quad, k);
        for (var i = 0u; i < 4u; i++) {
            for (var from_lane = 0u; from_lane < LANES; from_lane++) {
                sums[LANES * i + from_lane] += own * subgroupShuffle(lent[i], from_lane);
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var from_lane = 0u; from_lane < LANES; from_lane++) {
            let row = first_row + select(LANES * i + from_lane, 4u * from_lane + i, LEFT_TRANSPOSED);
            if row < product.rows && quad < quads {
                outputs[row * quads + quad] = sums[LANES * i + from_lane];
            }
        }
    }
}

// Four rows of the left factor at k, k + 1, k + 2, k + 3: rows LANES apart where a quad lies along k,
// and neighbors where it lies along the rows.
fn left_block(first_row: u32, k: u32, lane: u32) -> mat4x4<f32> {
    let last = product.inner - 1u;
    if LEFT_TRANSPOSED {
        let stride = product.rows / 4u;
        let quad = min(first_row / 4u + lane, stride - 1u);
        // Behind the end of k there are zeros, whatever the right factor has there.
        return transpose(mat4x4<f32>(
            left[k * stride + quad],
            left[min(k + 1u, last) * stride + quad] * select(0.0, 1.0, k + 1u <= last),
            left[min(k + 2u, last) * stride + quad] * select(0.0, 1.0, k + 2u <= last),
            left[min(k + 3u, last) * stride + quad] * select(0.0, 1.0, k + 3u <= last),
        ));
    }
    let stride = product.inner / 4u;
    let last_row = product.rows - 1u;
    let row = first_row + lane;
    return mat4x4<f32>(
        left[min(row, last_row) * stride + k / 4u],
        left[min(row + LANES, last_row) * stride + k / 4u],
        left[min(row + 2u * LANES, last_row) * stride + k / 4u],
        left[min(row + 3u * LANES, last_row) * stride + k / 4u],
    );
}

// The rows k, k + 1, k + 2, k + 3 of the right factor at the four columns of a quad.
fn right_block(quad: u32, k: u32) -> mat4x4<f32> {
    if RIGHT_TRANSPOSED {
        let stride = product.inner / 4u;
        let first = 4u * quad * stride + k / 4u;
        return transpose(mat4x4<f32>(
            right[first],
            right[first + stride],
            right[first + 2u * stride],
            right[first + 3u * stride],
        ));
    }
    let stride = product.columns / 4u;
    let last = product.inner - 1u;
    return mat4x4<f32>(
        right[k * stride + quad],
        right[min(k + 1u, last) * stride + quad],
        right[min(k + 2u, last) * stride + quad],
        right[min(k + 3u, last) * stride + quad],
    );
}
