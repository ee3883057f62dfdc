// Slab sum: a quad of the gradients over a whole batch, from those over its slabs.
//
//     Σ_s gradients[s, i]        in the order of the slabs
//
// layer_backward.wgsl writes a row for each slab, packed like the parameters. Gradients of gamma and beta are
// in the first row, and 0 in the others. The kernel passes the number of rows, `slabs`, and the number of
// quads in a row, and defines gradient_quad, which reads a quad.

fn slab_sum(i: u32, slabs: u32, quads: u32) -> vec4<f32> {
    var sum = gradient_quad(i);
    for (var slab = 1u; slab < slabs; slab++) {
        sum += gradient_quad(slab * quads + i);
    }
    return sum;
}
