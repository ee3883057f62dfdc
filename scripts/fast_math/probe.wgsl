// A probe for scripts/check-fast-math. A compiler with fast math assumes that floats are finite, so it may
// remove a test that it recognizes. Each test here looks for infinity or NaN in a different way, and stores
// its own fault.

struct Batch {
    rows: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> faults: array<f32>;

@compute @workgroup_size(1)
fn main() {
    let quad = sums[0] / f32(batch.rows);
    let value = quad.x;
    if (bits_of(value) & INFINITE) == INFINITE {
        faults[0] = 1.0;
    }
    if (bits_of(value) & 0x7fffffffu) > LARGEST_FLOAT {
        faults[1] = 1.0;
    }
    if is_nan(value) {
        faults[2] = 1.0;
    }
    if any((bits_of_quad(quad) & vec4<u32>(INFINITE)) == vec4<u32>(INFINITE)) {
        faults[3] = 1.0;
    }
    if is_any_larger(magnitudes(quad), LARGEST_FLOAT) {
        faults[4] = 1.0;
    }
}

fn unknown() -> u32 {
    return batch.rows;
}
