//! `shaders/kernels/activate_backward.wgsl`: the gradient through the activation function.
//!
//! Its twin is [`crate::reference::activate_backward`].

use wgpu::Device;

use super::{LayoutKernel, activate, elements, walking_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::Activation;

/// Computes `grad_inputs = grad_outputs · activation′(inputs)`, value by value, for one [`Activation`].
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::Activation;
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::activate_backward::{ActivateBackward, Buffers};
///
/// let inputs = upload(&device, &[-1.0_f32, 2.0, 3.0, -4.0]);
/// let grad_outputs = upload(&device, &[5.0_f32, 6.0, 7.0, 8.0]);
/// let grad_inputs = upload(&device, &[0.0_f32; 4]);
/// let relu = ActivateBackward::new(&device, Activation::Relu)?;
/// let dispatch = relu.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     grad_outputs: &Matrix::new(&grad_outputs, 0, 2, 2)?,
///     grad_inputs: &Matrix::new(&grad_inputs, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_eq!(read(&device, &queue, &grad_inputs), [0.0, 6.0, 7.0, 0.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ActivateBackward(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel. All are `[rows, columns]`. They may be rows any distance apart, or
/// images, and may start at any value of a buffer.
///
/// See the example of [`ActivateBackward`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// The pre-activations.
    pub inputs: &'a Matrix,
    /// The gradient of the loss by the activations.
    pub grad_outputs: &'a Matrix,
    /// The gradient of the loss by the pre-activations.
    pub grad_inputs: &'a Matrix,
}

uniform! {
    struct Shape {
        inputs: Layout,
        grad_outputs: Layout,
        grad_inputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl ActivateBackward {
    /// Compiles the kernel for a device and an activation.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device, activation: Activation) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/kernels/activate_backward.wgsl"),
            include_str!("../../shaders/shared/activation.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
        );
        let [_, activation, negative_slope] = activate::constants(activation);
        let constants = [activation, negative_slope];
        LayoutKernel::walking(device, "activate_backward", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels, and what
    /// wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, grad_outputs, grad_inputs } = buffers;
        grad_outputs.expect_like("activate_backward", "grad_outputs", inputs)?;
        grad_inputs.expect_like("activate_backward", "grad_inputs", inputs)?;
        let matrices = [inputs, grad_outputs, grad_inputs];
        let [inputs, grad_outputs, grad_inputs] = &elements(device, matrices);
        self.0.of(inputs).bind(
            device,
            place,
            Shape {
                inputs: inputs.layout(),
                grad_outputs: grad_outputs.layout(),
                grad_inputs: grad_inputs.layout(),
                rows: inputs.rows(),
                columns: inputs.columns(),
            },
            &[inputs, grad_outputs, grad_inputs],
            walking_workgroups(inputs),
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::kernels::activate::cases::{kinds, not_finite, telling_inputs};
    use crate::reference;

    fn compare(
        gpu: &mut TestGpu,
        activation: Activation,
        inputs: &Array2<f64>,
        arrangement: Arrangement,
    ) {
        let kernel = ActivateBackward::new(&gpu.gpu.device, activation).unwrap();
        let on_gpu = gpu.arrange(inputs, arrangement);
        let shape = [on_gpu.rows(), on_gpu.columns()];
        let grad_outputs = gpu.random(shape);
        let grad_inputs = gpu.arranged(shape, arrangement);
        let buffers = Buffers {
            inputs: &on_gpu,
            grad_outputs: &gpu.arrange(&grad_outputs, arrangement),
            grad_inputs: &grad_inputs,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::activate_backward(inputs, &grad_outputs, activation);
        // A few roundings of slopes around 1.
        let what = format!("{}, {arrangement:?}", activation.name());
        gpu.compare(&what, &gpu.read_arranged(&what, &grad_inputs), &expected, 4e-7, 3e-7);
    }

    /// As in the other direction.
    pub(crate) fn nan_stays_nan_and_infinity_becomes_the_limit(gpu: &mut TestGpu) {
        let inputs = not_finite();
        let on_gpu = gpu.upload_integers(&inputs.map(f32::to_bits));
        let ones = Array2::ones([1, 6]);
        for activation in Activation::ALL {
            let kernel = ActivateBackward::new(&gpu.gpu.device, activation).unwrap();
            let grad_inputs = gpu.zeros([1, 6]);
            let buffers = Buffers {
                inputs: &on_gpu,
                grad_outputs: &gpu.upload(&ones),
                grad_inputs: &grad_inputs,
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            let expected = Array2::from_shape_fn([1, 6], |(_, i)| inputs[i].into());
            let expected = reference::activate_backward(&expected, &ones, activation);
            let expected = expected.mapv(|value| value as f32);
            let found = kinds(&gpu.read(&grad_inputs));
            assert_eq!(found, kinds(expected.as_slice().unwrap()), "{activation:?}");
        }
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for activation in Activation::ALL {
            compare(gpu, activation, &telling_inputs(), Arrangement::Dense);
            for shape in SHAPES {
                let inputs = gpu.random(shape);
                for arrangement in Arrangement::ALL {
                    compare(gpu, activation, &inputs, arrangement);
                }
            }
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

    #[test]
    fn nan_stays_nan_and_infinity_becomes_the_limit() {
        cases::nan_stays_nan_and_infinity_becomes_the_limit(&mut TestGpu::new());
    }
}
