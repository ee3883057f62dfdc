//! The plan of a training step: how its work is divided, in which order it is added up, what memory it takes,
//! and which dispatches it is. Plain data, from shapes, options and the device's class alone.
//!
//! - `device_class`: what is known of the device.
//! - `tiling`: how large a part of a product a workgroup computes at once.
//! - `order`: the order of every sum, which no tiling changes.
//! - `layer`: how a layer's work is divided among workgroups.
//! - `choice` takes the fastest of all possible plans, by the model of `cost`.
//! - `inference`: which kernels compute the layers without learning.
//! - `dispatches`, `matrices`, `packing`: what follows from that.
//! - `pace`: how much work a submission holds.
//! - `tuned`: the other plans that tuning may try, and the one that it has found.

mod choice;
mod cost;
mod device_class;
mod dispatches;
mod inference;
mod layer;
mod matrices;
mod order;
mod pace;
mod packing;
#[cfg(test)]
mod tests;
mod tiling;
mod tuned;
mod whole;

use std::fmt;

pub use self::device_class::DeviceClass;
pub(crate) use self::device_class::Facts;
pub use self::dispatches::PlannedDispatch;
pub(crate) use self::inference::{InferencePlan, MOST_LAYERS_IN_ONE};
#[cfg(any(test, feature = "check"))]
pub(crate) use self::layer::WeightsPlan;
pub(crate) use self::layer::{LayerPlan, Place};
pub(crate) use self::matrices::{MOST_RANGES, PlannedMatrix, Purpose, Role, SlabRange, Slabs};
pub(crate) use self::order::{LayerSizes, lanes_of_row};
pub(crate) use self::pace::{MOST_IN_FLIGHT, Pace};
pub(crate) use self::packing::{ALIGNMENT, FAULTS, PackedLayer, Packing, STOP, reserve};
pub(crate) use self::tiling::{Tile, Tiling};
pub(crate) use self::whole::WholePlan;
use crate::options::{NetworkOptions, TrainerOptions};

/// The number of steps whose losses are kept on the GPU, and whose numbers are written ahead.
///
/// Numbers are written in blocks ahead of the steps, so an app may hold this many steps, less a block,
/// in encoders that it has not submitted.
pub(crate) const HISTORY: u32 = 8192;

/// The number of steps whose schedule factors are on the GPU at once. It is larger than [`HISTORY`],
/// because any of the steps that wait in encoders may be dropped.
pub(crate) const RATES: u32 = 2 * HISTORY;

/// The values of a step's record.
pub(crate) const RECORD: u32 = 4;

/// The partial sums of the gradient's norm.
pub(crate) const MAX_PARTIAL_SUMS: u32 = 256;

/// How a training step is divided into dispatches on a device of some class.
///
/// [`Trainer::plan`](crate::Trainer::plan) is the plan of a trainer. A plan can also be made for a device
/// that is not there. It prints as a table.
///
/// ```
/// use ztilde::{DeviceClass, StepPlan, TrainerOptions};
///
/// let class = DeviceClass::named("nvidia").unwrap();
/// let options = TrainerOptions { batch_size: 256, ..Default::default() };
/// let plan = StepPlan::new(class, &[784, 512, 256, 10], &Default::default(), &options);
/// for dispatch in plan.dispatches() {
///     println!("{} {} workgroups", dispatch.name(), dispatch.workgroups());
/// }
/// let total: f64 = plan.dispatches().iter().map(|dispatch| dispatch.microseconds()).sum();
/// assert!(total < 1000.0, "a step takes less than a millisecond on an H100");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    batch: Batch,
    layers: Vec<LayerPlan>,
    /// If one workgroup takes whole steps. `layers` is then how several dispatches would.
    whole: Option<WholePlan>,
    packing: Packing,
    matrices: Vec<PlannedMatrix>,
    dispatches: Vec<PlannedDispatch>,
}

/// What a plan depends on, without the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    rows: u32,
    has_class_targets: bool,
    has_class_weights: bool,
    has_velocity: bool,
    has_mean_square: bool,
    clips: bool,
    skips: bool,
}

/// The kernels of the output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputKernels {
    /// One workgroup of `output_layer` takes the layer from its inputs to its gradients.
    InOne,
    /// `output_layer` goes to the gradients of the rows' outputs, where a tile is as wide as the layer.
    RowByRow,
    /// The product that inference runs as well, then `loss`.
    Wide,
}

impl OutputKernels {
    /// Rows up to which one workgroup may take the layer.
    const MOST_ROWS: u32 = 256;
}

impl StepPlan {
    /// The plan of a step that trains a network of these sizes, inputs first, outputs last, with these options
    /// on a device of this class. Sizes and options are not checked.
    pub fn new(
        class: DeviceClass,
        layer_sizes: &[u32],
        network: &NetworkOptions,
        options: &TrainerOptions,
    ) -> Self {
        let layers = LayerSizes::of_network(layer_sizes, network.batch_norm);
        Self::of_layers(class, &layers, options)
    }

    /// The plan for these layers.
    pub(crate) fn of_layers(
        class: DeviceClass,
        layers: &[LayerSizes],
        options: &TrainerOptions,
    ) -> Self {
        let batch = Batch::new(options);
        let fastest = choice::fastest(class, batch, layers, |_, _| true);
        let fastest = fastest.expect("a layer can leave all to itself");
        let divided = Self::with(batch, fastest, None);
        match WholePlan::new(class, batch, layers) {
            Some(whole) if whole.microseconds < divided.microseconds() => {
                Self::with(batch, divided.layers, Some(whole))
            }
            _ => divided,
        }
    }

    /// A plan for these layers that need not be fast: each layer is the one that `pick` takes of the possible
    /// ones.
    #[cfg(any(test, feature = "check"))]
    pub(crate) fn picked(
        class: DeviceClass,
        layers: &[LayerSizes],
        options: &TrainerOptions,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Self {
        let batch = Batch::new(options);
        let mut found: Vec<LayerPlan> = Vec::new();
        for (index, &sizes) in layers.iter().enumerate() {
            let must_take = found.last().is_some_and(|before| before.takes_next);
            let is_beside = |layer: &LayerPlan| layer.weights.place == Place::BesideLayerBefore;
            let mut possible = choice::candidates(class, batch.rows, sizes, index == 0);
            possible.retain(|layer| is_beside(layer) == must_take);
            found.push(possible[pick(possible.len())]);
        }
        Self::with(batch, found, None)
    }

    /// The plan with these layers, which need not be the fastest.
    fn with(batch: Batch, mut layers: Vec<LayerPlan>, whole: Option<WholePlan>) -> Self {
        for index in 1..layers.len() {
            // One dispatch has one tiling.
            if layers[index].weights.place == Place::BesideLayerBefore {
                layers[index].weights.tiling = layers[index - 1].tiling;
            }
        }
        let sizes: Vec<_> = layers.iter().map(|layer| layer.sizes).collect();
        let packing = Packing::new(&sizes);
        Self {
            batch,
            matrices: matrices::of_step(batch, &layers, whole, &packing),
            dispatches: match whole {
                Some(whole) => vec![dispatches::of_whole_steps(whole)],
                None => dispatches::of_step(batch, &layers, packing.values),
            },
            layers,
            whole,
            packing,
        }
    }

    /// The dispatches of a step on a full batch, in order, without the one that gathers the batch. A dispatch
    /// that takes several steps is listed with the time of one of them.
    pub fn dispatches(&self) -> &[PlannedDispatch] {
        &self.dispatches
    }

    /// The predicted time of a step.
    fn microseconds(&self) -> f64 {
        self.dispatches.iter().map(|dispatch| dispatch.microseconds).sum()
    }

    /// How one workgroup takes whole steps, if it does.
    pub(crate) fn whole(&self) -> Option<WholePlan> {
        self.whole
    }

    /// Rows of a full batch.
    pub(crate) fn rows(&self) -> u32 {
        self.batch.rows
    }

    pub(crate) fn layers(&self) -> &[LayerPlan] {
        &self.layers
    }

    /// The matrix of this role, if the plan has it.
    pub(crate) fn matrix(&self, role: Role) -> Option<&PlannedMatrix> {
        self.matrices.iter().find(|matrix| matrix.role == role)
    }

    pub(crate) fn matrices(&self) -> &[PlannedMatrix] {
        &self.matrices
    }

    /// The values of the memory that whole steps bind as one, if a workgroup takes such steps.
    pub(crate) fn shared_values(&self) -> Option<u32> {
        let end = |matrix: &PlannedMatrix| Some(matrix.first? + matrix.bytes() / 4);
        let end = self.matrices.iter().filter_map(end).max()?;
        Some(u32::try_from(end.next_multiple_of(4)).unwrap_or(u32::MAX))
    }

    /// The bytes of the matrices for a purpose.
    pub(crate) fn bytes(&self, purpose: Purpose) -> u64 {
        let of_purpose = self.matrices.iter().filter(|matrix| matrix.purpose == purpose);
        of_purpose.fold(0, |sum, matrix| matrix.bytes().saturating_add(sum))
    }

    /// Where each layer's slabs of gradients lie.
    pub(crate) fn slabs(&self) -> Vec<Slabs> {
        let sizes: Vec<_> = self.layers.iter().map(|layer| layer.sizes).collect();
        let of =
            |layer: &LayerPlan| Slabs::all(layer.class, &sizes, self.batch.rows, &self.packing).0;
        self.layers.first().map_or(Vec::new(), of)
    }

    /// The ranges of the packed gradients that have several slabs, for a batch of `rows` rows.
    pub(crate) fn ranges(&self, rows: u32) -> Vec<SlabRange> {
        matrices::ranges(&self.layers, &self.slabs(), rows, &self.packing)
    }
}

/// The fastest tiling of a product of this shape, each value the sum of `inner` products.
pub(crate) fn tiling_of_product(
    class: DeviceClass,
    [rows, columns]: [u32; 2],
    inner: u32,
) -> Tiling {
    let time = |tiling: Tiling| {
        let workgroups = u64::from(tiling.row_patches(rows)) * u64::from(tiling.strips(columns));
        let reads = tiling.reads(inner).into();
        let tasks = cost::Tasks { workgroups, tiling, reads, rest: 0.0 };
        cost::dispatch(class, &[tasks], 0) + cost::compilation(tiling)
    };
    let all = Tiling::all(class).into_iter();
    all.min_by(|&a, &b| time(a).total_cmp(&time(b))).unwrap_or(Tiling::single(class))
}

impl LayerPlan {
    /// The kernels of an output layer.
    pub(crate) fn output(self) -> OutputKernels {
        match (self.weights.place, self.is_narrow()) {
            (Place::WithLayer, _) => OutputKernels::InOne,
            (Place::BesideLayerBefore | Place::Alone, true) => OutputKernels::RowByRow,
            (Place::BesideLayerBefore | Place::Alone, false) => OutputKernels::Wide,
        }
    }
}

impl Batch {
    fn new(options: &TrainerOptions) -> Self {
        let method = options.optimizer.method;
        let [has_velocity, has_mean_square] = [method.has_velocity(), method.has_mean_square()];
        Self {
            rows: options.batch_size,
            has_class_targets: options.loss.has_class_targets(),
            has_class_weights: options.class_weights.is_some(),
            has_velocity,
            has_mean_square,
            clips: options.clip_norm.is_some(),
            skips: options.on_fault.skips(),
        }
    }

    /// The states of the optimizer.
    fn states(self) -> u64 {
        u64::from(self.has_velocity) + u64::from(self.has_mean_square)
    }
}

impl fmt::Display for StepPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(whole) = self.whole {
            let steps = whole.most_steps;
            writeln!(formatter, "  one workgroup takes whole steps, up to {steps} in a dispatch")?;
            return self.write_dispatches(formatter);
        }
        writeln!(
            formatter,
            "  layer  patch      rows    leaves  weights by      patch      slabs"
        )?;
        for (number, layer) in (1..).zip(&self.layers) {
            let order = layer.order(self.batch.rows);
            let by = match layer.weights.place {
                Place::WithLayer => "the layer",
                Place::BesideLayerBefore => "the one before",
                Place::Alone => "themselves",
            };
            let [patch, of_weights] = [layer.tiling, layer.weights.tiling].map(|t| t.to_string());
            writeln!(
                formatter,
                "  {number:<5}  {patch:<9}  {:<6}  {:<6}  {by:<14}  {of_weights:<9}  {}",
                if layer.is_divided { layer.chunk(self.batch.rows) } else { self.batch.rows },
                order.leaves(),
                order.slabs(),
            )?;
        }
        self.write_dispatches(formatter)
    }
}

impl StepPlan {
    fn write_dispatches(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n  dispatch                      workgroups    rounds        µs")?;
        for PlannedDispatch { name, workgroups, reads, microseconds, .. } in &self.dispatches {
            writeln!(formatter, "  {name:<28}  {workgroups:>10}  {reads:>8}  {microseconds:>8.1}")?;
        }
        let total = self.microseconds();
        write!(formatter, "  {:<28}  {:>10}  {:>8}  {total:>8.1}", "together", "", "")
    }
}
