//! `shaders/normalize_gradients.wgsl`: the gradients of gamma and beta.
//!
//! Its twin is [`crate::reference::normalize_gradients`].

use wgpu::Device;

use super::LayoutKernel;
use crate::error::Result;
use crate::gpu::{Dispatch, Matrix};

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct NormalizeGradients(LayoutKernel);

/// The inputs and outputs of the kernel.
///
/// The batches may be rows any distance apart, or images; these, the mean and the variance may start
/// anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`: the inputs of the normalization.
    pub inputs: &'a Matrix,
    /// `[2, columns]`: the batch's mean, as the sum of two rows.
    pub mean: &'a Matrix,
    /// One per column: the batch's variance.
    pub variance: &'a Matrix,
    /// `[rows, columns]`: the gradient of the normalized, scaled and shifted values.
    pub grad_outputs: &'a Matrix,
    /// One per column.
    pub grad_gamma: &'a Matrix,
    /// One per column.
    pub grad_beta: &'a Matrix,
    /// `[2, columns]`: the mean of `grad_outputs`, as the sum of two rows, for
    /// [`super::normalize_backward`].
    pub grad_mean: &'a Matrix,
}

impl NormalizeGradients {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device, epsilon: f32) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/normalize_gradients.wgsl"),
            include_str!("../../shaders/shared/lane_sum.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let constants = [("EPSILON", epsilon.into())];
        LayoutKernel::summing(device, "normalize_gradients", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels,
    /// [`Error::TooMany`](crate::Error::TooMany) if a software adapter would not reach the last rows (beyond
    /// eight million), and what wgpu reports.
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
        let layouts = placed.each_ref().map(Matrix::layout);
        let uniform = [layouts.as_flattened(), &[rows, columns]].concat();
        let [inputs, mean, variance, grad_outputs] = &placed;
        // It walks down a column twice.
        let (kernel, workgroups) = self.0.sum(device, kernel, inputs, 2)?;
        kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[inputs, mean, variance, grad_outputs, grad_gamma, grad_beta, grad_mean],
            workgroups,
        )
    }
}
