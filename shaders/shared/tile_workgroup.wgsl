// Tile, workgroup: TILE_ROWS × 4 · TILE_QUADS outputs of a product. Needs blocks.wgsl;
// tile_subgroup.wgsl does the same in the shape that a CPU likes.
//
// An invocation owns one quad of columns for OWN_ROWS rows of the tile, in registers. A workgroup reads
// DEPTH steps of k of both factors into its memory, block by block, both with k as the slow index: a
// step is then one quad of the left factor and one of the right.
//
// A patch, what a kernel computes at once, is one tile here.

const WORKGROUP_SIZE = 128u;
const TILE_ROWS = 64u;
const TILE_QUADS = 8u;
const DEPTH = 16u;

// The rows of a tile that an invocation owns: a quad of the left factor's rows.
const OWN_ROWS = 4u;
const ROW_QUADS = 16u;

const TILES_DOWN = 1u;
const TILES_ACROSS = 1u;
const PATCH_ROWS = TILE_ROWS;
const PATCH_QUADS = TILE_QUADS;

alias Tile = array<vec4<f32>, OWN_ROWS>;
alias Patch = array<array<Tile, TILES_ACROSS>, TILES_DOWN>;

var<workgroup> left_steps: array<vec4<f32>, DEPTH * ROW_QUADS>;
var<workgroup> right_steps: array<vec4<f32>, DEPTH * TILE_QUADS>;
var<workgroup> values: array<vec4<f32>, WORKGROUP_SIZE>;

// Which quad of the tile an invocation owns, and the row of its i-th value.
fn own_quad(invocation: u32) -> u32 {
    return invocation % TILE_QUADS;
}

fn own_row(invocation: u32, i: u32) -> u32 {
    return invocation / TILE_QUADS * OWN_ROWS + i;
}

fn multiply(product: Product, row: u32, quad: u32, invocation: u32) -> Patch {
    var tile = Tile();
    for (var k = product.begin; k < product.inner; k += DEPTH) {
        workgroupBarrier();  // The steps before may still be read.
        read_steps(product, row, quad, k, invocation);
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step++) {
            let left = left_steps[step * ROW_QUADS + invocation / TILE_QUADS];
            let right = right_steps[step * TILE_QUADS + own_quad(invocation)];
            tile[0] += left.x * right;
            tile[1] += left.y * right;
            tile[2] += left.z * right;
            tile[3] += left.w * right;
        }
    }
    return Patch(array<Tile, TILES_ACROSS>(tile));
}

// An invocation reads one block of the left factor, or of the right one, or none.
fn read_steps(product: Product, row: u32, quad: u32, first_k: u32, invocation: u32) {
    const LEFT_BLOCKS = DEPTH / 4u * ROW_QUADS;
    const RIGHT_BLOCKS = DEPTH / 4u * TILE_QUADS;
    if invocation < LEFT_BLOCKS {
        let step = invocation / ROW_QUADS * 4u;
        let own = invocation % ROW_QUADS;
        var block = mat4x4<f32>();
        if first_k + step < product.inner {
            block = transpose(left_block(product, row + 4u * own, first_k + step));
        }
        for (var i = 0u; i < 4u; i++) {
            left_steps[(step + i) * ROW_QUADS + own] = block[i];
        }
    } else if invocation < LEFT_BLOCKS + RIGHT_BLOCKS {
        let step = (invocation - LEFT_BLOCKS) / TILE_QUADS * 4u;
        let own = (invocation - LEFT_BLOCKS) % TILE_QUADS;
        var block = mat4x4<f32>();
        if first_k + step < product.inner {
            block = right_block(product, quad + own, first_k + step);
        }
        for (var i = 0u; i < 4u; i++) {
            right_steps[(step + i) * TILE_QUADS + own] = block[i];
        }
    }
}

// The sum over the invocations that share a quad of columns, always in the same order.
fn column_sum(own: vec4<f32>, invocation: u32) -> vec4<f32> {
    return values_sum(own, invocation, ROW_QUADS, TILE_QUADS);
}

// The sum over all invocations, always in the same order.
fn invocation_sum(own: vec2<f32>, invocation: u32) -> vec2<f32> {
    return values_sum(vec4<f32>(own, 0.0, 0.0), invocation, WORKGROUP_SIZE, 1u).xy;
}

// The sum over `count` invocations that are `stride` apart.
fn values_sum(own: vec4<f32>, invocation: u32, count: u32, stride: u32) -> vec4<f32> {
    workgroupBarrier();  // The sum of the call before may still be read.
    values[invocation] = own;
    for (var half = count / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if invocation < half * stride {
            values[invocation] += values[invocation + half * stride];
        }
    }
    workgroupBarrier();
    return values[invocation % stride];
}

// After this an invocation may read what others wrote of the strip's columns.
fn strip_barrier() {
    storageBarrier();
}
