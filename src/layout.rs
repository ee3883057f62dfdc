//! The tensors of a network in its packed buffers (`plan/packing.rs`): views of them, and their values. The
//! running statistics have a buffer of their own.

use ndarray::{Array1, Array2};
use wgpu::Buffer;

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Matrix, Source};
use crate::parameters::Layer;
use crate::plan::{ALIGNMENT, FAULTS, LayerSizes, PackedLayer, Packing, STOP, reserve};

/// The sizes of these layers.
pub(crate) fn sizes(layers: &[Layer]) -> Vec<LayerSizes> {
    let inputs = layers.first().map_or(0, |layer| layer.weights().ncols() as u32);
    let of =
        |layer: &Layer| (layer.weights().nrows() as u32, matches!(layer, Layer::Normalized { .. }));
    LayerSizes::of_layers(inputs, &layers.iter().map(of).collect::<Vec<_>>())
}

/// One layer's learned tensors, or their gradients.
#[derive(Clone, Debug)]
pub(crate) enum Learned {
    Linear { weights: Matrix, biases: Matrix },
    Normalized { weights: Matrix, gamma: Matrix, beta: Matrix },
}

impl Learned {
    pub(crate) fn weights(&self) -> &Matrix {
        match self {
            Self::Linear { weights, .. } | Self::Normalized { weights, .. } => weights,
        }
    }

    /// The vector that is multiplied, if the layer is normalized.
    pub(crate) fn gamma(&self) -> Option<&Matrix> {
        match self {
            Self::Linear { .. } => None,
            Self::Normalized { gamma, .. } => Some(gamma),
        }
    }

    /// The vector that is added: beta, or the biases.
    pub(crate) fn beta(&self) -> &Matrix {
        match self {
            Self::Linear { biases: beta, .. } | Self::Normalized { beta, .. } => beta,
        }
    }
}

/// The tensors in a packed buffer.
#[derive(Clone, Debug)]
pub(crate) struct LearnedLayout {
    packing: Packing,
}

/// The stop record, as `shaders/fused/update.wgsl` writes it.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// The number of the step, modulo `modulus`.
    step: u32,
    modulus: u64,
    /// The faults of each layer, in the order of `shaders/shared/faults.wgsl`. None if the update
    /// overflowed.
    pub(crate) faults: Option<Vec<[bool; 4]>>,
    /// Whether the running statistics are newer than the parameters, because their step changed no
    /// parameter.
    pub(crate) has_skipped: bool,
}

impl Stop {
    /// The full number of the step: the largest number up to `steps` that is congruent to the recorded
    /// one, or 0 if there is none.
    pub(crate) fn step(&self, steps: u64) -> u64 {
        steps.saturating_sub(steps.wrapping_sub(self.step.into()) % self.modulus)
    }

    /// The number of steps, out of `steps`, that changed the parameters.
    pub(crate) fn learned_steps(&self, steps: u64) -> u64 {
        self.step(steps).saturating_sub(self.faults.is_some().into())
    }
}

impl PackedLayer {
    /// The offset of the rows of the weights.
    fn rows(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, stride) = (self.weights, u64::from(self.inputs.next_multiple_of(4)));
        (0..u64::from(self.outputs)).map(move |row| first + row * stride)
    }
}

impl LearnedLayout {
    pub(crate) fn new(layers: &[LayerSizes]) -> Self {
        Self { packing: Packing::new(layers) }
    }

    /// The bytes that the buffer holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.packing.values.saturating_mul(4)
    }

    /// The number of values in the buffer, with the gaps between the tensors, the stop and the faults.
    pub(crate) fn values(&self) -> u64 {
        self.packing.values
    }

    /// The same, as the length of a vector.
    pub(crate) fn length(&self) -> Result<u32> {
        u32::try_from(self.packing.values).map_err(|_| Error::TooLarge {
            what: "parameters".to_owned(),
            needed: self.bytes(),
            limit: "max_storage_buffer_binding_size",
            allowed: 4 * u64::from(u32::MAX),
        })
    }

    /// The number of values, from the first on, that are weights.
    pub(crate) fn weights(&self) -> u32 {
        // At most `length`, which was checked.
        self.packing.weights as u32
    }

    /// The number of values, from the first on, that are learned.
    pub(crate) fn learned(&self) -> u32 {
        self.packing.learned as u32
    }

    /// The part of `buffer` that holds the stop and the faults.
    pub(crate) fn stop_source<'a>(&self, buffer: &'a Buffer) -> Source<'a> {
        Source { buffer, first: self.packing.learned, count: self.stop_values() as u64 }
    }

    /// The stop record in all values of the buffer, if training has stopped.
    pub(crate) fn stop(&self, packed: &[f32]) -> Option<Stop> {
        Self::stop_of(&packed[self.packing.learned as usize..][..self.stop_values()])
    }

    /// The same from the values of the [`stop_source`](Self::stop_source).
    pub(crate) fn stop_of(values: &[f32]) -> Option<Stop> {
        let (quads, _) = values.as_chunks::<4>();
        let (&[[has_stopped, high, low, _], [overflow, ..]], _) = quads.split_first_chunk()?;
        let (has_stopped, has_overflow) = (has_stopped != 0.0, overflow != 0.0);
        let (step, modulus) = if has_stopped {
            (((high as u32) << 16) + low as u32, 1 << 32)
        } else {
            (overflow as u32 - u32::from(has_overflow), 1 << 16)
        };
        let faults = (!has_overflow).then(|| Self::faults_of(values));
        let stop = Stop { step, modulus, faults, has_skipped: has_stopped };
        (has_stopped || has_overflow).then_some(stop)
    }

    /// The faults of each layer, from the values of the [`stop_source`](Self::stop_source).
    pub(crate) fn faults_of(values: &[f32]) -> Vec<[bool; 4]> {
        let (quads, _) = values.as_chunks::<4>();
        let (faults, _) = quads[STOP as usize..].as_chunks::<{ FAULTS as usize }>();
        faults.iter().map(|faults| faults.map(|[fault, ..]| fault != 0.0)).collect()
    }

    /// If learning has stopped, sets the number of the step at which it stopped to 0.
    pub(crate) fn forget_stopped_step(&self, gpu: &Gpu, packed: &Buffer) -> Result<()> {
        gpu.write(packed, self.packing.learned + 1, &[0.0_f32; 2])
    }

    fn stop_values(&self) -> usize {
        4 * (STOP + self.faults()) as usize
    }

    /// The number of quads of faults after the stop.
    pub(crate) fn faults(&self) -> u32 {
        // No overflow: each layer takes memory in the buffer.
        FAULTS * self.packing.layers.len() as u32
    }

    /// The stop's first quad, and a layer's faults, in `buffer`: a quad is a row.
    pub(crate) fn stop_place(&self, buffer: &Buffer, layer: usize) -> Result<[Matrix; 2]> {
        let quads = |first: u32, rows| {
            Matrix::padded(buffer, self.packing.learned + 4 * u64::from(first), rows, 4)
        };
        Ok([quads(0, 1)?, quads(STOP + FAULTS * layer as u32, FAULTS)?])
    }

    /// The tensors in `buffer`.
    pub(crate) fn views(&self, buffer: &Buffer) -> Result<Vec<Learned>> {
        self.packing
            .layers
            .iter()
            .map(|place| {
                let vector =
                    |index: usize| Matrix::padded(buffer, place.vectors[index], 1, place.outputs);
                let weights = Matrix::padded(buffer, place.weights, place.outputs, place.inputs)?;
                Ok(if place.vectors.len() == 1 {
                    Learned::Linear { weights, biases: vector(0)? }
                } else {
                    Learned::Normalized { weights, gamma: vector(0)?, beta: vector(1)? }
                })
            })
            .collect()
    }

    pub(crate) fn pack(&self, layers: &[Layer]) -> Vec<f32> {
        self.pack_tensors(layers.iter().map(|layer| (layer.weights(), vectors(layer))))
    }

    /// The same for tensors of the same shapes, as [`Self::unpack`] returns them.
    pub(crate) fn pack_tensors<'a>(
        &self,
        layers: impl IntoIterator<Item = (&'a Array2<f32>, impl IntoIterator<Item = &'a Array1<f32>>)>,
    ) -> Vec<f32> {
        let mut packed = vec![0.0; self.packing.values as usize];
        for (place, (weights, vectors)) in self.packing.layers.iter().zip(layers) {
            for (row, first) in weights.rows().into_iter().zip(place.rows()) {
                write(&mut packed, first, row.iter());
            }
            for (&first, vector) in place.vectors.iter().zip(vectors) {
                write(&mut packed, first, vector.iter());
            }
        }
        packed
    }

    /// Each layer's weights, and its vectors in the order of their names.
    pub(crate) fn unpack(&self, packed: &[f32]) -> Vec<(Array2<f32>, Vec<Array1<f32>>)> {
        self.packing
            .layers
            .iter()
            .map(|place| {
                let [rows, columns] = [place.outputs as usize, place.inputs as usize];
                let mut weights = Array2::zeros([rows, columns]);
                for (mut row, first) in weights.rows_mut().into_iter().zip(place.rows()) {
                    row.assign(&slice(packed, first, columns));
                }
                let vectors = place.vectors.iter().map(|&first| slice(packed, first, rows));
                (weights, vectors.collect())
            })
            .collect()
    }
}

/// One layer's running statistics.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// The current mean and variance.
    pub(crate) now: [Matrix; 2],
    /// The same with a second row: the values before the last step.
    pub(crate) with_before: [Matrix; 2],
}

/// The offsets of each normalized layer's running statistics in their buffer: two rows each, the current
/// values and those before the last step.
#[derive(Clone, Debug)]
pub(crate) struct RunningLayout {
    layers: Vec<Option<RunningPlace>>,
    values: u64,
}

#[derive(Clone, Debug)]
struct RunningPlace {
    columns: u32,
    mean: u64,
    var: u64,
}

impl RunningLayout {
    pub(crate) fn new(layers: &[LayerSizes]) -> Self {
        let mut end = 0;
        let layers = layers
            .iter()
            .map(|&LayerSizes { outputs, is_normalized, .. }| {
                is_normalized.then(|| {
                    let values = 2 * u64::from(outputs).next_multiple_of(4);
                    let [mean, var] = [(); 2].map(|()| reserve(&mut end, values));
                    RunningPlace { columns: outputs, mean, var }
                })
            })
            .collect();
        // A buffer cannot be empty, even if no layer is normalized.
        Self { layers, values: end.max(ALIGNMENT) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.values
    }

    /// The offset and the length of each running mean and variance, both in quads.
    pub(crate) fn vectors(&self) -> Vec<[u32; 2]> {
        let quads = |values: u64| (values / 4) as u32;
        let vectors = |place: &RunningPlace| {
            [place.mean, place.var].map(|first| [quads(first), place.columns.div_ceil(4)])
        };
        self.layers.iter().flatten().flat_map(vectors).collect()
    }

    pub(crate) fn views(&self, buffer: &Buffer) -> Result<Vec<Option<Running>>> {
        let view = |place: &RunningPlace| {
            let rows = |first, rows| Matrix::padded(buffer, first, rows, place.columns);
            Ok(Running {
                now: [rows(place.mean, 1)?, rows(place.var, 1)?],
                with_before: [rows(place.mean, 2)?, rows(place.var, 2)?],
            })
        };
        self.layers.iter().map(|place| place.as_ref().map(view).transpose()).collect()
    }

    pub(crate) fn pack(&self, layers: &[Layer]) -> Vec<f32> {
        let mut packed = vec![0.0; self.values as usize];
        for (place, layer) in self.layers.iter().zip(layers) {
            if let (Some(place), Layer::Normalized { batch_norm, .. }) = (place, layer) {
                write(&mut packed, place.mean, batch_norm.running_mean.iter());
                write(&mut packed, place.var, batch_norm.running_var.iter());
            }
        }
        packed
    }

    /// Each normalized layer's running mean and running variance, current or before the last step.
    pub(crate) fn unpack(
        &self,
        packed: &[f32],
        before: bool,
    ) -> Vec<Option<(Array1<f32>, Array1<f32>)>> {
        let unpack = |place: &RunningPlace| {
            let columns = place.columns as usize;
            let row = if before { u64::from(place.columns.next_multiple_of(4)) } else { 0 };
            (slice(packed, place.mean + row, columns), slice(packed, place.var + row, columns))
        };
        self.layers.iter().map(|place| place.as_ref().map(unpack)).collect()
    }
}

fn vectors(layer: &Layer) -> Vec<&Array1<f32>> {
    match layer {
        Layer::Linear { biases, .. } => vec![biases],
        Layer::Normalized { batch_norm, .. } => vec![&batch_norm.gamma, &batch_norm.beta],
    }
}

fn write<'a>(packed: &mut [f32], first: u64, values: impl Iterator<Item = &'a f32>) {
    for (place, value) in packed[first as usize..].iter_mut().zip(values) {
        *place = *value;
    }
}

fn slice(packed: &[f32], first: u64, length: usize) -> Array1<f32> {
    packed[first as usize..][..length].iter().copied().collect()
}
