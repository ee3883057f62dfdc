//! `shaders/kernels/batch_statistics.wgsl`: mean and variance of every feature; moves the running ones.
//!
//! Its twin is [`crate::reference::batch_statistics`].

use wgpu::Device;

use super::LayoutKernel;
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::check_momentum;

/// How often the kernel walks down a column.
const PASSES: u64 = 3;

/// Computes the mean and the variance of each column of a batch, and moves the running ones towards them.
///
/// The statistics are those of Ioffe and Szegedy, arXiv 1502.03167, algorithm 1. The running ones follow
/// PyTorch's `BatchNorm1d`: `running_var` moves towards the variance that divides by `rows − 1`.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::batch_statistics::{BatchStatistics, Buffers};
///
/// let inputs = upload(&device, &[1.0_f32, 10.0, 5.0, 14.0]);
/// let [mean, variance] = [4, 2].map(|length| upload(&device, &vec![0.0_f32; length]));
/// let [running_mean, running_var] = [0.0_f32, 1.0].map(|value| upload(&device, &[value; 2]));
/// let kernel = BatchStatistics::new(&device, 0.1)?;
/// let dispatch = kernel.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     mean: &Matrix::new(&mean, 0, 2, 2)?,
///     variance: &Matrix::vector(&variance, 0, 2)?,
///     running_mean: &Matrix::vector(&running_mean, 0, 2)?,
///     running_var: &Matrix::vector(&running_var, 0, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// let mean = read(&device, &queue, &mean);
/// assert_close(&[mean[0] + mean[2], mean[1] + mean[3]], &[3.0, 12.0]);
/// assert_close(&read(&device, &queue, &variance), &[4.0, 4.0]);
/// assert_close(&read(&device, &queue, &running_mean), &[0.1 * 3.0, 0.1 * 12.0]);
/// assert_close(&read(&device, &queue, &running_var), &[0.9 + 0.1 * 8.0; 2]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    kernel: LayoutKernel<Batch>,
    momentum: f32,
}

/// The inputs and outputs of the kernel.
///
/// See the example of [`BatchStatistics`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`, at least two rows. The rows may be any distance apart, or those of images, and
    /// may start at any value of a buffer.
    pub inputs: &'a Matrix,
    /// `[2, columns]`: the mean is the sum of the two rows. One `f32` would be too coarse for a mean that is
    /// large against the standard deviation.
    pub mean: &'a Matrix,
    /// `[1, columns]`: the variance, which divides by `rows`.
    pub variance: &'a Matrix,
    /// `[1, columns]`: moves towards the mean.
    pub running_mean: &'a Matrix,
    /// `[1, columns]`: moves towards the variance that divides by `rows − 1`.
    pub running_var: &'a Matrix,
}

uniform! {
    struct Batch {
        inputs: Layout,
        rows: u32,
        columns: u32,
        momentum: f32,
        unbias: f32,
    }
}

impl BatchStatistics {
    /// Compiles the kernel for a device. With a momentum from 0 to 1,
    /// `running = (1 − momentum) · running + momentum · batch`; 0.1 is PyTorch's default.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `momentum` is out of range,
    /// [`Error::Wgpu`] if the driver does not compile the shader, [`Error::DeviceLost`].
    pub fn new(device: &Device, momentum: f32) -> Result<Self> {
        check_momentum(momentum)?;
        let source = concat!(
            include_str!("../../shaders/kernels/batch_statistics.wgsl"),
            include_str!("../../shaders/shared/lane_sum.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let kernel = LayoutKernel::summing(device, "batch_statistics", source, &[])?;
        Ok(Self { kernel, momentum })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::BatchTooSmall`] if there are fewer than two rows, [`Error::Shape`] if the shapes do
    /// not fit each other, [`Error::Placement`] if the rows of an output are not contiguous,
    /// [`Error::TooMany`] if a software adapter would not reach the last rows (beyond five million), and what
    /// wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, mean, variance, running_mean, running_var } = buffers;
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        if rows < 2 {
            return Err(Error::BatchTooSmall { rows: rows.into() });
        }
        let kernel = "batch_statistics";
        mean.expect(kernel, "mean", [2, columns])?;
        variance.expect(kernel, "variance", [1, columns])?;
        running_mean.expect(kernel, "running_mean", [1, columns])?;
        running_var.expect(kernel, "running_var", [1, columns])?;
        let unbias = (f64::from(rows) / (f64::from(rows) - 1.0)) as f32;
        let inputs = &inputs.aligned(device);
        let (kernel, workgroups) = self.kernel.sum(device, kernel, inputs, PASSES)?;
        kernel.bind(
            device,
            place,
            Batch { inputs: inputs.layout(), rows, columns, momentum: self.momentum, unbias },
            &[inputs, mean, variance, running_mean, running_var],
            workgroups,
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::kernels::normalize::cases::hard_columns;
    use crate::reference;

    fn compare(gpu: &mut TestGpu, what: &str, inputs: &Array2<f64>) {
        for arrangement in Arrangement::ALL {
            compare_arranged(gpu, &format!("{what}, {arrangement:?}"), inputs, arrangement);
        }
    }

    pub(super) fn compare_arranged(
        gpu: &mut TestGpu,
        what: &str,
        inputs: &Array2<f64>,
        arrangement: Arrangement,
    ) {
        let columns = inputs.ncols() as u32;
        let kernel = BatchStatistics::new(&gpu.gpu.device, 0.1).unwrap();
        let old_mean = gpu.random_vector(columns);
        let mut running_mean = old_mean.clone();
        let mut running_var = gpu.random_vector(columns).mapv(f64::abs);
        let [mean, variance] = [gpu.zeros([2, columns]), gpu.zeros([1, columns])];
        let running = [gpu.upload_vector(&running_mean), gpu.upload_vector(&running_var)];
        let buffers = Buffers {
            inputs: &gpu.arrange(inputs, arrangement),
            mean: &mean,
            variance: &variance,
            running_mean: &running[0],
            running_var: &running[1],
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::batch_statistics(inputs);
        expected.move_running(
            inputs.nrows(),
            f64::from(0.1_f32),
            &mut running_mean,
            &mut running_var,
        );
        // The mean is as exact as it needs to be: against the deviation, not against itself.
        let deviation = expected.variance.mapv(f64::sqrt);
        let bounds = 1e-6 * &deviation + 1e-14 * expected.mean.mapv(f64::abs) + 1e-38;
        gpu.compare_means(&format!("{what}: mean"), &gpu.read(&mean), &expected.mean, &bounds);
        // Squares below the smallest normal float (1e-38) may count as zero.
        let what = &format!("{what}: variance");
        gpu.compare(what, &gpu.read(&variance), &expected.variance, 1e-37, 2e-6);
        gpu.compare(what, &gpu.read(&running[1]), &running_var, 1e-37, 2e-6);
        // Old and new may cancel: the rounding is that of the larger one, and the mean's as above.
        let size = old_mean.mapv(f64::abs) + expected.mean.mapv(f64::abs);
        let bounds = 3e-7 * size + 0.1 * 1e-6 * deviation;
        let what = format!("{what}: running_mean");
        gpu.compare_within(&what, &gpu.read(&running[0]), &running_mean, &bounds);
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for shape in SHAPES.into_iter().filter(|&[rows, _]| rows > 1).chain([[2, 1], [100_003, 3]])
        {
            let inputs = gpu.random(shape);
            compare(gpu, &format!("{shape:?}"), &inputs);
        }
    }

    pub(crate) fn hard_columns_keep_their_digits(gpu: &mut TestGpu) {
        for rows in [2, 33, 1000] {
            let inputs = hard_columns(gpu, rows);
            compare(gpu, &format!("hard columns, {rows} rows"), &inputs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases::compare_arranged;
    use super::*;
    use crate::gpu::MAX_WORKGROUPS;
    use crate::gpu::testing::{Arrangement, TestGpu};
    use crate::kernels::COLUMNS;

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn walks_more_columns_than_workgroups() {
        let mut gpu = TestGpu::new();
        let what = "more columns than workgroups";
        let inputs = gpu.random([2, COLUMNS * MAX_WORKGROUPS + 5]);
        compare_arranged(&mut gpu, what, &inputs, Arrangement::Dense);
    }

    #[test]
    fn walks_more_pixels_than_workgroups() {
        let mut gpu = TestGpu::new();
        let inputs = gpu.random([600_000, 2]);
        compare_arranged(&mut gpu, "more pixels than workgroups", &inputs, Arrangement::Images);
    }

    #[test]
    fn hard_columns_keep_their_digits() {
        cases::hard_columns_keep_their_digits(&mut TestGpu::new());
    }

    #[test]
    fn one_row_is_an_error() {
        let gpu = TestGpu::new();
        let kernel = BatchStatistics::new(&gpu.gpu.device, 0.1).unwrap();
        let [row, mean] = [gpu.zeros([1, 3]), gpu.zeros([2, 3])];
        let buffers = Buffers {
            inputs: &row,
            mean: &mean,
            variance: &row,
            running_mean: &row,
            running_var: &row,
        };
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err();
        assert!(matches!(error, Error::BatchTooSmall { rows: 1 }), "{error}");
    }
}
