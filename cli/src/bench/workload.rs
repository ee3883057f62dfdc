//! What a workload costs: operations, bytes; and the rows that it is measured on.

use ndarray::Array2;
use ztilde::{Dataset, Optimizer, Targets, kernels::update};

use super::{gpu::random_values, workloads::Workload};
use crate::{digits, failure::Failure, output::bytes};

/// Batches of a data set that is made up.
const BATCHES: u32 = 4;

/// The steps whose learning rates and losses a trainer keeps.
const HISTORY: u64 = 8192;

/// Floating-point operations of one training step: for each layer, the products that make the
/// outputs, the gradient of the weights and, but for the first layer, the gradient of the inputs.
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

/// Inputs and outputs of each layer.
fn layers(workload: &Workload) -> impl Iterator<Item = [u64; 2]> {
    workload.layer_sizes.windows(2).map(|sizes| [sizes[0].into(), sizes[1].into()])
}

/// How many rows [`dataset`] has.
pub(super) fn rows(workload: &Workload) -> Result<u32, Failure> {
    if workload.name == "digits" {
        return Ok(digits::load()?.rows());
    }
    Ok(BATCHES * workload.batch_size)
}

/// The rows that a workload learns from: the digits that the binary carries, or random values, the
/// same in every run.
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

/// The bytes that a workload will hold on the GPU, by what holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Rows · (features + targets + 1): inputs, targets, and the order of the rows.
    data: u64,
    /// What is learned; in training also its gradients, and the optimizer's state of each.
    parameters: u64,
    /// What each row of a batch needs.
    batch: u64,
    /// Learning rates and losses of the last steps.
    history: u64,
}

impl Plan {
    /// In values per row of a batch: the inputs and the targets; the sums, ztilde and the outputs of
    /// each hidden layer, the sums of the last; two gradients of the widest layer; the loss and the
    /// hit.
    pub(super) fn training(workload: &Workload, rows: u32, optimizer: &Optimizer) -> Self {
        let targets =
            if workload.loss.has_class_targets() { 1 } else { u64::from(workload.outputs()) };
        let inputs = u64::from(workload.layer_sizes[0]);
        let hidden: u64 = hidden(workload).sum();
        let row = inputs + targets + 3 * hidden + u64::from(workload.outputs());
        let row = row + 2 * widest(workload) + 2;
        let method = optimizer.method;
        let states = [update::has_velocity(method), update::has_mean_square(method)];
        let copies = 2 + states.into_iter().filter(|&has| has).count() as u64;
        // Mean, variance and two of their gradients of the batch; and the running statistics.
        let statistics = (5 + 3) * hidden;
        Self {
            data: 4 * (u64::from(rows) * (inputs + targets + 1) + 1),
            parameters: 4 * (copies * parameters(workload) + statistics),
            batch: 4 * u64::from(workload.batch_size) * row,
            history: 4 * HISTORY * (2 + 4),
        }
    }

    /// In values per row of a batch: the inputs, the outputs, and two matrices of the widest layer.
    pub(super) fn inference(workload: &Workload) -> Self {
        let [inputs, outputs] = [workload.layer_sizes[0], workload.outputs()].map(u64::from);
        let row = inputs + outputs + 2 * widest(workload);
        Self {
            data: 0,
            parameters: 4 * (parameters(workload) + 3 * hidden(workload).sum::<u64>()),
            batch: 4 * u64::from(workload.batch_size) * row,
            history: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.data + self.parameters + self.batch + self.history
    }

    /// The sum and its parts.
    pub(super) fn describe(&self) -> String {
        let parts = [
            ("data set", self.data),
            ("parameters", self.parameters),
            ("batch", self.batch),
            ("history", self.history),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|&(_, size)| size > 0)
            .map(|(name, size)| format!("{name} {}", bytes(size)))
            .collect();
        format!("{} ({})", bytes(self.bytes()), parts.join(", "))
    }
}

/// Weights, gamma and beta of the hidden layers, and the biases of the last.
fn parameters(workload: &Workload) -> u64 {
    let weights: u64 = layers(workload).map(|[inputs, outputs]| inputs * outputs).sum();
    weights + 2 * hidden(workload).sum::<u64>() + u64::from(workload.outputs())
}

fn hidden(workload: &Workload) -> impl Iterator<Item = u64> {
    let sizes = workload.layer_sizes;
    sizes[1..sizes.len() - 1].iter().copied().map(u64::from)
}

fn widest(workload: &Workload) -> u64 {
    workload.layer_sizes[1..].iter().copied().map(u64::from).max().unwrap_or(0)
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

        // What the others come to, in units of 10⁶.
        let millions = |operations: fn(&Workload) -> u64| {
            WORKLOADS.each_ref().map(|workload| (operations(workload) as f64 * 1e-6).round())
        };
        assert_eq!(millions(training_operations), [5.0, 26.0, 616.0, 17_243.0, 1_361.0]);
        assert_eq!(millions(inference_operations), [2.0, 12.0, 274.0, 6_463.0, 476.0]);
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

    #[test]
    fn a_plan_grows_with_the_batch_and_the_rows_alone() {
        let plan = |batch_size, rows| {
            let workload = Workload { batch_size, ..WORKLOADS[2] };
            Plan::training(&workload, rows, &Optimizer::adam(1e-3))
        };
        let [small, double] = [plan(256, 1024), plan(512, 1024)];
        assert_eq!(double.batch, 2 * small.batch);
        assert_eq!(double.bytes() - small.bytes(), small.batch);
        assert_eq!(plan(256, 2048).bytes() - small.bytes(), 4 * 1024 * (784 + 1 + 1));
        let plain = Plan::training(&WORKLOADS[2], 1024, &Optimizer::gradient_descent(0.1));
        let learned = 784 * 512 + 512 * 256 + 256 * 10 + 2 * (512 + 256) + 10;
        assert_eq!(small.parameters - plain.parameters, 4 * 2 * learned);
    }
}
