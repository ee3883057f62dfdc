//! `shaders/kernels/add_biases.wgsl`: adds the biases to every row, in place.
//!
//! Its twin is [`crate::reference::add_biases`].

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, uniform};

/// Adds the biases to each row: `sums[r, c] += biases[c]`.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::add_biases::{AddBiases, Buffers};
///
/// let biases = upload(&device, &[10.0_f32, 20.0]);
/// let sums = upload(&device, &[1.0_f32, 2.0, 3.0, 4.0]);
/// let dispatch = AddBiases::new(&device)?.bind(&device, "output layer", Buffers {
///     biases: &Matrix::vector(&biases, 0, 2)?,
///     sums: &Matrix::new(&sums, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_eq!(read(&device, &queue, &sums), [11.0, 22.0, 13.0, 24.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AddBiases(Kernel<Shape>);

/// The inputs and outputs of the kernel.
///
/// See the example of [`AddBiases`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[1, columns]`: a bias for each column.
    pub biases: &'a Matrix,
    /// `[rows, columns]`: the kernel adds the biases to every row.
    pub sums: &'a Matrix,
}

uniform! {
    struct Shape {
        rows: u32,
        columns: u32,
    }
}

impl AddBiases {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device) -> Result<Self> {
        Kernel::new(
            device,
            "add_biases",
            include_str!("../../shaders/kernels/add_biases.wgsl"),
            &[("WORKGROUP_SIZE", WORKGROUP_SIZE.into())],
        )
        .map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if rows are not contiguous, and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { biases, sums } = buffers;
        sums.expect("add_biases", "sums", [sums.rows(), sums.columns()])?;
        biases.expect("add_biases", "biases", [1, sums.columns()])?;
        self.0.bind(
            device,
            place,
            Shape { rows: sums.rows(), columns: sums.columns() },
            &[biases, sums],
            linear_workgroups(sums.values()),
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::{SHAPES, TestGpu};
    use crate::reference;

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let kernel = AddBiases::new(&gpu.gpu.device).unwrap();
        // The last has more elements than 65,535 workgroups have invocations.
        for shape in SHAPES.into_iter().chain([[70_000, 61]]) {
            let sums = gpu.random(shape);
            let biases = gpu.random_vector(shape[1]);
            let on_gpu = gpu.upload(&sums);
            let buffers = Buffers { biases: &gpu.upload_vector(&biases), sums: &on_gpu };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let expected = reference::add_biases(&sums, &biases);
            // One addition, rounded once.
            let what = format!("add_biases {shape:?}");
            gpu.compare(&what, &gpu.read(&on_gpu), &expected, 0.0, f64::from(f32::EPSILON));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }
}
