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

// The blocks of DEPTH steps: first those of the left factor, then those of the right one. An invocation's are
// WORKGROUP_SIZE apart.
const LEFT_BLOCKS = DEPTH / 4u * PATCH_ROW_QUADS;
const BLOCKS = LEFT_BLOCKS + DEPTH / 4u * PATCH_QUADS;
const OWN_BLOCKS = (BLOCKS + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;

// As they lie in memory.
alias Blocks = array<mat4x4<f32>, OWN_BLOCKS>;

// From a step to the next one there is a quad more than needed: blocks of the same rows or columns, at k side by
// side, are then in different banks of the memory.
const LEFT_STRIDE = PATCH_ROW_QUADS + 1u;
const RIGHT_STRIDE = PATCH_QUADS + 1u;

var<workgroup> left_steps: array<vec4<f32>, DEPTH * LEFT_STRIDE>;
var<workgroup> right_steps: array<vec4<f32>, DEPTH * RIGHT_STRIDE>;
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
        put_steps(product, &blocks, k, invocation);
        workgroupBarrier();
        read_blocks(product, row, quad, k + DEPTH, invocation, &blocks);
        for (var step = 0u; step < DEPTH; step += 4u) {
            let left = step * LEFT_STRIDE + invocation / TILE_QUADS;
            let right = step * RIGHT_STRIDE + own_quad(invocation);
            add_step(&tiles, left, right);
            add_step(&tiles, left + LEFT_STRIDE, right + RIGHT_STRIDE);
            add_step(&tiles, left + 2u * LEFT_STRIDE, right + 2u * RIGHT_STRIDE);
            add_step(&tiles, left + 3u * LEFT_STRIDE, right + 3u * RIGHT_STRIDE);
        }
    }
    return tiles;
}

// A step's products, of whose quads the invocation's first ones are here.
fn add_step(tiles: ptr<function, Patch>, first_left: u32, first_right: u32) {
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

// An invocation's blocks of the steps from `first_k` on; behind the last k they stay what they are. Nothing is
// computed with them here, which would wait for them.
fn read_blocks(
    product: Product,
    row: u32,
    quad: u32,
    first_k: u32,
    invocation: u32,
    blocks: ptr<function, Blocks>,
) {
    for (var i = 0u; i < OWN_BLOCKS; i++) {
        let block = invocation + i * WORKGROUP_SIZE;
        let place = block_place(product, block);
        let k = first_k + place.step;
        if block < LEFT_BLOCKS && k < product.inner {
            (*blocks)[i] = left_quads(product, row + 4u * place.quad, k);
        } else if block < BLOCKS && k < product.inner {
            (*blocks)[i] = right_quads(product, quad + place.quad, k);
        }
    }
}

// Those blocks into the workgroup's memory; behind the last k, zeros of the left factor.
fn put_steps(product: Product, blocks: ptr<function, Blocks>, first_k: u32, invocation: u32) {
    for (var i = 0u; i < OWN_BLOCKS; i++) {
        let block = invocation + i * WORKGROUP_SIZE;
        let place = block_place(product, block);
        if block < LEFT_BLOCKS {
            let k = first_k + place.step;
            let is_inside = select(0.0, 1.0, k < product.inner);
            let steps = is_inside * transpose(left_block(product, (*blocks)[i], k));
            let first = place.step * LEFT_STRIDE + place.quad;
            left_steps[first] = steps[0];
            left_steps[first + LEFT_STRIDE] = steps[1];
            left_steps[first + 2u * LEFT_STRIDE] = steps[2];
            left_steps[first + 3u * LEFT_STRIDE] = steps[3];
        } else if block < BLOCKS {
            let steps = right_block(product, (*blocks)[i]);
            let first = place.step * RIGHT_STRIDE + place.quad;
            right_steps[first] = steps[0];
            right_steps[first + RIGHT_STRIDE] = steps[1];
            right_steps[first + 2u * RIGHT_STRIDE] = steps[2];
            right_steps[first + 3u * RIGHT_STRIDE] = steps[3];
        }
    }
}

// Where a block is among the steps.
struct BlockPlace {
    step: u32,  // the first of its four
    quad: u32,  // of rows of the left factor, or of columns of the right one
}

fn block_place(product: Product, block: u32) -> BlockPlace {
    if block < LEFT_BLOCKS {
        return side_by_side(block, PATCH_ROW_QUADS, !product.left.is_transposed);
    }
    return side_by_side(block - LEFT_BLOCKS, PATCH_QUADS, product.right.is_transposed);
}

// Invocations side by side read what lies side by side: other k of the same rows or columns, or other rows or
// columns, of which there are `quads`, at the same k.
fn side_by_side(block: u32, quads: u32, runs_along_k: bool) -> BlockPlace {
    if runs_along_k {
        return BlockPlace(block % (DEPTH / 4u) * 4u, block / (DEPTH / 4u));
    }
    return BlockPlace(block / quads * 4u, block % quads);
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
