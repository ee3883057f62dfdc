//! How the work of a layer is divided among workgroups.

use super::OutputKernels;
use super::cost::{self, Tasks};
use super::device_class::DeviceClass;
use super::order::{self, LayerSizes, Order, countable};
use super::tiling::Tiling;

/// How one layer is computed, forward and backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerPlan {
    pub(crate) class: DeviceClass,
    pub(crate) sizes: LayerSizes,
    /// Of the product with the weights, and of that with the next layer's weights.
    pub(crate) tiling: Tiling,
    /// Whether the rows of a strip are divided into chunks, each with a workgroup of its own, whose
    /// statistics another dispatch joins.
    pub(crate) is_divided: bool,
    pub(crate) weights: WeightsPlan,
    /// Whether the first dispatch of its backward pass computes the gradients of the next layer's weights,
    /// too.
    pub(crate) takes_next: bool,
}

/// Where the gradients of a layer's weights and biases are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeightsPlan {
    pub(crate) place: Place,
    pub(crate) tiling: Tiling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the workgroup that computes the other gradients of the layer's strip, after them.
    WithLayer,
    /// By other workgroups of the dispatch in which the layer before begins its backward pass.
    BesideLayerBefore,
    /// In a dispatch of their own.
    Alone,
}

#[cfg(any(test, feature = "check"))]
impl LayerPlan {
    /// Inputs of a layer whose weights no CPU's loops go through.
    const WIDE: u32 = 1 << 30;

    /// A layer of these inputs and outputs, in a tiling that need not be the fastest.
    pub(crate) fn test(
        class: DeviceClass,
        tiling: Tiling,
        [inputs, outputs]: [u32; 2],
        is_normalized: bool,
        is_divided: bool,
    ) -> Self {
        // Only such layers are divided on a CPU.
        let inputs = if is_divided { Self::WIDE } else { inputs };
        let sizes = LayerSizes { inputs, outputs, next: 1, is_normalized, is_deep: false };
        let weights = WeightsPlan { place: Place::Alone, tiling };
        Self { class, sizes, tiling, is_divided, weights, takes_next: false }
    }
}

impl LayerPlan {
    pub(crate) fn order(self, rows: u32) -> Order {
        Order::new(self.class, rows, self.sizes)
    }

    /// Rows that a workgroup takes: some leaves, or all.
    pub(crate) fn chunk(self, rows: u32) -> u32 {
        let leaf = self.order(rows).leaf;
        let patch = self.tiling.patch_rows();
        match self.is_divided {
            // A leaf is some tiles, and a patch is as many tiles down, or twice as many.
            true if leaf.is_multiple_of(patch) => leaf,
            true => leaf * self.tiling.down,
            false => countable(rows).next_multiple_of(patch.max(leaf)),
        }
    }

    pub(crate) fn chunks(self, rows: u32) -> u32 {
        countable(rows).div_ceil(self.chunk(rows))
    }

    /// Rows of the statistics: the batch's, and four for each leaf if another dispatch joins them.
    pub(crate) fn statistics_rows(self, rows: u32) -> u32 {
        statistics_rows(if self.is_divided { self.order(rows).leaves() } else { 0 })
    }

    /// The most of them for batches of up to `rows` rows.
    pub(super) fn most_statistics_rows(self, rows: u32) -> u32 {
        let most = Order::most_leaves(self.class, rows, self.sizes);
        statistics_rows(if self.is_divided { most } else { 0 })
    }

    /// Whether a dispatch of its own joins the chunks.
    pub(crate) fn has_finish(self) -> bool {
        self.is_divided && self.sizes.is_normalized
    }

    /// The tasks of a backward dispatch: strips of the columns, times chunks of the rows.
    pub(crate) fn tasks(self, rows: u32) -> u64 {
        u64::from(self.tiling.strips(self.sizes.outputs)) * u64::from(self.chunks(rows))
    }

    /// The tasks that compute the gradients of the weights, unless these are computed with the layer: patches
    /// of the weights, times slabs.
    pub(crate) fn weights_tasks(self, rows: u32) -> u64 {
        let LayerSizes { inputs, outputs, .. } = self.sizes;
        let tiling = self.weights.tiling;
        let patches = u64::from(tiling.row_patches(outputs)) * u64::from(tiling.strips(inputs));
        patches * u64::from(self.order(rows).slabs())
    }

    /// The rounds of loops of a workgroup of `output_layer`.
    pub(crate) fn output_loops(self, rows: u32) -> u64 {
        match self.output() {
            OutputKernels::InOne => order::loops(self.tiling, rows, self.sizes),
            OutputKernels::RowByRow | OutputKernels::Wide => {
                self.tiling.rounds_of_patch(self.sizes.inputs)
            }
        }
    }

    /// The rounds of loops of a workgroup forward.
    pub(super) fn forward_loops(self, rows: u32) -> u64 {
        self.patches(rows) * self.tiling.rounds_of_patch(self.sizes.inputs)
    }

    /// The rounds of loops of a workgroup backward, without what is computed beside it.
    pub(crate) fn backward_loops(self, rows: u32) -> u64 {
        let own = self.patches(rows) * self.tiling.rounds_of_patch(self.sizes.next);
        let order = self.order(rows);
        let of_slab = self.tiling.rounds_of_patch(order.slab);
        match self.weights.place {
            Place::WithLayer => own + self.patches_of_strip() * u64::from(order.slabs()) * of_slab,
            Place::BesideLayerBefore | Place::Alone => own,
        }
    }

    /// The rounds of loops of a workgroup that computes gradients of the weights.
    pub(crate) fn weights_loops(self, rows: u32) -> u64 {
        let tiling = self.weights.tiling;
        let slab = self.order(rows).slab;
        let of_biases = u64::from(tiling.row_patches(slab)) * tiling.rounds_of_rows();
        tiling.rounds_of_patch(slab) + of_biases
    }

    /// The patches of the weights of a strip.
    fn patches_of_strip(self) -> u64 {
        let down = self.tiling.patch_columns().div_ceil(self.tiling.patch_rows());
        (self.tiling.strips(self.sizes.inputs) * down).into()
    }

    /// The first dispatch forward: the product, and all that follows, unless another dispatch finishes it.
    pub(super) fn forward_tasks(self, rows: u32) -> Tasks {
        let tiles = self.tiles_of_chunk(rows);
        let of_tile = if self.has_finish() {
            cost::MEASURED_TILE
        } else if self.sizes.is_normalized {
            cost::MEASURED_TILE + cost::FINISHED_TILE
        } else {
            cost::FINISHED_TILE
        };
        let joined = if self.has_finish() { 0 } else { self.order(rows).leaves() };
        Tasks {
            workgroups: self.tasks(rows),
            tiling: self.tiling,
            reads: self.patches(rows) * self.reads(self.sizes.inputs),
            rest: tiles * of_tile + self.joins(joined),
        }
    }

    /// The dispatch forward that joins what the chunks have measured.
    pub(super) fn forward_finish(self, rows: u32) -> Tasks {
        self.finish(rows, cost::FINISHED_TILE)
    }

    /// The first dispatch backward, without what it computes beside it.
    pub(super) fn backward_tasks(self, rows: u32) -> Tasks {
        let LayerSizes { next, is_normalized, .. } = self.sizes;
        let tiles = self.tiles_of_chunk(rows);
        let summed = if is_normalized { cost::SUMMED_TILE } else { 0.0 };
        let finished = if self.has_finish() { 0.0 } else { 2.0 * cost::FINISHED_GRADIENT };
        let joined = if self.has_finish() { 0 } else { self.order(rows).leaves() };
        let mut tasks = Tasks {
            workgroups: self.tasks(rows),
            tiling: self.tiling,
            reads: self.patches(rows) * self.reads(next),
            rest: tiles * (summed + finished) + self.joins(joined),
        };
        if self.weights.place == Place::WithLayer {
            let patches = self.patches_of_strip();
            let order = self.order(rows);
            let slabs = u64::from(order.slabs());
            tasks.reads += patches * slabs * self.reads(order.slab);
            tasks.rest += (patches * slabs) as f64 * cost::STORED_TILE;
        }
        tasks
    }

    pub(super) fn backward_finish(self, rows: u32) -> Tasks {
        self.finish(rows, cost::FINISHED_GRADIENT)
    }

    /// The gradients of the weights, beside another layer's or alone.
    pub(super) fn weights(self, rows: u32) -> Tasks {
        let tiling = self.weights.tiling;
        let slab = self.order(rows).slab;
        Tasks {
            workgroups: self.weights_tasks(rows),
            tiling,
            reads: tiling.reads(slab).into(),
            rest: f64::from(tiling.tiles()) * cost::STORED_TILE,
        }
    }

    fn finish(self, rows: u32, of_tile: f64) -> Tasks {
        let leaves = self.order(rows).leaves();
        Tasks {
            workgroups: self.tasks(rows),
            tiling: self.tiling,
            reads: 0,
            rest: self.tiles_of_chunk(rows) * of_tile + self.joins(leaves),
        }
    }

    fn joins(self, leaves: u32) -> f64 {
        let others = leaves.saturating_sub(1);
        if self.sizes.is_normalized { cost::join(others, cost::READ_LEAF) } else { 0.0 }
    }

    /// The patches of a chunk.
    fn patches(self, rows: u32) -> u64 {
        self.tiling.row_patches(self.chunk(rows).min(rows)).into()
    }

    /// The reads of a sum of this many products.
    fn reads(self, length: u32) -> u64 {
        self.tiling.reads(length).into()
    }

    fn tiles_of_chunk(self, rows: u32) -> f64 {
        self.patches(rows) as f64 * f64::from(self.tiling.tiles())
    }
}

/// The mean in two rows and the variance; then four rows for each leaf.
fn statistics_rows(leaves: u32) -> u32 {
    3 + 4 * leaves
}
