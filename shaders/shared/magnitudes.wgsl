// Magnitudes: the bits of floats, which tell what is NaN, and what is too large to go on with. The kernel gives
// with `unknown` a number below 2³¹ that no compiler can know.
//
// Floats without their signs are in the order of their bits, infinity and then NaN behind all others.
//
// Compilers with fast math, as Metal's, take it that no float is infinite or NaN. From version 19 on, LLVM
// recognizes tests of a float's bits, and leaves out what they guard. So each test looks at bits into which
// `unknown_zero` was put, and nothing else in the shaders takes the bits of a float.

const INFINITE = 0x7f800000u;
const NOT_A_NUMBER = 0x7fc00000u;
const LARGEST_FLOAT = 0x7f7fffffu;
// 2¹²⁶: the running variance is moved by up to twice the batch's.
const LARGEST_STATISTIC = 0x7e800000u;
// 2⁵⁰: of 2²⁷ such gradients the sum of the squares is still a float, which clipping, RMSprop and Adam
// ask for.
const LARGEST_GRADIENT = 0x58800000u;

// 0, in the place of a bit of the exponent: LLVM sees through an unknown in the last bit, which tests of the
// exponent do not look at.
fn unknown_zero() -> u32 {
    return (unknown() >> 31u) << 30u;
}

fn bits_of(value: f32) -> u32 {
    return bitcast<u32>(value) ^ unknown_zero();
}

fn bits_of_quad(values: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(values) ^ vec4<u32>(unknown_zero());
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
