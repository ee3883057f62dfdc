//! Adam and Momentum of ONNX's preview of training, by the twins of the kernel that updates parameters. A step
//! takes several tensors at once: values, gradients, velocities, and Adam's mean squares.

use ztilde::reference;

use super::{Replayed, does_not_apply, outputs};
use crate::case::Case;

/// The tensors follow the learning rate and the number of earlier steps.
const BEFORE: usize = 2;

pub(super) fn adam(case: &Case) -> Replayed {
    if case.float("norm_coefficient_post", 0.0) != 0.0 {
        return does_not_apply("the decay is after the step: ours, AdamW's, is before it");
    }
    let [beta1, beta2] =
        [("alpha", 0.9), ("beta", 0.999)].map(|(name, value)| f64::from(case.float(name, value)));
    let steps = case.inputs[1].integers()[0] as u64;
    // ONNX corrects the rate, and so scales epsilon, too; at step 0 it does not correct.
    let step = steps.max(1);
    let rest = |beta: f64| 1.0 - beta.powf(step as f64);
    let root = rest(beta2).sqrt();
    let rate = learning_rate(case) * if steps > 0 { 1.0 } else { rest(beta1) / root };
    let epsilon = f64::from(case.float("epsilon", 1e-6)) / root;
    replay(case, |gradient, [value, velocity, square]| {
        reference::adam(value, gradient, velocity, square, rate, beta1, beta2, epsilon, step);
    })
}

pub(super) fn momentum(case: &Case) -> Replayed {
    if case.inputs[1].integers()[0] > 0 && case.float("beta", 1.0) != 1.0 {
        return does_not_apply("a gradient that is damped by beta: ours is taken as it is");
    }
    let nesterov = case.text("mode", "standard") == "nesterov";
    let momentum = case.float("alpha", 0.9).into();
    let rate = learning_rate(case);
    replay(case, |gradient, [value, velocity]| {
        reference::momentum(value, gradient, velocity, rate, momentum, nesterov);
    })
}

fn learning_rate(case: &Case) -> f64 {
    case.inputs[0].floats()[0].into()
}

/// Moves each value with its state of the optimizer. All values decay, through the gradient.
fn replay<const STATES: usize>(case: &Case, step: impl Fn(f64, [&mut f64; STATES])) -> Replayed {
    let decay = f64::from(case.float("norm_coefficient", 0.0));
    let tensors = &case.inputs[BEFORE..];
    // The values, the gradients, and the states but the values: as many of each as there are tensors.
    let count = tensors.len() / (STATES + 1);
    let group = |number: usize| {
        let tensors = &tensors[number * count..][..count];
        tensors.iter().map(|tensor| tensor.floats().to_vec()).collect::<Vec<_>>()
    };
    let gradients = group(1);
    let mut states: [_; STATES] =
        std::array::from_fn(|state| group(if state == 0 { 0 } else { state + 1 }));
    for (tensor, gradients) in gradients.iter().enumerate() {
        for (index, &gradient) in gradients.iter().enumerate() {
            let mut moved = states.each_ref().map(|state| f64::from(state[tensor][index]));
            step(f64::from(gradient) + decay * moved[0], moved.each_mut());
            for (state, moved) in states.iter_mut().zip(moved) {
                state[tensor][index] = moved as f32;
            }
        }
    }
    outputs(states.into_iter().flatten().collect())
}
