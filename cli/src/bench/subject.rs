//! What a row of the table is about: training steps or inference, on one workload.

use wgpu::BufferUsages;
use ztilde::{
    Dataset, Inference, Network, NetworkOptions, Trainer, TrainerOptions, TrainingData,
    kernels::Dispatch,
};

use super::{
    gpu::Gpu,
    workload::{Plan, dataset, inference_operations, rows, training_operations},
    workloads::Workload,
};
use crate::{
    failure::Failure,
    options::{OptimizerName, typed_name},
    settle::usual,
};

/// Steps of inference that go into one submission at most. A trainer chooses for itself.
const STEPS_PER_SUBMISSION: u32 = 64;

/// One row to measure.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) workload: &'static Workload,
    /// `None` is inference.
    pub(super) optimizer: Option<OptimizerName>,
}

impl Case {
    pub(super) fn mode(&self) -> &'static str {
        if self.optimizer.is_some() { "train" } else { "infer" }
    }

    /// How it is done, of the ways that there are.
    pub(super) fn variant(&self) -> &'static str {
        if self.optimizer.is_some() { "resident" } else { "running" }
    }

    pub(super) fn optimizer_name(&self) -> Option<String> {
        self.optimizer.map(typed_name)
    }

    pub(super) fn operations(&self) -> u64 {
        match self.optimizer {
            Some(_) => training_operations(self.workload),
            None => inference_operations(self.workload),
        }
    }

    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        Ok(match self.optimizer {
            Some(optimizer) => {
                Plan::training(self.workload, rows(self.workload)?, &usual(optimizer))
            }
            None => Plan::inference(self.workload),
        })
    }

    /// Allocates what it takes.
    pub(super) fn prepare(&self, gpu: &Gpu) -> Result<Subject, Failure> {
        let Workload { batch_size, layer_sizes, activation, loss, .. } = *self.workload;
        let options = NetworkOptions { activation, ..Default::default() };
        let network = Network::new(&gpu.device, &gpu.queue, layer_sizes, options)?;
        let data = dataset(self.workload)?;
        let Some(optimizer) = self.optimizer else {
            return Subject::inference(gpu, &network, &data, batch_size);
        };
        let optimizer = usual(optimizer);
        let options = TrainerOptions { batch_size, loss, optimizer, ..Default::default() };
        let trainer = Trainer::new(network, options)?;
        let data = trainer.upload(&data)?;
        Ok(Subject::Training(Box::new((trainer, data))))
    }
}

/// A case on the GPU.
pub(super) enum Subject {
    /// On a data set that lies on the GPU; each epoch is shuffled.
    Training(Box<(Trainer, TrainingData)>),
    /// On a batch that lies in a buffer.
    Inference(Inference),
}

impl Subject {
    fn inference(gpu: &Gpu, network: &Network, data: &Dataset, rows: u32) -> Result<Self, Failure> {
        let bytes = |columns: u32| 4 * u64::from(rows) * u64::from(columns);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let inputs = gpu.buffer(bytes(network.inputs()), usage)?;
        let outputs = gpu.buffer(bytes(network.outputs()), usage)?;
        let batch = data.inputs().rows().into_iter().take(rows as usize);
        let values: Vec<f32> = batch.flatten().copied().collect();
        gpu.queue.write_buffer(&inputs, 0, bytemuck::cast_slice(&values));
        Ok(Self::Inference(Inference::new(network, &inputs, &outputs, rows)?))
    }

    /// Submits so many steps, and does not wait.
    pub(super) fn submit(&mut self, gpu: &Gpu, steps: u32) -> Result<(), Failure> {
        match self {
            Self::Training(training) => {
                let (trainer, data) = &mut **training;
                trainer.train(data, steps)?;
            }
            Self::Inference(inference) => {
                let mut left = steps;
                while left > 0 {
                    let count = left.min(STEPS_PER_SUBMISSION);
                    gpu.submit(|encoder| (0..count).for_each(|_| inference.encode(encoder)));
                    left -= count;
                }
            }
        }
        Ok(())
    }

    /// What a step consists of; in training without what brings the batch to its place.
    pub(super) fn dispatches(&self) -> &[Dispatch] {
        match self {
            Self::Training(training) => training.0.dispatches(),
            Self::Inference(inference) => inference.dispatches(),
        }
    }

    /// Fails if the training went astray: not-a-numbers may take another time than numbers.
    pub(super) fn check(&self, gpu: &Gpu) -> Result<(), Failure> {
        let Self::Training(training) = self else { return Ok(()) };
        let (trainer, _) = &**training;
        let loss = ztilde::block_on(&gpu.device, trainer.loss())?;
        if loss.is_finite() {
            return Ok(());
        }
        Err(Failure::diverged(format!("the loss of step {} is {loss}", trainer.steps())))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::workloads::WORKLOADS, *};
    use crate::adapter;

    #[test]
    fn a_case_holds_what_was_planned() {
        let (_, device, queue) = adapter::open().unwrap();
        let gpu = Gpu { device, queue };
        let trainings = [OptimizerName::Adam, OptimizerName::GradientDescent].map(Some);
        for workload in &WORKLOADS[..3] {
            for optimizer in trainings.into_iter().chain([None]) {
                let case = Case { workload, optimizer };
                gpu.wait().unwrap();
                let Some(before) = gpu.allocated() else {
                    continue; // This backend has no allocator that tells.
                };
                let mut subject = case.prepare(&gpu).unwrap();
                // What was uploaded has to pass before the staging memory is given back.
                subject.submit(&gpu, 1).unwrap();
                gpu.wait().unwrap();
                let held = (gpu.allocated().unwrap() - before) as f64;
                let planned = case.plan().unwrap().bytes() as f64;
                let what = format!("{} {:?}", workload.name, case.optimizer_name());
                assert!(
                    (held / planned - 1.0).abs() < 0.05,
                    "{what}: {planned} bytes were planned, {held} are held"
                );
            }
        }
    }
}
