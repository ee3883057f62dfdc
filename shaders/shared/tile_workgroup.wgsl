// Tile, workgroup: TILE_ROWS × 4 · TILE_QUADS outputs of a product. Needs blocks.wgsl;
// tile_subgroup.wgsl does the same in the shape that a CPU likes.
//
// An invocation computes one quad of columns for four rows of the tile, in registers. A workgroup reads
// DEPTH steps of k of both factors into its memory, block by block, both with k as the slow index: a
// step is then one quad of the left factor and one of the right. While it multiplies these steps, the
// next ones are on their way into registers.
//
// Few tiles leave most of a GPU idle, and their sums take long. Then the sums are split: SPLIT groups of
// invocations each add up a part of k, and the parts are joined in their order. Each invocation then owns
// one of its four rows.
//
// A patch is TILES_DOWN × TILES_ACROSS tiles at once, at most 2 × 2 (src/plan/tiling.rs appends all these
// numbers): in each step, an invocation reads a quad for each of them down and across, and multiplies each with each.
// Along k, tiles and blocks are indexed by constants, without loops over them: a driver that does not
// unroll loops would keep them in memory.
//
// With two BUFFERS, the next steps are stored while a slower invocation still multiplies: a round then has one
// barrier instead of two. An invocation with few registers cannot hold the next steps while it multiplies. Without READS_AHEAD it reads
// them when they are stored.

const TILE_ROWS = 64u;

// The rows of a tile that an invocation owns, of a quad of the left factor's rows.
const OWN_ROWS = 4u / SPLIT;
const ROW_QUADS = 16u;

// The invocations that compute a part of the sums.
const GROUP_SIZE = ROW_QUADS * TILE_QUADS;
const WORKGROUP_SIZE = SPLIT * GROUP_SIZE;

// Steps of k that are in memory at once.
const STEPS = SPLIT * DEPTH;

const LAST_DOWN = TILES_DOWN - 1u;
const LAST_ACROSS = TILES_ACROSS - 1u;
const PATCH_ROWS = TILES_DOWN * TILE_ROWS;
const PATCH_QUADS = TILES_ACROSS * TILE_QUADS;
const PATCH_ROW_QUADS = TILES_DOWN * ROW_QUADS;

// Four rows while an invocation multiplies; then the first OWN_ROWS of them.
alias Tile = array<vec4<f32>, 4>;
alias Patch = array<array<Tile, TILES_ACROSS>, TILES_DOWN>;

// The blocks of these steps. An invocation has at most one of either factor.
const LEFT_BLOCKS = STEPS / 4u * PATCH_ROW_QUADS;
const RIGHT_BLOCKS = STEPS / 4u * PATCH_QUADS;

// The quads of a block of each factor, in memory order.
struct Blocks {
    left: mat4x4<f32>,
    right: mat4x4<f32>,
}

var<workgroup> left_steps: array<vec4<f32>, BUFFERS * STEPS * PATCH_ROW_QUADS>;
var<workgroup> right_steps: array<vec4<f32>, BUFFERS * STEPS * PATCH_QUADS>;
var<workgroup> values: array<vec4<f32>, WORKGROUP_SIZE>;

// Which quad of the tile an invocation owns, and the row of its i-th value.
fn own_quad(invocation: u32) -> u32 {
    return invocation % TILE_QUADS;
}

fn own_row(invocation: u32, i: u32) -> u32 {
    return 4u * row_quad(invocation) + OWN_ROWS * group(invocation) + i;
}

// Which quad of the left factor's rows it multiplies, over which part of k.
fn row_quad(invocation: u32) -> u32 {
    return invocation % GROUP_SIZE / TILE_QUADS;
}

fn group(invocation: u32) -> u32 {
    return invocation / GROUP_SIZE;
}

fn multiply(product: Product, row: u32, quad: u32, invocation: u32) -> Patch {
    var tiles = Patch();
    var blocks = Blocks();
    let length = part_length(product);
    var buffer = 0u;
    if READS_AHEAD {
        read_blocks(product, row, quad, 0u, invocation, &blocks);
    }
    if BUFFERS == 2u {
        workgroupBarrier();  // The steps of the product before may still be read.
    }
    for (var done = 0u; done < length; done += DEPTH) {
        if !READS_AHEAD {
            read_blocks(product, row, quad, done, invocation, &blocks);
        }
        put_steps(product, blocks, done, buffer, invocation);
        workgroupBarrier();
        if READS_AHEAD {
            read_blocks(product, row, quad, done + DEPTH, invocation, &blocks);
        }
        let first = buffer + group(invocation) * DEPTH;
        // From 0 on, so that drivers can unroll the loop.
        for (var step = 0u; step < DEPTH; step += 4u) {
            add_steps(&tiles, first + step, invocation);
        }
        if BUFFERS == 1u {
            workgroupBarrier();  // The steps may still be read.
        }
        buffer = (buffer + STEPS) % (BUFFERS * STEPS);
    }
    if SPLIT > 1u {
        tiles[0][0][0] = joined_parts(tiles[0][0], invocation);
    }
    return tiles;
}

// The steps of a part of k: a multiple of four.
fn part_length(product: Product) -> u32 {
    let length = product.inner - product.begin;
    return select(quads((length + SPLIT - 1u) / SPLIT) * 4u, length, SPLIT == 1u);
}

// The sums over all parts, in their order, for the row that the invocation owns. A split product has
// patches of one tile.
fn joined_parts(parts: Tile, invocation: u32) -> vec4<f32> {
    var tile = parts;
    var sum = vec4<f32>();
    for (var row = 0u; row < 4u; row++) {
        workgroupBarrier();  // The values of the row before may still be read.
        values[invocation] = tile[row];
        workgroupBarrier();
        if group(invocation) == row {
            sum = values_from(invocation % GROUP_SIZE, SPLIT, GROUP_SIZE);
        }
    }
    return sum;
}

// The products of four steps, which are in memory from `step` on.
fn add_steps(tiles: ptr<function, Patch>, step: u32, invocation: u32) {
    let left = left_index(step, row_quad(invocation));
    let right = right_index(step, own_quad(invocation));
    for (var i = 0u; i < 4u; i++) {
        add_step(tiles, left + i * PATCH_ROW_QUADS, right + i * PATCH_QUADS);
    }
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

// Where a quad of the first of four steps is; the others are a row of quads apart. Blocks of the same rows or
// columns at neighboring k would be in the same banks of the memory: their quads change places, two by two.
fn left_index(step: u32, quad: u32) -> u32 {
    return step * PATCH_ROW_QUADS + (quad ^ (step / 2u % 8u));
}

fn right_index(step: u32, quad: u32) -> u32 {
    return step * PATCH_QUADS + (quad ^ (step / 2u % TILE_QUADS));
}

fn with_products(tile: Tile, left: vec4<f32>, right: vec4<f32>) -> Tile {
    return Tile(
        tile[0] + left.x * right,
        tile[1] + left.y * right,
        tile[2] + left.z * right,
        tile[3] + left.w * right,
    );
}

// An invocation's blocks of the next steps of each part, of which `done` steps came before; past the last k, the
// last ones again. Nothing is computed with them here, as that would wait for them.
fn read_blocks(
    product: Product,
    row: u32,
    quad: u32,
    done: u32,
    invocation: u32,
    blocks: ptr<function, Blocks>,
) {
    let last_k = (product.inner - 1u) / 4u * 4u;
    if right_number(invocation) < RIGHT_BLOCKS {
        let place = right_place(product, right_number(invocation));
        let k = min(first_k(product, place.step, done), last_k);
        (*blocks).right = right_quads(product, quad + place.quad, k);
    }
    if invocation < LEFT_BLOCKS {
        let place = left_place(product, invocation);
        let k = min(first_k(product, place.step, done), last_k);
        (*blocks).left = left_quads(product, row + 4u * place.quad, k);
    }
}

// Stores the blocks in the workgroup's memory, with zeros in the left factor after the last k of a part.
fn put_steps(product: Product, blocks: Blocks, done: u32, buffer: u32, invocation: u32) {
    if invocation < LEFT_BLOCKS {
        let place = left_place(product, invocation);
        let k = first_k(product, place.step, done);
        let is_of_part = done + place.step % DEPTH < part_length(product);
        let is_inside = select(0.0, 1.0, is_of_part && k < product.inner);
        let steps = is_inside * transpose(left_block(product, blocks.left, k));
        let first = left_index(buffer + place.step, place.quad);
        left_steps[first] = steps[0];
        left_steps[first + PATCH_ROW_QUADS] = steps[1];
        left_steps[first + 2u * PATCH_ROW_QUADS] = steps[2];
        left_steps[first + 3u * PATCH_ROW_QUADS] = steps[3];
    }
    if right_number(invocation) < RIGHT_BLOCKS {
        let place = right_place(product, right_number(invocation));
        let steps = right_block(product, blocks.right);
        let first = right_index(buffer + place.step, place.quad);
        right_steps[first] = steps[0];
        right_steps[first + PATCH_QUADS] = steps[1];
        right_steps[first + 2u * PATCH_QUADS] = steps[2];
        right_steps[first + 3u * PATCH_QUADS] = steps[3];
    }
}

// Where a block is among the steps.
struct BlockPlace {
    step: u32,  // the first of its four
    quad: u32,  // of rows of the left factor, or of columns of the right one
}

// The k of a step in memory. Each part of k has DEPTH steps there.
fn first_k(product: Product, step: u32, done: u32) -> u32 {
    return product.begin + step / DEPTH * part_length(product) + done + step % DEPTH;
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
        return BlockPlace(block % (STEPS / 4u) * 4u, block / (STEPS / 4u));
    }
    return BlockPlace(block / quads * 4u, block % quads);
}

// The value of the first of the invocations that share a quad of columns: the sum over it alone.
fn column_first(own: vec4<f32>, invocation: u32) -> vec4<f32> {
    return values_sum(own, invocation, 1u, TILE_QUADS);
}

// The sum over the invocations that share a quad of columns, always in the same order.
fn column_sum(own: vec4<f32>, invocation: u32) -> vec4<f32> {
    return values_sum(own, invocation, SPLIT * ROW_QUADS, TILE_QUADS);
}

// The sum over all invocations, always in the same order.
fn invocation_sum(own: vec3<f32>, invocation: u32) -> vec3<f32> {
    return values_sum(vec4<f32>(own, 0.0), invocation, WORKGROUP_SIZE, 1u).xyz;
}

// The sum over `count` invocations that are `stride` apart, a power of two. Eight at a time are fewer barriers
// than two, and fewer roundings than all.
fn values_sum(own: vec4<f32>, invocation: u32, count: u32, stride: u32) -> vec4<f32> {
    let sums = max(count / 8u, 1u);
    workgroupBarrier();  // The sum of the call before may still be read.
    values[invocation] = own;
    workgroupBarrier();
    if invocation < sums * stride {
        values[invocation] = values_from(invocation, count / sums, sums * stride);
    }
    workgroupBarrier();
    return values_from(invocation % stride, sums, stride);
}

fn values_from(first: u32, count: u32, stride: u32) -> vec4<f32> {
    var sum = values[first];
    for (var i = 1u; i < count; i++) {
        sum += values[first + i * stride];
    }
    return sum;
}

// After this an invocation may read what others wrote of the strip's columns.
fn strip_barrier() {
    storageBarrier();
}
