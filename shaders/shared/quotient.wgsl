// Quotient: the mean of `count` values, from their sum. Needs rounded.wgsl and magnitudes.wgsl.
//
// WGSL's own quotient may be off by 2.5 units in the last place. Its remainder corrects it once: then the
// mean is off by half a unit, and exact where it is a float, as the mean of equal values is.

fn mean_quad(sum: vec4<f32>, count: u32) -> vec4<f32> {
    let rough = sum / f32(count);
    // Splits both factors into parts of at most 12 bits (the count, up to 2²⁴), so that products are
    // exact (Dekker 1971). An fma would not do: WGSL allows it to round twice.
    let high = bitcast<vec4<f32>>(bits_of_quad(rough) & vec4<u32>(0xfffff000u));
    let low = rough - high;
    let large = f32(count & 0xfffff000u);
    let small = f32(count & 0xfffu);
    var left = rounded_quad(sum - high * large, count);
    left = rounded_quad(left - high * small, count);
    left = rounded_quad(left - low * large, count);
    left = rounded_quad(left - low * small, count);
    return rough + left / f32(count);
}
