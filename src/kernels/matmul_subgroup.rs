//! `shaders/matmul_subgroup.wgsl`: the matrix product for software adapters.
//!
//! [`Matmul`](super::matmul::Matmul) chooses it where it serves. Its twin is
//! [`crate::reference::matmul`], too.

use wgpu::{Device, DeviceType, Features};

use super::matmul::{Buffers, Operand};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, workgroups};

const SOURCE: &str = include_str!("../../shaders/matmul_subgroup.wgsl");

/// Invocations of a subgroup; the shader's registers are laid out for as many.
const LANES: u32 = 8;

/// Rows of the outputs that a subgroup owns.
const ROWS: u32 = 32;

/// The kernel, compiled for the three products of a layer.
#[derive(Clone, Debug)]
pub(super) struct MatmulSubgroup {
    /// `inputs · weightsᵀ`.
    plain_transposed: Kernel,
    /// `grad_sums · weights`.
    plain_plain: Kernel,
    /// `grad_sumsᵀ · inputs`.
    transposed_plain: Kernel,
}

impl MatmulSubgroup {
    /// Compiles the kernel, if the device is a software adapter with subgroups of the right size.
    pub(super) fn for_device(device: &Device) -> Result<Option<Self>> {
        let info = device.adapter_info();
        let serves = info.device_type == DeviceType::Cpu
            && device.features().contains(Features::SUBGROUP)
            && [info.subgroup_min_size, info.subgroup_max_size] == [LANES; 2];
        if !serves {
            return Ok(None);
        }
        let compile = |left: bool, right: bool| {
            let constants = [
                ("LEFT_TRANSPOSED", f64::from(u8::from(left))),
                ("RIGHT_TRANSPOSED", f64::from(u8::from(right))),
            ];
            Kernel::trusted(device, "matmul_subgroup", SOURCE, &constants)
        };
        Ok(Some(Self {
            plain_transposed: compile(false, true)?,
            plain_plain: compile(false, false)?,
            transposed_plain: compile(true, false)?,
        }))
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
        let groups = [workgroups(columns.into(), 4 * LANES), workgroups(rows.into(), ROWS), 1];
        kernel.bind(device, place, bytemuck::cast_slice(&uniform), &matrices, groups).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shader_s_numbers() {
        assert!(SOURCE.contains(&format!("const LANES = {LANES}u;")));
        assert!(SOURCE.contains(&format!("const ROWS = {ROWS}u;")));
    }
}
