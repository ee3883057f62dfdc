//! Only batch normalization, in an app with its own network.
//!
//! The app's network is convolutional: its activations are images (N, C, H, W) on the GPU. A feature is
//! a channel, whose values are some distance apart, and each pixel of each sample counts as a row. The app
//! binds its buffers to the library's kernels once, and encodes the kernels into its own pass as often as
//! needed: forward with the batch's own statistics and ReLU, then backward.
//!
//! ```sh
//! cargo run --release --example batch_norm
//! ```
//!
//! The results are compared with a few lines of plain Rust at the end of this file.

use std::error::Error;

use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device, Queue};
use ztilde::Activation;
use ztilde::kernels::activate::{self, Activate};
use ztilde::kernels::activate_backward::{self, ActivateBackward};
use ztilde::kernels::batch_statistics::{self, BatchStatistics};
use ztilde::kernels::normalize::{self, Normalize};
use ztilde::kernels::normalize_backward::{self, NormalizeBackward};
use ztilde::kernels::normalize_gradients::{self, NormalizeGradients};
use ztilde::kernels::{Dispatch, Matrix};

const SAMPLES: u32 = 16;
const CHANNELS: u32 = 12;
const PIXELS: u32 = 27 * 31;
const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    run()
}

/// The whole program. Returns an error if the GPU's values differ from the CPU's.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    // The app's own device. The kernels need no feature and no limit beyond WebGPU's defaults.
    let instance = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(instance);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
    println!("on {}", adapter.get_info().name);
    let buffer = |values: &[f32]| {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
        let contents = bytemuck::cast_slice(values);
        device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
    };

    // The app's own buffers: the outputs of the layer before, the gradient from the layer after, and
    // intermediate results. Channels differ in mean and deviation, as in real networks.
    let [input_values, grad_values] = [images(|channel| 10.0 * channel), images(|_| 0.0)];
    let none = vec![0.0; input_values.len()];
    let batches = [&input_values, &grad_values, &none, &none, &none, &none].map(|x| buffer(x));
    let gamma_values: Vec<f32> = (0..CHANNELS).map(|c| 0.5 + c as f32 / 10.0).collect();
    let beta_values: Vec<f32> = (0..CHANNELS).map(|c| (c as f32).sin()).collect();
    let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; CHANNELS as usize]);
    let vectors = [&gamma_values, &beta_values, &zeros, &ones, &zeros, &zeros, &zeros];
    let vectors = vectors.map(|values| buffer(values));
    // A mean is the sum of two floats: one would be too coarse where it is large against the deviation.
    let means = [(); 2].map(|()| buffer(&[0.0; 2 * CHANNELS as usize]));

    // The layout of that memory, for the kernels.
    let batch = |buffer: &Buffer| Matrix::images(buffer, 0, SAMPLES, CHANNELS, PIXELS).unwrap();
    let [inputs, grad_outputs, normalized, outputs, grad_normalized, grad_inputs] =
        &batches.each_ref().map(batch);
    let vector = |buffer: &Buffer| Matrix::vector(buffer, 0, CHANNELS).unwrap();
    let [gamma, beta, running_mean, running_var, variance, grad_gamma, grad_beta] =
        &vectors.each_ref().map(vector);
    let [mean, grad_mean] =
        &means.each_ref().map(|buffer| Matrix::new(buffer, 0, 2, CHANNELS).unwrap());

    // Each kernel is compiled once, and bound once. The names appear in GPU debuggers.
    let (device, place) = (&device, "my layer");
    let layer: [Dispatch; 6] = [
        // Forward: with the batch's own statistics, which move the running ones.
        BatchStatistics::new(device, MOMENTUM)?.bind(device, place, {
            batch_statistics::Buffers { inputs, mean, variance, running_mean, running_var }
        })?,
        Normalize::new(device, EPSILON)?.bind(device, place, {
            normalize::Buffers { inputs, mean, variance, gamma, beta, outputs: normalized }
        })?,
        Activate::new(device, Activation::Relu)?.bind(
            device,
            place,
            activate::Buffers { inputs: normalized, outputs },
        )?,
        // Backward: from the gradient of the outputs to the gradients of gamma, beta and the inputs.
        ActivateBackward::new(device, Activation::Relu)?.bind(device, place, {
            let grad_inputs = grad_normalized;
            activate_backward::Buffers { inputs: normalized, grad_outputs, grad_inputs }
        })?,
        NormalizeGradients::new(device, EPSILON)?.bind(device, place, {
            let grad_outputs = grad_normalized;
            normalize_gradients::Buffers {
                inputs,
                mean,
                variance,
                grad_outputs,
                grad_gamma,
                grad_beta,
                grad_mean,
            }
        })?,
        NormalizeBackward::new(device, EPSILON)?.bind(device, place, {
            let grad_outputs = grad_normalized;
            normalize_backward::Buffers {
                inputs,
                mean,
                variance,
                gamma,
                grad_gamma,
                grad_mean,
                grad_outputs,
                grad_inputs,
            }
        })?,
    ];

    // The app's own encoder and pass. Its other layers would be encoded before and between these
    // kernels.
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for dispatch in &layer {
        dispatch.encode(&mut pass);
    }
    drop(pass);
    queue.submit([encoder.finish()]);

    println!("{SAMPLES} images of {CHANNELS} channels with {PIXELS} pixels, there and back:");
    let expected = on_the_cpu(&input_values, &grad_values, &gamma_values, &beta_values);
    let [.., output_buffer, _, grad_input_buffer] = &batches;
    let [_, _, running_mean, running_var, _, grad_gamma, grad_beta] = &vectors;
    let found = [
        ("outputs", output_buffer),
        ("grad_inputs", grad_input_buffer),
        ("grad_gamma", grad_gamma),
        ("grad_beta", grad_beta),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ];
    for ((name, buffer), expected) in found.into_iter().zip(expected) {
        let found = read(device, &queue, buffer)?;
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let errors = found.iter().zip(&expected).map(|(&x, y)| (f64::from(x) - y).abs() / largest);
        // NaN counts as the largest difference.
        let worst = errors.fold(0.0, |worst, error| if error <= worst { worst } else { error });
        println!("{name:>12}: {} values, off by {worst:.1e} of the largest at most", found.len());
        if found.len() != expected.len() || worst.is_nan() || worst > 1e-5 {
            return Err(format!("{name} is not what the CPU computes").into());
        }
    }
    Ok(())
}

/// Values of all images, whose channels have different means and deviations.
fn images(mean: impl Fn(f32) -> f32) -> Vec<f32> {
    let value = |index: u32| {
        let channel = (index / PIXELS % CHANNELS) as f32;
        let noise = (f64::from(index) * f64::from(index) * 0.618).sin() as f32;
        mean(channel) + (1.0 + channel) * noise
    };
    (0..SAMPLES * CHANNELS * PIXELS).map(value).collect()
}

/// The six results in the order in which `run` names them, in double precision.
fn on_the_cpu(inputs: &[f32], grads: &[f32], gamma: &[f32], beta: &[f32]) -> [Vec<f64>; 6] {
    let [mut outputs, mut grad_inputs] = [(); 2].map(|()| vec![0.0; inputs.len()]);
    let [mut grad_gammas, mut grad_betas, mut means, mut vars] = [(); 4].map(|()| Vec::new());
    for channel in 0..CHANNELS as usize {
        let places: Vec<usize> = (0..inputs.len())
            .filter(|index| index / PIXELS as usize % CHANNELS as usize == channel)
            .collect();
        let count = places.len() as f64;
        let sum = |value: &dyn Fn(usize) -> f64| places.iter().map(|&i| value(i)).sum::<f64>();
        let mean = sum(&|i| inputs[i].into()) / count;
        let variance = sum(&|i| (f64::from(inputs[i]) - mean).powi(2)) / count;
        let deviation = (variance + f64::from(EPSILON)).sqrt();
        let [gamma, beta] = [gamma[channel], beta[channel]].map(f64::from);
        let normalized = |i: usize| (f64::from(inputs[i]) - mean) / deviation;
        let ztilde = |i: usize| gamma * normalized(i) + beta;
        let grad = |i: usize| if ztilde(i) > 0.0 { f64::from(grads[i]) } else { 0.0 };
        let grad_beta = sum(&grad);
        let grad_gamma = sum(&|i| grad(i) * normalized(i));
        for &i in &places {
            outputs[i] = ztilde(i).max(0.0);
            let through_statistics = (grad_beta + normalized(i) * grad_gamma) / count;
            grad_inputs[i] = gamma / deviation * (grad(i) - through_statistics);
        }
        grad_gammas.push(grad_gamma);
        grad_betas.push(grad_beta);
        // The running statistics began at 0 and 1; the variance here divides by count − 1.
        let momentum = f64::from(MOMENTUM);
        means.push(momentum * mean);
        vars.push((1.0 - momentum) + momentum * variance * count / (count - 1.0));
    }
    [outputs, grad_inputs, grad_gammas, grad_betas, means, vars]
}

fn read(device: &Device, queue: &Queue, buffer: &Buffer) -> Result<Vec<f32>, Box<dyn Error>> {
    let copy = device.create_buffer(&BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
    queue.submit([encoder.finish()]);
    copy.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    Ok(bytemuck::pod_collect_to_vec(&copy.get_mapped_range(..)?))
}
