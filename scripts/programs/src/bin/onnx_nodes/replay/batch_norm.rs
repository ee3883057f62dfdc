//! `BatchNormalization`, with given statistics or those of the batch, on images in their own layout and
//! with their pixels as rows.

use std::error::Error;

use wgpu::Buffer;
use ztilde::kernels::Matrix;
use ztilde::kernels::batch_statistics::{self, BatchStatistics};
use ztilde::kernels::normalize::{self, Normalize};

use super::{Replay, Replayed, does_not_apply};
use crate::case::Case;
use crate::gpu::Gpu;

/// A batch's values, and the layout of its buffer for a kernel.
struct Batch<'a> {
    values: &'a [f32],
    matrix: &'a dyn Fn(&Buffer) -> ztilde::Result<Matrix>,
}

pub(super) fn replay(gpu: &Gpu, case: &Case) -> Replayed {
    let [samples, channels, pixels @ ..] = &*case.inputs[0].shape else {
        return does_not_apply("no channels");
    };
    let (samples, channels, pixels) = (*samples, *channels, pixels.iter().product());
    let values = case.inputs[0].floats();

    let images =
        Batch { values, matrix: &|buffer| Matrix::images(buffer, 0, samples, channels, pixels) };
    let images = normalized(gpu, case, &images)?;

    let rows = Batch {
        values: &transposed(values, [channels, pixels]),
        matrix: &|buffer| Matrix::new(buffer, 0, samples * pixels, channels),
    };
    let mut rows = normalized(gpu, case, &rows)?;
    rows[0] = transposed(&rows[0], [pixels, channels]);
    Ok(Replay::Outputs(vec![("images", images), ("rows", rows)]))
}

/// The outputs, and in training the running statistics.
fn normalized(gpu: &Gpu, case: &Case, batch: &Batch<'_>) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let Gpu { device, .. } = gpu;
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|index| case.inputs[index].floats());
    let channels = gamma.len() as u32;
    let inputs = (batch.matrix)(&gpu.buffer(batch.values))?;
    let found = gpu.buffer(&vec![0.0_f32; batch.values.len()]);
    let outputs = (batch.matrix)(&found)?;
    let [(_, gamma), (_, beta)] = [gpu.vector(gamma)?, gpu.vector(beta)?];
    let (running_means, running_mean) = gpu.vector(mean)?;
    let (running_vars, running_var) = gpu.vector(variance)?;
    // The kernels take a mean as the sum of two floats.
    let (_, mean) = gpu.matrix(&[mean, &vec![0.0; mean.len()]].concat(), [2, channels])?;
    let (_, batch_variance) = gpu.vector(&vec![0.0_f32; variance.len()])?;

    let is_training = case.integer("training_mode").unwrap_or(0) == 1;
    let normalize = Normalize::new(device, case.float("epsilon", 1e-5))?;
    let normalize = normalize.bind(device, "node", {
        let variance = if is_training { &batch_variance } else { &running_var };
        let [inputs, mean, gamma, beta, outputs] = [&inputs, &mean, &gamma, &beta, &outputs];
        normalize::Buffers { inputs, mean, variance, gamma, beta, outputs }
    })?;
    if !is_training {
        gpu.run(&[normalize]);
        return Ok(vec![gpu.read(&found)]);
    }
    // ONNX's momentum is the weight of the old value, ours that of the new one.
    let momentum = 1.0 - case.float("momentum", 0.9);
    let measure = batch_statistics::Buffers {
        inputs: &inputs,
        mean: &mean,
        variance: &batch_variance,
        running_mean: &running_mean,
        running_var: &running_var,
    };
    let measure = BatchStatistics::new(device, momentum)?.bind(device, "node", measure)?;
    gpu.run(&[measure, normalize]);
    // ONNX's running variance averages the variance that divides by n, ours the variance that divides by
    // n − 1.
    let rows = inputs.rows() as f32;
    let biased = |(moved, old): (f32, &f32)| {
        let kept = (1.0 - momentum) * old;
        kept + (moved - kept) * (rows - 1.0) / rows
    };
    let running_vars = gpu.read(&running_vars).into_iter().zip(variance).map(biased).collect();
    Ok(vec![gpu.read(&found), gpu.read(&running_means), running_vars])
}

/// Transposes each of several matrices of this shape, which are stored one after the other.
pub(super) fn transposed(values: &[f32], [rows, columns]: [u32; 2]) -> Vec<f32> {
    let [rows, columns] = [rows, columns].map(|length| length as usize);
    let matrices = values.chunks(rows * columns);
    let value = |index: usize| (index % rows) * columns + index / rows;
    matrices.flat_map(|matrix| (0..matrix.len()).map(move |index| matrix[value(index)])).collect()
}
