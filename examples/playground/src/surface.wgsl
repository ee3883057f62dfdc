// The decision surface: the network's outputs at every point of a grid, as colors, and the training
// points.

struct Picture {
    // The colors of the two classes, of undecided points, and of the line between the classes.
    class_0: vec4f,
    class_1: vec4f,
    neutral: vec4f,
    line: vec4f,
    // Points of the grid in each direction.
    side: u32,
    // The plane is shown from −extent to extent.
    extent: f32,
    width_in_pixels: f32,
    // The radius of a point.
    radius_in_pixels: f32,
}

@group(0) @binding(0) var<uniform> picture: Picture;
// The network's outputs, as `Inference` writes them: a logit for each point, row by row from the top.
@group(0) @binding(1) var<storage, read> logits: array<f32>;

struct SurfaceFragment {
    @builtin(position) position: vec4f,
    // Coordinates from 0 at the left and at the top to 1.
    @location(0) place: vec2f,
}

// A triangle that covers the picture.
@vertex
fn surface_vertex(@builtin(vertex_index) index: u32) -> SurfaceFragment {
    let place = vec2f(f32(2u * (index & 1u)), f32(index & 2u));
    return SurfaceFragment(vec4f(2.0 * place.x - 1.0, 1.0 - 2.0 * place.y, 0.0, 1.0), place);
}

fn logit_at(column: u32, row: u32) -> f32 {
    return logits[row * picture.side + column];
}

// Between the points of the grid: a weighted mean of the four neighbors, and its slope per pixel.
// (Derivatives from neighboring pixels would be wrong at the edge of a triangle.)
fn logit_between(place: vec2f) -> vec3f {
    let last = f32(picture.side - 1u);
    let grid = clamp(place * f32(picture.side) - 0.5, vec2f(0.0), vec2f(last));
    let first = vec2u(grid);
    let next = min(first + 1u, vec2u(picture.side - 1u));
    let share = fract(grid);
    let above = vec2f(logit_at(first.x, first.y), logit_at(next.x, first.y));
    let below = vec2f(logit_at(first.x, next.y), logit_at(next.x, next.y));
    let middle = mix(above, below, share.y);
    let logit = mix(middle.x, middle.y, share.x);
    let right = middle.y - middle.x;
    let down = mix(below.x - above.x, below.y - above.y, share.x);
    return vec3f(logit, vec2f(right, down) * f32(picture.side) / picture.width_in_pixels);
}

@fragment
fn surface_fragment(fragment: SurfaceFragment) -> @location(0) vec4f {
    let logit_and_slope = logit_between(fragment.place);
    let logit = logit_and_slope.x;
    // Tests the bits of a NaN: with floats, a compiler may treat it as any number.
    if (bitcast<u32>(logit) & 0x7fffffffu) > 0x7f800000u {
        return mix(picture.neutral, picture.line, 0.25);
    }
    // The color from −1, certainly class 0, to 1, certainly class 1.
    let certainty = tanh(clamp(0.5 * logit, -20.0, 20.0));
    let class_color = select(picture.class_0, picture.class_1, certainty > 0.0);
    let color = mix(picture.neutral, class_color, 0.8 * pow(abs(certainty), 0.8));
    // A line two pixels wide where the logit passes 0.
    let distance = abs(logit) / max(length(logit_and_slope.yz), 1e-12);
    return mix(color, picture.line, 0.85 * (1.0 - smoothstep(0.6, 1.4, distance)));
}

struct PointFragment {
    @builtin(position) position: vec4f,
    // Coordinates from −1 to 1 across the point and its margin.
    @location(0) corner: vec2f,
    @location(1) color: vec4f,
    // Whether the point is held out, drawn as a ring.
    @location(2) @interpolate(flat) held_out: u32,
}

// Two triangles around each point.
@vertex
fn point_vertex(
    @builtin(vertex_index) index: u32,
    @location(0) place: vec2f,
    @location(1) class_and_held_out: vec2u,
) -> PointFragment {
    // Corners 0 1 2, 2 1 3: the bits of each are its right and its top.
    let corner_index = select(index, array(2u, 1u, 3u)[index % 3u], index >= 3u);
    let corner = vec2f(vec2u(corner_index & 1u, corner_index >> 1u)) * 2.0 - 1.0;
    let center = place / picture.extent;
    let color = select(picture.class_0, picture.class_1, class_and_held_out.x == 1u);
    let position = vec4f(center + 2.0 * picture.radius_in_pixels / picture.width_in_pixels * corner, 0.0, 1.0);
    return PointFragment(position, corner, color, class_and_held_out.y);
}

@fragment
fn point_fragment(fragment: PointFragment) -> @location(0) vec4f {
    // The distance from the center, in pixels.
    let distance = length(fragment.corner) * picture.radius_in_pixels;
    let edge = picture.radius_in_pixels - 0.5;
    let covered = 1.0 - smoothstep(edge - 0.5, edge + 0.5, distance);
    let inner = 1.0 - smoothstep(edge - 1.4, edge - 0.4, distance);
    let hole = select(0.0, 1.0 - smoothstep(edge - 3.0, edge - 2.0, distance), fragment.held_out == 1u);
    let color = mix(picture.neutral, fragment.color, inner * (1.0 - hole));
    // Colors are multiplied by their share of the pixel.
    return color * covered;
}
