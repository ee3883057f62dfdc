// Slab sum: a quad of the gradients over a whole batch, from those over its slabs.
//
//     Σ_s gradients of slab s        in the order of the slabs
//
// The first slab is packed like the parameters. The others lie behind it, layer by layer (src/plan/matrices.rs).
// The kernel passes its uniform's `ranges`, a table of ranges of the first slab in ascending order, of which
// there are `count`, and defines gradient_quad, which reads a quad.

struct Range {
    end: u32,     // quads before its end; it begins at the end of the one before
    slabs: u32,   // 1 if there are no others
    length: u32,  // quads from the second slab to the third
    shift: u32,   // quads from the first slab to the second
}

const SLABS_AT_ONCE = 8u;

override HAS_SLABS: bool;  // whether any range has several slabs

fn slab_sum(i: u32, count: u32) -> vec4<f32> {
    var sum = gradient_quad(i);
    if !HAS_SLABS {
        return sum;
    }
    var first = 0u;
    var last = count;
    while first < last {
        let middle = (first + last) / 2u;
        if range_at(middle).end <= i {
            first = middle + 1u;
        } else {
            last = middle;
        }
    }
    if first < count {
        let range = range_at(first);
        // Read one after the other, each would wait for the memory.
        for (var slab = 1u; slab < range.slabs; slab += SLABS_AT_ONCE) {
            var quads: array<vec4<f32>, SLABS_AT_ONCE>;
            for (var next = 0u; next < SLABS_AT_ONCE; next++) {
                let number = min(slab + next, range.slabs - 1u);
                quads[next] = gradient_quad(i + range.shift + (number - 1u) * range.length);
            }
            for (var next = 0u; next < SLABS_AT_ONCE; next++) {
                if slab + next < range.slabs {
                    sum += quads[next];
                }
            }
        }
    }
    return sum;
}
