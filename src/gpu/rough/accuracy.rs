//! The functions of rough arithmetic, in WGSL, and how far off each is.
//!
//! The numbers are from "Accuracy of Concrete Floating Point Expressions" in the WGSL specification,
//! minus half a unit in the last place for the adapter's own rounding:
//!
//! | expression | allowed, in units in the last place | here |
//! | --- | --- | --- |
//! | x / y | 2.5 | 2 |
//! | inverseSqrt(x) | 2 | 1, as software adapters round twice |
//! | sqrt(x) | as 1 / inverseSqrt(x): 3.5, or more, by the bits of x | 3 |
//! | exp(x), exp2(x) | 3 + 2·abs(x) | 2 + 2·abs(x) |
//! | log(x), log2(x) | 3; between 0.5 and 2 an absolute error of 2⁻²¹ | the same |
//! | pow(x, y) | as exp2(y · log2(x)) | the same |
//! | tanh(x) | at least an absolute error of 1e-5 | the same |
//! | x · y ± z, fma(x, y, z) | one rounding or two | by the mode |

use naga::MathFunction;

use super::{Direction, Mode, Products};

pub(super) const PREFIX: &str = "rough_";

/// The helpers, and their numbers of parameters.
const HELPERS: [(&str, usize); 13] = [
    ("apart", 3),
    ("quotient", 2),
    ("sqrt", 1),
    ("inverse_sqrt", 1),
    ("exp", 1),
    ("exp2", 1),
    ("log", 1),
    ("log2", 1),
    ("pow", 2),
    ("tanh", 1),
    ("plus", 3),
    ("minus", 3),
    ("from", 3),
];

/// The helper for a function of floats, if WGSL allows the function to be inexact.
pub(super) fn of(function: MathFunction, mode: Mode) -> Option<&'static str> {
    use MathFunction::*;
    match function {
        Abs | Min | Max | Clamp | Saturate | Ceil | Floor | Round | Trunc | Sign | Step
        | Transpose | Ldexp => None,
        // Sums of products, which are as inexact as their products and sums.
        Dot | Cross | Determinant => None,
        Fma => (mode.products == Products::Apart).then_some("apart"),
        Sqrt => Some("sqrt"),
        InverseSqrt => Some("inverse_sqrt"),
        Exp => Some("exp"),
        Exp2 => Some("exp2"),
        Log => Some("log"),
        Log2 => Some("log2"),
        Pow => Some("pow"),
        Tanh => Some("tanh"),
        _ => panic!("the accuracy of {function:?} is not known here"),
    }
}

/// The name of a helper for arguments of these sizes: `rough_quotient_44` divides vectors of four.
pub(super) fn name(helper: &str, sizes: &[usize]) -> String {
    let sizes: String = sizes.iter().map(ToString::to_string).collect();
    format!("{PREFIX}{helper}_{sizes}")
}

/// All helpers, which must precede a shader's own text.
pub(super) fn text(mode: Mode) -> String {
    let direction = match mode.direction {
        Direction::Up => "1.0",
        Direction::Down => "-1.0",
        Direction::Mixed => "select(-1.0, 1.0, ((magnitude * 2654435761u) & 0x10000u) == 0u)",
    };
    let mut text = FOR_NUMBERS.replace("DIRECTION", direction) + SUMS;
    for (helper, parameters) in HELPERS {
        for size in 2..=4 {
            let mut sizes = vec![size; parameters];
            text += &for_vectors(helper, &sizes);
            // A vector may be multiplied by a number.
            if ["plus", "minus", "from"].contains(&helper) {
                sizes[0] = 1;
                text += &for_vectors(helper, &sizes);
                sizes.swap(0, 1);
                text += &for_vectors(helper, &sizes);
            }
        }
    }
    text
}

/// A helper that calls the one for numbers, component by component.
fn for_vectors(helper: &str, sizes: &[usize]) -> String {
    let names = &["x", "y", "z", "w"];
    let size = sizes.iter().copied().max().unwrap_or_default();
    let of_type = |(&size, name): (&usize, &&str)| match size {
        1 => format!("{name}: f32"),
        _ => format!("{name}: vec{size}<f32>"),
    };
    let parameters: Vec<_> = sizes.iter().zip(names).map(of_type).collect();
    let component = |component: &&str| {
        let argument = |(&size, name): (&usize, &&str)| match size {
            1 => (*name).to_owned(),
            _ => format!("{name}.{component}"),
        };
        let arguments: Vec<_> = sizes.iter().zip(names).map(argument).collect();
        format!("{}({})", name(helper, &vec![1; sizes.len()]), arguments.join(", "))
    };
    let components: Vec<_> = names[..size].iter().map(component).collect();
    format!(
        "fn {}({}) -> vec{size}<f32> {{ return vec{size}<f32>({}); }}\n",
        name(helper, sizes),
        parameters.join(", "),
        components.join(", "),
    )
}

/// Zero, infinity, NaN, and values near the smallest or the largest float stay unchanged.
const FOR_NUMBERS: &str = "
fn rough_direction(value: f32) -> f32 {
    let magnitude = bitcast<u32>(value) & 0x7fffffffu;
    if magnitude < 0x00800400u || magnitude > 0x7f7ffbffu { return 0.0; }
    return DIRECTION;
}
fn rough_moved(value: f32, units: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(value) + u32(i32(units) * i32(rough_direction(value))));
}
fn rough_quotient_11(x: f32, y: f32) -> f32 { return rough_moved(x / y, 2u); }
fn rough_sqrt_1(x: f32) -> f32 { return rough_moved(sqrt(x), 3u); }
fn rough_inverse_sqrt_1(x: f32) -> f32 { return rough_moved(inverseSqrt(x), 1u); }
fn rough_exp_1(x: f32) -> f32 { return rough_moved(exp(x), 2u + u32(2.0 * min(abs(x), 128.0))); }
fn rough_exp2_1(x: f32) -> f32 { return rough_moved(exp2(x), 2u + u32(2.0 * min(abs(x), 128.0))); }
fn rough_logarithm(x: f32, value: f32) -> f32 {
    if x >= 0.5 && x <= 2.0 { return value + 4.76837158203125e-7 * rough_direction(value); }
    return rough_moved(value, 3u);
}
fn rough_log_1(x: f32) -> f32 { return rough_logarithm(x, log(x)); }
fn rough_log2_1(x: f32) -> f32 { return rough_logarithm(x, log2(x)); }
fn rough_pow_11(x: f32, y: f32) -> f32 { return rough_exp2_1(y * rough_log2_1(x)); }
fn rough_tanh_1(x: f32) -> f32 { let value = tanh(x); return value + 1e-5 * rough_direction(value); }
";

/// The fused helpers add the rounding errors of the product (Dekker 1971) and of the sum (Knuth 1969): an
/// adapter's fma may be a product and a sum.
const SUMS: &str = "
fn rough_apart_111(x: f32, y: f32, z: f32) -> f32 { return x * y + z; }
fn rough_upper(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }
fn rough_plus_111(x: f32, y: f32, z: f32) -> f32 {
    let product = x * y;
    let sum = product + z;
    if !(abs(sum) < 1e38 && abs(product) > 1e-30) { return sum; }
    let x0 = rough_upper(x);
    let y0 = rough_upper(y);
    let x1 = x - x0;
    let y1 = y - y0;
    let of_product = x0 * y0 - product + x0 * y1 + x1 * y0 + x1 * y1;
    let added = sum - product;
    let of_sum = (product - (sum - added)) + (z - added);
    return sum + (of_sum + of_product);
}
fn rough_minus_111(x: f32, y: f32, z: f32) -> f32 { return rough_plus_111(x, y, -z); }
fn rough_from_111(x: f32, y: f32, z: f32) -> f32 { return rough_plus_111(-x, y, z); }
";
