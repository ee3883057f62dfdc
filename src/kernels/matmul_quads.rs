//! `shaders/kernels/matmul_quads.wgsl`: the product of two matrices whose rows are whole vectors of four.
//!
//! [`Matmul`](super::matmul::Matmul) chooses it where it serves. Its twin is
//! [`crate::reference::matmul`], too.

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, Texts, check_rounds, tiled, uniform, workgroups};
use crate::plan::{DeviceClass, Tiling, tiling_of_product};

const TEXTS: Texts = tiled!["kernels/matmul_quads.wgsl", "shared/blocks.wgsl", "shared/quads.wgsl"];

/// A factor, as it lies in memory or transposed.
///
/// See the example of [`Matmul`](super::matmul::Matmul).
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// As it lies in memory.
    Plain(&'a Matrix),
    /// Rows and columns exchanged.
    Transposed(&'a Matrix),
}

/// The inputs and outputs of the kernel: `outputs = left · right`.
///
/// See the example of [`Matmul`](super::matmul::Matmul).
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, inner]`, after the transposition.
    pub left: Operand<'a>,
    /// `[inner, columns]`, after the transposition.
    pub right: Operand<'a>,
    /// `[rows, columns]`.
    pub outputs: &'a Matrix,
}

/// The kernel, compiled for each patch that a product may have.
#[derive(Clone, Debug)]
pub(super) struct MatmulQuads(Vec<Products>);

/// The three products of a layer.
#[derive(Clone, Debug)]
struct Products {
    tiling: Tiling,
    /// `inputs · weightsᵀ`.
    plain_transposed: Kernel<Shape>,
    /// `grad_sums · weights`.
    plain_plain: Kernel<Shape>,
    /// `grad_sumsᵀ · inputs`.
    transposed_plain: Kernel<Shape>,
}

uniform! {
    struct Shape {
        rows: u32,
        columns: u32,
        inner: u32,
    }
}

impl<'a> Operand<'a> {
    pub(super) fn matrix(self) -> &'a Matrix {
        match self {
            Self::Plain(matrix) | Self::Transposed(matrix) => matrix,
        }
    }

    /// Rows and columns, as the product sees them.
    pub(super) fn shape(self) -> [u32; 2] {
        match self {
            Self::Plain(matrix) => [matrix.rows(), matrix.columns()],
            Self::Transposed(matrix) => [matrix.columns(), matrix.rows()],
        }
    }

    /// How far apart in memory neighbors of a column and of a row are, as the product sees them.
    pub(super) fn strides(self) -> [u32; 2] {
        match self {
            Self::Plain(matrix) => [matrix.columns(), 1],
            Self::Transposed(matrix) => [1, matrix.columns()],
        }
    }
}

impl MatmulQuads {
    /// Compiles the kernel for a device.
    pub(super) fn new(device: &Device) -> Result<Self> {
        let products = Tiling::all(DeviceClass::from(device)).into_iter();
        products.map(|tiling| Products::new(device, tiling)).collect::<Result<_>>().map(Self)
    }

    /// Binds the kernel to matrices whose shapes fit each other, if it can take them: their rows have
    /// to be whole vectors of four.
    pub(super) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Option<Dispatch>> {
        let Buffers { left, outputs, .. } = buffers;
        let [_, inner] = left.shape();
        let shape = [outputs.rows(), outputs.columns()];
        let tiling = tiling_of_product(DeviceClass::from(device), shape, inner);
        match self.0.iter().find(|products| products.tiling == tiling) {
            Some(products) => products.bind(device, place, buffers),
            None => Ok(None),
        }
    }
}

impl Products {
    fn new(device: &Device, tiling: Tiling) -> Result<Self> {
        let compile = |left: bool, right: bool| {
            let constants = [
                ("LEFT_TRANSPOSED", f64::from(u8::from(left))),
                ("RIGHT_TRANSPOSED", f64::from(u8::from(right))),
            ];
            let text = TEXTS.text(tiling);
            Kernel::trusted(device, "matmul_quads", &text, &constants)
        };
        Ok(Self {
            tiling,
            plain_transposed: compile(false, true)?,
            plain_plain: compile(false, false)?,
            transposed_plain: compile(true, false)?,
        })
    }

    fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Option<Dispatch>> {
        let Buffers { left, right, outputs } = buffers;
        let matrices = [left.matrix(), right.matrix(), outputs];
        if !matrices.iter().all(|matrix| matrix.columns().is_multiple_of(4)) {
            return Ok(None);
        }
        let kernel = match (left, right) {
            (Operand::Plain(_), Operand::Transposed(_)) => &self.plain_transposed,
            (Operand::Plain(_), Operand::Plain(_)) => &self.plain_plain,
            (Operand::Transposed(_), Operand::Plain(_)) => &self.transposed_plain,
            (Operand::Transposed(_), Operand::Transposed(_)) => return Ok(None),
        };
        let tiling = self.tiling;
        let [_, inner] = left.shape();
        let [rows, columns] = [outputs.rows(), outputs.columns()];
        let [strips, patches] = [tiling.strips(columns), tiling.row_patches(rows)];
        let groups = [workgroups(strips.into(), 1), workgroups(patches.into(), 1), 1];
        let turns = strips.div_ceil(groups[0]) * patches.div_ceil(groups[1]);
        let rounds = u64::from(turns) * tiling.rounds_of_patch(inner);
        check_rounds(device, "matmul_quads", || format!("sums of {inner} products"), rounds)?;
        kernel.bind(device, place, Shape { rows, columns, inner }, &matrices, groups).map(Some)
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu, (_, tiling): (DeviceClass, Tiling)) {
        let products = Products::new(&gpu.gpu.device, tiling).unwrap();
        // Rows, columns, and the length of the sums: less than a patch, a patch, and parts of more.
        for [rows, columns, inner] in [[4, 8, 20], [128, 64, 16], [260, 132, 52]] {
            let left = gpu.random([rows, inner]);
            let right = gpu.random([inner, columns]);
            let outputs = gpu.zeros([rows, columns]);
            let [plain, turned] = [&left, &left.t().to_owned()].map(|left| gpu.upload(left));
            let [other, other_turned] =
                [&right, &right.t().to_owned()].map(|right| gpu.upload(right));
            for (left_operand, right_operand) in [
                (Operand::Plain(&plain), Operand::Transposed(&other_turned)),
                (Operand::Plain(&plain), Operand::Plain(&other)),
                (Operand::Transposed(&turned), Operand::Plain(&other)),
            ] {
                let buffers =
                    Buffers { left: left_operand, right: right_operand, outputs: &outputs };
                let dispatch = products.bind(&gpu.gpu.device, "test", buffers).unwrap();
                gpu.run(&[&dispatch.expect("rows are whole vectors of four")]);
                let expected = reference::matmul(left.view(), right.view());
                let bound = 2.0 * f64::from(inner) * f64::from(f32::EPSILON);
                let what = format!("{tiling:?}, {rows} × {columns} × {inner}");
                gpu.compare(&what, &gpu.read(&outputs), &expected, bound, 1e-6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::TestGpu;

    /// In patches as well that no product of this device would be computed in.
    #[test]
    fn every_patch_matches_the_reference() {
        for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
            cases::matches_the_reference(&mut gpu, (class, tiling));
        }
    }
}
