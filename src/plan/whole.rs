//! Whole steps of a small network in one workgroup, which takes several of them in one dispatch.

use super::Batch;
use super::cost::{self, WholeTasks};
use super::device_class::DeviceClass;
use super::order::LayerSizes;
use super::packing::Packing;

/// How `shaders/fused/whole_steps.wgsl` is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WholePlan {
    pub(crate) class: DeviceClass,
    /// Quads of the widest row.
    pub(crate) quads: u32,
    /// Whether the sums of the first layer are computed again whenever they are needed.
    pub(crate) repeats_first: bool,
    /// Quads of the packed parameters before the stop.
    pub(crate) learned_quads: u32,
    /// Quads of each invocation that a GPU's workgroup exchanges at once.
    exchanged: u32,
    /// The most steps of a dispatch, a power of two.
    pub(crate) most_steps: u32,
    /// The predicted time of a step.
    pub(super) microseconds: f64,
}

/// The most layers, because faults are bits of an integer: four for each layer.
const MOST_LAYERS: usize = 7;

/// The widest row of which drivers unroll the loops.
const WIDEST: u32 = 32;

/// The most multiplications of a row on lanes, without which a driver compiles no longer than the kernels of
/// a step in several dispatches take together.
const MOST_PRODUCTS_ON_LANES: u64 = 512;

/// The rows that a GPU's invocation has in registers, and its other registers.
const ROWS_IN_REGISTERS: u32 = 6;
const OTHER_REGISTERS: u32 = 40;

/// The most steps of a dispatch, as of a submission.
const MOST_STEPS: u32 = 64;

/// The most bytes of the batches of a dispatch.
const MOST_BATCH_BYTES: u64 = 4 << 20;

/// The most rows of an invocation, whose sums are plain chains: their rounding errors grow with this number.
const MOST_TURNS: u32 = 128;

/// The bytes of workgroup memory that WebGPU promises.
const WORKGROUP_BYTES: u64 = 16 << 10;

/// The invocations of a workgroup on a GPU, and the parts of a sum over them, as in
/// `steps_in_workgroup.wgsl`.
const INVOCATIONS: u32 = 128;
const PARTS: u32 = 16;

impl WholePlan {
    /// The plan, if this way serves these layers and options, and the device.
    pub(super) fn new(class: DeviceClass, batch: Batch, layers: &[LayerSizes]) -> Option<Self> {
        let first = layers.first()?;
        let widest = layers.iter().map(|sizes| sizes.outputs).fold(first.inputs, u32::max);
        let is_empty = first.inputs == 0 || layers.iter().any(|sizes| sizes.outputs == 0);
        let has_room = (2..=MOST_LAYERS).contains(&layers.len()) && widest <= WIDEST;
        // Weights of classes need another sum over the batch, before its losses.
        if is_empty || !has_room || batch.has_class_weights || batch.rows == 0 {
            return None;
        }
        let mut plan = Self {
            class,
            quads: widest.div_ceil(4),
            repeats_first: class.lanes.is_some() && first.inputs <= 4,
            learned_quads: u32::try_from(Packing::new(layers).learned / 4).ok()?,
            exchanged: 4,
            most_steps: MOST_STEPS,
            microseconds: 0.0,
        };
        let turns = batch.rows.div_ceil(plan.invocations());
        if turns > MOST_TURNS || !plan.compiles(layers) {
            return None;
        }
        while plan.workgroup_bytes(layers) > WORKGROUP_BYTES {
            plan.exchanged /= 2;
            (plan.exchanged > 0).then_some(())?;
        }
        while !plan.can_take(plan.most_steps, batch, layers) {
            plan.most_steps /= 2;
            (plan.most_steps > 0).then_some(())?;
        }
        plan.microseconds = cost::whole_steps(class, &plan.tasks(batch, layers), plan.most_steps);
        Some(plan)
    }

    /// Whether a driver compiles the kernel in a short time, to registers. A software adapter without lanes
    /// would compile the barriers for a minute.
    fn compiles(self, layers: &[LayerSizes]) -> bool {
        let is_checked = cfg!(feature = "checked-shaders");
        match self.class.lanes {
            Some(lanes) => {
                let short = products(layers) <= MOST_PRODUCTS_ON_LANES;
                self.class.unrolls && !is_checked && self.quads <= lanes && short
            }
            None => {
                let registers = 4 * self.quads * ROWS_IN_REGISTERS + OTHER_REGISTERS;
                !self.class.is_software() && registers <= self.class.registers
            }
        }
    }

    /// Whether one dispatch can take this many steps.
    fn can_take(self, steps: u32, batch: Batch, layers: &[LayerSizes]) -> bool {
        let rounds = self.rounds(batch.rows, layers).saturating_mul(steps.into());
        let bytes = 16 * u64::from(batch.rows) * u64::from(self.quads) * u64::from(steps);
        self.class.can_loop(rounds) && (steps == 1 || bytes <= MOST_BATCH_BYTES)
    }

    /// The bytes of workgroup memory.
    fn workgroup_bytes(self, layers: &[LayerSizes]) -> u64 {
        let Self { quads, learned_quads, exchanged, .. } = self;
        let of_parameters = 2 * u64::from(learned_quads);
        // Four sums over the rows, and three quads for each level but the outputs.
        let of_columns = (4 + 3 * layers.len() as u64) * u64::from(quads);
        let of_exchange = u64::from(exchanged * (INVOCATIONS + PARTS));
        let shared = if self.class.lanes.is_some() { 0 } else { of_columns + of_exchange + 1 };
        16 * (of_parameters + shared)
    }

    /// The most rounds of loops that an invocation goes through in a step: forward, what is shown, backward,
    /// each for its rows; then the update.
    fn rounds(self, rows: u32, layers: &[LayerSizes]) -> u64 {
        let turns = u64::from(rows.div_ceil(self.invocations()));
        let layers = layers.len() as u64;
        let of_update = u64::from(self.learned_quads.div_ceil(self.invocations()));
        6 * layers * (turns + 1) + 2 * of_update + 32
    }

    /// What the cost model counts in a step.
    fn tasks(self, batch: Batch, layers: &[LayerSizes]) -> WholeTasks {
        let quads = |width: u32| u64::from(width.div_ceil(4));
        let turns = u64::from(batch.rows.div_ceil(self.invocations()));
        let (output, hidden) = layers.split_last().expect("a network has layers");
        let normalized = hidden.iter().filter(|layer| layer.is_normalized).count() as u64;
        let linear = layers.len() as u64 - normalized;
        // A row's sums are stored once, and read forward and twice backward; its gradients are stored and read.
        let of_hidden: u64 = hidden.iter().map(|layer| 5 * quads(layer.outputs)).sum();
        let of_inputs = 3 * quads(layers[0].inputs);
        let of_targets = if batch.has_class_targets { 1 } else { output.outputs.into() };
        // Of a layer: center, rest and variance forward; beta and gamma, or biases, backward. Of the losses.
        let sums = 4 * normalized + linear + 1 + u64::from(batch.clips);
        let rounds_of_sum = u64::from(self.quads.div_ceil(self.exchanged));
        let slices =
            u64::from(INVOCATIONS.div_ceil(self.exchanged * INVOCATIONS / (2 * self.quads)));
        let weight_reads = layers.iter().map(|layer| {
            let tasks = u64::from(layer.outputs) * quads(layer.inputs);
            let shares = (u64::from(INVOCATIONS) / tasks).max(1);
            let own = tasks.div_ceil(INVOCATIONS.into());
            turns * (u64::from(INVOCATIONS) / shares) * own
        });
        WholeTasks {
            turns,
            products: products(layers),
            accesses: of_hidden + of_inputs + of_targets,
            learned_quads: self.learned_quads.into(),
            sums: sums * rounds_of_sum,
            weight_reads: weight_reads.sum(),
            barriers: 3 * sums * rounds_of_sum
                + 2 * normalized
                + layers.len() as u64 * (2 * slices * turns + 2)
                + 2,
        }
    }

    /// The invocations of the workgroup.
    pub(crate) fn invocations(self) -> u32 {
        self.class.lanes.unwrap_or(INVOCATIONS)
    }

    /// The numbers of steps for which there are dispatches, the largest first.
    pub(crate) fn lengths(self) -> impl Iterator<Item = u32> {
        (0..=self.most_steps.ilog2()).rev().map(|power| 1 << power)
    }

    /// The constants that the shader's text ends in.
    pub(crate) fn constants(self) -> String {
        let Self { quads, learned_quads, exchanged, .. } = self;
        let way = match self.class.lanes {
            Some(lanes) => format!("const LANES = {lanes}u;"),
            None => format!("const EXCHANGED = {exchanged}u;"),
        };
        format!("{way}\nconst QUADS = {quads}u;\nconst LEARNED = {learned_quads}u;\n")
    }
}

/// The multiplications of a row forward. Inputs are whole quads.
fn products(layers: &[LayerSizes]) -> u64 {
    layers.iter().map(|layer| layer.weights()).fold(0, u64::saturating_add)
}
