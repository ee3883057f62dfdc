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
