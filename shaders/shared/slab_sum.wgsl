// Slab sum: a quad of the gradients over a whole batch, from those over its slabs.
//
//     Σ_s gradients[s, i]        in the order of the slabs
//
// layer_backward.wgsl leaves a row for each slab, packed like the parameters, with zeros in all rows but the first
// for what is neither weight nor bias. The kernel has the quads of a row and the number of rows, `slabs`, and
// gives the quads with gradient_quad.

fn slab_sum(i: u32, slabs: u32, quads: u32) -> vec4<f32> {
    var sum = gradient_quad(i);
    for (var slab = 1u; slab < slabs; slab++) {
        sum += gradient_quad(slab * quads + i);
    }
    return sum;
}
