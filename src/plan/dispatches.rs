//! The dispatches of a step, in order, each with the time that the cost model predicts.

use super::cost::{self, Tasks};
use super::device_class::DeviceClass;
use super::layer::{LayerPlan, Place};
use super::order::{LayerSizes, lanes_of_row};
use super::tiling::Tiling;
use super::whole::WholePlan;
use super::{Batch, OutputKernels};

/// A dispatch of a training step, as it is planned.
///
/// See the example of [`StepPlan`](super::StepPlan).
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedDispatch {
    pub(super) name: String,
    pub(super) workgroups: u64,
    pub(super) reads: u64,
    pub(super) microseconds: f64,
}

impl PlannedDispatch {
    /// The layer, or `update`, and the kernel: `layer 2/layer_forward`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workgroups that have work.
    pub fn workgroups(&self) -> u64 {
        self.workgroups
    }

    /// The times that a workgroup reads factors of products and waits for them, one after the other.
    pub fn rounds(&self) -> u64 {
        self.reads
    }

    /// The predicted time.
    pub fn microseconds(&self) -> f64 {
        self.microseconds
    }

    fn new(class: DeviceClass, name: String, tasks: &[Tasks], bytes: u64) -> Self {
        Self {
            name,
            workgroups: tasks.iter().map(|tasks| tasks.workgroups).sum(),
            reads: tasks.iter().map(|tasks| tasks.reads).max().unwrap_or(0),
            microseconds: cost::dispatch(class, tasks, bytes),
        }
    }
}

/// The dispatch of several whole steps, with the time of one of them.
pub(super) fn of_whole_steps(whole: WholePlan) -> PlannedDispatch {
    let WholePlan { microseconds, .. } = whole;
    let name = "network/whole_steps".to_owned();
    PlannedDispatch { name, workgroups: 1, reads: 0, microseconds }
}

/// All dispatches of a step.
pub(super) fn of_step(batch: Batch, layers: &[LayerPlan], values: u64) -> Vec<PlannedDispatch> {
    let Some((output, hidden)) = layers.split_last() else {
        return Vec::new();
    };
    let hidden = || hidden.iter().enumerate().map(|(index, layer)| (index + 1, layer));
    let next = |number: usize| layers.get(number).map(|next| next.sizes);
    let mut found: Vec<_> =
        hidden().flat_map(|(number, &layer)| forward(batch, number, layer)).collect();
    found.extend(of_output(batch, layers.len(), *output));
    for (number, &layer) in hidden().rev() {
        found.extend(backward(batch, number, layer, next(number)));
    }
    found.extend(update(batch, layers, values));
    found
}

/// The time of a layer's dispatches, and the time that their compilation costs.
pub(super) fn time_of_layer(batch: Batch, layer: LayerPlan, next: Option<&LayerSizes>) -> f64 {
    let dispatches = match next {
        None => of_output(batch, 0, layer),
        Some(&next) => [forward(batch, 0, layer), backward(batch, 0, layer, Some(next))].concat(),
    };
    let of_dispatches: f64 = dispatches.iter().map(|dispatch| dispatch.microseconds).sum();
    of_dispatches + cost::compilation(layer.tiling)
}

fn forward(batch: Batch, number: usize, layer: LayerPlan) -> Vec<PlannedDispatch> {
    let rows = batch.rows;
    let name = || format!("layer {number}/layer_forward");
    let values = layer.values(rows);
    let mut found = vec![PlannedDispatch::new(
        layer.class,
        name(),
        &[layer.forward_tasks(rows)],
        bytes(&[layer.values_of_product(rows), values]),
    )];
    if layer.has_finish() {
        let finish = [layer.forward_finish(rows)];
        found.push(PlannedDispatch::new(layer.class, name(), &finish, bytes(&[values; 2])));
    }
    found
}

fn backward(
    batch: Batch,
    number: usize,
    layer: LayerPlan,
    next: Option<LayerSizes>,
) -> Vec<PlannedDispatch> {
    let rows = batch.rows;
    let name = || format!("layer {number}/layer_backward");
    let values = layer.values(rows);
    let mut tasks = vec![layer.backward_tasks(rows)];
    let grads = u64::from(rows) * u64::from(layer.sizes.next);
    let mut moved = vec![grads, values, values, values];
    if let Some(next) = next.filter(|_| layer.takes_next) {
        let weights = super::layer::WeightsPlan { tiling: layer.tiling, ..layer.weights };
        let beside = LayerPlan { sizes: next, weights, ..layer };
        tasks.push(beside.weights(rows));
        moved.push(beside.values_of_product(rows));
    }
    let mut found = vec![PlannedDispatch::new(layer.class, name(), &tasks, bytes(&moved))];
    if layer.has_finish() {
        let finish = [layer.backward_finish(rows)];
        found.push(PlannedDispatch::new(layer.class, name(), &finish, bytes(&[values; 3])));
    }
    found.extend(weights_alone(rows, number, layer));
    found
}

fn weights_alone(rows: u32, number: usize, layer: LayerPlan) -> Option<PlannedDispatch> {
    (layer.weights.place == Place::Alone).then(|| {
        PlannedDispatch::new(
            layer.class,
            format!("layer {number}/grad_weights"),
            &[layer.weights(rows)],
            bytes(&[layer.values_of_product(rows), layer.values(rows)]),
        )
    })
}

fn of_output(batch: Batch, number: usize, layer: LayerPlan) -> Vec<PlannedDispatch> {
    let Batch { rows, has_class_weights, .. } = batch;
    let LayerSizes { inputs, outputs, .. } = layer.sizes;
    let class = layer.class;
    let name = |kernel: &str| format!("layer {number}/{kernel}");
    let tiling = layer.tiling;
    let patches = u64::from(tiling.row_patches(rows));
    let reads = u64::from(tiling.reads(inputs));
    let moved = bytes(&[layer.values_of_product(rows), layer.values(rows)]);
    let narrow = cost::NARROW_READ * reads as f64 + cost::LOSS;
    let of_tile = Tasks { workgroups: patches, tiling, reads, rest: narrow };
    let one = |rest: f64| Tasks { workgroups: 1, tiling, reads: 0, rest };
    // One workgroup of 256 invocations has all rows.
    let added = |rows: u32| f64::from(rows.div_ceil(256)) * cost::ADDED_VALUE;
    let row = u64::from(rows);
    let mut found = Vec::new();
    if has_class_weights {
        // A class, and then its weight.
        let rest = 2.0 * added(rows) + cost::JOINED_LANES;
        let tasks = [one(rest)];
        found.push(PlannedDispatch::new(class, name("weigh_classes"), &tasks, 8 * row));
    }
    match layer.output() {
        OutputKernels::InOne => {
            let strips = u64::from(tiling.strips(inputs));
            let of_weights = strips * u64::from(tiling.reads(rows));
            let reads = patches * reads + of_weights;
            let rest = patches as f64 * narrow;
            let tasks = Tasks { workgroups: 1, tiling, reads, rest };
            found.push(PlannedDispatch::new(class, name("output_layer"), &[tasks], moved));
            return found;
        }
        OutputKernels::RowByRow => {
            found.push(PlannedDispatch::new(class, name("output_layer"), &[of_tile], moved));
        }
        OutputKernels::Wide => {
            let workgroups = patches * u64::from(tiling.strips(outputs));
            let rest = cost::FINISHED_TILE;
            let product = Tasks { workgroups, rest, ..of_tile };
            found.push(PlannedDispatch::new(class, name("layer_forward"), &[product], moved));
            // Each row is read three times, a value after the other.
            let lanes = lanes_of_row(class, outputs);
            let read = 3.0 * f64::from(outputs.div_ceil(lanes)) * cost::ADDED_VALUE;
            // The largest output, whether one is not a number, and the sum of the others.
            let joined = if lanes > 1 { 3.0 * cost::JOINED_LANES } else { 0.0 };
            let workgroups = row.div_ceil((64 / lanes).into());
            let loss = Tasks { workgroups, tiling, reads: 0, rest: read + joined };
            let moved = bytes(&[layer.values(rows); 2]);
            found.push(PlannedDispatch::new(class, name("loss"), &[loss], moved));
        }
    }
    let tasks = [one(added(rows) + cost::JOINED_LANES)];
    found.push(PlannedDispatch::new(class, name("record_step"), &tasks, 8 * row));
    found.extend(weights_alone(rows, number, layer));
    found
}

/// What follows the backward pass.
fn update(batch: Batch, layers: &[LayerPlan], values: u64) -> Vec<PlannedDispatch> {
    let Some(layer) = layers.first() else {
        return Vec::new();
    };
    let rows = batch.rows;
    let slabs = layers.iter().map(|layer| layer.order(rows).slabs()).max().unwrap_or(1);
    let of_slabs = layers
        .iter()
        .map(|layer| layer.sizes.weights().saturating_mul((layer.order(rows).slabs() - 1).into()))
        .fold(0, u64::saturating_add);
    let joined = cost::join(slabs - 1, cost::READ_SLAB);
    let tasks = |rest| Tasks {
        workgroups: values.div_ceil(4 * 256),
        tiling: Tiling::single(layer.class),
        reads: 0,
        rest,
    };
    let of = |kernel: &str, rest, bytes| {
        PlannedDispatch::new(layer.class, format!("update/{kernel}"), &[tasks(rest)], bytes)
    };
    let gradients = bytes(&[values, of_slabs]);
    let mut found = Vec::new();
    if batch.clips {
        found.push(of("gradient_norm", joined, gradients));
        found.push(of("gradient_norm", 0.0, 1024));
    }
    // Parameters and states are read and written.
    let states = values.saturating_mul(2 * (1 + batch.states()));
    found.push(of("update", joined, bytes(&[values, of_slabs, states])));
    if batch.skips {
        found.push(of("skip_step", 0.0, 64));
    }
    found
}

/// The bytes of these numbers of values.
fn bytes(values: &[u64]) -> u64 {
    values.iter().fold(0_u64, |sum, &count| sum.saturating_add(count)).saturating_mul(4)
}

impl LayerPlan {
    /// The parts into which the layer's dispatches can be divided: forward;
    pub(crate) fn forward_parts(self, rows: u32) -> u32 {
        cost::parts(self.class, &[self.forward_tasks(rows)])
    }

    /// backward, with the gradients of the weights of the layer beside it;
    pub(crate) fn backward_parts(self, rows: u32, beside: Option<Self>) -> u32 {
        let beside = beside.map(|beside| beside.weights(rows));
        let tasks: Vec<_> = [self.backward_tasks(rows)].into_iter().chain(beside).collect();
        cost::parts(self.class, &tasks)
    }

    /// the gradients of its weights alone.
    pub(crate) fn weights_parts(self, rows: u32) -> u32 {
        cost::parts(self.class, &[self.weights(rows)])
    }

    /// The values of the layer's outputs.
    fn values(self, rows: u32) -> u64 {
        u64::from(rows).saturating_mul(self.sizes.outputs.into())
    }

    /// The values of both factors of its product.
    fn values_of_product(self, rows: u32) -> u64 {
        u64::from(rows)
            .saturating_mul(self.sizes.inputs.into())
            .saturating_add(self.sizes.weights())
    }
}
