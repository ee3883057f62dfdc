//! How a device multiplies matrices: in tiles that a subgroup owns, or a workgroup.

use std::thread;

use wgpu::{Device, DeviceType, Features};

use super::workgroups;

/// What a kernel that multiplies matrices computes at once: a patch of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    owner: Owner,
    /// The patch's tiles, down and across: `TILES_DOWN` and `TILES_ACROSS`.
    tiles: [u32; 2],
}

/// Which of the shaders/shared/tile_*.wgsl the kernel ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// `tile_subgroup.wgsl`: software adapters, if the app's device has subgroups.
    Subgroup,
    /// `tile_workgroup.wgsl`: all others.
    Workgroup,
}

impl Core {
    /// A tile alone, which serves products of all shapes.
    pub(crate) fn for_device(device: &Device) -> Self {
        let info = device.adapter_info();
        let has_subgroups = device.features().contains(Features::SUBGROUP)
            && [info.subgroup_min_size, info.subgroup_max_size] == [8; 2];
        let owner = match info.device_type {
            DeviceType::Cpu if has_subgroups => Owner::Subgroup,
            _ => Owner::Workgroup,
        };
        Self { owner, tiles: [1, 1] }
    }

    /// The patch for a product of this shape, each value the sum of `inner` products.
    ///
    /// Four tiles read half as much for what they compute, but take six times as long to compile, and
    /// there has to be a strip of columns for each of a CPU's threads.
    pub(crate) fn for_product(device: &Device, [rows, columns]: [u32; 2], inner: u32) -> Self {
        const MULTIPLICATIONS: u64 = 15_000_000;
        let one = Self::for_device(device);
        let four = Self { tiles: [2, 2], ..one };
        let [patch_rows, patch_quads] = four.patch();
        let threads = thread::available_parallelism().map_or(1, usize::from) as u32;
        let work = u64::from(rows) * u64::from(columns) * u64::from(inner);
        let has_work =
            work > MULTIPLICATIONS && rows >= patch_rows && columns / (4 * patch_quads) >= threads;
        if one.owner == Owner::Subgroup && has_work { four } else { one }
    }

    /// All that a product may have.
    pub(crate) fn for_products(device: &Device) -> Vec<Self> {
        let one = Self::for_device(device);
        match one.owner {
            Owner::Subgroup => vec![one, Self { tiles: [2, 2], ..one }],
            Owner::Workgroup => vec![one],
        }
    }

    /// Those of all devices.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let of = |owner: Owner| [[1, 1], [2, 2]].map(|tiles| Self { owner, tiles });
        [Owner::Subgroup, Owner::Workgroup].into_iter().flat_map(of).collect()
    }

    /// The text of a kernel for this patch, of the two that it has.
    pub(crate) fn text(self, for_subgroups: &str, for_workgroups: &str) -> String {
        let text = match self.owner {
            Owner::Subgroup => for_subgroups,
            Owner::Workgroup => for_workgroups,
        };
        let [down, across] = self.tiles;
        format!("{text}\nconst TILES_DOWN = {down}u;\nconst TILES_ACROSS = {across}u;\n")
    }

    /// Workgroups for the strips of a matrix, each as wide as a patch.
    pub(crate) fn strips(self, columns: u32) -> u32 {
        workgroups(columns.into(), 4 * self.patch()[1])
    }

    /// Workgroups for the patches of a strip.
    pub(crate) fn row_patches(self, rows: u32) -> u32 {
        workgroups(rows.into(), self.patch_rows())
    }

    /// Rows of a patch.
    pub(crate) fn patch_rows(self) -> u32 {
        self.patch()[0]
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
        (self.owner == Owner::Workgroup && is_large) || !self.can_walk(rows, inner, next)
    }

    /// Whether an invocation may go through a whole strip.
    pub(crate) fn can_walk(self, rows: u32, inner: u32, next: u32) -> bool {
        const ROUNDS: u64 = 56_000;
        self.rounds(rows, inner, next) <= ROUNDS
    }

    /// The most rounds of loops that an invocation goes through for a whole strip, forward or backward.
    fn rounds(self, rows: u32, inner: u32, next: u32) -> u64 {
        let is_unrolled = self.owner == Owner::Subgroup && !cfg!(feature = "checked-shaders");
        let sum = |length: u32| self.rounds_of_sum(length, is_unrolled);
        let patches = u64::from(rows.div_ceil(self.patch_rows()));
        let own_rows = self.rounds_of_rows();
        let forward = patches * (sum(inner) + 2 * own_rows);
        let weights = u64::from(inner.div_ceil(4 * self.patch()[1])) * (sum(rows) + own_rows);
        let backward = patches * (sum(next) + 2 * own_rows) + weights;
        forward.max(backward)
    }

    /// Patches of a matrix that an invocation goes through, where there are more than workgroups.
    pub(crate) fn turns(self, rows: u32, columns: u32) -> u64 {
        let [patch_rows, patch_quads] = self.patch();
        let strips = u64::from(columns.div_ceil(4 * patch_quads).div_ceil(self.strips(columns)));
        strips * u64::from(rows.div_ceil(patch_rows).div_ceil(self.row_patches(rows)))
    }

    /// The rounds of loops for a patch of sums of so many products, and for what is done with its rows.
    pub(crate) fn rounds_of_patch(self, length: u32) -> u64 {
        let is_unrolled = !cfg!(feature = "checked-shaders");
        self.rounds_of_sum(length, is_unrolled) + 2 * self.rounds_of_rows()
    }

    /// The rounds of loops over an invocation's rows of a patch.
    fn rounds_of_rows(self) -> u64 {
        let of_tile = match self.owner {
            Owner::Subgroup => 32 + 3,
            Owner::Workgroup => 4 + 3,
        };
        let [down, across] = self.tiles.map(u64::from);
        down * across * of_tile
    }

    /// The rounds for a sum of so many products, whose loops over registers are unrolled or, with the
    /// compiler's checks, are not.
    fn rounds_of_sum(self, length: u32, is_unrolled: bool) -> u64 {
        let length = u64::from(length);
        let [down, across] = self.tiles.map(u64::from);
        match (self.owner, is_unrolled) {
            (Owner::Subgroup, true) => length / 4 + 1,
            (Owner::Subgroup, false) => {
                length.div_ceil(4) * (1 + across + down * (37 + 32 * across))
            }
            (Owner::Workgroup, true) => length / 16 + 1,
            (Owner::Workgroup, false) if cfg!(feature = "checked-shaders") => {
                let steps = 16 * (1 + across + down * (1 + across));
                length.div_ceil(16) * (1 + 6 * (down + across) + steps)
            }
            (Owner::Workgroup, false) => 21 * length / 16 + 1,
        }
    }

    /// Rows of the chunks that divided rows come in: at most 64 chunks, as each workgroup joins what is
    /// known of all.
    pub(crate) fn chunk(self, rows: u32) -> u32 {
        let patches = rows.div_ceil(self.patch_rows());
        patches.div_ceil(64) * self.patch_rows()
    }

    /// Slabs for a sum over as many rows, of which each takes `bytes` for what it adds up to.
    pub(crate) fn slabs(rows: u32, bytes: u64) -> u32 {
        const MOST_BYTES: u64 = 32 << 20;
        let most = (MOST_BYTES / bytes.max(1)).clamp(1, 16) as u32;
        (rows / 1024).clamp(1, most)
    }

    /// `PATCH_ROWS` and `PATCH_QUADS`.
    pub(crate) fn patch(self) -> [u32; 2] {
        let [rows, quads] = self.tile();
        let [down, across] = self.tiles;
        [down * rows, across * quads]
    }

    /// `TILE_ROWS` and `TILE_QUADS`.
    fn tile(self) -> [u32; 2] {
        match self.owner {
            Owner::Subgroup => [32, 8],
            Owner::Workgroup => [64, 8],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_loops_are_divided() {
        let core = Core { owner: Owner::Subgroup, tiles: [1, 1] };
        // The compiler's checks make for more rounds.
        assert_eq!(core.divides(16_384, 64, 64, 3), cfg!(feature = "checked-shaders"));
        assert!(core.divides(32_768, 64, 64, 3));
        // A GPU has its own reasons.
        let core = Core { owner: Owner::Workgroup, tiles: [1, 1] };
        assert!(!core.divides(1000, 1, 1000, 1));
        assert!(core.divides(1000, 1, 10_000, 1));
        assert!(core.divides(1025, 1, 1, 1));
    }

    #[test]
    fn has_the_shaders_numbers() {
        let texts = [
            (Owner::Subgroup, include_str!("../../shaders/shared/tile_subgroup.wgsl")),
            (Owner::Workgroup, include_str!("../../shaders/shared/tile_workgroup.wgsl")),
        ];
        for (owner, text) in texts {
            let [rows, quads] = Core { owner, tiles: [1, 1] }.tile();
            assert!(text.contains(&format!("const TILE_ROWS = {rows}u;")));
            assert!(text.contains(&format!("const TILE_QUADS = {quads}u;")));
        }
    }
}
