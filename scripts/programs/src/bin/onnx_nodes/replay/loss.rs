//! `SoftmaxCrossEntropyLoss`. Every pixel of a sample is a row.

use ztilde::Loss;
use ztilde::kernels::loss::{self, Options};
use ztilde::reference::weigh_classes;

use super::batch_norm::transposed;
use super::{Replayed, does_not_apply, outputs};
use crate::case::Case;
use crate::gpu::Gpu;

pub(super) fn replay(gpu: &Gpu, case: &Case) -> Replayed {
    let [_, classes, pixels @ ..] = &*case.inputs[0].shape else {
        return does_not_apply("no classes");
    };
    let classes = *classes;
    let ignored = case.integer("ignore_index");
    let class_weights = class_weights(case, classes);
    let is_mean = match (&*case.text("reduction", "mean"), &class_weights) {
        _ if case.outputs.len() > 1 => {
            return does_not_apply("log_prob, a second output: no kernel writes it");
        }
        _ if ignored.is_some_and(|class| !(0..i64::from(classes)).contains(&class)) => {
            return does_not_apply("an ignore_index that is not a class: ours are all classes");
        }
        ("mean", _) => true,
        ("none", None) => false,
        ("none", Some(_)) => {
            return does_not_apply("weights without a mean: ours divide by what the batch weighs");
        }
        (other, _) => return does_not_apply(format!("reduction {other}: ours is the mean")),
    };

    let Gpu { device, .. } = gpu;
    let values = transposed(case.inputs[0].floats(), [classes, pixels.iter().product()]);
    let rows = values.len() as u32 / classes;
    let (_, logits) = gpu.matrix(&values, [rows, classes])?;
    let (_, gradients) = gpu.matrix(&vec![0.0_f32; values.len()], [rows, classes])?;
    let (row_results, results) = gpu.matrix(&vec![0.0_f32; 2 * rows as usize], [rows, 2])?;
    let mut targets: Vec<u32> = case.inputs[1].integers().iter().map(|&y| y as u32).collect();
    if let Some(class_weights) = &class_weights {
        let weights =
            weigh_classes(&class_weights.iter().copied().map(f64::from).collect(), &targets);
        targets.extend(weights.iter().map(|&weight| (weight as f32).to_bits()));
    }
    let (_, targets) = gpu.vector(&targets)?;
    let options = Options {
        loss: Loss::SoftmaxCrossEntropy,
        label_smoothing: 0.0,
        has_class_weights: class_weights.is_some(),
    };
    gpu.run(&[loss::Loss::new(device, options)?.bind(device, "node", {
        let [outputs, grad_outputs] = [&logits, &gradients];
        loss::Buffers { outputs, targets: &targets, results: &results, grad_outputs }
    })?]);
    // Each row's result is a loss and an accuracy.
    let losses: Vec<f32> = gpu.read(&row_results).into_iter().step_by(2).collect();
    outputs(vec![match is_mean {
        true => {
            let sum: f64 = losses.iter().copied().map(f64::from).sum();
            vec![(sum / losses.len() as f64) as f32]
        }
        false => losses,
    }])
}

/// The weight of each class, if they differ. An ignored class has weight 0: because the mean is divided
/// by the sum of the rows' weights, this leaves out the rows of the class.
fn class_weights(case: &Case, classes: u32) -> Option<Vec<f32>> {
    let given = case.inputs.get(2).map(|weights| weights.floats().to_vec());
    let Some(ignored) = case.integer("ignore_index") else { return given };
    let mut weights = given.unwrap_or_else(|| vec![1.0; classes as usize]);
    if let Some(weight) = usize::try_from(ignored).ok().and_then(|class| weights.get_mut(class)) {
        *weight = 0.0;
    }
    Some(weights)
}
