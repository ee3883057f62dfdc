//! `shaders/kernels/normalize_gradients.wgsl`: the gradients of gamma and beta.
//!
//! Its twin is [`crate::reference::normalize_gradients`].

use wgpu::Device;

use super::LayoutKernel;
use crate::error::Result;
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::check_epsilon;

/// Computes the gradients of the loss by gamma and beta.
///
/// `grad_beta = Σ grad_outputs` and `grad_gamma = Σ grad_outputs · normalized`, over the rows, with
/// `normalized = (inputs − mean) / √(variance + epsilon)` (Ioffe and Szegedy, arXiv 1502.03167, section 3).
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::normalize_gradients::{Buffers, NormalizeGradients};
///
/// // The batch of the example of `Normalize`: all normalized values are ±½.
/// let inputs = upload(&device, &[1.0_f32, 10.0, 5.0, 14.0]);
/// let mean = upload(&device, &[3.0_f32, 12.0, 0.0, 0.0]);
/// let variance = upload(&device, &[4.0_f32, 4.0]);
/// let grad_outputs = upload(&device, &[0.0_f32, 1.0, 2.0, 3.0]);
/// let [grad_gamma, grad_beta, grad_mean] =
///     [2, 2, 4].map(|length| upload(&device, &vec![0.0_f32; length]));
/// let dispatch = NormalizeGradients::new(&device, 12.0)?.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     mean: &Matrix::new(&mean, 0, 2, 2)?,
///     variance: &Matrix::vector(&variance, 0, 2)?,
///     grad_outputs: &Matrix::new(&grad_outputs, 0, 2, 2)?,
///     grad_gamma: &Matrix::vector(&grad_gamma, 0, 2)?,
///     grad_beta: &Matrix::vector(&grad_beta, 0, 2)?,
///     grad_mean: &Matrix::new(&grad_mean, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_close(&read(&device, &queue, &grad_gamma), &[1.0, 1.0]);
/// assert_close(&read(&device, &queue, &grad_beta), &[2.0, 4.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NormalizeGradients(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel.
///
/// The batches may be rows any distance apart, or images. The batches, the mean and the variance may start at
/// any value of a buffer.
///
/// See the example of [`NormalizeGradients`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`: the inputs of the normalization.
    pub inputs: &'a Matrix,
    /// `[2, columns]`: the batch's mean is the sum of the two rows.
    pub mean: &'a Matrix,
    /// `[1, columns]`: the batch's variance, which divides by `rows`.
    pub variance: &'a Matrix,
    /// `[rows, columns]`: the gradient of the loss by the outputs of [`super::normalize`].
    pub grad_outputs: &'a Matrix,
    /// `[1, columns]`: the gradient of the loss by gamma.
    pub grad_gamma: &'a Matrix,
    /// `[1, columns]`: the gradient of the loss by beta.
    pub grad_beta: &'a Matrix,
    /// `[2, columns]`: the mean of `grad_outputs` is the sum of the two rows. [`super::normalize_backward`]
    /// reads it.
    pub grad_mean: &'a Matrix,
}

uniform! {
    struct Shape {
        inputs: Layout,
        mean: Layout,
        variance: Layout,
        grad_outputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl NormalizeGradients {
    /// Compiles the kernel for a device. `epsilon` is added to the variance, inside the root.
    ///
    /// # Errors
    ///
    /// [`Error::Option`](crate::Error::Option) if `epsilon` is out of range,
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device, epsilon: f32) -> Result<Self> {
        check_epsilon(epsilon)?;
        let source = concat!(
            include_str!("../../shaders/kernels/normalize_gradients.wgsl"),
            include_str!("../../shaders/shared/lane_sum.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let constants = [("EPSILON", epsilon.into())];
        LayoutKernel::summing(device, "normalize_gradients", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels, or the rows
    /// of a vector are not contiguous, [`Error::TooMany`](crate::Error::TooMany) if a software adapter would
    /// not reach the last rows (beyond eight million), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, mean, variance, grad_outputs, grad_gamma, grad_beta, grad_mean } =
            buffers;
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        let kernel = "normalize_gradients";
        mean.expect_rows(kernel, "mean", [2, columns])?;
        variance.expect(kernel, "variance", [1, columns])?;
        grad_outputs.expect_like(kernel, "grad_outputs", inputs)?;
        grad_gamma.expect(kernel, "grad_gamma", [1, columns])?;
        grad_beta.expect(kernel, "grad_beta", [1, columns])?;
        grad_mean.expect(kernel, "grad_mean", [2, columns])?;
        let placed = [inputs, mean, variance, grad_outputs].map(|matrix| matrix.aligned(device));
        let [inputs, mean, variance, grad_outputs] = &placed;
        // It walks down a column twice.
        let (kernel, workgroups) = self.0.sum(device, kernel, inputs, 2)?;
        kernel.bind(
            device,
            place,
            Shape {
                inputs: inputs.layout(),
                mean: mean.layout(),
                variance: variance.layout(),
                grad_outputs: grad_outputs.layout(),
                rows,
                columns,
            },
            &[inputs, mean, variance, grad_outputs, grad_gamma, grad_beta, grad_mean],
            workgroups,
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Array2, Axis};

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::kernels::normalize::cases::hard_columns;
    use crate::reference;

    const EPSILON: f32 = 1e-5;

    /// A batch, and the gradients of its outputs.
    pub(crate) struct Batch {
        pub(crate) what: String,
        pub(crate) inputs: Array2<f64>,
        pub(crate) grad_outputs: Array2<f64>,
    }

    pub(crate) fn ordinary_batches(gpu: &mut TestGpu) -> Vec<Batch> {
        let shapes = SHAPES.into_iter().filter(|&[rows, _]| rows > 1).chain([[20_011, 3]]);
        let batch = |shape| {
            let [inputs, grad_outputs] = [gpu.random(shape), gpu.random(shape)];
            Batch { what: format!("{shape:?}"), inputs, grad_outputs }
        };
        shapes.map(batch).collect()
    }

    /// Hard inputs; then gradients with a mean that is large against their deviation.
    pub(crate) fn hard_batches(gpu: &mut TestGpu) -> Vec<Batch> {
        let batches = |rows: u32| {
            let [inputs, grads] = [(); 2].map(|()| hard_columns(gpu, rows));
            let grads = grads.mapv(|value| value.clamp(-1e6, 1e6));
            let [easy, other] = [(); 2].map(|()| gpu.random([rows, inputs.ncols() as u32]));
            let what = |hard| format!("hard {hard}, {rows} rows");
            [
                Batch { what: what("inputs"), inputs, grad_outputs: easy },
                Batch { what: what("gradients"), inputs: other, grad_outputs: grads },
            ]
        };
        [2, 60, 1000].into_iter().flat_map(batches).collect()
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let batches = ordinary_batches(gpu);
        compare_all(gpu, &batches);
    }

    pub(crate) fn hard_columns_keep_their_digits(gpu: &mut TestGpu) {
        let batches = hard_batches(gpu);
        compare_all(gpu, &batches);
    }

    fn compare_all(gpu: &TestGpu, batches: &[Batch]) {
        for batch in batches {
            Arrangement::ALL.into_iter().for_each(|arrangement| compare(gpu, batch, arrangement));
        }
    }

    /// From the exact statistics of the inputs.
    pub(super) fn compare(gpu: &TestGpu, batch: &Batch, arrangement: Arrangement) {
        let Batch { what, inputs, grad_outputs } = batch;
        let what = format!("{what}, {arrangement:?}");
        let columns = inputs.ncols() as u32;
        let kernel = NormalizeGradients::new(&gpu.gpu.device, EPSILON).unwrap();
        let reference::Statistics { mean, variance } = reference::batch_statistics(inputs);
        // The GPU gets floats, so the twin gets the same rounded values.
        let variance = variance.mapv(|variance| f64::from(variance as f32));
        let [grad_gamma, grad_beta] = [(); 2].map(|()| gpu.zeros([1, columns]));
        let grad_mean = gpu.zeros([2, columns]);
        let buffers = Buffers {
            inputs: &gpu.arrange(inputs, arrangement),
            mean: &gpu.upload_mean(&mean),
            variance: &gpu.upload_vector(&variance),
            grad_outputs: &gpu.arrange(grad_outputs, arrangement),
            grad_gamma: &grad_gamma,
            grad_beta: &grad_beta,
            grad_mean: &grad_mean,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let epsilon = EPSILON.into();
        let expected =
            reference::normalize_gradients(inputs, &mean, &variance, grad_outputs, epsilon);
        let absolute = |vector: &Array1<f64>| vector.mapv(f64::abs);
        let size = grad_outputs.mapv(f64::abs).sum_axis(Axis(0));
        let rows = inputs.nrows() as f64;
        let center = &expected.grad_beta / rows;
        let spread = (grad_outputs - &center).mapv(f64::abs).sum_axis(Axis(0));
        // A sum of as many terms as there are rows, whose roundings mostly cancel.
        let bounds = 1e-6 * (&size + &absolute(&expected.grad_beta));
        let found = gpu.read(&grad_beta);
        gpu.compare_within(&format!("{what}: grad_beta"), &found, &expected.grad_beta, &bounds);
        // The second part is the twin's own rounding, where the mean is large.
        let bounds = 3e-6 * &spread + 1e-15 * size + 1e-6 * absolute(&expected.grad_gamma);
        let found = gpu.read(&grad_gamma);
        gpu.compare_within(&format!("{what}: grad_gamma"), &found, &expected.grad_gamma, &bounds);
        // As exact as it needs to be: against the differences from it.
        let bounds = 1e-6 / rows * spread + 1e-14 * absolute(&center) + 1e-38;
        let found = gpu.read(&grad_mean);
        gpu.compare_means(&format!("{what}: grad_mean"), &found, &center, &bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::cases::{self, Batch};
    use crate::gpu::testing::{Arrangement, TestGpu};

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn hard_columns_keep_their_digits() {
        cases::hard_columns_keep_their_digits(&mut TestGpu::new());
    }

    #[test]
    fn walks_more_pixels_than_workgroups() {
        let mut gpu = TestGpu::new();
        let [inputs, grad_outputs] = [(); 2].map(|()| gpu.random([600_000, 2]));
        let what = "more pixels than workgroups".to_owned();
        cases::compare(&gpu, &Batch { what, inputs, grad_outputs }, Arrangement::Images);
    }
}
