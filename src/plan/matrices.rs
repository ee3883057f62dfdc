//! The matrices of a training, without the network's own: the one list that memory, limits and planned bytes
//! are read from.

use super::device_class::DeviceClass;
use super::layer::LayerPlan;
use super::order::{LayerSizes, Order};
use super::packing::{Packing, reserve};
use super::whole::WholePlan;
use super::{Batch, HISTORY, MAX_PARTIAL_SUMS, RATES, RECORD};

/// A matrix of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The inputs of a batch, in rows of whole vectors of four.
    Inputs,
    /// The same as the app has them, if its rows are no whole vectors of four.
    DenseInputs,
    /// Class indices are followed by a weight for each class, if classes are weighted.
    Targets,
    /// The app's weights of the classes, if it gives any.
    ClassWeights,
    /// The gradients of the pre-activations; layers alternate between the two.
    GradSums(usize),
    /// The values of a hidden layer before the normalization, or before the activation without one.
    Sums(usize),
    /// The statistics of a hidden layer's batch and of its leaves.
    Statistics(usize),
    Outputs(usize),
    /// Each row's loss and accuracy.
    Results,
    /// The gradients, packed like the parameters, and then the further slabs of each layer's.
    Gradients,
    Velocity,
    MeanSquare,
    /// The number and the learning rate of each step, which encoders copy to the GPU's counts.
    Numbers,
    History,
    Rates,
    PartialSums,
    ClipScale,
}

/// What a matrix is for, as [`PlannedBytes`](crate::PlannedBytes) sums them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Parameters,
    Batch,
    History,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMatrix {
    pub(crate) role: Role,
    pub(crate) purpose: Purpose,
    pub(crate) label: String,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// Whether its rows are padded to whole vectors of four.
    pub(crate) is_padded: bool,
    /// The values before it in the memory that the matrices of whole steps share, if it is a part of that.
    pub(crate) first: Option<u64>,
}

impl PlannedMatrix {
    pub(crate) fn bytes(&self) -> u64 {
        let columns = if self.is_padded { self.columns.next_multiple_of(4) } else { self.columns };
        self.rows.saturating_mul(columns).saturating_mul(4)
    }
}

/// All matrices, for the largest batch. Whole steps have most of them in one binding.
pub(super) fn of_step(
    batch: Batch,
    layers: &[LayerPlan],
    whole: Option<WholePlan>,
    packing: &Packing,
) -> Vec<PlannedMatrix> {
    let rows = u64::from(batch.rows);
    let [inputs, outputs] =
        [layers.first(), layers.last()].map(|layer| layer.map(|layer| layer.sizes));
    let inputs = inputs.map_or(0, |sizes| u64::from(sizes.inputs));
    let outputs = outputs.map_or(0, |sizes| u64::from(sizes.outputs));
    let widest = layers.iter().map(|layer| u64::from(layer.sizes.outputs)).max().unwrap_or(0);
    let weights = if batch.has_class_weights { outputs } else { 0 };
    let targets = if batch.has_class_targets { 1 } else { outputs };
    let mut found = Vec::new();
    let mut add = |role, purpose, label: &str, [rows, columns]: [u64; 2], is_padded| {
        let label = label.to_owned();
        let first = None;
        found.push(PlannedMatrix { role, purpose, label, rows, columns, is_padded, first });
    };
    use Purpose::{Batch, History, Parameters};
    let batches = rows.saturating_mul(whole.map_or(1, |whole| whole.most_steps.into()));
    add(Role::Inputs, Batch, "trainer/inputs", [batches, inputs], true);
    if !inputs.is_multiple_of(4) {
        add(Role::DenseInputs, Batch, "trainer/dense inputs", [rows, inputs], false);
    }
    add(Role::Targets, Batch, "trainer/targets", [batches + weights, targets], false);
    if batch.has_class_weights {
        add(Role::ClassWeights, Batch, "trainer/class weights", [1, outputs], false);
    }
    for turn in 0..layers.len().min(2) {
        let label = format!("trainer/gradients of rows {}", turn + 1);
        add(Role::GradSums(turn), Batch, &label, [rows, widest], true);
    }
    for (index, layer) in layers.iter().enumerate() {
        let columns = u64::from(layer.sizes.outputs);
        let label = |name: &str| format!("layer {}/{name}", index + 1);
        if index + 1 < layers.len() {
            // The output layer's pre-activations are its outputs.
            add(Role::Sums(index), Batch, &label("sums"), [rows, columns], true);
            let needed = u64::from(layer.most_statistics_rows(batch.rows));
            add(Role::Statistics(index), Batch, &label("statistics"), [needed, columns], true);
        }
        add(Role::Outputs(index), Batch, &label("outputs"), [rows, columns], true);
    }
    add(Role::Results, Batch, "trainer/results", [rows, 2], false);
    let sizes: Vec<_> = layers.iter().map(|layer| layer.sizes).collect();
    let class = layers.first().map(|layer| layer.class);
    let gradients =
        class.map_or(packing.values, |class| Slabs::all(class, &sizes, batch.rows, packing).1);
    add(Role::Gradients, Parameters, "trainer/gradients", [1, gradients], false);
    // The update binds one value as a placeholder for a state that its method lacks.
    let state = |has: bool| if has { [1, packing.values] } else { [1, 1] };
    add(Role::Velocity, Parameters, "trainer/velocity", state(batch.has_velocity), false);
    let mean_square = state(batch.has_mean_square);
    add(Role::MeanSquare, Parameters, "trainer/mean square", mean_square, false);
    let [history, rates] = [HISTORY, RATES].map(u64::from);
    add(Role::Numbers, History, "trainer/numbers", [history, 2], false);
    add(Role::History, History, "trainer/history", [history, RECORD.into()], false);
    add(Role::Rates, History, "trainer/rates", [rates, 4], false);
    let partial_sums = [1, MAX_PARTIAL_SUMS.into()];
    add(Role::PartialSums, History, "trainer/partial sums", partial_sums, false);
    add(Role::ClipScale, History, "trainer/clip scale", [1, 1], false);
    if whole.is_some() {
        let mut end = 0;
        for matrix in found.iter_mut().filter(|matrix| matrix.role.is_shared()) {
            matrix.first = Some(reserve(&mut end, matrix.bytes() / 4));
        }
    }
    found
}

impl Role {
    /// Whether whole steps have the matrix in the memory that they bind as one.
    fn is_shared(self) -> bool {
        match self {
            Self::Inputs
            | Self::GradSums(_)
            | Self::Sums(_)
            | Self::Statistics(_)
            | Self::Outputs(_) => true,
            Self::Velocity | Self::MeanSquare | Self::History | Self::Rates => true,
            Self::DenseInputs | Self::Targets | Self::ClassWeights => false,
            Self::Results | Self::Gradients | Self::Numbers => false,
            Self::PartialSums | Self::ClipScale => false,
        }
    }
}

/// A range of the packed gradients, in vectors of four, with as many slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabRange {
    pub(crate) end: u32,
    pub(crate) slabs: u32,
    /// From the second slab to the third.
    pub(crate) length: u32,
    /// From the first slab to the second.
    pub(crate) shift: u32,
}

/// The most ranges of a network: more than its layers have if all of them have slabs.
pub(crate) const MOST_RANGES: usize = 4 * super::order::MOST_SLABBED_LAYERS;

/// The ranges up to the last that has several slabs, for a batch of `rows` rows.
pub(super) fn ranges(
    layers: &[LayerPlan],
    slabs: &[Slabs],
    rows: u32,
    packing: &Packing,
) -> Vec<SlabRange> {
    // What fits a binding has fewer than 2³² quads.
    let quads = |values: u64| (values / 4) as u32;
    let of_layer = |layer: &LayerPlan| layer.order(rows).slabs();
    let all = || layers.iter().zip(&packing.layers).zip(slabs);
    let weights = all().map(|((layer, place), slabs)| {
        (place.weights, layer.sizes.weights(), of_layer(layer), *slabs, slabs.first)
    });
    let biases = all().filter(|((layer, _), _)| !layer.sizes.is_normalized).map(
        |((layer, place), slabs)| {
            let length = u64::from(layer.sizes.outputs).next_multiple_of(4);
            let behind = slabs.first + layer.sizes.weights();
            (place.vectors[0], length, of_layer(layer), *slabs, behind)
        },
    );
    let mut found: Vec<SlabRange> = Vec::new();
    for (first, length, count, slabs, second) in weights.chain(biases) {
        if count == 1 {
            continue;
        }
        let end_before = found.last().map_or(0, |range| range.end);
        if quads(first) > end_before {
            found.push(SlabRange { end: quads(first), slabs: 1, length: 0, shift: 0 });
        }
        found.push(SlabRange {
            end: quads(first + length),
            slabs: count,
            length: quads(slabs.length),
            shift: quads(second - first),
        });
    }
    found
}

/// Where the gradients of a layer's weights and biases lie for each slab of a batch: the first slab among the
/// packed gradients, the others one after the other behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slabs {
    /// Values before the second slab.
    pub(crate) first: u64,
    /// Values of a slab: of the weights, then of the biases, in whole vectors of four.
    pub(crate) length: u64,
}

impl Slabs {
    /// Each layer's slabs, and the end of them all, for batches of up to `rows` rows.
    pub(crate) fn all(
        class: DeviceClass,
        layers: &[LayerSizes],
        rows: u32,
        packing: &Packing,
    ) -> (Vec<Self>, u64) {
        let mut end = packing.values;
        let slabs = layers.iter().map(|&sizes| {
            let biases = u64::from(sizes.outputs).next_multiple_of(4);
            let of_vectors = if sizes.is_normalized { 0 } else { biases };
            let length = sizes.weights().saturating_add(of_vectors);
            let further = Order::most_slabs(class, rows, sizes) - 1;
            let slabs = Self { first: end, length };
            end = end.saturating_add(length.saturating_mul(further.into()));
            slabs
        });
        (slabs.collect(), end)
    }

    /// The most values of a matrix of gradients, on devices of all classes that have a name.
    pub(crate) fn most_values(layers: &[LayerSizes], rows: u32) -> u64 {
        let packing = Packing::new(layers);
        let classes = DeviceClass::NAMES.into_iter().filter_map(DeviceClass::named);
        let ends = classes.map(|class| Self::all(class, layers, rows, &packing).1);
        ends.max().unwrap_or(packing.values)
    }
}
