// Magnitudes: what is too large for a float to go on with, and what is none.
//
// Floats without their signs are in the order of their bits, infinity and then NaN behind all others.

const LARGEST_FLOAT = 0x7f7fffffu;
// 2¹²⁶: the running variance is moved by up to twice the batch's.
const LARGEST_STATISTIC = 0x7e800000u;
// 2⁵⁰: of 2²⁷ such gradients the sum of the squares is still a float, which clipping, RMSprop and Adam
// ask for.
const LARGEST_GRADIENT = 0x58800000u;

fn magnitudes(values: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu);
}

fn is_any_larger(found: vec4<u32>, largest: u32) -> bool {
    return any(found > vec4<u32>(largest));
}
