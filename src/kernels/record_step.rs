//! `shaders/record_step.wgsl`: the batch's loss and accuracy into the history; counts the step.
//!
//! Its twin is [`crate::reference::record_step`].

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, unused_matrices};

/// One workgroup does it all: as large as WebGPU promises.
const WORKGROUP_SIZE: u32 = 256;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct RecordStep {
    kernel: Kernel,
    /// Bound in the place of a fault that there is not.
    unused: Vec<Matrix>,
}

/// What the kernel reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, 2]`: each row's loss and accuracy, from [`super::loss`].
    pub results: &'a Matrix,
    /// One `u32`: how many steps were recorded.
    pub step: &'a Matrix,
    /// `[capacity, 2]`: the batches' losses and accuracies; a step's row is its number, counted from
    /// 0, modulo the capacity.
    pub history: &'a Matrix,
    /// One value, which becomes 1 if the loss is not finite, and is left alone otherwise.
    pub fault: Option<&'a Matrix>,
}

impl RecordStep {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/record_step.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        let kernel = Kernel::new(device, "record_step", source, &constants)?;
        Ok(Self { kernel, unused: unused_matrices(device, 1)? })
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Refused`](crate::Error::Refused) if a software adapter would not reach the last rows
    /// (beyond sixteen million), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { results, step, history, fault } = buffers;
        results.expect("record_step", "results", [results.rows(), 2])?;
        step.expect("record_step", "step", [1, 1])?;
        history.expect("record_step", "history", [history.rows(), 2])?;
        let fault = match fault {
            Some(fault) => {
                fault.expect("record_step", "fault", [1, 1])?;
                fault.aligned(device)
            }
            None => self.unused[0].clone(),
        };
        let rows = results.rows();
        // Three sums over the invocations come behind their own, of eight rounds each.
        let rounds = u64::from(rows.div_ceil(WORKGROUP_SIZE)) + 3 * 8;
        check_rounds(device, "record_step", || format!("{rows} rows"), rounds)?;
        let [first_fault, ..] = fault.layout();
        let uniform = [rows, history.rows(), first_fault];
        let matrices = [results, step, history, &fault];
        self.kernel.bind(device, place, bytemuck::cast_slice(&uniform), &matrices, [1, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    /// A loss that is not finite is noted, wherever the place for that is, and one that is leaves it alone.
    #[test]
    fn notes_a_loss_that_is_not_finite() {
        let gpu = TestGpu::new();
        let kernel = RecordStep::new(&gpu.gpu.device).unwrap();
        let [step, history, faults] = [[1, 1], [3, 2], [1, 9]].map(|shape| gpu.zeros(shape));
        let mut expected = [0.0; 9];
        for (place, loss, fault) in [
            (0, f64::NAN, 1.0),
            (3, f64::from(f32::MAX), 1.0),
            (5, f64::from(f32::MAX) / 4.0, 0.0),
            (7, f64::NEG_INFINITY, 1.0),
        ] {
            let results = ndarray::array![[loss, 0.5], [loss, 1.0]];
            let buffers = Buffers {
                results: &gpu.upload(&results),
                step: &step,
                history: &history,
                fault: Some(&Matrix::vector(faults.buffer(), place, 1).unwrap()),
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            expected[place as usize] = fault;
            assert_eq!(gpu.read(&faults), expected, "a loss of {loss}");
        }
    }

    #[test]
    fn matches_the_reference_and_goes_round() {
        let mut gpu = TestGpu::new();
        let kernel = RecordStep::new(&gpu.gpu.device).unwrap();
        let [step, history] = [gpu.zeros([1, 1]), gpu.zeros([3, 2])];
        let mut expected = vec![0.0; 6];
        for (number, rows) in [1, 2, 255, 256, 70_001].into_iter().enumerate() {
            let results = gpu.random([rows, 2]);
            let buffers = Buffers {
                results: &gpu.upload(&results),
                step: &step,
                history: &history,
                fault: None,
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let (loss, accuracy) = reference::record_step(
                &results.column(0).to_owned(),
                &results.column(1).to_owned(),
            );
            let slot = number % 3;
            expected[2 * slot..2 * slot + 2].copy_from_slice(&[loss, accuracy]);
            // A lane's sum of 274 values below 1 is rounded as often.
            assert_close(&format!("{rows} rows"), &gpu.read(&history), &expected, 1e-6, 1e-6);
            assert_eq!(gpu.read(&step)[0].to_bits(), number as u32 + 1);
        }
    }
}
