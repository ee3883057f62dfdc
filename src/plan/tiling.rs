//! How a device multiplies matrices: the tile that a workgroup computes at once.

use std::fmt;

use super::device_class::DeviceClass;

/// The tiles of a product that a workgroup computes at once: a patch of `down` × `across` of them.
///
/// All tilings of a device class have the same tile, and give the same bits: a value is one sum over k
/// in any tile, and sums over rows begin and end with leaves (`order.rs`).
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
    /// `tile_workgroup.wgsl`: for GPUs. `reads_ahead` says whether an invocation has registers for the
    /// next values while it multiplies.
    Workgroup { reads_ahead: bool },
}

/// Registers of an invocation of `tile_workgroup.wgsl`: for the sums of a tile, for the values that are read
/// ahead, and for the rest. Compilers for NVIDIA take 78 to 96 for a tile and 125 to 167 for four.
const OF_TILE: u32 = 16;
const OF_BLOCKS: u32 = 32;
const OF_THE_REST: u32 = 40;

/// The most tiles for which a loop over k fits a CPU's nearest cache.
const CACHED_TILES: u32 = 2;

/// The most lanes of a subgroup that lend their rows to the others.
const LENDERS: u32 = 8;

impl Tiling {
    /// A tile alone, which serves products of all shapes.
    pub(crate) fn single(class: DeviceClass) -> Self {
        let reads_ahead = OF_TILE + OF_BLOCKS + OF_THE_REST <= class.registers;
        let tile = match class.lanes {
            Some(lanes) => Tile::Subgroup { lanes },
            None => Tile::Workgroup { reads_ahead },
        };
        Self { tile, down: 1, across: 1 }
    }

    /// All that a product may have on a device, the smallest first.
    pub(crate) fn all(class: DeviceClass) -> Vec<Self> {
        let single = Self::single(class);
        let patches =
            [[1, 1], [1, 2], [2, 2]].map(|[down, across]| Self { down, across, ..single });
        patches.into_iter().filter(|tiling| tiling.fits(class)).collect()
    }

    fn fits(self, class: DeviceClass) -> bool {
        let tiles = self.down * self.across;
        match self.tile {
            _ if tiles == 1 => true,
            // With the compiler's checks there is more machine code.
            Tile::Subgroup { lanes } => {
                let is_checked = cfg!(feature = "checked-shaders");
                class.unrolls && !is_checked && lanes <= LENDERS && tiles <= CACHED_TILES
            }
            Tile::Workgroup { reads_ahead } => {
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
            Tile::Workgroup { reads_ahead } => format!("const READS_AHEAD = {reads_ahead};"),
        };
        let Self { down, across, .. } = self;
        format!("{of_tile}\nconst TILES_DOWN = {down}u;\nconst TILES_ACROSS = {across}u;\n")
    }

    /// Tiles of a patch.
    pub(super) fn tiles(self) -> u32 {
        self.down * self.across
    }

    /// The steps of a product that a workgroup reads at once.
    pub(super) fn depth(self) -> u32 {
        match self.tile {
            Tile::Subgroup { .. } => 4,
            Tile::Workgroup { .. } => 16,
        }
    }

    /// `TILE_ROWS`.
    pub(crate) fn tile_rows(self) -> u32 {
        match self.tile {
            Tile::Subgroup { lanes } => 4 * lanes.min(LENDERS),
            Tile::Workgroup { .. } => 64,
        }
    }

    /// `TILE_QUADS`.
    pub(crate) fn tile_quads(self) -> u32 {
        match self.tile {
            Tile::Subgroup { lanes } => lanes,
            Tile::Workgroup { .. } => 8,
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
            Tile::Workgroup { .. } => 6,
        };
        u64::from(self.tiles() * of_tile)
    }

    /// The rounds for a sum of this many products: without the compiler's checks, loops over registers are
    /// unrolled.
    fn rounds_of_sum(self, length: u32) -> u64 {
        let reads = u64::from(length.div_ceil(self.depth()));
        let of_read = match self.tile {
            Tile::Subgroup { .. } if cfg!(feature = "checked-shaders") => 8 + self.tile_rows(),
            Tile::Workgroup { .. } if cfg!(feature = "checked-shaders") => 21,
            Tile::Subgroup { .. } | Tile::Workgroup { .. } => 1,
        };
        reads * u64::from(of_read) + 1
    }
}

impl fmt::Display for Tiling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} × {}", self.patch_rows(), self.patch_columns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_fit_the_registers() {
        let patches = |name: &str| {
            let class = DeviceClass::named(name).expect(name);
            Tiling::all(class).iter().map(|tiling| [tiling.down, tiling.across]).collect::<Vec<_>>()
        };
        assert_eq!(patches("nvidia"), [[1, 1], [1, 2], [2, 2]]);
        assert_eq!(patches("apple"), [[1, 1], [1, 2]]);
        for few in ["intel", "mali", "qualcomm", "unknown", "software"] {
            assert_eq!(patches(few), [[1, 1]], "{few}");
        }
        let reads_ahead = |name| Tiling::single(DeviceClass::named(name).expect(name)).tile;
        assert_eq!(reads_ahead("intel"), Tile::Workgroup { reads_ahead: true });
        assert_eq!(reads_ahead("mali"), Tile::Workgroup { reads_ahead: false });
    }

    #[test]
    fn has_the_shaders_numbers() {
        let text = include_str!("../../shaders/shared/tile_workgroup.wgsl");
        let tiling = Tiling { tile: Tile::Workgroup { reads_ahead: true }, down: 1, across: 1 };
        for (name, value) in [
            ("TILE_ROWS", tiling.tile_rows()),
            ("TILE_QUADS", tiling.tile_quads()),
            ("DEPTH", tiling.depth()),
        ] {
            assert!(text.contains(&format!("const {name} = {value}u;")), "{name}");
        }
        let text = include_str!("../../shaders/shared/tile_subgroup.wgsl");
        let lenders = format!("const LENDERS = min(LANES, {LENDERS}u);");
        for line in ["const TILE_ROWS = 4u * LENDERS;", "const TILE_QUADS = LANES;", &lenders] {
            assert!(text.contains(line), "{line}");
        }
    }
}
