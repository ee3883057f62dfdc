// Tile, subgroup: TILE_ROWS × 4 · TILE_QUADS outputs of a product, on software adapters. Needs
// blocks.wgsl; tile_workgroup.wgsl does the same in the shape that a GPU likes.
//
// A workgroup is one subgroup, whose invocations are the lanes of a CPU's vector register; every access to
// memory costs as much as many multiplications, and workgroup memory and barriers cost more than that. So a
// lane owns one quad of columns for all rows of the tile, in registers, and the lanes share what they have
// read: one lane after the other broadcasts the four rows of the left factor that it has read.
//
// A patch is TILES_DOWN × TILES_ACROSS tiles at once: a value that is read for a row or a column then serves
// all tiles of that row or column. The driver must unroll the loops over tiles, which it does if a loop is as
// long as the array that it walks through. src/plan/tiling.rs appends them, and LANES: 4, 8 or 16.

const WORKGROUP_SIZE = LANES;
const TILE_ROWS = 4u * LENDERS;
const TILE_QUADS = LANES;

// The lanes whose rows of the left factor are broadcast. With the rows of 16 lanes, a driver takes minutes to
// compile the loop.
const LENDERS = min(LANES, 8u);

// The rows of a tile that an invocation owns.
const OWN_ROWS = TILE_ROWS;

const PATCH_ROWS = TILES_DOWN * TILE_ROWS;
const PATCH_QUADS = TILES_ACROSS * TILE_QUADS;

alias Tile = array<vec4<f32>, OWN_ROWS>;
alias Patch = array<array<Tile, TILES_ACROSS>, TILES_DOWN>;

// Which quad of the tile an invocation owns, and the row of its i-th value.
fn own_quad(invocation: u32) -> u32 {
    return invocation;
}

fn own_row(invocation: u32, i: u32) -> u32 {
    return i;
}

// Adds products to four rows of a tile: of the rows of the left factor that one lane broadcasts with the
// invocation's own columns, for four k. The lane's number has to be a literal (below): with loops around
// this, newer drivers take seven times as long.
fn add_lent(
    tiles: ptr<function, Patch>,
    down: u32,
    across: u32,
    own: mat4x4<f32>,
    lent: mat4x4<f32>,
    from_lane: u32,
    by_fours: bool,
) {
    let tile = &(*tiles)[down][across];
    let first = 4u * from_lane;
    (*tile)[first] = sum_with((*tile)[first], own, subgroupShuffle(lent[0], from_lane), by_fours);
    (*tile)[first + 1u] = sum_with((*tile)[first + 1u], own, subgroupShuffle(lent[1], from_lane), by_fours);
    (*tile)[first + 2u] = sum_with((*tile)[first + 2u], own, subgroupShuffle(lent[2], from_lane), by_fours);
    (*tile)[first + 3u] = sum_with((*tile)[first + 3u], own, subgroupShuffle(lent[3], from_lane), by_fours);
}

// Adds four products to a sum, one after the other, as in tile_workgroup.wgsl. With a CPU's fused
// multiply-add this saves an instruction and a register over adding the sum of four. Adding fours halves the
// rounding error, which the long sums over rows need.
fn sum_with(sum: vec4<f32>, own: mat4x4<f32>, lent: vec4<f32>, by_fours: bool) -> vec4<f32> {
    if by_fours {
        return sum + own * lent;
    }
    let one = fma(own[0], vec4<f32>(lent.x), sum);
    let two = fma(own[1], vec4<f32>(lent.y), one);
    let three = fma(own[2], vec4<f32>(lent.z), two);
    return fma(own[3], vec4<f32>(lent.w), three);
}

fn multiply(product: Product, row: u32, quad: u32, lane: u32) -> Patch {
    let by_fours = product.left.is_transposed;
    let first_row = row + 4u * (lane % LENDERS);
    var tiles = Patch();
    for (var k = product.begin; k < product.inner; k += 4u) {
        var own: array<mat4x4<f32>, TILES_ACROSS>;
        for (var across = 0u; across < TILES_ACROSS; across++) {
            let raw = right_quads(product, quad + across * TILE_QUADS + lane, k);
            own[across] = right_block(product, raw);
        }
        for (var down = 0u; down < TILES_DOWN; down++) {
            let raw = left_quads(product, first_row + down * TILE_ROWS, k);
            let lent = left_block(product, raw, k);
            for (var across = 0u; across < TILES_ACROSS; across++) {
                add_lent(&tiles, down, across, own[across], lent, 0u, by_fours);
                add_lent(&tiles, down, across, own[across], lent, 1u, by_fours);
                add_lent(&tiles, down, across, own[across], lent, 2u, by_fours);
                add_lent(&tiles, down, across, own[across], lent, 3u, by_fours);
                if LANES >= 8u {
                    add_lent(&tiles, down, across, own[across], lent, 4u, by_fours);
                    add_lent(&tiles, down, across, own[across], lent, 5u, by_fours);
                    add_lent(&tiles, down, across, own[across], lent, 6u, by_fours);
                    add_lent(&tiles, down, across, own[across], lent, 7u, by_fours);
                }
            }
        }
    }
    return tiles;
}

// The value of the first of the invocations that share a quad of columns: here there is only one.
fn column_first(own: vec4<f32>, lane: u32) -> vec4<f32> {
    return own;
}

// The sum over the invocations that share a quad of columns: here there is only one.
fn column_sum(own: vec4<f32>, lane: u32) -> vec4<f32> {
    return own;
}

// The sum over all invocations, always in the same order.
fn invocation_sum(own: vec3<f32>, lane: u32) -> vec3<f32> {
    var sum = own;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        sum += subgroupShuffleXor(sum, half);
    }
    return sum;
}

// After this an invocation may read what others wrote of the strip's columns. No barrier is needed here, as a
// lane owns its columns alone.
fn strip_barrier() {}
