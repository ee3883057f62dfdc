//! The cost of a workload in operations and bytes, and the rows that it is measured on.

use ndarray::Array2;
use ztilde::{Dataset, PlannedBytes, Targets};

use super::{gpu::random_values, workloads::Workload};
use crate::{data::digits, failure::Failure, wording::bytes};

/// The number of batches in a random data set.
const BATCHES: u32 = 4;

/// The same for the smallest network, of which one dispatch takes several steps of an epoch.
const BATCHES_OF_TINY: u32 = 64;

/// Floating-point operations of one training step: for each layer, the products for the outputs, for the
/// gradient of the weights and, except in the first layer, for the gradient of the inputs.
pub(super) fn training_operations(workload: &Workload) -> u64 {
    layers(workload)
        .enumerate()
        .map(|(layer, [inputs, outputs])| {
            let products = if layer == 0 { 2 } else { 3 };
            2 * products * u64::from(workload.batch_size) * inputs * outputs
        })
        .sum()
}

/// Floating-point operations of one inference on a batch.
pub(super) fn inference_operations(workload: &Workload) -> u64 {
    let products = layers(workload).map(|[inputs, outputs]| inputs * outputs);
    2 * u64::from(workload.batch_size) * products.sum::<u64>()
}

/// `digits: 64 rows of 64-128-64-10`
pub(super) fn describe(workload: &Workload) -> String {
    let Workload { name, batch_size, layer_sizes, .. } = workload;
    let sizes: Vec<_> = layer_sizes.iter().map(u32::to_string).collect();
    format!("{name}: {batch_size} rows of {}", sizes.join("-"))
}

/// Inputs and outputs of each layer.
fn layers(workload: &Workload) -> impl Iterator<Item = [u64; 2]> {
    workload.layer_sizes.windows(2).map(|sizes| [sizes[0].into(), sizes[1].into()])
}

/// The number of rows of [`dataset`].
pub(super) fn rows(workload: &Workload) -> Result<u32, Failure> {
    if workload.name == "digits" {
        return Ok(digits::load()?.rows());
    }
    let batches = if workload.name == "tiny" { BATCHES_OF_TINY } else { BATCHES };
    Ok(batches * workload.batch_size)
}

/// The training rows of a workload: the built-in digits, or random values that are the same in every
/// run.
pub(super) fn dataset(workload: &Workload) -> Result<Dataset, Failure> {
    if workload.name == "digits" {
        return digits::load();
    }
    let rows = rows(workload)?;
    let mut value = random_values();
    let shape = [rows as usize, workload.layer_sizes[0] as usize];
    let inputs = Array2::from_shape_simple_fn(shape, &mut value);
    let targets = if workload.loss.has_class_targets() {
        Targets::from((0..rows).map(|row| row % workload.outputs()).collect::<Vec<u32>>())
    } else {
        Targets::from((0..rows * workload.outputs()).map(|_| value()).collect::<Vec<f32>>())
    };
    Ok(Dataset::new(inputs, targets)?)
}

/// The bytes that a workload will hold on the GPU, by purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Inputs and targets: in training those of all rows, with their order; in inference those of a
    /// batch.
    data: u64,
    /// The memory of the library.
    library: PlannedBytes,
}

impl Plan {
    pub(super) fn training(workload: &Workload, rows: u32, library: PlannedBytes) -> Self {
        let targets =
            if workload.loss.has_class_targets() { 1 } else { u64::from(workload.outputs()) };
        let row = u64::from(workload.layer_sizes[0]) + targets + 1;
        Self { data: 4 * (u64::from(rows) * row + 1), library }
    }

    pub(super) fn inference(workload: &Workload, library: PlannedBytes) -> Self {
        let row = u64::from(workload.layer_sizes[0]) + u64::from(workload.outputs());
        Self { data: 4 * u64::from(workload.batch_size) * row, library }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.data + self.library.total()
    }

    /// The total and its parts.
    pub(super) fn describe(&self) -> String {
        let PlannedBytes { parameters, batch, history } = self.library;
        let parts = [
            ("data", self.data),
            ("parameters", parameters),
            ("batch", batch),
            ("history", history),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|&(_, size)| size > 0)
            .map(|(name, size)| format!("{name} {}", bytes(size)))
            .collect();
        format!("{} ({})", bytes(self.bytes()), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::workloads::WORKLOADS, *};

    #[test]
    fn operations_are_those_of_the_products() {
        let digits = &WORKLOADS[0];
        let [first, others] = [64 * 128, 128 * 64 + 64 * 10];
        assert_eq!(training_operations(digits), 64 * (4 * first + 6 * others));
        assert_eq!(inference_operations(digits), 64 * 2 * (first + others));

        // One layer has no gradient of its inputs.
        let linear = Workload { batch_size: 3, layer_sizes: &[5, 7], ..WORKLOADS[0] };
        assert_eq!(training_operations(&linear), 4 * 3 * 5 * 7);

        // The operations of the others, in units of 10⁶.
        let millions = |operations: fn(&Workload) -> u64| {
            WORKLOADS.each_ref().map(|workload| (operations(workload) as f64 * 1e-6).round())
        };
        assert_eq!(millions(training_operations), [5.0, 26.0, 616.0, 17_243.0, 1_361.0, 0.0]);
        assert_eq!(millions(inference_operations), [2.0, 12.0, 274.0, 6_463.0, 476.0, 0.0]);
    }

    #[test]
    fn data_fits_its_workload() {
        for workload in &WORKLOADS {
            let data = dataset(workload).unwrap();
            assert_eq!(data.rows(), rows(workload).unwrap());
            assert!(data.rows() >= workload.batch_size);
            assert_eq!(data.features(), workload.layer_sizes[0]);
            data.targets()
                .check(workload.loss, data.rows().into(), workload.outputs().into())
                .unwrap();
            assert!(data.inputs().iter().all(|value| (-1.0..=1.0).contains(value)));
        }
    }
}
