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

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu, assert_close};
    use crate::kernels::normalize::tests::hard_columns;
    use crate::kernels::normalize_gradients::{self, NormalizeGradients};
    use crate::reference;

    const EPSILON: f32 = 1e-5;

    fn check(gpu: &mut TestGpu, what: &str, inputs: &Array2<f64>, grad_outputs: &Array2<f64>) {
        for arrangement in Arrangement::ALL {
            check_arranged(
                gpu,
                &format!("{what}, {arrangement:?}"),
                [inputs, grad_outputs],
                arrangement,
            );
        }
    }

    /// Both kernels of the backward pass, from the exact statistics of the inputs.
    fn check_arranged(
        gpu: &mut TestGpu,
        what: &str,
        [inputs, grad_outputs]: [&Array2<f64>; 2],
        arrangement: Arrangement,
    ) {
        let device = &gpu.gpu.device.clone();
        let [rows, columns] = [inputs.nrows() as u32, inputs.ncols() as u32];
        let gradients_kernel = NormalizeGradients::new(device, EPSILON).unwrap();
        let backward_kernel = NormalizeBackward::new(device, EPSILON).unwrap();
        let gamma = gpu.random_vector(columns);
        let statistics = reference::batch_statistics(inputs);
        // The GPU gets floats, so the twin gets the same rounded values.
        let variance = statistics.variance.mapv(|variance| f64::from(variance as f32));
        let mean = &statistics.mean;
        let on_gpu = [inputs, grad_outputs].map(|batch| gpu.arrange(batch, arrangement));
        let vectors = [gpu.upload_mean(mean), gpu.upload_vector(&variance)];
        let [grad_gamma, grad_beta] = [(); 2].map(|()| gpu.zeros([1, columns]));
        let grad_mean = gpu.zeros([2, columns]);
        let grad_inputs = gpu.arranged([rows, columns], arrangement);
        let gradients = normalize_gradients::Buffers {
            inputs: &on_gpu[0],
            mean: &vectors[0],
            variance: &vectors[1],
            grad_outputs: &on_gpu[1],
            grad_gamma: &grad_gamma,
            grad_beta: &grad_beta,
            grad_mean: &grad_mean,
        };
        let backward = Buffers {
            inputs: &on_gpu[0],
            mean: &vectors[0],
            variance: &vectors[1],
            gamma: &gpu.upload_vector(&gamma),
            grad_gamma: &grad_gamma,
            grad_mean: &grad_mean,
            grad_outputs: &on_gpu[1],
            grad_inputs: &grad_inputs,
        };
        gpu.run(&[
            &gradients_kernel.bind(device, "test", gradients).unwrap(),
            &backward_kernel.bind(device, "test", backward).unwrap(),
        ]);

        let epsilon = EPSILON.into();
        let expected =
            reference::normalize_gradients(inputs, mean, &variance, grad_outputs, epsilon);
        let expected_inputs = reference::normalize_backward(
            inputs,
            mean,
            &variance,
            &gamma,
            &expected,
            grad_outputs,
            epsilon,
        );
        let columns_of = |matrix: &Matrix| gpu.read(matrix);
        let grad_inputs = gpu.read_arranged(what, &grad_inputs);
        for (column, (&grad_gamma, &grad_beta)) in
            columns_of(&grad_gamma).iter().zip(&columns_of(&grad_beta)).enumerate()
        {
            let what = format!("{what}, column {column}");
            let grads = grad_outputs.column(column);
            // A sum of as many terms as there are rows, whose roundings mostly cancel.
            let size = grads.mapv(f64::abs).sum();
            let beta = [expected.grad_beta[column]];
            assert_close(&format!("{what}: grad_beta"), &[grad_beta], &beta, 1e-6 * size, 1e-6);
            let center = expected.grad_beta[column] / f64::from(rows);
            let spread = grads.mapv(|grad| (grad - center).abs()).sum();
            let gamma_expected = [expected.grad_gamma[column]];
            // The last part is the twin's own rounding, where the mean is large.
            let bound = 3e-6 * spread + 1e-15 * size;
            assert_close(
                &format!("{what}: grad_gamma"),
                &[grad_gamma],
                &gamma_expected,
                bound,
                1e-6,
            );
            // Against what the gradient is made of: its centered part times gamma / √(…).
            let scale = gamma[column].abs() / (variance[column] + epsilon).sqrt();
            let largest = grads.mapv(|grad| (grad - center).abs()).fold(0.0, |a: f64, &b| a.max(b));
            let found = grad_inputs.iter().skip(column).step_by(columns as usize);
            let found: Vec<f32> = found.copied().collect();
            assert_close(
                &format!("{what}: grad_inputs"),
                &found,
                expected_inputs.column(column),
                // Two floats hold 48 bits of the mean that is taken out.
                scale * (1e-5 * largest + 1e-14 * center.abs()),
                1e-6,
            );
        }
    }

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        for shape in SHAPES.into_iter().filter(|&[rows, _]| rows > 1).chain([[20_011, 3]]) {
            let [inputs, grad_outputs] = [gpu.random(shape), gpu.random(shape)];
            check(&mut gpu, &format!("{shape:?}"), &inputs, &grad_outputs);
        }
    }

    #[test]
    fn walks_more_pixels_than_workgroups() {
        let mut gpu = TestGpu::new();
        let batches = [(); 2].map(|()| gpu.random([600_000, 2]));
        let what = "more pixels than workgroups";
        check_arranged(&mut gpu, what, batches.each_ref(), Arrangement::Images);
    }

    #[test]
    fn hard_columns_keep_their_digits() {
        let mut gpu = TestGpu::new();
        for rows in [2, 60, 1000] {
            let inputs = hard_columns(&mut gpu, rows);
            let easy = gpu.random([rows, inputs.ncols() as u32]);
            check(&mut gpu, &format!("hard inputs, {rows} rows"), &inputs, &easy);
            // A gradient with a mean that is large against its deviation, on easy inputs.
            let grad_outputs = hard_columns(&mut gpu, rows).mapv(|value| value.clamp(-1e6, 1e6));
            check(&mut gpu, &format!("hard gradients, {rows} rows"), &easy, &grad_outputs);
        }
    }
}
