//! Whole steps: the kernel that takes several steps of a small network in one dispatch, bound to its batches.

use super::memory::{LayerMemory, Memory};
use crate::error::Result;
use crate::fused::whole_steps::{Buffers, Layer, Options, WholeSteps};
use crate::gpu::Dispatch;
use crate::kernels::loss;
use crate::network::Network;
use crate::options::TrainerOptions;
use crate::plan::WholePlan;

/// Steps on full batches that are taken together.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) steps: u32,
    pub(super) dispatches: Vec<Dispatch>,
}

/// Compiles the kernel for a network and the memory of its trainer.
pub(super) fn kernel(
    network: &Network,
    plan: WholePlan,
    memory: &Memory,
    options: &TrainerOptions,
) -> Result<WholeSteps> {
    let of_kernel = Options {
        activation: network.activation(),
        epsilon: network.epsilon(),
        momentum: network.momentum(),
        loss: loss::Options::from(options),
        optimizer: options.optimizer,
        clip_norm: options.clip_norm.map(|norm| norm as f32),
        skips: options.on_fault.skips(),
    };
    let device = &network.gpu().device;
    with_buffers(network, memory, options.batch_size, 1, |buffers| {
        WholeSteps::new(device, plan, of_kernel, buffers)
    })
}

/// Binds the kernel to `steps` batches of `rows` rows, which follow each other in the trainer's memory.
pub(super) fn bind(
    network: &Network,
    kernel: &WholeSteps,
    memory: &Memory,
    rows: u32,
    steps: u32,
) -> Result<Dispatch> {
    let device = &network.gpu().device;
    with_buffers(network, memory, rows, steps, |buffers| {
        kernel.bind(device, "network", buffers, steps)
    })
}

/// Calls a function with the matrices of `steps` batches of `rows` rows.
fn with_buffers<T>(
    network: &Network,
    memory: &Memory,
    rows: u32,
    steps: u32,
    call: impl FnOnce(Buffers<'_>) -> Result<T>,
) -> Result<T> {
    let Memory { shared, batches, velocity, mean_square, rates, history, .. } = memory;
    let batch = memory.batch.slice(rows)?;
    let parts = network.learned().iter().zip(network.running()).zip(&batch.layers);
    let layers: Vec<_> = parts
        .map(|((learned, running), LayerMemory { outputs, grad_sums, kept })| Layer {
            weights: learned.weights(),
            gamma: learned.gamma(),
            beta: learned.beta(),
            running: running.as_ref().map(|running| running.with_before.each_ref()),
            sums: kept.as_ref().map_or(outputs, |kept| &kept.sums),
            statistics: kept.as_ref().map(|kept| &kept.statistics),
            outputs,
            grads: grad_sums,
        })
        .collect();
    let [inputs, targets] = batches.each_ref().map(|matrix| matrix.slice(0, steps * rows));
    call(Buffers {
        inputs: &inputs?,
        targets: &targets?,
        parameters: network.packed(),
        weights: network.layout().weights(),
        running: network.running_statistics(),
        counts: network.counts(),
        memory: shared.as_ref().expect("the memory of whole steps"),
        velocity,
        mean_square,
        rates,
        history,
        layers: &layers,
    })
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;
