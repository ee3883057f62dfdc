//! Adam and Momentum of ONNX's preview of training. A step takes several tensors at once. Here they are
//! packed one after the other, like a network's parameters.

use std::error::Error;

use ztilde::kernels::record_step::Counts;
use ztilde::kernels::update::{self, Update, rates};
use ztilde::{Method, Optimizer};

use super::{Replayed, does_not_apply, outputs};
use crate::case::Case;
use crate::gpu::Gpu;

/// The tensors follow the learning rate and the number of earlier steps.
const BEFORE: usize = 2;

pub(super) fn adam(gpu: &Gpu, case: &Case) -> Replayed {
    if case.float("norm_coefficient_post", 0.0) != 0.0 {
        return does_not_apply("the decay is after the step: ours, AdamW's, is before it");
    }
    let method = Method::Adam {
        beta1: case.float("alpha", 0.9).into(),
        beta2: case.float("beta", 0.999).into(),
        epsilon: case.float("epsilon", 1e-6).into(),
        decoupled: false,
    };
    let optimizer = optimizer(case, method);
    // ONNX corrects the rate, and so scales epsilon, too; at step 0 it does not correct. The app passes
    // the correction to the kernel as a number.
    let Method::Adam { beta1, beta2, .. } = method else { unreachable!("it is Adam") };
    let steps = case.inputs[1].integers()[0];
    let rest = |beta: f64| 1.0 - beta.powf(steps as f64);
    let correction = if steps > 0 { rest(beta2).sqrt() / rest(beta1) } else { 1.0 };
    step(gpu, case, &optimizer, [1.0, correction as f32, 1.0, 0.0])
}

pub(super) fn momentum(gpu: &Gpu, case: &Case) -> Replayed {
    if case.inputs[1].integers()[0] > 0 && case.float("beta", 1.0) != 1.0 {
        return does_not_apply("a gradient that is damped by beta: ours is taken as it is");
    }
    let nesterov = case.text("mode", "standard") == "nesterov";
    let momentum = case.float("alpha", 0.9).into();
    let optimizer = optimizer(case, Method::Momentum { momentum, nesterov });
    step(gpu, case, &optimizer, rates(&optimizer, 1))
}

/// All parameters decay, through the gradient.
fn optimizer(case: &Case, method: Method) -> Optimizer {
    let learning_rate = case.inputs[0].floats()[0].into();
    let weight_decay = case.float("norm_coefficient", 0.0).into();
    Optimizer { weight_decay, decays_all: true, ..Optimizer::new(method, learning_rate) }
}

fn step(gpu: &Gpu, case: &Case, optimizer: &Optimizer, rates: [f32; 4]) -> Replayed {
    let has_mean_square = optimizer.method.has_mean_square();
    // Parameters, gradients, velocities and mean squares: as many of each as there are tensors.
    let groups = 3 + usize::from(has_mean_square);
    let tensors = (case.inputs.len() - BEFORE) / groups;
    let packed = |group: usize| -> Result<_, Box<dyn Error>> {
        let first = BEFORE + group * tensors;
        let given = case.inputs[first..first + tensors].iter();
        let mut values: Vec<f32> = given.flat_map(|tensor| tensor.floats().to_vec()).collect();
        // The kernel takes whole vectors of four.
        values.resize(values.len().next_multiple_of(4), 0.0);
        gpu.vector(&values)
    };
    let [parameters, gradients, velocity] = [packed(0)?, packed(1)?, packed(2)?];
    let mean_square = if has_mean_square { packed(3)? } else { gpu.vector(&[0.0_f32; 4])? };
    let counts =
        Counts { taken: 1, rate: (optimizer.learning_rate as f32).to_bits(), ..Default::default() };
    let (_, counts) = gpu.vector(&counts.values())?;
    let [(_, rates), (_, clip_scale)] = [gpu.vector(&rates)?, gpu.vector(&[1.0_f32])?];
    let buffers = update::Buffers {
        counts: &counts,
        rates: &rates,
        clip_scale: &clip_scale,
        gradients: &gradients.1,
        parameters: &parameters.1,
        weights: 0,
        velocity: &velocity.1,
        mean_square: &mean_square.1,
    };
    gpu.run(&[Update::new(&gpu.device, optimizer)?.bind(&gpu.device, "node", buffers)?]);

    let mut found = Vec::new();
    let moved = [Some(parameters), Some(velocity), has_mean_square.then_some(mean_square)];
    for (buffer, _) in moved.into_iter().flatten() {
        let mut values = gpu.read(&buffer).into_iter();
        for tensor in &case.inputs[BEFORE..BEFORE + tensors] {
            found.push(values.by_ref().take(tensor.floats().len()).collect());
        }
    }
    outputs(found)
}
