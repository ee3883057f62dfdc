//! `shaders/fused/network_forward.wgsl`: all layers of a network in inference, in one dispatch.
//!
//! Its twin is [`crate::reference::network_forward`].

use bytemuck::Zeroable;
use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, Texts, tiled, uniform, workgroups};
use crate::kernels::activate;
use crate::options::Activation;
use crate::plan::{DeviceClass, MOST_LAYERS_IN_ONE as MOST_LAYERS, Tiling};

const TEXTS: Texts = tiled![
    "fused/network_forward.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/column.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/magnitudes.wgsl",
    "shared/rounded.wgsl",
];

/// The storage buffers of the shader; `layer_forward` needs one less.
const STORAGE_BUFFERS: u32 = 5;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct NetworkForward {
    kernel: Kernel<Network>,
    tiling: Tiling,
}

/// The tensors of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensors<'a> {
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// All running statistics.
    pub(crate) running: &'a Matrix,
    /// Inputs first.
    pub(crate) layers: &'a [Layer<'a>],
}

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    pub(crate) tensors: Tensors<'a>,
    /// `[rows, inputs]`, padded.
    pub(crate) inputs: &'a Matrix,
    /// `[2 · rows, outputs of the widest layer]`, padded.
    pub(crate) scratch: &'a Matrix,
    /// `[rows, outputs]`, contiguous, without padding.
    pub(crate) outputs: &'a Matrix,
}

/// The matrices of a layer. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    /// `[outputs, inputs]`: a part of the parameters, as are the vectors.
    pub(crate) weights: &'a Matrix,
    /// One per output, if the layer is normalized.
    pub(crate) gamma: Option<&'a Matrix>,
    /// Beta, or the biases. One per output.
    pub(crate) beta: &'a Matrix,
    /// The running mean and variance of a normalized layer: parts of the running statistics. One per
    /// output.
    pub(crate) running: Option<[&'a Matrix; 2]>,
}

uniform! {
    struct Entry {
        columns: u32,
        inner: u32,
        weights: u32,
        gamma: u32,
        beta: u32,
        running_mean: u32,
        running_var: u32,
        is_normalized: u32,
    }
}

uniform! {
    struct Network {
        rows: u32,
        layers: u32,
        widest: u32,
        unused: u32,
        table: [Entry; MOST_LAYERS],
    }
}

impl NetworkForward {
    /// Whether the device has enough storage buffers.
    pub(crate) fn fits(device: &Device) -> bool {
        device.limits().max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS
    }

    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, activation: Activation, epsilon: f32) -> Result<Self> {
        let tiling = Tiling::single(DeviceClass::from(device));
        let [_, activation, negative_slope] = activate::constants(activation);
        let constants = [("EPSILON", epsilon.into()), activation, negative_slope];
        let text = TEXTS.text(tiling);
        let kernel = Kernel::trusted(device, "network_forward", &text, &constants)?;
        Ok(Self { kernel, tiling })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { tensors: Tensors { parameters, running, layers }, inputs, scratch, outputs } =
            buffers;
        let kernel = "network_forward";
        let rows = inputs.rows();
        let mut columns = inputs.columns();
        let mut widest = 0;
        inputs.expect_padded(kernel, "inputs", [rows, columns])?;
        let mut table = [Entry::zeroed(); MOST_LAYERS];
        for (layer, entry) in layers.iter().zip(&mut table) {
            let outputs = layer.weights.rows();
            layer.weights.expect_padded(kernel, "weights", [outputs, columns])?;
            let vectors = layer.gamma.iter().chain([&layer.beta]);
            for vector in vectors.chain(layer.running.iter().flatten()) {
                vector.expect_padded(kernel, "a vector of a layer", [1, outputs])?;
            }
            *entry = layer.entry(parameters, running);
            columns = outputs;
            widest = widest.max(outputs);
        }
        scratch.expect_padded(kernel, "scratch", [2 * rows, widest])?;
        outputs.expect(kernel, "outputs", [rows, columns])?;
        self.kernel.bind(
            device,
            place,
            Network {
                rows,
                layers: layers.len() as u32,
                widest: scratch.stride() / 4,
                unused: 0,
                table,
            },
            &[parameters, running, inputs, scratch, outputs],
            [workgroups(self.tiling.row_patches(rows).into(), 1), 1, 1],
        )
    }
}

impl Layer<'_> {
    /// The layer in the shader's table.
    fn entry(&self, parameters: &Matrix, running: &Matrix) -> Entry {
        let learned = |part: &Matrix| part.first_quad() - parameters.first_quad();
        let [running_mean, running_var] = self
            .running
            .map_or([0; 2], |parts| parts.map(|part| part.first_quad() - running.first_quad()));
        Entry {
            columns: self.weights.rows(),
            inner: self.weights.columns(),
            weights: learned(self.weights),
            gamma: self.gamma.map_or(0, learned),
            beta: learned(self.beta),
            running_mean,
            running_var,
            is_normalized: self.running.is_some().into(),
        }
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Axis};

    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    pub(crate) const EPSILON: f32 = 1e-3;

    /// A network on the CPU, and its tensors on the GPU.
    pub(crate) struct Packed {
        pub(crate) layers: Vec<reference::Layer>,
        pub(crate) parameters: Matrix,
        pub(crate) running: Matrix,
        learned: Vec<Matrix>,
        statistics: Vec<Matrix>,
    }

    impl Packed {
        /// Layers of these sizes. `is_normalized` says which of the hidden ones are normalized, by their index.
        pub(crate) fn random(
            gpu: &mut TestGpu,
            sizes: &[u32],
            is_normalized: impl Fn(usize) -> bool,
        ) -> Self {
            let last = sizes.len() - 2;
            let layer = |(index, pair): (usize, &[u32])| {
                let weights = gpu.random([pair[1], pair[0]]);
                if index == last || !is_normalized(index) {
                    return reference::Layer::Linear {
                        weights,
                        biases: gpu.random_vector(pair[1]),
                    };
                }
                let running_var =
                    gpu.random_vector(pair[1]).mapv(|value| f64::from(value.abs() as f32));
                reference::Layer::Normalized {
                    weights,
                    gamma: gpu.random_vector(pair[1]),
                    beta: gpu.random_vector(pair[1]),
                    running_mean: gpu.random_vector(pair[1]),
                    running_var: running_var + 0.25,
                    batches: 1,
                }
            };
            let layers: Vec<_> = sizes.windows(2).enumerate().map(layer).collect();
            let row = |vector: &Array1<f64>| vector.clone().insert_axis(Axis(0));
            // Something, as there may be no normalized layer.
            let [mut learned, mut running] = [Vec::new(), vec![gpu.random([1, 4])]];
            for layer in &layers {
                learned.push(layer.weights().clone());
                match layer {
                    reference::Layer::Linear { biases, .. } => learned.push(row(biases)),
                    reference::Layer::Normalized {
                        gamma, beta, running_mean, running_var, ..
                    } => {
                        learned.extend([gamma, beta].map(row));
                        running.extend([running_mean, running_var].map(row));
                    }
                }
            }
            let (parameters, learned) = gpu.upload_packed(&learned.iter().collect::<Vec<_>>());
            let (running, statistics) = gpu.upload_packed(&running.iter().collect::<Vec<_>>());
            Self { layers, parameters, running, learned, statistics }
        }

        pub(crate) fn bound(&self) -> Vec<Layer<'_>> {
            let (mut learned, mut statistics) = (self.learned.iter(), self.statistics[1..].iter());
            let mut next = || learned.next().expect("as many as were pushed");
            let mut bind = |layer: &reference::Layer| match layer {
                reference::Layer::Linear { .. } => {
                    let [weights, biases] = [next(), next()];
                    Layer { weights, gamma: None, beta: biases, running: None }
                }
                reference::Layer::Normalized { .. } => {
                    let [weights, gamma, beta] = [next(), next(), next()];
                    let running = [(); 2].map(|()| statistics.next().expect("as many as pushed"));
                    Layer { weights, gamma: Some(gamma), beta, running: Some(running) }
                }
            };
            self.layers.iter().map(&mut bind).collect()
        }

        pub(crate) fn tensors<'a>(&'a self, layers: &'a [Layer<'a>]) -> Tensors<'a> {
            Tensors { parameters: &self.parameters, running: &self.running, layers }
        }
    }

    pub(super) fn compare(gpu: &mut TestGpu, rows: u32, sizes: &[u32]) {
        let device = gpu.gpu.device.clone();
        let kernel = NetworkForward::new(&device, Activation::Sigmoid, EPSILON).unwrap();
        let packed = Packed::random(gpu, sizes, |index| index % 2 == 0);
        let inputs = gpu.random([rows, sizes[0]]);
        let widest = sizes[1..].iter().copied().max().unwrap();
        let columns = *sizes.last().unwrap();
        let outputs = gpu.zeros([rows, columns]);
        let layers = packed.bound();
        let buffers = Buffers {
            tensors: packed.tensors(&layers),
            inputs: &gpu.upload_padded(&inputs),
            // The kernel must not depend on old values of the scratch.
            scratch: &gpu.garbage([2 * rows, widest]),
            outputs: &outputs,
        };
        gpu.run(&[&kernel.bind(&device, "test", buffers).unwrap()]);

        let expected = reference::network_forward(
            &packed.layers,
            &inputs,
            Activation::Sigmoid,
            EPSILON.into(),
        );
        // Sums of up to 130 products below 1, whose roundings mostly cancel, through a few layers.
        let what = format!("{rows} rows of {sizes:?}");
        gpu.compare(&what, &gpu.read(&outputs), &expected, 3e-6, 1e-6);
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for rows in [1, 31, 32, 33, 65, 300] {
            compare(gpu, rows, &[3, 1]);
            compare(gpu, rows, &[8, 36, 3]);
            compare(gpu, rows, &[5, 7, 130, 33, 4, 9, 2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases::{self, compare};
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference() {
        for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
            cases::matches_the_reference(&mut gpu);
        }
    }

    /// On the core that the adapter likes: a software one takes ten times as long with the other.
    #[test]
    fn walks_more_rows_than_workgroups() {
        let mut gpu = TestGpu::with_subgroups();
        compare(&mut gpu, 32 * crate::gpu::MAX_WORKGROUPS + 5, &[1, 2, 1]);
    }
}
