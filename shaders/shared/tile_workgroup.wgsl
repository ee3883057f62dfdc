// Tile, workgroup: TILE_ROWS × 4 · TILE_QUADS outputs of a product. Needs blocks.wgsl;
// tile_subgroup.wgsl does the same in the shape that a CPU likes.
//
// An invocation owns one quad of columns for OWN_ROWS rows of the tile, in registers. A workgroup reads
// DEPTH steps of k of both factors into its memory, block by block, both with k as the slow index: a
// step is then one quad of the left factor and one of the right. While it multiplies these steps, the
// next ones are on their way into registers.
//
// A patch is TILES_DOWN × TILES_ACROSS tiles at once, at most 2 × 2 (src/plan/tiling.rs appends them): in
// each step, an invocation reads a quad for each of them down and across, and multiplies each with each.
// Along k, tiles and blocks are indexed by constants, without loops over them: a driver that does not
// unroll loops would keep them in memory.
//
// An invocation with few registers cannot hold the next steps while it multiplies. Without READS_AHEAD it reads
// them when they are stored.

const WORKGROUP_SIZE = 128u;
const TILE_ROWS = 64u;
const TILE_QUADS = 8u;
const DEPTH = 16u;

// The rows of a tile that an invocation owns: a quad of the left factor's rows.
const OWN_ROWS = 4u;
const ROW_QUADS = 16u;

const LAST_DOWN = TILES_DOWN - 1u;
const LAST_ACROSS = TILES_ACROSS - 1u;
const PATCH_ROWS = TILES_DOWN * TILE_ROWS;
const PATCH_QUADS = TILES_ACROSS * TILE_QUADS;
const PATCH_ROW_QUADS = TILES_DOWN * ROW_QUADS;

alias Tile = array<vec4<f32>, OWN_ROWS>;
alias Patch = array<array<Tile, TILES_ACROSS>, TILES_DOWN>;

// The blocks of DEPTH steps. An invocation has at most one of either factor.
const LEFT_BLOCKS = DEPTH / 4u * PATCH_ROW_QUADS;
const RIGHT_BLOCKS = DEPTH / 4u * PATCH_QUADS;

// The quads of a block of each factor, in memory order.
struct Blocks {
    left: mat4x4<f32>,
    right: mat4x4<f32>,
}

// Steps are a quad farther apart than needed, so that blocks of the same rows or columns at neighboring k
// are in different banks of the memory.
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
    if READS_AHEAD {
        read_blocks(product, row, quad, product.begin, invocation, &blocks);
    }
    for (var k = product.begin; k < product.inner; k += DEPTH) {
        if !READS_AHEAD {
            read_blocks(product, row, quad, k, invocation, &blocks);
        }
        workgroupBarrier();  // The steps before may still be read.
        put_steps(product, blocks, k, invocation);
        workgroupBarrier();
        if READS_AHEAD {
            read_blocks(product, row, quad, k + DEPTH, invocation, &blocks);
        }
        for (var step = 0u; step < DEPTH; step += 4u) {
            let left = step * LEFT_STRIDE + invocation / TILE_QUADS;
            let right = step * RIGHT_STRIDE + own_quad(invocation);
            for (var i = 0u; i < 4u; i++) {
                add_step(&tiles, left + i * LEFT_STRIDE, right + i * RIGHT_STRIDE);
            }
        }
    }
    return tiles;
}

// A step's products, of whose quads the invocation's first ones are here.
fn add_step(tiles: ptr<function, Patch>, first_left: u32, first_right: u32) {
    let right = right_steps[first_right];
    let left = left_steps[first_left];
    (*tiles)[0][0] = with_products((*tiles)[0][0], left, right);
    if TILES_ACROSS == 1u {
        return;
    }
    let next_right = right_steps[first_right + TILE_QUADS];
    (*tiles)[0][LAST_ACROSS] = with_products((*tiles)[0][LAST_ACROSS], left, next_right);
    if TILES_DOWN == 1u {
        return;
    }
    let next_left = left_steps[first_left + ROW_QUADS];
    (*tiles)[LAST_DOWN][0] = with_products((*tiles)[LAST_DOWN][0], next_left, right);
    (*tiles)[LAST_DOWN][LAST_ACROSS] =
        with_products((*tiles)[LAST_DOWN][LAST_ACROSS], next_left, next_right);
}

fn with_products(tile: Tile, left: vec4<f32>, right: vec4<f32>) -> Tile {
    return Tile(
        tile[0] + left.x * right,
        tile[1] + left.y * right,
        tile[2] + left.z * right,
        tile[3] + left.w * right,
    );
}

// An invocation's blocks of the steps from `first_k` on; past the last k, the last ones again. Nothing is
// computed with them here, as that would wait for them.
fn read_blocks(
    product: Product,
    row: u32,
    quad: u32,
    first_k: u32,
    invocation: u32,
    blocks: ptr<function, Blocks>,
) {
    let last_k = (product.inner - 1u) / 4u * 4u;
    if right_number(invocation) < RIGHT_BLOCKS {
        let place = right_place(product, right_number(invocation));
        let k = min(first_k + place.step, last_k);
        (*blocks).right = right_quads(product, quad + place.quad, k);
    }
    if invocation < LEFT_BLOCKS {
        let place = left_place(product, invocation);
        let k = min(first_k + place.step, last_k);
        (*blocks).left = left_quads(product, row + 4u * place.quad, k);
    }
}

// Stores the blocks in the workgroup's memory, with zeros in the left factor after the last k.
fn put_steps(product: Product, blocks: Blocks, first_k: u32, invocation: u32) {
    if invocation < LEFT_BLOCKS {
        let place = left_place(product, invocation);
        let k = first_k + place.step;
        let is_inside = select(0.0, 1.0, k < product.inner);
        let steps = is_inside * transpose(left_block(product, blocks.left, k));
        let first = place.step * LEFT_STRIDE + place.quad;
        left_steps[first] = steps[0];
        left_steps[first + LEFT_STRIDE] = steps[1];
        left_steps[first + 2u * LEFT_STRIDE] = steps[2];
        left_steps[first + 3u * LEFT_STRIDE] = steps[3];
    }
    if right_number(invocation) < RIGHT_BLOCKS {
        let place = right_place(product, right_number(invocation));
        let steps = right_block(product, blocks.right);
        let first = place.step * RIGHT_STRIDE + place.quad;
        right_steps[first] = steps[0];
        right_steps[first + RIGHT_STRIDE] = steps[1];
        right_steps[first + 2u * RIGHT_STRIDE] = steps[2];
        right_steps[first + 3u * RIGHT_STRIDE] = steps[3];
    }
}

// Where a block is among the steps.
struct BlockPlace {
    step: u32,  // the first of its four
    quad: u32,  // of rows of the left factor, or of columns of the right one
}

fn left_place(product: Product, block: u32) -> BlockPlace {
    return side_by_side(block, PATCH_ROW_QUADS, !product.left.is_transposed);
}

fn right_place(product: Product, block: u32) -> BlockPlace {
    return side_by_side(block, PATCH_QUADS, product.right.is_transposed);
}

// An invocation's block of the right factor: those without one of the left factor have the first ones.
fn right_number(invocation: u32) -> u32 {
    return (invocation + WORKGROUP_SIZE - LEFT_BLOCKS) % WORKGROUP_SIZE;
}

// Invocations side by side read what lies side by side: other k of the same rows or columns, or other rows or
// columns, of which there are `quads`, at the same k.
fn side_by_side(block: u32, quads: u32, runs_along_k: bool) -> BlockPlace {
    if runs_along_k {
        return BlockPlace(block % (DEPTH / 4u) * 4u, block / (DEPTH / 4u));
    }
    return BlockPlace(block / quads * 4u, block % quads);
}

// The value of the first of the invocations that share a quad of columns: the sum over it alone.
fn column_first(own: vec4<f32>, invocation: u32) -> vec4<f32> {
    return values_sum(own, invocation, 1u, TILE_QUADS);
}

// The sum over the invocations that share a quad of columns, always in the same order.
fn column_sum(own: vec4<f32>, invocation: u32) -> vec4<f32> {
    return values_sum(own, invocation, ROW_QUADS, TILE_QUADS);
}

// The sum over all invocations, always in the same order.
fn invocation_sum(own: vec3<f32>, invocation: u32) -> vec3<f32> {
    return values_sum(vec4<f32>(own, 0.0), invocation, WORKGROUP_SIZE, 1u).xyz;
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
