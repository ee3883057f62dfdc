// Slab sum: a quad of the gradients over a whole batch, from those over its slabs.
//
//     Σ_s gradients[s, i]        in the order of the slabs
//
// layer_backward.wgsl leaves a row for each slab, packed like the parameters, with zeros in all rows but
// the first for what is neither weight nor bias. The kernel passes the number of rows, `slabs`, and of
// the quads in a row, and defines gradient_quad, which reads one.

fn slab_sum(i: u32, slabs: u32, quads: u32) -> vec4<f32> {
    var sum = gradient_quad(i);
    for (var slab = 1u; slab < slabs; slab++) {
        sum += gradient_quad(slab * quads + i);
    }
    return sum;
}
