// Quotient: the mean of as many values as `count`, from their sum. Needs rounded.wgsl and
// magnitudes.wgsl.
//
// WGSL's own quotient may be off by 2.5 units in the last place. What it leaves of the sum corrects it once: the
// mean is then off by half a unit, and exact where it is a float, as that of equal values.

fn mean_quad(sum: vec4<f32>, count: u32) -> vec4<f32> {
    let rough = sum / f32(count);
    // Both factors in two parts of at most 12 bits, so that their products are exact (Dekker 1971): an fma may
    // round twice.
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
