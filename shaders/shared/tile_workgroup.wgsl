// Tile, workgroup: TILE_ROWS × 4 · TILE_QUADS outputs of a product. Needs blocks.wgsl;
// tile_subgroup.wgsl does the same in the shape that a CPU likes.
//
// An invocation owns one quad of columns for OWN_ROWS rows of the tile, in registers. A workgroup reads
// DEPTH steps of k of both factors into its memory, block by block, both with k as the slow index: a
// step is then one quad of the left factor and one of the right. While it multiplies these steps, the
// next ones are on their way into registers.
//
// A patch is TILES_DOWN × TILES_ACROSS tiles at once (src/gpu/tile.rs tells them): of a step, an invocation
// then reads a quad for each of them down and across, and multiplies each with each. The loops over tiles
// have to be ones that the driver unrolls, as for tile_subgroup.wgsl.

const WORKGROUP_SIZE = 128u;
const TILE_ROWS = 64u;
const TILE_QUADS = 8u;
const DEPTH = 16u;

// The rows of a tile that an invocation owns: a quad of the left factor's rows.
const OWN_ROWS = 4u;
const ROW_QUADS = 16u;

const PATCH_ROWS = TILES_DOWN * TILE_ROWS;
const PATCH_QUADS = TILES_ACROSS * TILE_QUADS;
const PATCH_ROW_QUADS = TILES_DOWN * ROW_QUADS;

alias Tile = array<vec4<f32>, OWN_ROWS>;
alias Patch = array<array<Tile, TILES_ACROSS>, TILES_DOWN>;

// The blocks of DEPTH steps, of which an invocation reads one of each factor at most.
const LEFT_BLOCKS = DEPTH / 4u * PATCH_ROW_QUADS;
const RIGHT_BLOCKS = DEPTH / 4u * PATCH_QUADS;
const_assert LEFT_BLOCKS <= WORKGROUP_SIZE;
const_assert RIGHT_BLOCKS <= WORKGROUP_SIZE;

// As they lie in memory.
struct Blocks {
    left: mat4x4<f32>,
    right: mat4x4<f32>,
}

var<workgroup> left_steps: array<vec4<f32>, DEPTH * PATCH_ROW_QUADS>;
var<workgroup> right_steps: array<vec4<f32>, DEPTH * PATCH_QUADS>;
var<workgroup> values: array<vec4<f32>, WORKGROUP_SIZE>;

// Which quad of the tile an invocation owns, and the row of its i-th value.
fn own_quad(invocation: u32) -> u32 {
    return invocation % TILE_QUADS;
}

fn own_row(invocation: u32, i: u32) -> u32 {
    return invocation / TILE_QUADS * OWN_ROWS + i;
}

fn multiply(product: Product, row: u32, quad: u32, invocation: u32) -> Patch {
    var tiles = Patch();
    var blocks = Blocks();
    read_blocks(product, row, quad, product.begin, invocation, &blocks);
    for (var k = product.begin; k < product.inner; k += DEPTH) {
        workgroupBarrier();  // The steps before may still be read.
        put_steps(product, blocks, k, invocation);
        workgroupBarrier();
        read_blocks(product, row, quad, k + DEPTH, invocation, &blocks);
        for (var step = 0u; step < DEPTH; step += 4u) {
            add_step(&tiles, step, invocation);
            add_step(&tiles, step + 1u, invocation);
            add_step(&tiles, step + 2u, invocation);
            add_step(&tiles, step + 3u, invocation);
        }
    }
    return tiles;
}

fn add_step(tiles: ptr<function, Patch>, step: u32, invocation: u32) {
    let first_left = step * PATCH_ROW_QUADS + invocation / TILE_QUADS;
    let first_right = step * PATCH_QUADS + own_quad(invocation);
    var right: array<vec4<f32>, TILES_ACROSS>;
    for (var across = 0u; across < TILES_ACROSS; across++) {
        right[across] = right_steps[first_right + across * TILE_QUADS];
    }
    for (var down = 0u; down < TILES_DOWN; down++) {
        let left = left_steps[first_left + down * ROW_QUADS];
        for (var across = 0u; across < TILES_ACROSS; across++) {
            let tile = &(*tiles)[down][across];
            (*tile)[0] += left.x * right[across];
            (*tile)[1] += left.y * right[across];
            (*tile)[2] += left.z * right[across];
            (*tile)[3] += left.w * right[across];
        }
    }
}

// An invocation's blocks of the steps from `first_k` on; behind the last k, the last ones again. Nothing is
// computed with them here, which would wait for them.
fn read_blocks(
    product: Product,
    row: u32,
    quad: u32,
    first_k: u32,
    invocation: u32,
    blocks: ptr<function, Blocks>,
) {
    let left_k = first_k + invocation / PATCH_ROW_QUADS * 4u;
    if invocation < LEFT_BLOCKS && left_k < product.inner {
        let left_row = row + invocation % PATCH_ROW_QUADS * 4u;
        (*blocks).left = left_quads(product, left_row, left_k);
    }
    let own = own_right_block(invocation);
    let right_k = first_k + own / PATCH_QUADS * 4u;
    if own < RIGHT_BLOCKS && right_k < product.inner {
        (*blocks).right = right_quads(product, quad + own % PATCH_QUADS, right_k);
    }
}

// Those blocks into the workgroup's memory; behind the last k, zeros of the left factor.
fn put_steps(product: Product, blocks: Blocks, first_k: u32, invocation: u32) {
    if invocation < LEFT_BLOCKS {
        let step = invocation / PATCH_ROW_QUADS * 4u;
        let k = first_k + step;
        let is_inside = select(0.0, 1.0, k < product.inner);
        let steps = is_inside * transpose(left_block(product, blocks.left, k));
        let first = step * PATCH_ROW_QUADS + invocation % PATCH_ROW_QUADS;
        left_steps[first] = steps[0];
        left_steps[first + PATCH_ROW_QUADS] = steps[1];
        left_steps[first + 2u * PATCH_ROW_QUADS] = steps[2];
        left_steps[first + 3u * PATCH_ROW_QUADS] = steps[3];
    }
    let own = own_right_block(invocation);
    if own < RIGHT_BLOCKS {
        let steps = right_block(product, blocks.right);
        let first = own / PATCH_QUADS * 4u * PATCH_QUADS + own % PATCH_QUADS;
        right_steps[first] = steps[0];
        right_steps[first + PATCH_QUADS] = steps[1];
        right_steps[first + 2u * PATCH_QUADS] = steps[2];
        right_steps[first + 3u * PATCH_QUADS] = steps[3];
    }
}

// The last invocations read the right factor: where there are few blocks, not those that read the left one.
fn own_right_block(invocation: u32) -> u32 {
    return (invocation + RIGHT_BLOCKS) % WORKGROUP_SIZE;
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
