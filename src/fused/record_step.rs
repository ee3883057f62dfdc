//! `shaders/fused/record_step.wgsl`: writes the batch's loss and accuracy to the history, and counts the step.
//!
//! Its twin is [`crate::reference::record_step`].

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, uniform};
use crate::plan::RECORD;

/// One workgroup does it all: as large as WebGPU promises.
const WORKGROUP_SIZE: u32 = 256;

/// The number of values in [`Counts`].
pub(crate) const COUNTS: u32 = 6;

/// The counts of steps on the GPU, modulo 2³², in the order of `counts` in the shaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The number of steps that were taken.
    pub(crate) taken: u32,
    /// The number of the next step, counted from 0 in the order in which steps were encoded.
    pub(crate) number: u32,
    /// The bits of that step's learning rate (`f32`), before the schedule.
    pub(crate) rate: u32,
    /// The number of steps that were skipped.
    pub(crate) skipped: u32,
    /// The number of steps that all trainers of the network have taken.
    pub(crate) of_network: u32,
    /// The number of the last skipped step.
    pub(crate) last_skipped: u32,
}

impl Counts {
    /// The counts of a trainer that begins after `steps` steps: the values up to `skipped`.
    pub(crate) fn first(steps: u64) -> [u32; 4] {
        [steps as u32, steps as u32, 0, 0]
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

/// Writes a batch's loss and accuracy to the history, and counts the step as taken. Both are means over the
/// rows.
#[derive(Clone, Debug)]
pub(crate) struct RecordStep(Kernel<Batch>);

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, 2]`: each row's loss and accuracy, from [`loss`](crate::kernels::loss).
    pub(crate) results: &'a Matrix,
    /// `[1, 6]`, `u32`: the [`Counts`]. `taken`, `number` and `of_network` rise by 1.
    pub(crate) counts: &'a Matrix,
    /// `[capacity, 4]`, `u32`: a row for each step, with the bits of the batch's loss and of its
    /// accuracy, the rows of the batch, and the number of the step. The index of the row is the number of
    /// steps taken before it, modulo the capacity.
    pub(crate) history: &'a Matrix,
    /// `[1, 1]`, which may start at any value of a buffer: the kernel writes 1 if the loss is not finite, and
    /// leaves it alone otherwise.
    pub(crate) fault: &'a Matrix,
}

uniform! {
    struct Batch {
        rows: u32,
        capacity: u32,
        fault: u32,
    }
}

impl RecordStep {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/record_step.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/counts.wgsl"),
            include_str!("../../shaders/shared/record.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Kernel::new(device, "record_step", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { results, counts, history, fault } = buffers;
        results.expect("record_step", "results", [results.rows(), 2])?;
        counts.expect("record_step", "counts", [1, COUNTS])?;
        history.expect("record_step", "history", [history.rows(), RECORD])?;
        fault.expect("record_step", "fault", [1, 1])?;
        let fault = fault.aligned(device);
        let rows = results.rows();
        // A sum over the invocations follows, of eight rounds.
        let rounds = u64::from(rows.div_ceil(WORKGROUP_SIZE)) + 8;
        check_rounds(device, "record_step", || format!("{rows} rows"), rounds)?;
        let batch = Batch { rows, capacity: history.rows(), fault: fault.layout().first };
        let matrices = [results, counts, history, &fault];
        self.0.bind(device, place, batch, &matrices, [1, 1, 1])
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    /// A loss that is not finite is noted, at any place of a buffer; a finite one changes nothing.
    pub(crate) fn notes_a_loss_that_is_not_finite(gpu: &mut TestGpu) {
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
                fault: &Matrix::vector(faults.buffer(), place, 1).unwrap(),
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            expected[place as usize] = fault;
            assert_eq!(gpu.read(&faults), expected, "a loss of {loss}");
        }
    }

    /// In a history that has fewer places than there are steps.
    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let kernel = RecordStep::new(&gpu.gpu.device).unwrap();
        let counts = gpu.upload_integers(&[0, 7, 1, 2, 9, 3]);
        let [history, fault] = [[3, 4], [1, 1]].map(|shape| gpu.zeros(shape));
        let mut expected = [[0.0; 4]; 3];
        for (number, rows) in [1, 2, 255, 256, 70_001].into_iter().enumerate() {
            let results = gpu.random([rows, 2]);
            let buffers = Buffers {
                results: &gpu.upload(&results),
                counts: &counts,
                history: &history,
                fault: &fault,
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

            let (loss, accuracy) = reference::record_step(
                &results.column(0).to_owned(),
                &results.column(1).to_owned(),
            );
            let number = number as u32;
            let integer = |value: u32| f64::from(f32::from_bits(value));
            expected[number as usize % 3] = [loss, accuracy, integer(rows), integer(number + 7)];
            // A lane's sum of 274 values below 1 is rounded 274 times.
            let expected = expected.as_flattened();
            gpu.compare(&format!("{rows} rows"), &gpu.read(&history), expected, 1e-6, 1e-6);
            let found = gpu.read(&counts);
            let expected = [number + 1, number + 8, 1, 2, number + 10, 3].map(f32::from_bits);
            assert_eq!(found, expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::TestGpu;

    #[test]
    fn matches_the_reference_and_goes_round() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn notes_a_loss_that_is_not_finite() {
        cases::notes_a_loss_that_is_not_finite(&mut TestGpu::new());
    }
}
