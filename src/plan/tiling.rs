//! How a device multiplies matrices: the tile that a workgroup computes at once.

use std::fmt;

use super::device_class::DeviceClass;

/// The tiles of a product that a workgroup computes at once: a patch of `down` × `across` of them.
///
/// The order of a product's sums (`order.rs`) says whether they are split. All tilings that split them give the
/// same bits, and so do all others: sums over rows begin and end with leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) tile: Tile,
    pub(crate) down: u32,
    pub(crate) across: u32,
}

/// Which of the shaders/shared/tile_*.wgsl a kernel that multiplies matrices ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    /// `tile_subgroup.wgsl`: a subgroup is a vector register of a CPU, with this many lanes.
    Subgroup { lanes: u32 },
    /// `tile_workgroup.wgsl`: for GPUs.
    Workgroup(WorkgroupTile),
}

/// The constants of `tile_workgroup.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkgroupTile {
    /// Quads of columns.
    quads: u32,
    /// Parts of a sum, each added up by a group of invocations of its own.
    split: u32,
    /// Steps of each part that are in memory at once.
    depth: u32,
    /// 2 if the next steps are stored while these are multiplied.
    buffers: u32,
    /// Whether an invocation has registers for the next values while it multiplies.
    reads_ahead: bool,
}

/// Parts of a sum that is split.
pub(super) const PARTS: u32 = 4;

/// Registers of an invocation of `tile_workgroup.wgsl`: for the sums of a tile, for the values that are read
/// ahead, and for the rest. Compilers for NVIDIA take 78 to 96 for a tile and 125 to 167 for four.
const OF_TILE: u32 = 16;
const OF_BLOCKS: u32 = 32;
const OF_THE_REST: u32 = 40;

/// `TILE_ROWS` of `tile_workgroup.wgsl`, and quads of that many rows.
const ROWS: u32 = 64;
const ROW_QUADS: u32 = ROWS / 4;

/// The most tiles for which a loop over k fits a CPU's nearest cache.
const CACHED_TILES: u32 = 2;

/// The most lanes of a subgroup that lend their rows to the others.
const LENDERS: u32 = 8;

impl WorkgroupTile {
    /// A tile of this width, with as many steps in memory as patches of `down` × `across` tiles leave room for.
    fn new(class: DeviceClass, [quads, split]: [u32; 2], [down, across]: [u32; 2]) -> Option<Self> {
        let reads_ahead = OF_TILE + OF_BLOCKS + OF_THE_REST <= class.registers;
        let tiles = [[16, 2], [16, 1], [8, 1]].map(|[depth, buffers]| Self {
            quads,
            split,
            depth,
            buffers,
            reads_ahead,
        });
        tiles.into_iter().find(|tile| tile.bytes([down, across]) <= class.workgroup_memory)
    }

    /// The workgroup memory of a patch.
    fn bytes(self, [down, across]: [u32; 2]) -> u32 {
        let steps = self.buffers * self.split * self.depth;
        let quads = steps * (down * ROW_QUADS + across * self.quads) + self.invocations();
        16 * quads
    }

    fn invocations(self) -> u32 {
        self.split * ROW_QUADS * self.quads
    }

    fn constants(self) -> String {
        let Self { quads, split, depth, buffers, reads_ahead } = self;
        format!(
            "const TILE_QUADS = {quads}u;\nconst SPLIT = {split}u;\nconst DEPTH = {depth}u;\n\
             const BUFFERS = {buffers}u;\nconst READS_AHEAD = {reads_ahead};"
        )
    }
}

impl Tiling {
    /// A tile alone, which serves products of all shapes.
    pub(crate) fn single(class: DeviceClass) -> Self {
        Self::of_order(class, false)[0]
    }

    /// All that a product whose sums are not split may have on a device, the smallest first.
    pub(crate) fn all(class: DeviceClass) -> Vec<Self> {
        Self::of_order(class, false)
    }

    /// All tilings, those of one order of sums in a list of their own.
    #[cfg(any(test, feature = "check"))]
    pub(crate) fn orders(class: DeviceClass) -> Vec<Vec<Self>> {
        let may_split: &[bool] =
            if Self::single(class).can_split() { &[false, true] } else { &[false] };
        may_split.iter().map(|&is_split| Self::of_order(class, is_split)).collect()
    }

    /// All that give the same bits: those whose sums are split, or the others. The smallest first.
    pub(crate) fn of_order(class: DeviceClass, is_split: bool) -> Vec<Self> {
        if let Some(lanes) = class.lanes {
            let tile = Tile::Subgroup { lanes };
            let patches = [[1, 1], [1, 2]].map(|[down, across]| Self { tile, down, across });
            return patches.into_iter().filter(|tiling| tiling.fits(class)).collect();
        }
        let widths: &[_] = match is_split {
            true => &[([4, PARTS], [1, 1])],
            false => &[([8, 1], [1, 1]), ([8, 1], [1, 2]), ([8, 1], [2, 2]), ([16, 1], [2, 2])],
        };
        let of = |&(width, [down, across]): &([u32; 2], [u32; 2])| {
            let tile = Tile::Workgroup(WorkgroupTile::new(class, width, [down, across])?);
            Some(Self { tile, down, across })
        };
        widths.iter().filter_map(of).filter(|tiling| tiling.fits(class)).collect()
    }

    fn fits(self, class: DeviceClass) -> bool {
        let tiles = self.tiles();
        match self.tile {
            _ if tiles == 1 => true,
            // With the compiler's checks there is more machine code.
            Tile::Subgroup { lanes } => {
                let is_checked = cfg!(feature = "checked-shaders");
                class.unrolls && !is_checked && lanes <= LENDERS && tiles <= CACHED_TILES
            }
            Tile::Workgroup(WorkgroupTile { reads_ahead, .. }) => {
                let sums = tiles * OF_TILE;
                !class.is_software()
                    && reads_ahead
                    && sums + OF_BLOCKS + OF_THE_REST <= class.registers
            }
        }
    }

    /// The constants that the shaders' texts end in.
    pub(crate) fn constants(self) -> String {
        let of_tile = match self.tile {
            Tile::Subgroup { lanes } => format!("const LANES = {lanes}u;"),
            Tile::Workgroup(tile) => tile.constants(),
        };
        let Self { down, across, .. } = self;
        format!("{of_tile}\nconst TILES_DOWN = {down}u;\nconst TILES_ACROSS = {across}u;\n")
    }

    /// Tiles of a patch.
    pub(super) fn tiles(self) -> u32 {
        self.down * self.across
    }

    /// Whether the sums of products on this device can be split: not if an invocation has few registers.
    pub(super) fn can_split(self) -> bool {
        matches!(self.tile, Tile::Workgroup(tile) if tile.reads_ahead)
    }

    /// Whether its sums are split.
    pub(crate) fn is_split(self) -> bool {
        matches!(self.tile, Tile::Workgroup(tile) if tile.split > 1)
    }

    /// The steps of a sum, or of each of its parts, that a workgroup reads at once.
    pub(super) fn depth(self) -> u32 {
        match self.tile {
            Tile::Subgroup { .. } => 4,
            Tile::Workgroup(tile) => tile.depth,
        }
    }

    /// The times that a workgroup reads steps of a sum of this many products, one after the other.
    pub(super) fn reads(self, length: u32) -> u32 {
        match self.tile {
            Tile::Subgroup { .. } => length.div_ceil(4),
            Tile::Workgroup(WorkgroupTile { split, depth, .. }) => {
                length.div_ceil(split).div_ceil(4).div_ceil(depth / 4)
            }
        }
    }

    /// `TILE_ROWS`.
    pub(crate) fn tile_rows(self) -> u32 {
        match self.tile {
            Tile::Subgroup { lanes } => 4 * lanes.min(LENDERS),
            Tile::Workgroup(_) => ROWS,
        }
    }

    /// `TILE_QUADS`.
    pub(crate) fn tile_quads(self) -> u32 {
        match self.tile {
            Tile::Subgroup { lanes } => lanes,
            Tile::Workgroup(tile) => tile.quads,
        }
    }

    /// Rows of a patch.
    pub(crate) fn patch_rows(self) -> u32 {
        self.down * self.tile_rows()
    }

    /// Columns of a patch.
    pub(crate) fn patch_columns(self) -> u32 {
        4 * self.across * self.tile_quads()
    }

    /// The strips of a matrix, each as wide as a patch.
    pub(crate) fn strips(self, columns: u32) -> u32 {
        columns.div_ceil(self.patch_columns())
    }

    /// The patches of a strip.
    pub(crate) fn row_patches(self, rows: u32) -> u32 {
        rows.div_ceil(self.patch_rows())
    }

    /// The rounds of loops for a patch of sums of this many products, and for the work on its rows.
    pub(crate) fn rounds_of_patch(self, length: u32) -> u64 {
        self.rounds_of_sum(length) + 2 * self.rounds_of_rows()
    }

    /// The rounds of loops over an invocation's rows of a patch.
    pub(crate) fn rounds_of_rows(self) -> u64 {
        let of_tile = match self.tile {
            Tile::Subgroup { .. } => self.tile_rows() + 3,
            Tile::Workgroup(_) => 6,
        };
        u64::from(self.tiles() * of_tile)
    }

    /// The rounds for a sum of this many products: without the compiler's checks, loops over registers are
    /// unrolled.
    fn rounds_of_sum(self, length: u32) -> u64 {
        let of_read = match self.tile {
            Tile::Subgroup { .. } if cfg!(feature = "checked-shaders") => 8 + self.tile_rows(),
            Tile::Workgroup(_) if cfg!(feature = "checked-shaders") => 21,
            Tile::Subgroup { .. } | Tile::Workgroup(_) => 1,
        };
        u64::from(self.reads(length)) * u64::from(of_read) + 1
    }
}

impl fmt::Display for Tiling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} × {}", self.patch_rows(), self.patch_columns())?;
        if self.is_split() { write!(formatter, " / {PARTS}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_fit_the_registers() {
        let patches = |name: &str| {
            let class = DeviceClass::named(name).expect(name);
            let shape = |tiling: &Tiling| [tiling.patch_rows(), tiling.patch_columns()];
            Tiling::all(class).iter().map(shape).collect::<Vec<_>>()
        };
        assert_eq!(patches("nvidia"), [[64, 32], [64, 64], [128, 64], [128, 128]]);
        assert_eq!(patches("apple"), [[64, 32], [64, 64]]);
        for few in ["intel", "mali", "qualcomm", "unknown", "software"] {
            assert_eq!(patches(few), [[64, 32]], "{few}");
        }
        let reads_ahead = |name| match Tiling::single(DeviceClass::named(name).expect(name)).tile {
            Tile::Subgroup { .. } => None,
            Tile::Workgroup(tile) => Some(tile.reads_ahead),
        };
        assert_eq!(["intel", "mali"].map(reads_ahead), [Some(true), Some(false)]);
    }

    /// 16 KiB are what every device has.
    #[test]
    fn patches_fit_the_workgroup_memory() {
        for (memory, steps) in
            [(16 << 10, [16, 2, 8, 1]), (32 << 10, [16, 2, 16, 1]), (48 << 10, [16, 2, 16, 2])]
        {
            let class = DeviceClass::named("nvidia").unwrap().with_workgroup_memory(memory);
            let [whole, split] = [false, true].map(|is_split| Tiling::of_order(class, is_split));
            assert_eq!(whole.len(), 4, "{memory}");
            let of = |tiling: &Tiling| match tiling.tile {
                Tile::Subgroup { .. } => unreachable!("a GPU's tile"),
                Tile::Workgroup(tile) => {
                    let bytes = tile.bytes([tiling.down, tiling.across]);
                    assert!(bytes <= memory && tile.invocations() <= 256, "{tiling:?}");
                    [tile.depth, tile.buffers]
                }
            };
            whole.iter().for_each(|tiling| _ = of(tiling));
            assert_eq!([of(&whole[0]), of(&split[0])].concat(), steps, "{memory}");
        }
    }

    #[test]
    fn a_split_sum_has_a_quarter_of_the_reads() {
        let class = DeviceClass::named("nvidia").unwrap();
        let [whole, split] = [false, true].map(|is_split| Tiling::of_order(class, is_split)[0]);
        assert_eq!([1, 16, 17, 784].map(|length| whole.reads(length)), [1, 1, 2, 49]);
        assert_eq!([1, 16, 65, 784].map(|length| split.reads(length)), [1, 1, 2, 13]);
    }

    #[test]
    fn has_the_shaders_numbers() {
        let text = include_str!("../../shaders/shared/tile_workgroup.wgsl");
        assert!(text.contains(&format!("const TILE_ROWS = {ROWS}u;")));
        let text = include_str!("../../shaders/shared/tile_subgroup.wgsl");
        let lenders = format!("const LENDERS = min(LANES, {LENDERS}u);");
        for line in ["const TILE_ROWS = 4u * LENDERS;", "const TILE_QUADS = LANES;", &lenders] {
            assert!(text.contains(line), "{line}");
        }
    }
}
