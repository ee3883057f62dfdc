//! `shaders/record_step.wgsl`: writes the batch's loss and accuracy to the history, and counts the step.
//!
//! Its twin is [`crate::reference::record_step`].

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, unused_matrices};

/// One workgroup does it all: as large as WebGPU promises.
const WORKGROUP_SIZE: u32 = 256;

/// The number of values in [`Counts`].
pub const COUNTS: u32 = 6;

/// The counts of steps on the GPU, modulo 2³², in the order of `counts` in the shaders.
///
/// See the example of [`RecordStep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of steps that were taken.
    pub taken: u32,
    /// The number of the next step, counted from 0 in the order in which steps were encoded.
    pub number: u32,
    /// The bits of that step's learning rate (`f32`), before the schedule.
    pub rate: u32,
    /// The number of steps that were skipped.
    pub skipped: u32,
    /// The number of steps that all trainers of the network have taken.
    pub of_network: u32,
    /// The number of the last skipped step.
    pub last_skipped: u32,
}

impl Counts {
    /// The counts of a trainer that begins after `steps` steps: the values up to `skipped`.
    pub(crate) fn first(steps: u64) -> [u32; 4] {
        [steps as u32, steps as u32, 0, 0]
    }

    /// The values in the order of the fields, which is their order on the GPU.
    pub fn values(&self) -> [u32; COUNTS as usize] {
        let Self { taken, number, rate, skipped, of_network, last_skipped } = *self;
        [taken, number, rate, skipped, of_network, last_skipped]
    }

    /// The counts whose bits were read as floats.
    pub(crate) fn of(values: &[f32]) -> Self {
        let count = |index: usize| values[index].to_bits();
        let [taken, number, rate, skipped, of_network, last_skipped] =
            [0, 1, 2, 3, 4, 5].map(count);
        Self { taken, number, rate, skipped, of_network, last_skipped }
    }
}

/// The largest number up to `at_most` that is congruent to `count` modulo 2³², or 0 without one.
pub(crate) fn whole(count: u32, at_most: u64) -> u64 {
    at_most.saturating_sub((at_most as u32).wrapping_sub(count).into())
}

/// The number of values that the history has for a step: the bits of its loss and of its accuracy, its rows,
/// and its number.
pub const RECORD: u32 = 4;

/// Writes a batch's loss and accuracy to the history, and counts the step as taken. Both are means over the
/// rows.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::record_step::{Buffers, COUNTS, Counts, RECORD, RecordStep};
///
/// let results = upload(&device, &[2.0_f32, 1.0, 4.0, 0.0]); // losses 2 and 4, accuracies 1 and 0
/// let before = Counts { taken: 5, number: 5, of_network: 5, ..Default::default() };
/// let counts = upload(&device, &before.values());
/// let history = upload(&device, &[0.0_f32; 12]); // of three steps: this one's row is 5 % 3
/// let dispatch = RecordStep::new(&device)?.bind(&device, "training", Buffers {
///     results: &Matrix::new(&results, 0, 2, 2)?,
///     counts: &Matrix::vector(&counts, 0, COUNTS)?,
///     history: &Matrix::new(&history, 0, 3, RECORD)?,
///     fault: None,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// let record = &read(&device, &queue, &history)[8..];
/// assert_close(&record[..2], &[3.0, 0.5]);
/// assert_eq!([record[2], record[3]].map(f32::to_bits), [2, 5]); // rows, and the step's number
/// let after = Counts { taken: 6, number: 6, of_network: 6, ..before };
/// let found: Vec<u32> = read(&device, &queue, &counts).into_iter().map(f32::to_bits).collect();
/// assert_eq!(found, after.values());
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecordStep {
    kernel: Kernel,
    /// Placeholder for calls without a fault.
    unused: Vec<Matrix>,
}

/// The inputs and outputs of the kernel.
///
/// See the example of [`RecordStep`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, 2]`: each row's loss and accuracy, from [`super::loss`].
    pub results: &'a Matrix,
    /// `[1, 6]`, `u32`: the [`Counts`]. `taken`, `number` and `of_network` rise by 1.
    pub counts: &'a Matrix,
    /// `[capacity, 4]`, `u32`: a row for each step, with the bits of the batch's loss and of its
    /// accuracy, the rows of the batch, and the number of the step. The index of the row is the number of
    /// steps taken before it, modulo the capacity.
    pub history: &'a Matrix,
    /// `[1, 1]`, which may start at any value of a buffer: the kernel writes 1 if the loss is not finite, and
    /// leaves it alone otherwise.
    pub fault: Option<&'a Matrix>,
}

impl RecordStep {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/record_step.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/counts.wgsl"),
            include_str!("../../shaders/shared/record.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        let kernel = Kernel::new(device, "record_step", source, &constants)?;
        Ok(Self { kernel, unused: unused_matrices(device, 1)? })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if rows are not contiguous,
    /// [`Error::TooMany`](crate::Error::TooMany) if a software adapter would not reach the last rows
    /// (beyond sixteen million), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { results, counts, history, fault } = buffers;
        results.expect("record_step", "results", [results.rows(), 2])?;
        counts.expect("record_step", "counts", [1, COUNTS])?;
        history.expect("record_step", "history", [history.rows(), RECORD])?;
        let fault = match fault {
            Some(fault) => {
                fault.expect("record_step", "fault", [1, 1])?;
                fault.aligned(device)
            }
            None => self.unused[0].clone(),
        };
        let rows = results.rows();
        // Three sums over the invocations follow, of eight rounds each.
        let rounds = u64::from(rows.div_ceil(WORKGROUP_SIZE)) + 3 * 8;
        check_rounds(device, "record_step", || format!("{rows} rows"), rounds)?;
        let [first_fault, ..] = fault.layout();
        let uniform = [rows, history.rows(), first_fault];
        let matrices = [results, counts, history, &fault];
        self.kernel.bind(device, place, bytemuck::cast_slice(&uniform), &matrices, [1, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    /// A loss that is not finite is noted, at any place of a buffer; a finite one changes nothing.
    #[test]
    fn notes_a_loss_that_is_not_finite() {
        let gpu = TestGpu::new();
        let kernel = RecordStep::new(&gpu.gpu.device).unwrap();
        let [counts, history, faults] = [[1, COUNTS], [3, 4], [1, 9]].map(|shape| gpu.zeros(shape));
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
                counts: &counts,
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
        let counts = gpu.upload_integers(&[0, 7, 1, 2, 9, 3]);
        let history = gpu.zeros([3, 4]);
        let mut expected = [[0.0; 4]; 3];
        for (number, rows) in [1, 2, 255, 256, 70_001].into_iter().enumerate() {
            let results = gpu.random([rows, 2]);
            let buffers = Buffers {
                results: &gpu.upload(&results),
                counts: &counts,
                history: &history,
                fault: None,
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let (loss, accuracy) = reference::record_step(
                &results.column(0).to_owned(),
                &results.column(1).to_owned(),
            );
            let number = number as u32;
            let integer = |value: u32| f64::from(f32::from_bits(value));
            expected[number as usize % 3] = [loss, accuracy, integer(rows), integer(number + 7)];
            // A lane's sum of 274 values below 1 is rounded as often.
            let expected = expected.as_flattened();
            assert_close(&format!("{rows} rows"), &gpu.read(&history), expected, 1e-6, 1e-6);
            let found = gpu.read(&counts);
            let expected = [number + 1, number + 8, 1, 2, number + 10, 3].map(f32::from_bits);
            assert_eq!(found, expected);
        }
    }
}
