//! `shaders/activate_backward.wgsl`: the gradient through the activation function.
//!
//! Its twin is [`crate::reference::activate_backward`].

use wgpu::Device;

use super::{activate, linear_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix};
use crate::options::Activation;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct ActivateBackward(Kernel);

/// What the kernel reads and writes; all are `[rows, columns]`.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// The values before the activation.
    pub inputs: &'a Matrix,
    /// The gradient of the values after it.
    pub grad_outputs: &'a Matrix,
    /// The gradient of the values before it.
    pub grad_inputs: &'a Matrix,
}

impl ActivateBackward {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device, activation: Activation) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/activate_backward.wgsl"),
            include_str!("../../shaders/shared/activation.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
        );
        Kernel::new(device, "activate_backward", source, &activate::constants(activation)).map(Self)
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other, and what wgpu
    /// reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, grad_outputs, grad_inputs } = buffers;
        let shape = [inputs.rows(), inputs.columns()];
        grad_outputs.expect("activate_backward", "grad_outputs", shape)?;
        grad_inputs.expect("activate_backward", "grad_inputs", shape)?;
        self.0.bind(
            device,
            place,
            bytemuck::cast_slice(&[inputs.values() as u32]),
            &[inputs, grad_outputs, grad_inputs],
            linear_workgroups(inputs.values()),
        )
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::{SHAPES, TestGpu, assert_close};
    use crate::kernels::activate::tests::telling_inputs;
    use crate::reference;

    fn check(gpu: &mut TestGpu, activation: Activation, inputs: &Array2<f64>) {
        let kernel = ActivateBackward::new(&gpu.gpu.device, activation).unwrap();
        let on_gpu = gpu.upload(inputs);
        let shape = [on_gpu.rows(), on_gpu.columns()];
        let grad_outputs = gpu.random(shape);
        let grad_inputs = gpu.zeros(shape);
        let buffers = Buffers {
            inputs: &on_gpu,
            grad_outputs: &gpu.upload(&grad_outputs),
            grad_inputs: &grad_inputs,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::activate_backward(inputs, &grad_outputs, activation);
        // A few roundings of slopes around 1.
        assert_close(activation.name(), &gpu.read(&grad_inputs), &expected, 4e-7, 3e-7);
    }

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        for activation in Activation::ALL {
            check(&mut gpu, activation, &telling_inputs());
            for shape in SHAPES {
                let inputs = gpu.random(shape);
                check(&mut gpu, activation, &inputs);
            }
        }
    }
}
