//! How a device multiplies matrices: in tiles that a subgroup owns, or a workgroup.

use wgpu::{Device, DeviceType, Features};

use super::workgroups;

/// Which of the shaders/shared/tile_*.wgsl a kernel that multiplies matrices ends in, and how many tiles,
/// down and across, it computes at once: a patch of them, `TILES_DOWN` and `TILES_ACROSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// `tile_subgroup.wgsl`: software adapters, if the app's device has subgroups.
    Subgroup([u32; 2]),
    /// `tile_workgroup.wgsl`: all others.
    Workgroup([u32; 2]),
}

impl Core {
    /// A tile alone, which serves products of all shapes.
    pub(crate) fn for_device(device: &Device) -> Self {
        let info = device.adapter_info();
        let has_subgroups = device.features().contains(Features::SUBGROUP)
            && [info.subgroup_min_size, info.subgroup_max_size] == [8; 2];
        match info.device_type {
            DeviceType::Cpu if has_subgroups => Self::Subgroup([1, 1]),
            _ => Self::Workgroup([1, 1]),
        }
    }

    /// The patch for a product of this shape, each value the sum of `inner` products.
    pub(crate) fn for_product(device: &Device, shape: [u32; 2], inner: u32) -> Self {
        let device_type = device.adapter_info().device_type;
        let larger = Self::for_products(device).into_iter().skip(1);
        larger
            .filter(|core| core.pays(device_type, shape, inner))
            .last()
            .unwrap_or_else(|| Self::for_device(device))
    }

    /// All that a product may have on a device, the smallest first. With the compiler's checks, four tiles
    /// take a minute to compile on a software adapter.
    pub(crate) fn for_products(device: &Device) -> Vec<Self> {
        let one = Self::for_device(device);
        let unrolls = unrolls(&device.adapter_info().driver_info);
        match one {
            Self::Subgroup(_) if unrolls && !cfg!(feature = "checked-shaders") => {
                vec![one, Self::Subgroup([2, 2])]
            }
            Self::Subgroup(_) => vec![one],
            Self::Workgroup(_) => vec![one, Self::Workgroup([2, 2])],
        }
    }

    /// Whether a patch of more than a tile pays for a product of this shape: it reads half as much for what it
    /// computes, and leaves fewer workgroups. By the shape alone, so that a batch is summed up in the same order
    /// on a machine with more cores.
    fn pays(self, device_type: DeviceType, [rows, columns]: [u32; 2], inner: u32) -> bool {
        let [patch_rows, patch_quads] = self.patch();
        let [down, across] = [rows / patch_rows, columns / (4 * patch_quads)];
        match self {
            // It takes six times as long to compile, seconds that thousands of steps of a smaller layer would
            // not bring back.
            Self::Subgroup(_) => {
                const MULTIPLICATIONS: u64 = 30_000_000;
                const STRIPS: u32 = 4;
                let work = u64::from(rows) * u64::from(columns) * u64::from(inner);
                down >= 1 && across >= STRIPS && work > MULTIPLICATIONS
            }
            Self::Workgroup(_) => {
                // A workgroup for each multiprocessor of a large GPU, some for each of a small one. A software
                // adapter gains nothing by it.
                let busy = match device_type {
                    DeviceType::Cpu => return false,
                    DeviceType::IntegratedGpu => 64,
                    DeviceType::DiscreteGpu | DeviceType::VirtualGpu | DeviceType::Other => 128,
                };
                u64::from(down) * u64::from(across) >= busy
            }
        }
    }

    /// The text of a kernel, of the two that it has.
    pub(crate) fn text(self, for_subgroups: &str, for_workgroups: &str) -> String {
        let (text, [down, across]) = match self {
            Self::Subgroup(tiles) => (for_subgroups, tiles),
            Self::Workgroup(tiles) => (for_workgroups, tiles),
        };
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
        (matches!(self, Self::Workgroup(_)) && is_large) || !self.can_walk(rows, inner, next)
    }

    /// Whether an invocation may go through a whole strip.
    pub(crate) fn can_walk(self, rows: u32, inner: u32, next: u32) -> bool {
        const ROUNDS: u64 = 56_000;
        self.rounds(rows, inner, next) <= ROUNDS
    }

    /// The most rounds of loops that an invocation goes through for a whole strip, forward or backward.
    fn rounds(self, rows: u32, inner: u32, next: u32) -> u64 {
        let [patch_rows, patch_quads] = self.patch();
        let own_rows = self.rounds_of_rows();
        // With more of a margin than for a patch alone.
        let sum = |length: u32| match self {
            Self::Subgroup(_) => self.rounds_of_sum(length),
            Self::Workgroup(_) => self.rounds_of_sum(length).max(21 * u64::from(length) / 16 + 1),
        };
        let patches = u64::from(rows.div_ceil(patch_rows));
        let forward = patches * (sum(inner) + 2 * own_rows);
        let weights = u64::from(inner.div_ceil(4 * patch_quads)) * (sum(rows) + own_rows);
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
        self.rounds_of_sum(length) + 2 * self.rounds_of_rows()
    }

    /// The rounds of loops over an invocation's rows of a patch.
    fn rounds_of_rows(self) -> u64 {
        match self {
            Self::Subgroup([down, across]) => u64::from(down * across * (32 + 3)),
            Self::Workgroup([down, across]) => u64::from(down * across * 6),
        }
    }

    /// The rounds for a sum of so many products: without the compiler's checks, loops over registers are
    /// unrolled.
    fn rounds_of_sum(self, length: u32) -> u64 {
        let length = u64::from(length);
        match self {
            Self::Subgroup(_) if cfg!(feature = "checked-shaders") => 10 * length + 1,
            Self::Subgroup(_) => length / 4 + 1,
            Self::Workgroup([down, across]) if cfg!(feature = "checked-shaders") => {
                let step = u64::from(1 + across + down * (1 + across));
                (16 * step + 5) * length.div_ceil(16)
            }
            Self::Workgroup(_) => length / 16 + 1,
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
        match self {
            Self::Subgroup([down, across]) => [down * 32, across * 8],
            Self::Workgroup([down, across]) => [down * 64, across * 8],
        }
    }
}

/// Whether a software adapter's driver unrolls the loops over a patch's tiles. Mesa 22.3 and 26.1 do; on 25.0
/// four tiles take five times as long as one for the same work. Those between were not tried.
fn unrolls(driver_info: &str) -> bool {
    !["Mesa 23.", "Mesa 24.", "Mesa 25."].iter().any(|version| driver_info.starts_with(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_loops_are_divided() {
        let core = Core::Subgroup([1, 1]);
        // The compiler's checks make for more rounds.
        assert_eq!(core.divides(16_384, 64, 64, 3), cfg!(feature = "checked-shaders"));
        assert!(core.divides(32_768, 64, 64, 3));
        // A GPU has its own reasons.
        let core = Core::Workgroup([1, 1]);
        assert!(!core.divides(1000, 1, 1000, 1));
        assert!(core.divides(1000, 1, 10_000, 1));
        assert!(core.divides(1025, 1, 1, 1));
    }

    #[test]
    fn patches_leave_a_gpu_enough_workgroups() {
        let pays = |device_type, shape| Core::Workgroup([2, 2]).pays(device_type, shape, 64);
        // 8 × 16 patches, and a column less.
        assert!(pays(DeviceType::DiscreteGpu, [1024, 1024]));
        assert!(!pays(DeviceType::DiscreteGpu, [1024, 1023]));
        assert!(pays(DeviceType::IntegratedGpu, [1024, 512]));
        assert!(!pays(DeviceType::IntegratedGpu, [1023, 512]));
        // Half a patch wide: as many rows as there may be.
        assert!(!pays(DeviceType::DiscreteGpu, [1 << 20, 32]));
        assert!(!pays(DeviceType::Cpu, [4096, 4096]));
    }

    #[test]
    fn some_drivers_take_single_tiles_alone() {
        for version in ["22.3.6 (LLVM 15.0.6)", "26.1.6-1 (LLVM 21.1.8)"] {
            assert!(unrolls(&format!("Mesa {version}")), "{version}");
        }
        assert!(!unrolls("Mesa 25.0.7-2+deb13u1 (LLVM 19.1.7)"));
    }

    #[test]
    fn has_the_shaders_numbers() {
        let texts = [
            (Core::Subgroup([1, 1]), include_str!("../../shaders/shared/tile_subgroup.wgsl")),
            (Core::Workgroup([1, 1]), include_str!("../../shaders/shared/tile_workgroup.wgsl")),
        ];
        for (core, text) in texts {
            let [rows, quads] = core.patch();
            assert!(text.contains(&format!("const TILE_ROWS = {rows}u;")));
            assert!(text.contains(&format!("const TILE_QUADS = {quads}u;")));
        }
    }
}
