//! The texts of kernels that differ between the lanes of a CPU's vector register and the workgroups of a GPU: one
//! of two files is appended to them, and its constants.

use crate::plan::{Tile, Tiling};

/// The text of a kernel, for both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts {
    pub(crate) for_subgroups: &'static str,
    pub(crate) for_workgroups: &'static str,
}

/// The [`Texts`] of a kernel that multiplies matrices, from these files of `shaders`. To be called in a file of `src/kernels` or `src/fused`.
macro_rules! tiled {
    ($($file:literal),+ $(,)?) => {
        $crate::gpu::Texts {
            for_subgroups: concat!(
                $(include_str!(concat!("../../shaders/", $file)),)+
                include_str!("../../shaders/shared/tile_subgroup.wgsl"),
            ),
            for_workgroups: concat!(
                $(include_str!(concat!("../../shaders/", $file)),)+
                include_str!("../../shaders/shared/tile_workgroup.wgsl"),
            ),
        }
    };
}
pub(crate) use tiled;

/// The [`Texts`] of a kernel that takes whole steps. To be called as `tiled!`.
macro_rules! stepped {
    ($($file:literal),+ $(,)?) => {
        $crate::gpu::Texts {
            for_subgroups: concat!(
                $(include_str!(concat!("../../shaders/", $file)),)+
                include_str!("../../shaders/shared/steps_on_lanes.wgsl"),
            ),
            for_workgroups: concat!(
                $(include_str!(concat!("../../shaders/", $file)),)+
                include_str!("../../shaders/shared/steps_in_workgroup.wgsl"),
            ),
        }
    };
}
pub(crate) use stepped;

impl Texts {
    /// The text for a tiling.
    pub(crate) fn text(self, tiling: Tiling) -> String {
        let text = match tiling.tile {
            Tile::Subgroup { .. } => self.for_subgroups,
            Tile::Workgroup(_) => self.for_workgroups,
        };
        format!("{text}\n{}", tiling.constants())
    }
}
