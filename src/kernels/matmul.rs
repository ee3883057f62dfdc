//! `shaders/kernels/matmul.wgsl`: the product of two matrices, either one plain or transposed.
//!
//! Its twin is [`crate::reference::matmul`].

use wgpu::Device;

use super::matmul_quads::MatmulQuads;
pub use super::matmul_quads::{Buffers, Operand};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, check_rounds, uniform, workgroups};

const SOURCE: &str = include_str!("../../shaders/kernels/matmul.wgsl");

/// Invocations of a workgroup along each of its two dimensions.
const WORKGROUP_SIZE: u32 = 8;

/// Outputs of an invocation along each of the two dimensions.
const TILE: u32 = 4;

/// Multiplies two matrices: `outputs = left · right`. It is faster with rows of whole vectors of four.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::matmul::{Buffers, Matmul, Operand};
///
/// // The sums of a layer are inputs · weightsᵀ: here two samples of three features, and two neurons.
/// let inputs = upload(&device, &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// let weights = upload(&device, &[1.0_f32, 0.0, 1.0, 0.0, 1.0, 0.0]);
/// let sums = upload(&device, &[0.0_f32; 4]);
/// let dispatch = Matmul::new(&device)?.bind(&device, "layer 1", Buffers {
///     left: Operand::Plain(&Matrix::new(&inputs, 0, 2, 3)?),
///     right: Operand::Transposed(&Matrix::new(&weights, 0, 2, 3)?),
///     outputs: &Matrix::new(&sums, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_eq!(read(&device, &queue, &sums), [4.0, 2.0, 10.0, 5.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Matmul {
    kernel: Kernel<Product>,
    quads: MatmulQuads,
}

uniform! {
    struct Product {
        rows: u32,
        columns: u32,
        inner: u32,
        left_row_stride: u32,
        left_inner_stride: u32,
        right_inner_stride: u32,
        right_column_stride: u32,
    }
}

impl Matmul {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device) -> Result<Self> {
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Ok(Self {
            kernel: Kernel::new(device, "matmul", SOURCE, &constants)?,
            quads: MatmulQuads::new(device)?,
        })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if rows are not contiguous,
    /// [`Error::TooMany`](crate::Error::TooMany) if a software adapter would not reach the end of a sum
    /// (beyond 65,000 products), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { left, right, outputs } = buffers;
        let [rows, inner] = left.shape();
        let [right_inner, columns] = right.shape();
        if right_inner != inner {
            let needed = match right {
                Operand::Plain(_) => [inner, columns],
                Operand::Transposed(_) => [columns, inner],
            };
            right.matrix().expect("matmul", "right", needed)?;
        }
        for (name, operand) in [("left", left), ("right", right)] {
            let matrix = operand.matrix();
            matrix.expect("matmul", name, [matrix.rows(), matrix.columns()])?;
        }
        outputs.expect("matmul", "outputs", [rows, columns])?;
        if let Some(dispatch) = self.quads.bind(device, place, buffers)? {
            return Ok(dispatch);
        }
        let [left_row_stride, left_inner_stride] = left.strides();
        let [right_inner_stride, right_column_stride] = right.strides();
        let product = Product {
            rows,
            columns,
            inner,
            left_row_stride,
            left_inner_stride,
            right_inner_stride,
            right_column_stride,
        };
        let tiles = |length: u32| workgroups(length.into(), TILE * WORKGROUP_SIZE);
        // An invocation's tiles, each with a sum, and with loops over what it writes.
        let turns = |length: u32| {
            u64::from(length).div_ceil((TILE * WORKGROUP_SIZE * tiles(length)).into())
        };
        let of_a_tile = u64::from(inner) + u64::from(TILE * (TILE + 2));
        let rounds = turns(rows) * turns(columns) * of_a_tile;
        check_rounds(device, "matmul", || format!("sums of {inner} products"), rounds)?;
        self.kernel.bind(
            device,
            place,
            product,
            &[left.matrix(), right.matrix(), outputs],
            [tiles(columns), tiles(rows), 1],
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    /// Rows, columns, and the length of the sums.
    const PRODUCTS: [[u32; 3]; 15] = [
        [1, 1, 1],
        [1, 5, 9],
        [5, 1, 33],
        [4, 4, 4],
        [33, 31, 65],
        [64, 10, 128],
        [67, 130, 3],
        [3, 3, 2000],
        [129, 65, 257],
        // Whole vectors of four: less than a tile, a tile, and more; sums of no multiple of four
        // where the left factor is transposed.
        [4, 4, 7],
        [32, 32, 32],
        [36, 100, 61],
        [100, 36, 260],
        // Large enough for several tiles at once.
        [260, 308, 380],
        [260, 308, 377],
    ];

    pub(super) fn compare(
        gpu: &mut TestGpu,
        [rows, columns, inner]: [u32; 3],
        transposed: [bool; 2],
    ) {
        let kernel = Matmul::new(&gpu.gpu.device).unwrap();
        let left = gpu.random([rows, inner]);
        let right = gpu.random([inner, columns]);
        let stored = |matrix: &Array2<f64>, transposed: bool| match transposed {
            false => matrix.clone(),
            true => matrix.t().to_owned(),
        };
        let on_gpu =
            [gpu.upload(&stored(&left, transposed[0])), gpu.upload(&stored(&right, transposed[1]))];
        let operand = |index: usize| match transposed[index] {
            false => Operand::Plain(&on_gpu[index]),
            true => Operand::Transposed(&on_gpu[index]),
        };
        let outputs = gpu.zeros([rows, columns]);
        let buffers = Buffers { left: operand(0), right: operand(1), outputs: &outputs };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::matmul(left.view(), right.view());
        // A sum of `inner` products below 1, each addition rounded: √inner roundings are usual,
        // 2·√inner·2⁻²⁴·√inner bounds them here.
        let bound = 2.0 * f64::from(inner) * f64::from(f32::EPSILON);
        let what = format!("{rows} × {columns} × {inner}, transposed {transposed:?}");
        gpu.compare(&what, &gpu.read(&outputs), &expected, bound, 1e-6);
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for product in PRODUCTS {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                compare(gpu, product, transposed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases::compare;
    use super::*;
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference() {
        // The second device has what the first must do without: subgroups.
        for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
            cases::matches_the_reference(&mut gpu);
        }
    }

    #[test]
    fn walks_more_rows_than_workgroups() {
        let rows = TILE * WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 5;
        compare(&mut TestGpu::new(), [rows, 1, 1], [false, false]);
        compare(&mut TestGpu::new(), [1, rows, 1], [false, true]);
        // 32 rows or columns are a tile of whole vectors on software adapters, and 64 rows elsewhere.
        for (mut gpu, rows) in [(TestGpu::with_subgroups(), 32), (TestGpu::new(), 64)] {
            compare(&mut gpu, [rows * crate::gpu::MAX_WORKGROUPS + 4, 4, 4], [false, false]);
            compare(&mut gpu, [4, 32 * crate::gpu::MAX_WORKGROUPS + 4, 1], [true, false]);
        }
    }

    #[test]
    fn has_the_shader_s_tile() {
        assert!(SOURCE.contains(&format!("const TILE = {TILE}u;")));
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let gpu = TestGpu::new();
        let kernel = Matmul::new(&gpu.gpu.device).unwrap();
        let [left, right, outputs] = [[4, 3], [5, 2], [4, 2]].map(|shape| gpu.zeros(shape));
        let buffers = Buffers {
            left: Operand::Plain(&left),
            right: Operand::Plain(&right),
            outputs: &outputs,
        };
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err();
        assert_eq!(error.to_string(), "matmul: right is 5 × 2, but 3 × 2 is needed");
    }
}
