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
    /// more dispatches: a GPU has room for many more workgroups than there are strips, while a CPU has
    /// not.
    pub(crate) fn divides(self, rows: u32, columns: u32, inner: u32) -> bool {
        const MULTIPLICATIONS: u64 = 15_000_000;
        const ROWS: u32 = 1024;
        let product = u64::from(rows) * u64::from(columns) * u64::from(inner);
        self == Self::Workgroup && (rows > ROWS || product > MULTIPLICATIONS)
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
