//! Where each tensor of a network lies in the packed buffers: the parameters in one, weights first, so that
//! one dispatch updates them all; gradients and the optimizer's state alike. The stop and the faults of each
//! layer follow (`shaders/shared/faults.wgsl`).

use super::order::LayerSizes;

/// Tensors start on multiples of 256 bytes, as WebGPU's default limits require of bindings.
pub(crate) const ALIGNMENT: u64 = 64;

/// The quads after the learned tensors: the stop, and the faults of each layer, one quad for each
/// kind (`shaders/shared/faults.wgsl`).
pub(crate) const STOP: u32 = 2;
pub(crate) const FAULTS: u32 = 4;

/// The offsets of each layer's tensors, in values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packing {
    pub(crate) layers: Vec<PackedLayer>,
    /// The number of values, from the first on, that are weights or gaps between them.
    pub(crate) weights: u64,
    /// The number of learned values, with the gaps; the stop and the faults follow.
    pub(crate) learned: u64,
    pub(crate) values: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackedLayer {
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
    pub(crate) weights: u64,
    /// Biases; or gamma and beta.
    pub(crate) vectors: Vec<u64>,
}

impl Packing {
    pub(crate) fn new(layers: &[LayerSizes]) -> Self {
        let mut end = 0;
        let mut places: Vec<PackedLayer> = layers
            .iter()
            .map(|&sizes| PackedLayer {
                inputs: sizes.inputs,
                outputs: sizes.outputs,
                weights: reserve(&mut end, sizes.weights()),
                vectors: Vec::new(),
            })
            .collect();
        let weights = end;
        for (place, layer) in places.iter_mut().zip(layers) {
            let vectors = if layer.is_normalized { 2 } else { 1 };
            place.vectors = (0..vectors).map(|_| reserve(&mut end, place.outputs.into())).collect();
        }
        let learned = end;
        reserve(&mut end, 4 * (u64::from(STOP) + u64::from(FAULTS) * layers.len() as u64));
        Self { layers: places, weights, learned, values: end }
    }
}

/// The offset of the next tensor; moves the end past it.
pub(crate) fn reserve(end: &mut u64, values: u64) -> u64 {
    let first = *end;
    let after = first.saturating_add(values);
    *end = after.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
    first
}
