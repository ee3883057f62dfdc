// The app's own code: moving shapes, training samples of them, and the picture.

@group(0) @binding(0) var<uniform> seconds: f32;
@group(0) @binding(1) var<storage, read_write> positions: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> distances: array<f32>;

// The network's outputs, one per pixel of the left half.
@group(0) @binding(3) var<storage, read> outputs: array<f32>;

const SIDE: u32 = 192; // scene.rs repeats this number

// The signed distance to a disc that circles around a turning square, and melts into it.
fn distance_to_shapes(position: vec2f) -> f32 {
    let turn = vec2f(cos(seconds), sin(seconds));
    let disc = length(position - 0.6 * vec2f(turn.x, -turn.y)) - 0.25;
    let turned = vec2f(dot(position, turn), dot(position, vec2f(-turn.y, turn.x)));
    let outside = abs(turned) - 0.3;
    let square = length(max(outside, vec2f())) + min(max(outside.x, outside.y), 0.0) - 0.05;
    let blend = clamp(0.5 + 2.5 * (square - disc), 0.0, 1.0);
    return mix(square, disc, blend) - 0.2 * blend * (1.0 - blend);
}

// Random bits of a number (PCG).
fn random(seed: u32) -> u32 {
    let state = seed * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// A batch: random positions in [-1, 1]², and their current distances from the shapes. The previous
// positions are the state of the random numbers.
@compute @workgroup_size(64)
fn sample(@builtin(global_invocation_id) invocation: vec3u) {
    let row = invocation.x;
    if row >= arrayLength(&distances) {
        return;
    }
    let before = bitcast<vec2u>(positions[row]);
    let x = random(random(row) ^ before.x ^ (before.y << 8u));
    let position = vec2f(vec2u(x, random(x))) / 2147483648.0 - 1.0;
    positions[row] = position;
    distances[row] = distance_to_shapes(position);
}

@vertex
fn cover(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
    return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex & 2u) * 2.0 - 1.0, 0.0, 1.0);
}

// The network's outputs on the left, the truth on the right.
@fragment
fn paint(@builtin(position) place: vec4f) -> @location(0) vec4f {
    let pixel = vec2u(place.xy);
    var distance: f32;
    if pixel.x < SIDE {
        distance = outputs[pixel.y * SIDE + pixel.x];
    } else {
        let corner = vec2f(f32(SIDE), 0.0);
        distance = distance_to_shapes((place.xy - corner) / f32(SIDE) * 2.0 - 1.0);
    }
    // Blue inside, orange outside, a line at each tenth, and a white edge.
    let side = select(vec3f(0.3, 0.55, 0.8), vec3f(0.9, 0.6, 0.3), distance > 0.0);
    let lines = 0.85 + 0.15 * cos(20.0 * 3.14159265 * distance);
    let shade = (1.0 - exp(-7.0 * abs(distance))) * lines;
    let edge = 1.0 - smoothstep(0.005, 0.015, abs(distance));
    return vec4f(mix(side * shade, vec3f(1.0), edge), 1.0);
}
