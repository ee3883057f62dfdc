// Optimizer: one step of a quad of parameters. Needs magnitudes.wgsl.
//
//     gradient descent   parameter −= rate · gradient
//     momentum           velocity    = MOMENTUM · velocity + gradient
//                        parameter  −= rate · velocity          or, with Nesterov's look ahead,
//                        parameter  −= rate · (gradient + MOMENTUM · velocity)
//     RMSprop            mean_square = SMOOTHING · mean_square + (1 − SMOOTHING) · gradient²
//                        parameter  −= rate · gradient / (√mean_square + EPSILON)
//     Adam               velocity    = MOMENTUM · velocity + (1 − MOMENTUM) · gradient
//                        mean_square = SMOOTHING · mean_square + (1 − SMOOTHING) · gradient²
//                        parameter  −= rate / (1 − MOMENTUMᵗ) · velocity
//                                      / (√(mean_square / (1 − SMOOTHINGᵗ)) + EPSILON)
//     Lion               parameter  −= rate · sign(MOMENTUM · velocity + (1 − MOMENTUM) · gradient)
//                        velocity    = SMOOTHING · velocity + (1 − SMOOTHING) · gradient
//
// Weight decay applies to the weights, or to all parameters. The kernel defines velocity_at, put_velocity,
// mean_square_at and put_mean_square, which read and write the optimizer's state.

// Computed by the CPU in f64 for each step t, counted from 1, with a learning rate of 1.
struct Rates {
    learning_rate: f32,      // the schedule's factor
    corrected_rate: f32,     // rate / (1 − MOMENTUMᵗ)
    square_correction: f32,  // 1 / √(1 − SMOOTHINGᵗ)
    decay: f32,              // rate · weight decay, if that acts on the parameters directly (AdamW)
}

override METHOD: u32;  // the place in Method::ALL
override WEIGHT_DECAY: f32;  // that acts through the gradient
override MOMENTUM: f32;
override MOMENTUM_REST: f32;  // 1 − MOMENTUM, rounded once
override SMOOTHING: f32;
override SMOOTHING_REST: f32;  // 1 − SMOOTHING, rounded once
override METHOD_EPSILON: f32;

const GRADIENT_DESCENT = 0u;
const MOMENTUM_METHOD = 1u;
const NESTEROV = 2u;
const RMSPROP = 3u;
const ADAM = 4u;
const ADAMW = 5u;  // Its weight decay differs, which the rates contain.
const LION = 6u;

// The parameters after a step, or before it where the step would make them too large.
struct Learned {
    parameter: vec4<f32>,
    is_overflow: bool,
}

// The rates of a step whose learning rate is `rate`.
fn scaled(shares: Rates, rate: f32) -> Rates {
    return Rates(
        rate * shares.learning_rate,
        rate * shares.corrected_rate,
        shares.square_correction,
        rate * shares.decay,
    );
}

// A step of the i-th quad.
fn learned(i: u32, before: vec4<f32>, clipped: vec4<f32>, decays: bool, rate: Rates) -> Learned {
    var parameter = before;
    var gradient = clipped;
    if decays {
        gradient += WEIGHT_DECAY * parameter;
        parameter -= rate.decay * parameter;
    }
    // Earlier kernels have checked the gradients: only weight decay can make one too large here.
    if WEIGHT_DECAY > 0.0 && is_any_larger(magnitudes(gradient), LARGEST_GRADIENT) {
        return Learned(before, true);
    }
    parameter -= change(i, gradient, rate);
    if is_any_larger(magnitudes(parameter), LARGEST_FLOAT) {
        return Learned(before, true);
    }
    return Learned(parameter, false);
}

fn change(i: u32, gradient: vec4<f32>, rate: Rates) -> vec4<f32> {
    switch METHOD {
        case GRADIENT_DESCENT: {
            return rate.learning_rate * gradient;
        }
        case MOMENTUM_METHOD: {
            return rate.learning_rate * moved_velocity(i, gradient);
        }
        case NESTEROV: {
            return rate.learning_rate * (gradient + MOMENTUM * moved_velocity(i, gradient));
        }
        case RMSPROP: {
            return rate.learning_rate * gradient / (sqrt(moved_mean_square(i, gradient)) + METHOD_EPSILON);
        }
        case ADAM, ADAMW: {
            let root = sqrt(moved_mean_square(i, gradient)) * rate.square_correction;
            let velocity = moved_velocity(i, MOMENTUM_REST * gradient);
            return rate.corrected_rate * velocity / (root + METHOD_EPSILON);
        }
        case LION: {
            let before = velocity_at(i);
            put_velocity(i, SMOOTHING * before + SMOOTHING_REST * gradient);
            return rate.learning_rate * sign(MOMENTUM * before + MOMENTUM_REST * gradient);
        }
        default: {
            return vec4<f32>(not_a_number());
        }
    }
}

fn moved_velocity(i: u32, push: vec4<f32>) -> vec4<f32> {
    let moved = MOMENTUM * velocity_at(i) + push;
    put_velocity(i, moved);
    return moved;
}

fn moved_mean_square(i: u32, gradient: vec4<f32>) -> vec4<f32> {
    let moved = SMOOTHING * mean_square_at(i) + SMOOTHING_REST * gradient * gradient;
    put_mean_square(i, moved);
    return moved;
}
