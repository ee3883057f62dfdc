//! `shaders/matmul_quads.wgsl`: the product of two matrices whose rows are whole vectors of four.
//!
//! [`Matmul`](super::matmul::Matmul) chooses it where it serves. Its twin is
//! [`crate::reference::matmul`], too.

use wgpu::Device;

use super::matmul::{Buffers, Operand};
use crate::error::Result;
use crate::gpu::{Core, Dispatch, Kernel, check_rounds};

const FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/matmul_quads.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
);
const FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/matmul_quads.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
);

/// The kernel, compiled for the three products of a layer.
#[derive(Clone, Debug)]
pub(super) struct MatmulQuads {
    core: Core,
    /// `inputs · weightsᵀ`.
    plain_transposed: Kernel,
    /// `grad_sums · weights`.
    plain_plain: Kernel,
    /// `grad_sumsᵀ · inputs`.
    transposed_plain: Kernel,
}

impl MatmulQuads {
    /// Compiles the kernel for a device.
    pub(super) fn new(device: &Device) -> Result<Self> {
        let core = Core::for_device(device);
        let compile = |left: bool, right: bool| {
            let constants = [
                ("LEFT_TRANSPOSED", f64::from(u8::from(left))),
                ("RIGHT_TRANSPOSED", f64::from(u8::from(right))),
            ];
            let source = core.choose(FOR_SUBGROUPS, FOR_WORKGROUPS);
            Kernel::trusted(device, "matmul_quads", source, &constants)
        };
        Ok(Self {
            core,
            plain_transposed: compile(false, true)?,
            plain_plain: compile(false, false)?,
            transposed_plain: compile(true, false)?,
        })
    }

    /// Binds the kernel to matrices whose shapes fit each other, if it can take them: their rows have
    /// to be whole vectors of four.
    pub(super) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Option<Dispatch>> {
        let Buffers { left, right, outputs } = buffers;
        let matrices = [left.matrix(), right.matrix(), outputs];
        let kernel = match (left, right) {
            (Operand::Plain(_), Operand::Transposed(_)) => &self.plain_transposed,
            (Operand::Plain(_), Operand::Plain(_)) => &self.plain_plain,
            (Operand::Transposed(_), Operand::Plain(_)) => &self.transposed_plain,
            (Operand::Transposed(_), Operand::Transposed(_)) => return Ok(None),
        };
        if !matrices.iter().all(|matrix| matrix.columns().is_multiple_of(4)) {
            return Ok(None);
        }
        let [_, inner] = left.shape();
        let [rows, columns] = [outputs.rows(), outputs.columns()];
        let uniform = [rows, columns, inner];
        let groups = [self.core.strips(columns), self.core.row_tiles(rows), 1];
        let rounds = self.core.turns(rows, columns) * self.core.rounds_of_tile(inner);
        check_rounds(device, "matmul_quads", || format!("sums of {inner} products"), rounds)?;
        kernel.bind(device, place, bytemuck::cast_slice(&uniform), &matrices, groups).map(Some)
    }
}
