//! How a device multiplies matrices: in tiles that a subgroup owns, or a workgroup.

use wgpu::{Device, DeviceType, Features};

use super::workgroups;

/// Which of the shaders/shared/tile_*.wgsl a kernel that multiplies matrices ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// `tile_subgroup.wgsl`: software adapters, if the app's device has subgroups.
    Subgroup,
    /// `tile_workgroup.wgsl`: all others.
    Workgroup,
}

impl Core {
    pub(crate) fn for_device(device: &Device) -> Self {
        let info = device.adapter_info();
        let has_subgroups = device.features().contains(Features::SUBGROUP)
            && [info.subgroup_min_size, info.subgroup_max_size] == [8; 2];
        match info.device_type {
            DeviceType::Cpu if has_subgroups => Self::Subgroup,
            _ => Self::Workgroup,
        }
    }

    /// The text for this device, of the two that a kernel has.
    pub(crate) fn choose(
        self,
        for_subgroups: &'static str,
        for_workgroups: &'static str,
    ) -> &'static str {
        match self {
            Self::Subgroup => for_subgroups,
            Self::Workgroup => for_workgroups,
        }
    }

    /// Workgroups for the strips of a matrix, each as wide as a tile.
    pub(crate) fn strips(self, columns: u32) -> u32 {
        workgroups(columns.into(), 4 * self.tile()[1])
    }

    /// Workgroups for the tiles of a strip.
    pub(crate) fn row_tiles(self, rows: u32) -> u32 {
        workgroups(rows.into(), self.tile()[0])
    }

    /// Rows of a tile.
    pub(crate) fn tile_rows(self) -> u32 {
        self.tile()[0]
    }

    /// Whether a layer is large enough to divide the rows of its strips among workgroups, which takes
    /// more dispatches. `next` are the columns of the next layer, or 0.
    ///
    /// A GPU has room for many more workgroups than there are strips, while a CPU has not. But Mesa's
    /// software adapter ends an invocation's loops, silently, after 65,535 rounds of all of them.
    pub(crate) fn divides(self, rows: u32, columns: u32, inner: u32, next: u32) -> bool {
        const MULTIPLICATIONS: u64 = 15_000_000;
        const ROWS: u32 = 1024;
        let product = u64::from(rows) * u64::from(columns) * u64::from(inner);
        let is_large = rows > ROWS || product > MULTIPLICATIONS;
        (self == Self::Workgroup && is_large) || !self.can_walk(rows, inner, next)
    }

    /// Whether an invocation may go through a whole strip.
    pub(crate) fn can_walk(self, rows: u32, inner: u32, next: u32) -> bool {
        const ROUNDS: u64 = 56_000;
        self.rounds(rows, inner, next) <= ROUNDS
    }

    /// The most rounds of loops that an invocation goes through for a whole strip, forward or backward.
    fn rounds(self, rows: u32, inner: u32, next: u32) -> u64 {
        let [tile_rows, tile_quads] = self.tile().map(u64::from);
        let [rows, inner, next] = [rows, inner, next].map(u64::from);
        // Of a sum of so many products.
        let sum = |length: u64| match self {
            // With the compiler's checks, loops over registers are not unrolled.
            Self::Subgroup if cfg!(feature = "checked-shaders") => 10 * length + 1,
            Self::Subgroup => length / 4 + 1,
            Self::Workgroup => 21 * length / 16 + 1,
        };
        let tiles = rows.div_ceil(tile_rows);
        let own_rows = self.rounds_of_rows();
        let forward = tiles * (sum(inner) + 2 * own_rows);
        let weights = inner.div_ceil(4 * tile_quads) * (sum(rows) + own_rows);
        let backward = tiles * (sum(next) + 2 * own_rows) + weights;
        forward.max(backward)
    }

    /// Tiles of a matrix that an invocation goes through, where there are more than workgroups.
    pub(crate) fn turns(self, rows: u32, columns: u32) -> u64 {
        let [tile_rows, tile_quads] = self.tile();
        let strips = u64::from(columns.div_ceil(4 * tile_quads).div_ceil(self.strips(columns)));
        strips * u64::from(rows.div_ceil(tile_rows).div_ceil(self.row_tiles(rows)))
    }

    /// The rounds of loops for a tile of sums of so many products, and for what is done with its rows.
    pub(crate) fn rounds_of_tile(self, length: u32) -> u64 {
        self.rounds_of_sum(length) + 2 * self.rounds_of_rows()
    }

    /// The rounds of loops over an invocation's rows of a tile.
    fn rounds_of_rows(self) -> u64 {
        match self {
            Self::Subgroup => u64::from(self.tile()[0]) + 2,
            Self::Workgroup => 6,
        }
    }

    /// The rounds for a sum of so many products: without the compiler's checks, loops over registers are
    /// unrolled.
    pub(crate) fn rounds_of_sum(self, length: u32) -> u64 {
        let length = u64::from(length);
        match self {
            Self::Subgroup if cfg!(feature = "checked-shaders") => 10 * length + 1,
            Self::Subgroup => length / 4 + 1,
            Self::Workgroup if cfg!(feature = "checked-shaders") => 21 * length / 16 + 1,
            Self::Workgroup => length / 16 + 1,
        }
    }

    /// Rows of the chunks that divided rows come in: at most 64 chunks, as each workgroup joins what is
    /// known of all.
    pub(crate) fn chunk(self, rows: u32) -> u32 {
        let tiles = rows.div_ceil(self.tile_rows());
        tiles.div_ceil(64) * self.tile_rows()
    }

    /// Slabs for a sum over as many rows, of which each takes `bytes` for what it adds up to.
    pub(crate) fn slabs(rows: u32, bytes: u64) -> u32 {
        const MOST_BYTES: u64 = 32 << 20;
        let most = (MOST_BYTES / bytes.max(1)).clamp(1, 16) as u32;
        (rows / 1024).clamp(1, most)
    }

    /// `TILE_ROWS` and `TILE_QUADS`.
    pub(crate) fn tile(self) -> [u32; 2] {
        match self {
            Self::Subgroup => [32, 8],
            Self::Workgroup => [64, 8],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_loops_are_divided() {
        let core = Core::Subgroup;
        // The compiler's checks make for more rounds.
        assert_eq!(core.divides(16_384, 64, 64, 3), cfg!(feature = "checked-shaders"));
        assert!(core.divides(32_768, 64, 64, 3));
        // A GPU has its own reasons.
        let core = Core::Workgroup;
        assert!(!core.divides(1000, 1, 1000, 1));
        assert!(core.divides(1000, 1, 10_000, 1));
        assert!(core.divides(1025, 1, 1, 1));
    }

    #[test]
    fn has_the_shaders_numbers() {
        let texts = [
            (Core::Subgroup, include_str!("../../shaders/shared/tile_subgroup.wgsl")),
            (Core::Workgroup, include_str!("../../shaders/shared/tile_workgroup.wgsl")),
        ];
        for (core, text) in texts {
            let [rows, quads] = core.tile();
            assert!(text.contains(&format!("const TILE_ROWS = {rows}u;")));
            assert!(text.contains(&format!("const TILE_QUADS = {quads}u;")));
        }
    }
}
