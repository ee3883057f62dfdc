//! The order in which a step adds up values: a function of the shapes and of the device class alone.
//!
//! - A sum over features, `Σ_k`, is one chain: k = 0, 1, 2, … Where a product has so few tiles that most of a
//!   GPU would be idle, the sum is split: four chains of as many k, whose results are added in their order.
//! - A sum over rows for a column's statistics, and for the gradients of gamma and beta, is made of
//!   *leaves* of as many rows: a leaf is summed up tile by tile, and the leaves are joined in their order.
//! - A sum over rows for the gradients of weights and biases is made of *slabs*: a slab is one chain, or split
//!   into four, and `update` adds the slabs in their order.
//!
//! - A sum over the columns of a row, in `loss`, is one chain; or 64 chains, each of every 64th column, which
//!   are joined as a tree.
//! - A sum over the losses of a batch, in `record_step`, is 256 chains, each of every 256th row, which are
//!   joined as a tree.
//!
//! A tiling decides who computes a leaf or a slab, and changes no bit.

use super::device_class::DeviceClass;
use super::tiling::{Tile, Tiling};

/// The sizes of a layer that its order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerSizes {
    /// Features of the inputs.
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
    /// Outputs of the next layer; 0 for the output layer.
    pub(crate) next: u32,
    /// Whether it has gamma, beta and statistics, or biases.
    pub(crate) is_normalized: bool,
    /// Whether the network has more layers than the table of slabs has room for.
    pub(crate) is_deep: bool,
}

impl LayerSizes {
    /// The layers of a network: features of the inputs, and for each layer its outputs and whether it is
    /// normalized.
    pub(crate) fn of_layers(inputs: u32, layers: &[(u32, bool)]) -> Vec<Self> {
        let mut sizes: Vec<Self> = Vec::with_capacity(layers.len());
        for &(outputs, is_normalized) in layers {
            let inputs = sizes.last().map_or(inputs, |before| before.outputs);
            if let Some(before) = sizes.last_mut() {
                before.next = outputs;
            }
            let is_deep = layers.len() > MOST_SLABBED_LAYERS;
            sizes.push(Self { inputs, outputs, next: 0, is_normalized, is_deep });
        }
        sizes
    }

    /// The layers of a network of these sizes, inputs first, whose hidden layers are normalized or not.
    pub(crate) fn of_network(layer_sizes: &[u32], batch_norm: bool) -> Vec<Self> {
        let [inputs, outputs @ ..] = layer_sizes else {
            return Vec::new();
        };
        let is_last = |index| index + 1 == outputs.len();
        let layers: Vec<_> = outputs
            .iter()
            .enumerate()
            .map(|(index, &outputs)| (outputs, batch_norm && !is_last(index)))
            .collect();
        Self::of_layers(*inputs, &layers)
    }

    /// Whether the sums over features are split, forward and backward.
    pub(super) fn is_split(self, class: DeviceClass, rows: u32) -> bool {
        is_split(class, [rows, self.outputs], 1) && (self.next > 0 || self.fits_split_tile(class))
    }

    /// Whether the sums for the gradients of its weights are split. If the layer before has whole sums, so have
    /// these, so that one dispatch may compute both.
    pub(super) fn has_split_weights(self, class: DeviceClass, rows: u32, is_first: bool) -> bool {
        let slabs = Order::new(class, rows, self).slabs();
        let may_be = is_first || self.follows_split(class, rows);
        may_be && is_split(class, [self.outputs, self.inputs], slabs)
    }

    /// Whether the sums of the layer before are split.
    pub(super) fn follows_split(self, class: DeviceClass, rows: u32) -> bool {
        is_split(class, [rows, self.inputs], 1)
    }

    /// `output_layer` takes a layer no wider than its tile, and split sums have a narrower tile.
    fn fits_split_tile(self, class: DeviceClass) -> bool {
        let strips = |is_split| Tiling::of_order(class, is_split)[0].strips(self.outputs);
        strips(true) == 1 || strips(false) > 1
    }

    /// The values of its weights: rows are whole vectors of four.
    pub(crate) fn weights(self) -> u64 {
        u64::from(self.inputs).next_multiple_of(4).saturating_mul(self.outputs.into())
    }
}

/// The order of a layer's sums over the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Rows of a leaf, a multiple of a tile's.
    pub(crate) leaf: u32,
    /// Rows of a slab, a multiple of four.
    pub(crate) slab: u32,
    rows: u32,
}

/// The most layers of a network whose gradients have several slabs.
pub(super) const MOST_SLABBED_LAYERS: usize = 64;

/// The most leaves of a batch: their statistics take memory, and each workgroup joins them all.
const MOST_LEAVES: u32 = 64;

/// The most loops of an invocation that goes through a whole strip, with a margin to what Mesa allows.
pub(super) const MOST_WALKED: u64 = 56_000;

impl Order {
    pub(crate) fn new(class: DeviceClass, rows: u32, sizes: LayerSizes) -> Self {
        let tile_rows = Tiling::single(class).tile_rows();
        let rows = countable(rows);
        if is_one_leaf(class, rows, sizes) {
            let [leaf, slab] = [tile_rows, 4].map(|unit| rows.next_multiple_of(unit));
            return Self { leaf, slab, rows };
        }
        let leaf = tile_rows * rows.div_ceil(tile_rows * MOST_LEAVES);
        let slab = rows.div_ceil(slabs(class, rows, sizes)).next_multiple_of(4);
        Self { leaf, slab, rows }
    }

    pub(crate) fn leaves(self) -> u32 {
        self.rows.div_ceil(self.leaf)
    }

    pub(crate) fn slabs(self) -> u32 {
        self.rows.div_ceil(self.slab)
    }

    /// The most leaves of batches of up to `rows` rows. Fewer rows may have more leaves than all.
    pub(crate) fn most_leaves(class: DeviceClass, rows: u32, sizes: LayerSizes) -> u32 {
        if is_one_leaf(class, rows, sizes) {
            return 1;
        }
        rows.div_ceil(Tiling::single(class).tile_rows()).clamp(1, MOST_LEAVES)
    }

    /// The most slabs of batches of up to `rows` rows.
    pub(crate) fn most_slabs(class: DeviceClass, rows: u32, sizes: LayerSizes) -> u32 {
        if is_one_leaf(class, rows, sizes) { 1 } else { slabs(class, rows, sizes) }
    }
}

/// Whether the sums of `products` products of this shape are split: if a GPU has no more tiles of them than
/// multiprocessors.
fn is_split(class: DeviceClass, [rows, columns]: [u32; 2], products: u32) -> bool {
    let tiling = Tiling::single(class);
    let tiles = u64::from(tiling.row_patches(rows)) * u64::from(tiling.strips(columns));
    let tiles = tiles.saturating_mul(products.into());
    tiling.can_split() && !class.is_software() && tiles <= u64::from(class.multiprocessors)
}

/// The invocations that share a row of this many columns in `loss`: one, or a workgroup of them. On a CPU a
/// workgroup's barriers cost more than the columns do.
pub(crate) fn lanes_of_row(class: DeviceClass, columns: u32) -> u32 {
    const TOGETHER: u32 = 64;
    if class.is_software() || columns < TOGETHER { 1 } else { TOGETHER }
}

/// The number of rows, at most as many as a matrix can have: parts of more would not be counted in `u32`.
pub(super) fn countable(rows: u32) -> u32 {
    rows.clamp(1, 1 << 31)
}

/// On a CPU one workgroup walks through all rows of a strip, if the driver allows loops of that length.
pub(super) fn is_one_leaf(class: DeviceClass, rows: u32, sizes: LayerSizes) -> bool {
    let tiling = Tiling::single(class);
    let is_cpu = matches!(tiling.tile, Tile::Subgroup { .. });
    is_cpu && loops(tiling, rows, sizes) <= MOST_WALKED
}

/// The most rounds of loops that an invocation goes through for a whole strip, forward or backward, with the
/// gradients of its weights.
pub(super) fn loops(tiling: Tiling, rows: u32, sizes: LayerSizes) -> u64 {
    let LayerSizes { inputs, next, .. } = sizes;
    let patches = u64::from(tiling.row_patches(rows));
    let own_rows = tiling.rounds_of_rows();
    let forward = patches * tiling.rounds_of_patch(inputs);
    let down = tiling.patch_columns().div_ceil(tiling.patch_rows());
    let weights = u64::from(tiling.strips(inputs) * down);
    let of_weights = weights * (tiling.rounds_of_patch(rows) - own_rows);
    forward.max(patches * tiling.rounds_of_patch(next) + of_weights)
}

/// Slabs of the gradients of a layer's weights: where the sums alone would not keep a device busy, and as
/// many as fit into its cache.
fn slabs(class: DeviceClass, rows: u32, sizes: LayerSizes) -> u32 {
    let (fewest_rows, most, most_bytes) = match Tiling::single(class).tile {
        Tile::Subgroup { .. } => (1024, 16, 32 << 20),
        Tile::Workgroup(_) => (256, 64, 2 << 20),
    };
    let bytes = sizes.weights().saturating_mul(4);
    let most = (most_bytes / bytes.max(1)).clamp(1, most) as u32;
    if sizes.is_deep { 1 } else { (rows / fewest_rows).clamp(1, most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> DeviceClass {
        DeviceClass::named(name).expect(name)
    }

    fn sizes(inputs: u32, outputs: u32, next: u32) -> LayerSizes {
        LayerSizes { inputs, outputs, next, is_normalized: true, is_deep: false }
    }

    #[test]
    fn a_cpu_sums_up_in_one_leaf_if_its_loops_allow() {
        let leaves = |name, rows| Order::new(named(name), rows, sizes(64, 64, 3)).leaves();
        // The compiler's checks make for more rounds.
        let of_many = if cfg!(feature = "checked-shaders") { 64 } else { 1 };
        assert_eq!(leaves("lavapipe-256", 16_384), of_many);
        assert_eq!(leaves("lavapipe-256", 32_768), 64);
        assert_eq!(leaves("lavapipe-256", 60), 1);
        assert_eq!(leaves("nvidia", 60), 1);
        assert_eq!(leaves("nvidia", 65), 2);
        assert_eq!(leaves("nvidia", 16_384), 64);
    }

    #[test]
    fn slabs_depend_on_the_matrix_alone() {
        let slabs =
            |inputs, outputs| Order::new(named("nvidia"), 1024, sizes(inputs, outputs, 0)).slabs();
        assert_eq!([slabs(1024, 1024), slabs(1024, 10)], [1, 4]);
        let slabs = |rows| Order::new(named("nvidia"), rows, sizes(64, 64, 3)).slabs();
        assert_eq!([255, 256, 512, 16_384, 1 << 20].map(slabs), [1, 1, 2, 64, 64]);
    }

    /// Memory is made for the largest batch, and a remainder needs no more.
    #[test]
    fn smaller_batches_have_no_more_parts() {
        for name in DeviceClass::NAMES {
            let class = named(name);
            for sizes in [sizes(1, 1, 1), sizes(64, 64, 3), sizes(3000, 2000, 1000)] {
                for most in [100, 4095, 4161, 40_000] {
                    let [leaves, slabs] = [Order::most_leaves, Order::most_slabs]
                        .map(|of: fn(DeviceClass, u32, LayerSizes) -> u32| of(class, most, sizes));
                    for rows in (1..=most).step_by(37) {
                        let order = Order::new(class, rows, sizes);
                        assert!(
                            order.leaves() <= leaves && order.slabs() <= slabs,
                            "{name} {rows}"
                        );
                        assert!(order.leaf.is_multiple_of(Tiling::single(class).tile_rows()));
                        assert!(order.slab.is_multiple_of(4));
                    }
                }
            }
        }
    }
}
