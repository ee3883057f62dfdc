//! A model of the time that a dispatch takes.
//!
//! A workgroup is a chain: it reads a few steps of k of both factors, waits, multiplies, and goes on. A
//! dispatch takes as long as its longest chain, or as its multiprocessors need for all the work, or as the
//! memory needs for what is read and written.
//!
//! The constants are fitted to profiles of an NVIDIA H100 (`tests.rs`, within 35 %). The pace of other
//! families is an estimate from their clocks and widths.

use super::device_class::{DeviceClass, Family};
use super::tiling::{Tile, Tiling};

/// Microseconds of one read of 16 steps of k: until its result is there, and of a multiprocessor's time.
#[derive(Clone, Copy, Debug)]
struct Read {
    latency: f64,
    throughput: f64,
}

/// Workgroups of a dispatch that do the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tasks {
    pub(super) workgroups: u64,
    pub(super) tiling: Tiling,
    /// Of a product, one after the other.
    pub(super) reads: u64,
    /// Microseconds of the rest of the chain, on an H100.
    pub(super) rest: f64,
}

/// For a tile's statistics while its values are in registers.
pub(super) const MEASURED_TILE: f64 = 1.4;
/// For a tile that is read, normalized, activated and written.
pub(super) const FINISHED_TILE: f64 = 0.6;
/// For the sums over a tile of gradients, which is read twice.
pub(super) const SUMMED_TILE: f64 = 3.5;
/// For a tile of gradients that is read and written.
pub(super) const FINISHED_GRADIENT: f64 = 0.9;
/// For a tile that is written as it is.
pub(super) const STORED_TILE: f64 = 0.3;
/// For reading what one leaf, or one slab, left. Eight are read at once.
pub(super) const READ_LEAF: f64 = 0.7;
pub(super) const READ_SLAB: f64 = 0.42;
const READ_AT_ONCE: u32 = 8;
/// For joining a leaf or a slab that was read. Not measured: some 40 operations.
const JOINED: f64 = 0.03;
/// For a value that each invocation of a workgroup reads and adds, one after the other.
pub(super) const ADDED_VALUE: f64 = 0.050;
/// For joining what the invocations of a workgroup have added up, as a tree.
pub(super) const JOINED_LANES: f64 = 0.17;
/// For the losses of a tile's rows.
pub(super) const LOSS: f64 = 3.0;
/// An output layer's read takes longer by this: its few columns are read again for each row.
pub(super) const NARROW_READ: f64 = 0.3;

/// Microseconds of a pass that holds one dispatch, with its timestamps. In a step all dispatches are one pass.
#[cfg(test)]
pub(super) const OF_PASS: f64 = 2.3;

/// Microseconds before the first round of a dispatch of a pass.
fn launch(class: DeviceClass) -> f64 {
    match class.family {
        Family::Nvidia => 4.2,
        Family::Amd => 8.0,
        Family::Apple | Family::Intel | Family::Unknown => 10.0,
        Family::Lavapipe | Family::Software => 20.0,
        Family::Mali | Family::Qualcomm => 30.0,
    }
}

/// How many times as long as on an H100 a chain takes.
fn pace(class: DeviceClass) -> f64 {
    match class.family {
        Family::Nvidia => 1.0,
        Family::Amd => 1.2,
        Family::Apple => 1.6,
        Family::Intel | Family::Unknown => 2.0,
        Family::Qualcomm => 4.0,
        Family::Mali => 6.0,
        Family::Lavapipe | Family::Software => 10.0,
    }
}

/// Bytes a microsecond.
fn bandwidth(class: DeviceClass) -> f64 {
    match class.family {
        Family::Nvidia => 2.3e6,
        Family::Amd => 6e5,
        Family::Apple | Family::Intel | Family::Unknown => 1e5,
        Family::Mali | Family::Qualcomm | Family::Lavapipe | Family::Software => 3e4,
    }
}

impl Tasks {
    fn read(&self) -> Read {
        let tiles = self.tiling.tiles();
        let (latency, throughput) = match self.tiling.tile {
            Tile::Subgroup { lanes } => {
                // Two tiles at once read a value for both. A read is of four steps. The width of a
                // register makes a tile larger, and its rows take as much longer.
                let of_tile = if tiles > 1 { 0.030 } else { 0.033 };
                let time = of_tile * f64::from(tiles) * f64::from(lanes) / 8.0;
                return Read { latency: time, throughput: time };
            }
            // Not measured: twice as many products as in a tile, in half as many columns.
            Tile::Workgroup(_) if self.tiling.is_split() => (0.75, 0.72),
            Tile::Workgroup(_) if tiles == 1 => (0.55, 0.36),
            Tile::Workgroup(_) if tiles == 2 => (0.80, 0.65),
            Tile::Workgroup(_) if self.tiling.tile_quads() == 8 => (1.16, 1.08),
            // Not measured: twice as many invocations.
            Tile::Workgroup(_) => (2.10, 2.05),
        };
        // A read of fewer steps waits as long for memory, and multiplies less.
        let steps = f64::from(self.tiling.depth()) / 16.0;
        Read { latency: latency * (1.0 + steps) / 2.0, throughput: throughput * steps }
    }

    fn chain(&self) -> f64 {
        self.reads as f64 * self.read().latency + self.rest
    }

    /// The time of a multiprocessor, which has `in_flight` workgroups that hide each other's waits.
    fn work(&self, in_flight: f64) -> f64 {
        let of_one = self.reads as f64 * self.read().throughput + self.rest / in_flight;
        self.workgroups as f64 * of_one
    }
}

/// The microseconds of a dispatch whose workgroups do these tasks side by side.
pub(super) fn dispatch(class: DeviceClass, tasks: &[Tasks], bytes: u64) -> f64 {
    let in_flight = if class.lanes.is_some() { 1.0 } else { 4.0 };
    let workgroups: u64 = tasks.iter().map(|tasks| tasks.workgroups).sum();
    let turns = workgroups.div_ceil(class.multiprocessors.into()) as f64;
    let chain = tasks.iter().map(Tasks::chain).fold(0.0, f64::max);
    let work: f64 = tasks.iter().map(|tasks| tasks.work(in_flight)).sum();
    let busy = turns * work / workgroups.max(1) as f64;
    let memory = bytes as f64 / bandwidth(class);
    launch(class) + (pace(class) * chain.max(busy)).max(memory)
}

/// The microseconds until what `count` leaves or slabs left is read and joined.
pub(super) fn join(count: u32, read: f64) -> f64 {
    f64::from(count.div_ceil(READ_AT_ONCE)) * read + f64::from(count) * JOINED
}

/// The predicted microseconds of a part of a dispatch: one hundred times as much is still a short submission.
/// Tests divide the dispatches of small networks.
const PART: f64 = if cfg!(test) { 0.1 } else { 50.0 };

/// The most parts of a dispatch, each of which is bound.
const MOST_PARTS: f64 = if cfg!(test) { 3.0 } else { 64.0 };

/// The parts into which a dispatch can be divided. On a CPU, which other programs share at any time, it is one.
pub(super) fn parts(class: DeviceClass, tasks: &[Tasks]) -> u32 {
    if matches!(class.family, Family::Lavapipe | Family::Software) {
        return 1;
    }
    let work = dispatch(class, tasks, 0) - launch(class);
    (work / PART).ceil().clamp(1.0, MOST_PARTS) as u32
}

/// What a step of a small network in one workgroup does.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeTasks {
    /// Rows of an invocation.
    pub(super) turns: u64,
    /// Multiplications of a row forward; there are as many twice backward.
    pub(super) products: u64,
    /// Quads of a row that are read or written.
    pub(super) accesses: u64,
    pub(super) learned_quads: u64,
    /// Sums over the invocations, of some quads each.
    pub(super) sums: u64,
    /// Rows that an invocation reads for the gradients of the weights that it owns.
    pub(super) weight_reads: u64,
    pub(super) barriers: u64,
}

/// Of a GPU's workgroup of 128 invocations, on an H100, estimated and not measured: a barrier; a sum over
/// the invocations, whose reads wait for each other twice; a row of two factors from workgroup memory; a quad
/// of a row from the nearest cache, with the others of the row; the multiplications of a microsecond (at 1.7 GHz, where each waits for a
/// read of weights); and the rest of a step.
const BARRIER: f64 = 0.05;
const SUM: f64 = 0.11;
const WEIGHT_READ: f64 = 0.010;
const ROW_QUAD: f64 = 0.008;
const PRODUCTS: f64 = 1_000.0;
const OTHER: f64 = 1.0;

/// Of lanes of a CPU, measured on a software adapter: an access to a quad, one lane after the other; the
/// multiplications of a microsecond; what a quad of the parameters costs.
const LANE_ACCESS: f64 = 0.055;
const LANE_PRODUCTS: f64 = 5_000.0;
const LANE_QUAD: f64 = 0.06;

/// The microseconds of a step, if a dispatch takes this many.
pub(super) fn whole_steps(class: DeviceClass, tasks: &WholeTasks, steps: u32) -> f64 {
    let WholeTasks { turns, products, accesses, sums, weight_reads, barriers, .. } = *tasks;
    let launch = launch(class) / f64::from(steps);
    let [turns, accesses, products] = [turns, accesses, products].map(|count| count as f64);
    if class.lanes.is_some() {
        let of_row = accesses * LANE_ACCESS + 3.0 * products / LANE_PRODUCTS;
        return launch + turns * of_row + tasks.learned_quads as f64 * LANE_QUAD;
    }
    // The weights' gradients are counted by their reads.
    let of_row = 2.0 * products / PRODUCTS + accesses * ROW_QUAD;
    let of_all = sums as f64 * SUM + weight_reads as f64 * WEIGHT_READ + barriers as f64 * BARRIER;
    launch + pace(class) * (turns * of_row + of_all + OTHER)
}

/// The microseconds a step that the compilation of a larger patch for a CPU costs: a second more, over ten
/// thousand steps.
pub(super) fn compilation(tiling: Tiling) -> f64 {
    match tiling.tile {
        Tile::Subgroup { .. } if tiling.tiles() > 1 => 100.0,
        Tile::Subgroup { .. } | Tile::Workgroup(_) => 0.0,
    }
}
