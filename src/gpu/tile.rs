//! How a device multiplies matrices: in tiles that a subgroup owns, or a workgroup.

use wgpu::{AdapterInfo, Device, DeviceType, Features};

use super::workgroups;

/// The steps of a product that a workgroup reads at once.
const DEPTH: u32 = 16;

/// Which of the shaders/shared/tile_*.wgsl a kernel that multiplies matrices ends in, and how many tiles,
/// down and across, it computes at once: a patch of them, `TILES_DOWN` and `TILES_ACROSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// `tile_subgroup.wgsl`: software adapters, if the app's device has subgroups.
    Subgroup([u32; 2]),
    /// `tile_workgroup.wgsl`: all others.
    Workgroup([u32; 2]),
}

/// How the work of a layer is divided among workgroups. Each variant divides it further than the one before,
/// and takes more dispatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Division {
    /// A workgroup for each strip of the columns.
    Strips,
    /// Also a workgroup for each patch of the gradient of the weights.
    Weights,
    /// Also several workgroups for the rows of each strip.
    Rows,
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
        let info = device.adapter_info();
        let mut larger = Self::for_products(device).into_iter().skip(1);
        larger
            .rfind(|core| core.pays(&info, shape, inner))
            .unwrap_or_else(|| Self::for_device(device))
    }

    /// All that a product may have on a device, the smallest first. On a software adapter two tiles' loop
    /// over k is as much machine code (27 kB) as fits into a CPU's nearest cache, and with the compiler's
    /// checks it would be more.
    pub(crate) fn for_products(device: &Device) -> Vec<Self> {
        let info = device.adapter_info();
        let one = Self::for_device(device);
        let more = match one {
            Self::Subgroup(_) if cfg!(feature = "checked-shaders") => None,
            Self::Subgroup(_) => unrolls(&info.driver_info).then_some(Self::Subgroup([1, 2])),
            Self::Workgroup(_) => fewest_patches(&info).map(|_| Self::Workgroup([2, 2])),
        };
        [Some(one), more].into_iter().flatten().collect()
    }

    /// Whether a patch of several tiles is faster for a product of this shape: it reads less for what it
    /// computes, but leaves fewer workgroups. Depends on the shape alone, so that a batch is summed up in
    /// the same order on a machine with more cores.
    fn pays(self, info: &AdapterInfo, [rows, columns]: [u32; 2], inner: u32) -> bool {
        let [patch_rows, patch_quads] = self.patch();
        let [down, across] = [rows / patch_rows, columns / (4 * patch_quads)];
        match self {
            // It takes seconds more to compile, which thousands of steps of a smaller layer would not bring
            // back.
            Self::Subgroup(_) => {
                const MULTIPLICATIONS: u64 = 30_000_000;
                const STRIPS: u32 = 4;
                let work = u64::from(rows) * u64::from(columns) * u64::from(inner);
                down >= 1 && across >= STRIPS && work > MULTIPLICATIONS
            }
            Self::Workgroup(_) => fewest_patches(info)
                .is_some_and(|fewest| u64::from(down) * u64::from(across) >= fewest),
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

    /// How the work of a layer is divided. `next` are the columns of the next layer, or 0.
    ///
    /// A GPU has room for many more workgroups than there are strips, while a CPU has not. But Mesa's
    /// software adapter ends an invocation's loops, silently, after 65,535 rounds of all of them.
    pub(crate) fn division(self, rows: u32, inner: u32, next: u32) -> Division {
        if !self.can_walk(rows, inner, next) {
            return Division::Rows;
        }
        match self {
            Self::Subgroup(_) => Division::Strips,
            Self::Workgroup(_) => self.division_on_gpu(rows, inner, next),
        }
    }

    /// The cost is the number of times that a workgroup reads and waits: for 16 steps of a product, or for
    /// the rows of a patch that it reads again. A dispatch takes as long as several of these waits.
    fn division_on_gpu(self, rows: u32, inner: u32, next: u32) -> Division {
        const READS_OF_A_DISPATCH: u64 = 24;
        // One forward, three backward.
        const FURTHER_READS: u32 = 4;
        let [patch_rows, patch_quads] = self.patch();
        let behind_the_first = |patches: u32| u64::from(patches.saturating_sub(1));
        let reads_of_patch = inner.div_ceil(DEPTH) + next.div_ceil(DEPTH) + FURTHER_READS;
        let of_rows = behind_the_first(rows.div_ceil(patch_rows)) * u64::from(reads_of_patch);
        let of_weights =
            behind_the_first(inner.div_ceil(4 * patch_quads)) * u64::from(rows.div_ceil(DEPTH));
        // Dividing the rows takes a dispatch more forward, and one backward.
        if of_rows > 2 * READS_OF_A_DISPATCH {
            Division::Rows
        } else if of_weights > READS_OF_A_DISPATCH {
            Division::Weights
        } else {
            Division::Strips
        }
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
        let weights_of_strip =
            inner.div_ceil(4 * patch_quads) * (4 * patch_quads).div_ceil(patch_rows);
        let weights = u64::from(weights_of_strip) * (sum(rows) + own_rows);
        let backward = patches * (sum(next) + 2 * own_rows) + weights;
        forward.max(backward)
    }

    /// Patches of a matrix that an invocation goes through, where there are more than workgroups.
    pub(crate) fn turns(self, rows: u32, columns: u32) -> u64 {
        let [patch_rows, patch_quads] = self.patch();
        let strips = u64::from(columns.div_ceil(4 * patch_quads).div_ceil(self.strips(columns)));
        strips * u64::from(rows.div_ceil(patch_rows).div_ceil(self.row_patches(rows)))
    }

    /// The rounds of loops for a patch of sums of this many products, and for the work on its rows.
    pub(crate) fn rounds_of_patch(self, length: u32) -> u64 {
        self.rounds_of_sum(length) + 2 * self.rounds_of_rows()
    }

    /// The rounds of loops over an invocation's rows of a patch.
    pub(crate) fn rounds_of_rows(self) -> u64 {
        match self {
            Self::Subgroup([down, across]) => u64::from(down * across * (32 + 3)),
            Self::Workgroup([down, across]) => u64::from(down * across * 6),
        }
    }

    /// The rounds for a sum of this many products: without the compiler's checks, loops over registers are
    /// unrolled.
    fn rounds_of_sum(self, length: u32) -> u64 {
        let length = u64::from(length);
        match self {
            Self::Subgroup(_) if cfg!(feature = "checked-shaders") => 10 * length + 1,
            Self::Subgroup(_) => length / 4 + 1,
            Self::Workgroup(_) if cfg!(feature = "checked-shaders") => {
                21 * length.div_ceil(DEPTH.into()) + 1
            }
            Self::Workgroup(_) => length / u64::from(DEPTH) + 1,
        }
    }

    /// Rows of the chunks that divided rows come in: at most 64 chunks, as each workgroup joins what is
    /// known of all.
    pub(crate) fn chunk(self, rows: u32) -> u32 {
        let patches = rows.max(1).div_ceil(self.patch_rows());
        patches.div_ceil(64) * self.patch_rows()
    }

    /// Slabs for a sum over as many rows, of which each takes `bytes` for what it adds up to: on a GPU, where
    /// the sums alone would not keep it busy.
    pub(crate) fn slabs(self, rows: u32, bytes: u64) -> u32 {
        let (fewest_rows, most, most_bytes) = match self {
            Self::Subgroup(_) => (1024, 16, 32 << 20),
            Self::Workgroup(_) => (256, 64, 2 << 20),
        };
        let most = (most_bytes / bytes.max(1)).clamp(1, most) as u32;
        (rows / fewest_rows).clamp(1, most)
    }

    /// `PATCH_ROWS` and `PATCH_QUADS`.
    pub(crate) fn patch(self) -> [u32; 2] {
        match self {
            Self::Subgroup([down, across]) => [down * 32, across * 8],
            Self::Workgroup([down, across]) => [down * 64, across * 8],
        }
    }
}

/// The fewest patches of four tiles that keep a GPU busy: one for each multiprocessor of a large GPU, or
/// several for each of a small one. None if an invocation's registers do not hold the sums of four tiles,
/// as on Intel's, or if that is not known.
fn fewest_patches(info: &AdapterInfo) -> Option<u64> {
    const AMD: u32 = 0x1002;
    const APPLE: u32 = 0x106b;
    const NVIDIA: u32 = 0x10de;
    // Metal does not name the vendor.
    let is_known = [AMD, APPLE, NVIDIA].contains(&info.vendor) || info.name.starts_with("Apple");
    is_known.then_some(if info.device_type == DeviceType::DiscreteGpu { 128 } else { 64 })
}

/// Whether a software adapter's driver unrolls the loops over a patch's tiles. Mesa 22.3, 26.1 and 26.2
/// do; with 25.0, patches take several times as long as tiles for the same work. The versions between
/// were not tested.
fn unrolls(driver_info: &str) -> bool {
    !["Mesa 23.", "Mesa 24.", "Mesa 25."].iter().any(|version| driver_info.starts_with(version))
}

#[cfg(test)]
mod tests {
    use wgpu::Backend;

    use super::*;

    #[test]
    fn long_loops_are_divided() {
        let core = Core::Subgroup([1, 1]);
        // The compiler's checks make for more rounds.
        let of_many =
            if cfg!(feature = "checked-shaders") { Division::Rows } else { Division::Strips };
        assert_eq!(core.division(16_384, 64, 3), of_many);
        assert_eq!(core.division(32_768, 64, 3), Division::Rows);
        assert_eq!(core.division(60, 784, 100), Division::Strips);
        // A GPU has its own reasons.
        let core = Core::Workgroup([1, 1]);
        assert_eq!(core.division(64, 64, 128), Division::Strips);
        assert_eq!(core.division(1025, 1, 1), Division::Rows);
        assert_eq!(core.division(256, 784, 256), Division::Rows);
        // 784 inputs make 24 patches more than one, each with four reads. The rows are one patch.
        assert_eq!(core.division(60, 784, 100), Division::Weights);
        assert_eq!(core.division(60, 100, 100), Division::Strips);
        assert_eq!(core.division(64, 4096, 4096), Division::Weights);
    }

    #[test]
    fn patches_leave_a_gpu_enough_workgroups() {
        let adapter = |device_type, vendor, name: &str| AdapterInfo {
            vendor,
            name: name.to_owned(),
            ..AdapterInfo::new(device_type, Backend::Vulkan)
        };
        let pays = |info: &AdapterInfo, shape| Core::Workgroup([2, 2]).pays(info, shape, 64);
        let large = adapter(DeviceType::DiscreteGpu, 0x10de, "NVIDIA H200");
        // 8 × 16 patches, and a column less.
        assert!(pays(&large, [1024, 1024]));
        assert!(!pays(&large, [1024, 1023]));
        // Half a patch wide, however many rows there are.
        assert!(!pays(&large, [1 << 20, 32]));
        let small = adapter(DeviceType::IntegratedGpu, 0, "Apple M4");
        assert!(pays(&small, [1024, 512]));
        assert!(!pays(&small, [1023, 512]));
        for few_registers in [
            adapter(DeviceType::DiscreteGpu, 0x8086, "Intel(R) Arc(tm) A770 Graphics"),
            adapter(DeviceType::Other, 0, ""),
        ] {
            assert!(!pays(&few_registers, [4096, 4096]));
        }
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
            let is_deep = text.contains(&format!("const DEPTH = {DEPTH}u;"));
            assert_eq!(is_deep, matches!(core, Core::Workgroup(_)));
        }
    }
}
