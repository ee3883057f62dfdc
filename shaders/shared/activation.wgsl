// Each activation function with its slope. Needs exponential.wgsl and magnitudes.wgsl.
//
// NaN stays NaN, which is tested by its bits: WGSL's max and min may return the other value, and a
// compiler may assume that floats in a comparison are not NaN. Infinity gives the formula's limit, except
// that −∞ gives −∞ · 0, which is NaN, in GELU and SiLU, as in PyTorch.

override ACTIVATION: u32;  // the place in Activation::ALL
override NEGATIVE_SLOPE: f32;

const RELU = 0u;
const LEAKY_RELU = 1u;
const TANH = 2u;
const SIGMOID = 3u;
const GELU = 4u;
const SILU = 5u;
const IDENTITY = 6u;
const MISH = 7u;
const ELU = 8u;
const SOFTPLUS = 9u;
const GELU_TANH = 10u;

fn activation(x: f32) -> f32 {
    return select(activation_of_number(x), x, is_nan(x));
}

// The derivative at x, the value before the activation.
fn activation_slope(x: f32) -> f32 {
    return select(slope_at_number(x), x, is_nan(x));
}

fn activation_of_number(x: f32) -> f32 {
    switch ACTIVATION {
        case RELU: { return select(0.0, x, x > 0.0); }
        case LEAKY_RELU: { return select(NEGATIVE_SLOPE * x, x, x > 0.0); }
        case TANH: { return hyperbolic_tangent(x); }
        case SIGMOID: { return sigmoid(x); }
        case GELU: { return x * normal_distribution(x); }
        case SILU: { return x * sigmoid(x); }
        case IDENTITY: { return x; }
        case MISH: { return x * mish_factor(x).x; }
        case ELU: { return select(exponential_less_one(-abs(x)), x, x > 0.0); }
        case SOFTPLUS: { return select(0.0, x, x > 0.0) + log_one_plus(exponential(-abs(x))); }
        case GELU_TANH: { return x * sigmoid(gelu_argument(bounded(x))); }
        default: { return not_a_number(); }
    }
}

fn slope_at_number(x: f32) -> f32 {
    switch ACTIVATION {
        case RELU: { return select(0.0, 1.0, x > 0.0); }
        case LEAKY_RELU: { return select(NEGATIVE_SLOPE, 1.0, x > 0.0); }
        case TANH: {
            // 1 − tanh² would lose everything where tanh is near 1: this is 4 e / (1 + e)².
            let e = exponential(-2.0 * abs(x));
            return 4.0 * e / ((1.0 + e) * (1.0 + e));
        }
        case SIGMOID: { return sigmoid_slope(x); }
        case GELU: {
            let density = 0.39894228 * exponential(-0.5 * x * x);
            return normal_distribution(x) + x * density;
        }
        case SILU: { return sigmoid(x) + x * sigmoid_slope(x); }
        case IDENTITY: { return 1.0; }
        case MISH: {
            let factor = mish_factor(x);
            return factor.x + x * factor.y;
        }
        case ELU: { return select(exponential(-abs(x)), 1.0, x > 0.0); }
        case SOFTPLUS: { return sigmoid(x); }
        case GELU_TANH: {
            let z = bounded(x);
            let argument_slope = 1.5957691216 * (1.0 + 0.134145 * z * z);
            return sigmoid(gelu_argument(z)) + x * sigmoid_slope(gelu_argument(z)) * argument_slope;
        }
        default: { return not_a_number(); }
    }
}

// exp(x) − 1 for x ≤ 0, without rounding exp(x) where x is small: 2 t / (1 − t) with t = tanh(x / 2).
fn exponential_less_one(x: f32) -> f32 {
    if x > -0.5 {
        let t = hyperbolic_tangent(0.5 * x);
        return 2.0 * t / (1.0 - t);
    }
    return exponential(x) - 1.0;
}

// tanh(log(1 + exp(x))) and its slope, without exponentials above 1. The first is
// ((1 + exp(x))² − 1) / ((1 + exp(x))² + 1).
fn mish_factor(x: f32) -> vec2<f32> {
    let e = exponential(-abs(x));
    let both = 1.0 + 2.0 * e + 2.0 * e * e;
    // Not (1 + 2 e) / both: WGSL's quotient of 1 and 1 may be above 1.
    let above = vec2<f32>(1.0 - 2.0 * e * e / both, 4.0 * e * e * (1.0 + e) / (both * both));
    let less = e * (e + 2.0);
    let rest = less + 2.0;
    let below = vec2<f32>(less / rest, 4.0 * e * (1.0 + e) / (rest * rest));
    return select(below, above, x >= 0.0);
}

// 2 √(2/π) · (x + 0.044715 x³). Its sigmoid is (1 + tanh of its half) / 2.
fn gelu_argument(x: f32) -> f32 {
    return 1.5957691216 * x * (1.0 + 0.044715 * x * x);
}

// x within ±10, beyond which the sigmoid is 0 or 1: x³ might overflow.
fn bounded(x: f32) -> f32 {
    return select(x, 10.0 * sign(x), abs(x) > 10.0);
}

fn sigmoid_slope(x: f32) -> f32 {
    let e = exponential(-abs(x));
    return e / ((1.0 + e) * (1.0 + e));
}

fn hyperbolic_tangent(x: f32) -> f32 {
    let size = abs(x);
    if size < 0.625 {
        let s = x * x;
        var p = -0.0057170367800;
        p = p * s + 0.0206505786628;
        p = p * s - 0.0537434965372;
        p = p * s + 0.1333149075508;
        p = p * s - 0.3333328366280;
        return x + x * (s * p);
    }
    // Not (1 − e) / (1 + e): WGSL's quotient of 1 and 1 may be above 1.
    let e = exponential(-2.0 * size);
    return sign(x) * (1.0 - 2.0 * e / (1.0 + e));
}

// Φ, the share of the normal distribution below x.
fn normal_distribution(x: f32) -> f32 {
    let size = abs(x);
    if size < 1.0 {
        let s = x * x;
        var p = -7.66467838e-6;
        p = p * s + 1.13512651e-4;
        p = p * s - 0.0011863530381;
        p = p * s + 0.0099733313546;
        p = p * s - 0.0664903596044;
        p = p * s + 0.3989422917366;
        return 0.5 + x * p;
    }
    // The part beyond |x|, as a share of the density there.
    let t = 1.0 / (1.0 + 0.4 * size);
    var p = -0.0289577432;
    p = p * t + 0.1647903472;
    p = p * t - 0.3229478300;
    p = p * t + 0.2115739733;
    p = p * t + 0.0059015006;
    p = p * t + 0.1532339603;
    p = p * t + 0.1566611528;
    p = p * t + 0.1598238498;
    p = p * t - 8.9085588e-6;
    let tail = p * exponential(-0.5 * x * x);
    return select(tail, 1.0 - tail, x > 0.0);
}

fn activations(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(activation(x.x), activation(x.y), activation(x.z), activation(x.w));
}

fn activation_slopes(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        activation_slope(x.x),
        activation_slope(x.y),
        activation_slope(x.z),
        activation_slope(x.w),
    );
}
