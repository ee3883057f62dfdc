// Moments: the mean and the sum of squares of a quad of columns, over the rows of a tile or of joined tiles.
// Needs a tile's file, rounded.wgsl, quotient.wgsl, and the kernel's `layer`.

// The moments of the rows so far: the mean of their differences from `center`, and the sum of the squares of
// their differences from the mean.
struct Moments {
    count: f32,
    center: vec4<f32>,
    rest: vec4<f32>,
    squares: vec4<f32>,
}

// The mean of a tile of `count` rows, rounded: the first row plus the mean difference from it. The sum of
// the rows would lose digits of a large mean, and the quotient of equal rows could differ from them.
fn tile_center(tile: ptr<function, Tile>, count: u32, invocation: u32) -> vec4<f32> {
    let first = column_first((*tile)[0], invocation);
    return first + differences_mean(tile, count, first, invocation);
}

// The mean difference from `center` in a tile of `count` rows.
fn differences_mean(
    tile: ptr<function, Tile>,
    count: u32,
    center: vec4<f32>,
    invocation: u32,
) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let difference = rounded_quad((*tile)[i] - center, layer.rows);
        sum += select(vec4<f32>(), difference, own_row(invocation, i) < count);
    }
    return mean_quad(column_sum(sum, invocation), count);
}

// The moments of a tile of `count` rows.
fn tile_moments(
    tile: ptr<function, Tile>,
    count: u32,
    center: vec4<f32>,
    invocation: u32,
) -> Moments {
    let rest = differences_mean(tile, count, center, invocation);
    var sum = vec4<f32>();
    for (var i = 0u; i < OWN_ROWS; i++) {
        let is_row = own_row(invocation, i) < count;
        let difference = rounded_quad((*tile)[i] - center, layer.rows) - rest;
        sum += select(vec4<f32>(), difference * difference, is_row);
    }
    return Moments(f32(count), center, rest, column_sum(sum, invocation));
}

// The moments of the rows of both. `shift` leads from the center of the first to that of the second.
fn joined(a: Moments, b: Moments, shift: vec4<f32>) -> Moments {
    let count = a.count + b.count;
    let change = (shift + b.rest) - a.rest;
    let both = Moments(
        count,
        a.center,
        a.rest + mean_quad(change * b.count, u32(count)),
        a.squares + b.squares + change * change * (a.count * b.count / count),
    );
    if a.count == 0.0 {
        return b;
    }
    return both;
}

// The leaves before, joined with the next one.
fn with_leaf(before: Moments, leaf: Moments) -> Moments {
    return joined(before, leaf, rounded_quad(leaf.center - before.center, layer.rows));
}
