//! `shaders/kernels/normalize_backward.wgsl`: the gradient through the normalization.
//!
//! Its twin is [`crate::reference::normalize_backward`].

use wgpu::Device;

use super::{LayoutKernel, walking_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::check_epsilon;

/// Computes the gradient of the loss by the inputs of [`super::normalize`].
///
/// In training, mean and variance depend on the inputs, too (Ioffe and Szegedy, arXiv 1502.03167, section 3):
///
/// ```text
/// grad_inputs = gamma / √(variance + epsilon) · (grad_outputs − grad_mean − normalized · grad_gamma / rows)
/// normalized  = (inputs − mean) / √(variance + epsilon)
/// ```
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::normalize_backward::{Buffers, NormalizeBackward};
///
/// // The batch of the example of `NormalizeGradients`, and that kernel's results.
/// let [inputs, grad_outputs, grad_inputs] =
///     [[1.0_f32, 10.0, 5.0, 14.0], [0.0, 1.0, 2.0, 3.0], [0.0; 4]].map(|batch| upload(&device, &batch));
/// let [mean, grad_mean] =
///     [[3.0_f32, 12.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]].map(|rows| upload(&device, &rows));
/// let [variance, gamma, grad_gamma] =
///     [[4.0_f32, 4.0], [4.0, 8.0], [1.0, 1.0]].map(|vector| upload(&device, &vector));
/// let dispatch = NormalizeBackward::new(&device, 12.0)?.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     mean: &Matrix::new(&mean, 0, 2, 2)?,
///     variance: &Matrix::vector(&variance, 0, 2)?,
///     gamma: &Matrix::vector(&gamma, 0, 2)?,
///     grad_gamma: &Matrix::vector(&grad_gamma, 0, 2)?,
///     grad_mean: &Matrix::new(&grad_mean, 0, 2, 2)?,
///     grad_outputs: &Matrix::new(&grad_outputs, 0, 2, 2)?,
///     grad_inputs: &Matrix::new(&grad_inputs, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// // The first is 4 / 4 · (0 − 1 + ½ · 1 / 2).
/// assert_close(&read(&device, &queue, &grad_inputs), &[-0.75, -1.5, 0.75, 1.5]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NormalizeBackward(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel.
///
/// The batches may be rows any distance apart, or images. The batches, the mean and the variance may start at
/// any value of a buffer.
///
/// See the example of [`NormalizeBackward`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`: the inputs of the normalization.
    pub inputs: &'a Matrix,
    /// `[2, columns]`: the batch's mean is the sum of the two rows.
    pub mean: &'a Matrix,
    /// `[1, columns]`: the batch's variance, which divides by `rows`.
    pub variance: &'a Matrix,
    /// `[1, columns]`: the scale.
    pub gamma: &'a Matrix,
    /// `[1, columns]`: the gradient of the loss by gamma, from [`super::normalize_gradients`].
    pub grad_gamma: &'a Matrix,
    /// `[2, columns]`: the mean of `grad_outputs`, from [`super::normalize_gradients`].
    pub grad_mean: &'a Matrix,
    /// `[rows, columns]`: the gradient of the loss by the outputs of [`super::normalize`].
    pub grad_outputs: &'a Matrix,
    /// `[rows, columns]`: the gradient of the loss by the inputs.
    pub grad_inputs: &'a Matrix,
}

uniform! {
    struct Shape {
        inputs: Layout,
        mean: Layout,
        variance: Layout,
        grad_outputs: Layout,
        grad_inputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl NormalizeBackward {
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
            include_str!("../../shaders/kernels/normalize_backward.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let constants = [("EPSILON", epsilon.into())];
        LayoutKernel::walking(device, "normalize_backward", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels, or the rows
    /// of a vector are not contiguous, and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers {
            inputs,
            mean,
            variance,
            gamma,
            grad_gamma,
            grad_mean,
            grad_outputs,
            grad_inputs,
        } = buffers;
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        let kernel = "normalize_backward";
        mean.expect_rows(kernel, "mean", [2, columns])?;
        variance.expect(kernel, "variance", [1, columns])?;
        gamma.expect(kernel, "gamma", [1, columns])?;
        grad_gamma.expect(kernel, "grad_gamma", [1, columns])?;
        grad_mean.expect(kernel, "grad_mean", [2, columns])?;
        grad_outputs.expect_like(kernel, "grad_outputs", inputs)?;
        grad_inputs.expect_like(kernel, "grad_inputs", inputs)?;
        let placed = [inputs, mean, variance, grad_outputs, grad_inputs];
        let placed = placed.map(|matrix| matrix.aligned(device));
        let [inputs, mean, variance, grad_outputs, grad_inputs] = &placed;
        self.0.of(inputs).bind(
            device,
            place,
            Shape {
                inputs: inputs.layout(),
                mean: mean.layout(),
                variance: variance.layout(),
                grad_outputs: grad_outputs.layout(),
                grad_inputs: grad_inputs.layout(),
                rows,
                columns,
            },
            &[inputs, mean, variance, gamma, grad_gamma, grad_mean, grad_outputs, grad_inputs],
            walking_workgroups(inputs),
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Array2, Axis};

    use super::*;
    use crate::gpu::testing::{Arrangement, TestGpu};
    use crate::kernels::normalize_gradients::cases::{Batch, hard_batches, ordinary_batches};
    use crate::reference;

    const EPSILON: f32 = 1e-5;

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let batches = ordinary_batches(gpu);
        compare_all(gpu, &batches);
    }

    pub(crate) fn hard_columns_keep_their_digits(gpu: &mut TestGpu) {
        let batches = hard_batches(gpu);
        compare_all(gpu, &batches);
    }

    fn compare_all(gpu: &mut TestGpu, batches: &[Batch]) {
        for batch in batches {
            Arrangement::ALL.into_iter().for_each(|arrangement| compare(gpu, batch, arrangement));
        }
    }

    /// From the exact statistics of the inputs and the exact gradients of gamma and beta, in floats.
    pub(super) fn compare(gpu: &mut TestGpu, batch: &Batch, arrangement: Arrangement) {
        let Batch { what, inputs, grad_outputs } = batch;
        let what = format!("{what}, {arrangement:?}: grad_inputs");
        let rows = inputs.nrows() as f64;
        let kernel = NormalizeBackward::new(&gpu.gpu.device, EPSILON).unwrap();
        let gamma = gpu.random_vector(inputs.ncols() as u32);
        let reference::Statistics { mean, variance } = reference::batch_statistics(inputs);
        // The GPU gets floats, so the twin gets the same rounded values.
        let variance = variance.mapv(|variance| f64::from(variance as f32));
        let epsilon = f64::from(EPSILON);
        let gradients =
            reference::normalize_gradients(inputs, &mean, &variance, grad_outputs, epsilon);
        let center = &gradients.grad_beta / rows;
        let grad_inputs =
            gpu.arranged([inputs.nrows(), inputs.ncols()].map(|n| n as u32), arrangement);
        let buffers = Buffers {
            inputs: &gpu.arrange(inputs, arrangement),
            mean: &gpu.upload_mean(&mean),
            variance: &gpu.upload_vector(&variance),
            gamma: &gpu.upload_vector(&gamma),
            grad_gamma: &gpu.upload_vector(&gradients.grad_gamma),
            grad_mean: &gpu.upload_mean(&center),
            grad_outputs: &gpu.arrange(grad_outputs, arrangement),
            grad_inputs: &grad_inputs,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::normalize_backward(
            inputs,
            &mean,
            &variance,
            &gamma,
            &gradients,
            grad_outputs,
            epsilon,
        );
        // Against what the gradient is made of: its centered part times gamma / √(…).
        let scale = gamma.mapv(f64::abs) * variance.mapv(|x| (x + epsilon).sqrt().recip());
        let centered = grad_outputs - &center;
        let largest: Array1<f64> =
            centered.map_axis(Axis(0), |column| column.fold(0.0, |most: f64, x| most.max(x.abs())));
        // Two floats hold 48 bits of the mean that is taken out.
        let bounds: Array2<f64> = 1e-6 * expected.mapv(f64::abs)
            + scale * (1e-5 * largest + 1e-14 * center.mapv(f64::abs));
        let found = gpu.read_arranged(&what, &grad_inputs);
        gpu.compare_within(&what, &found, &expected, &bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::{Arrangement, TestGpu};
    use crate::kernels::normalize_gradients::cases::Batch;

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
        cases::compare(&mut gpu, &Batch { what, inputs, grad_outputs }, Arrangement::Images);
    }
}
