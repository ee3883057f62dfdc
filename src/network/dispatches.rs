//! Binds kernels to the network's parameters and running statistics.

use super::Network;
use crate::error::Result;
use crate::fused::layer_forward::{self, LayerForward};
use crate::fused::narrow_forward::NarrowForward;
use crate::fused::network_forward::{self, NetworkForward, Tensors};
use crate::fused::skip_step::{self, SkipStep};
use crate::gpu::{Dispatch, Matrix};
use crate::layout::{Learned, Running};

impl Network {
    /// Binds all layers of a narrow network in one dispatch.
    pub(crate) fn bind_narrow(
        &self,
        kernel: &NarrowForward,
        place: &str,
        matrices: [&Matrix; 2],
    ) -> Result<Dispatch> {
        let tensors = [&self.parameters, &self.running_statistics];
        kernel.bind(&self.gpu.device, place, tensors, matrices)
    }

    /// Binds all layers in one dispatch, as inference computes them. The scratch has two rows of the
    /// widest layer for each row of the inputs.
    pub(crate) fn bind_all(
        &self,
        kernel: &NetworkForward,
        place: &str,
        [inputs, scratch, outputs]: [&Matrix; 3],
    ) -> Result<Dispatch> {
        let layers = &inference_layers(&self.learned, &self.running);
        let tensors =
            Tensors { parameters: &self.parameters, running: &self.running_statistics, layers };
        let buffers = network_forward::Buffers { tensors, inputs, scratch, outputs };
        kernel.bind(&self.gpu.device, place, buffers)
    }

    /// Binds the kernel that undoes a step with a fault.
    pub(crate) fn bind_skip(&self, kernel: &SkipStep, gradients: &Matrix) -> Result<Dispatch> {
        let mut vectors = self.running_layout.vectors();
        if vectors.is_empty() {
            // A buffer cannot be empty.
            vectors.push([0; 2]);
        }
        let list = self.gpu.matrix("running statistics/places", vectors.len() as u32, 2)?;
        self.gpu.write(list.buffer(), 0, &vectors)?;
        let [stop, _] = self.layout.stop_place(self.parameters.buffer(), 0)?;
        let buffers = skip_step::Buffers {
            gradients,
            parameters: &self.parameters,
            stop: &stop,
            faults: self.layout.faults(),
            running: &self.running_statistics,
            vectors: &list,
            counts: &self.counts,
        };
        kernel.bind(&self.gpu.device, "update", buffers)
    }

    /// Binds a layer as inference computes it, with the running statistics.
    pub(crate) fn bind_inference(
        &self,
        kernel: &LayerForward,
        layer: usize,
        place: &str,
        [inputs, outputs]: [&Matrix; 2],
    ) -> Result<Vec<Dispatch>> {
        self.bind_layer(kernel, layer, place, inputs, outputs, None)
    }

    /// Binds the forward pass of a layer.
    pub(crate) fn bind_layer(
        &self,
        kernel: &LayerForward,
        layer: usize,
        place: &str,
        inputs: &Matrix,
        outputs: &Matrix,
        kept: Option<layer_forward::Kept<'_>>,
    ) -> Result<Vec<Dispatch>> {
        let learned = &self.learned[layer];
        let running = self.running[layer].as_ref();
        let running = running.map(|running| match kept {
            None => &running.now,
            Some(_) => &running.with_before,
        });
        let buffers = layer_forward::Buffers {
            inputs,
            parameters: &self.parameters,
            weights: learned.weights(),
            gamma: learned.gamma(),
            beta: learned.beta(),
            running_statistics: &self.running_statistics,
            running: running.map(|running| running.each_ref()),
            stop: &self.layout.stop_place(self.parameters.buffer(), layer)?[0],
            kept,
            outputs,
        };
        kernel.bind(&self.gpu.device, place, buffers)
    }
}

/// The layers' tensors as inference reads them.
pub(super) fn inference_layers<'a>(
    learned: &'a [Learned],
    running: &'a [Option<Running>],
) -> Vec<network_forward::Layer<'a>> {
    let layer = |(learned, running): (&'a Learned, &'a Option<Running>)| network_forward::Layer {
        weights: learned.weights(),
        gamma: learned.gamma(),
        beta: learned.beta(),
        running: running.as_ref().map(|running| running.now.each_ref()),
    };
    learned.iter().zip(running).map(layer).collect()
}
