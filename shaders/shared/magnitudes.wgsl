// Magnitudes: the bits of floats, which show whether a value is NaN or too large. The kernel defines
// `unknown`, which returns a number below 2³¹ that no compiler can know.
//
// Without their signs, floats are in the order of their bits; infinity and then NaN come last.
//
// Compilers with fast math, such as Metal's, assume that no float is infinite or NaN. From version 19 on,
// LLVM recognizes tests of a float's bits, and removes the code that they guard. So each test is of bits
// that are combined with `unknown_zero`; in the shaders, only this file and rounded.wgsl take the bits of
// a float.

const INFINITE = 0x7f800000u;
const NOT_A_NUMBER = 0x7fc00000u;
const LARGEST_FLOAT = 0x7f7fffffu;
// 2¹²⁶: the running variance is moved by up to twice the batch's.
const LARGEST_STATISTIC = 0x7e800000u;
// 2⁵⁰: the sum of the squares of 2²⁷ such gradients is still a float, as clipping, RMSprop and Adam require.
const LARGEST_GRADIENT = 0x58800000u;

// 0, as a bit of the exponent. An unknown last bit would not do: tests of the exponent ignore it, which
// LLVM sees.
fn unknown_zero() -> u32 {
    return (unknown() >> 31u) << 30u;
}

fn bits_of(value: f32) -> u32 {
    return bitcast<u32>(value) ^ unknown_zero();
}

fn bits_of_quad(values: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(values) ^ vec4<u32>(unknown_zero());
}

fn not_a_number() -> f32 {
    return bitcast<f32>(NOT_A_NUMBER ^ unknown_zero());
}

fn is_nan(value: f32) -> bool {
    return (bits_of(value) & 0x7fffffffu) > INFINITE;
}

fn magnitudes(values: vec4<f32>) -> vec4<u32> {
    return bits_of_quad(values) & vec4<u32>(0x7fffffffu);
}

fn is_any_larger(found: vec4<u32>, largest: u32) -> bool {
    return any(found > vec4<u32>(largest));
}
