//! The subject of a row of the table: training steps or inference, on one workload.

use wgpu::BufferUsages;
use wgpu::Device;
use ztilde::{
    Dataset, DeviceClass, Error, Inference, Method, Network, NetworkOptions, Optimizer, Parameters,
    StepPlan, Trainer, TrainerOptions, TrainingData, kernels::Dispatch,
};

use super::{
    gpu::Gpu,
    workload::{Plan, dataset, inference_operations, rows, training_operations},
    workloads::Workload,
};
use crate::failure::Failure;

/// The most inference steps in one submission. A trainer chooses its own number.
const STEPS_PER_SUBMISSION: u32 = 64;

/// One row to measure.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) workload: &'static Workload,
    pub(super) variant: Variant,
}

/// A way to train or to apply a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Variant {
    /// Training on a data set on the GPU.
    Resident(Method),
    /// The same in whole epochs, with their metrics.
    Epoch(Method),
    /// Inference with the running statistics.
    Running,
    /// Inference with the running statistics folded into weights and biases.
    Folded,
}

impl Case {
    pub(super) fn mode(&self) -> &'static str {
        match self.variant {
            Variant::Resident(_) => "train",
            Variant::Epoch(_) => "epoch",
            Variant::Running | Variant::Folded => "infer",
        }
    }

    pub(super) fn variant(&self) -> &'static str {
        match self.variant {
            Variant::Resident(_) | Variant::Epoch(_) => "resident",
            Variant::Running => "running",
            Variant::Folded => "folded",
        }
    }

    pub(super) fn optimizer_name(&self) -> Option<String> {
        match self.variant {
            Variant::Resident(optimizer) | Variant::Epoch(optimizer) => {
                Some(optimizer.name().to_owned())
            }
            Variant::Running | Variant::Folded => None,
        }
    }

    pub(super) fn operations(&self) -> u64 {
        match self.variant {
            Variant::Resident(_) | Variant::Epoch(_) => training_operations(self.workload),
            Variant::Running | Variant::Folded => inference_operations(self.workload),
        }
    }

    /// The memory of a case that is tuned by this text.
    pub(super) fn plan(&self, device: &Device, tuning: &str) -> Result<Plan, Failure> {
        let Workload { batch_size, layer_sizes, .. } = *self.workload;
        let network = self.network_options();
        Ok(match self.variant {
            Variant::Resident(optimizer) | Variant::Epoch(optimizer) => {
                let options = self.trainer_options(optimizer, tuning);
                let library = Trainer::planned_bytes(device, layer_sizes, &network, &options);
                Plan::training(self.workload, rows(self.workload)?, library)
            }
            Variant::Running | Variant::Folded => {
                // A folded network has no batch normalization.
                let batch_norm = self.variant == Variant::Running;
                let network = NetworkOptions { batch_norm, ..network };
                let library = Inference::planned_bytes(device, layer_sizes, &network, batch_size);
                Plan::inference(self.workload, library)
            }
        })
    }

    /// The network and the options of a training. None if the case does not train.
    pub(super) fn training(
        &self,
        gpu: &Gpu,
        tuning: &str,
    ) -> Result<Option<(Network, TrainerOptions)>, Failure> {
        let (Variant::Resident(optimizer) | Variant::Epoch(optimizer)) = self.variant else {
            return Ok(None);
        };
        let (sizes, options) = (self.workload.layer_sizes, self.network_options());
        let network = Network::new(&gpu.device, &gpu.queue, sizes, options)?;
        Ok(Some((network, self.trainer_options(optimizer, tuning))))
    }

    /// Allocates the memory of a subject that is tuned by this text.
    pub(super) fn prepare(&self, gpu: &Gpu, tuning: &str) -> Result<Subject, Failure> {
        let Workload { batch_size, layer_sizes, .. } = *self.workload;
        if let Some((network, options)) = self.training(gpu, tuning)? {
            let trainer = Trainer::new(network, options)?;
            let data = trainer.upload(&dataset(self.workload)?)?;
            let training = Box::new((trainer, data));
            let is_epoch = matches!(self.variant, Variant::Epoch(_));
            return Ok(if is_epoch {
                Subject::Epochs(training)
            } else {
                Subject::Training(training)
            });
        }
        let parameters = Parameters::initialize(layer_sizes, &self.network_options())?;
        let folded = self.variant == Variant::Folded;
        let parameters = if folded { parameters.folded() } else { parameters };
        let network = Network::from_parameters(&gpu.device, &gpu.queue, &parameters)?;
        Subject::inference(gpu, &network, &dataset(self.workload)?, batch_size)
    }

    /// The plan of a training step, if the case trains.
    pub(super) fn step_plan(&self, class: DeviceClass) -> Option<StepPlan> {
        let Variant::Resident(optimizer) = self.variant else { return None };
        let options = self.trainer_options(optimizer, "");
        Some(StepPlan::new(class, self.workload.layer_sizes, &self.network_options(), &options))
    }

    fn network_options(&self) -> NetworkOptions {
        NetworkOptions { activation: self.workload.activation, ..Default::default() }
    }

    fn trainer_options(&self, optimizer: Method, tuning: &str) -> TrainerOptions {
        let Workload { batch_size, loss, .. } = *self.workload;
        TrainerOptions {
            batch_size,
            loss,
            optimizer: Optimizer::usual(optimizer),
            tuning: tuning.to_owned(),
            ..Default::default()
        }
    }
}

/// A case on the GPU.
pub(super) enum Subject {
    /// On a data set on the GPU; each epoch is shuffled.
    Training(Box<(Trainer, TrainingData)>),
    /// The same, an epoch at a time.
    Epochs(Box<(Trainer, TrainingData)>),
    /// On a batch in a buffer.
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

    /// The steps that are measured together.
    pub(super) fn steps(&self) -> u32 {
        match self {
            Self::Epochs(training) => training.1.steps_per_epoch(),
            Self::Training(_) | Self::Inference(_) => 1,
        }
    }

    /// Submits the first step.
    pub(super) fn first_step(&mut self, gpu: &Gpu) -> Result<(), Failure> {
        match self {
            Self::Training(training) | Self::Epochs(training) => {
                let (trainer, data) = &mut **training;
                Ok(trainer.train(data, 1)?)
            }
            Self::Inference(_) => self.submit(gpu, 1),
        }
    }

    /// Submits this many steps, or trains for this many epochs.
    pub(super) fn submit(&mut self, gpu: &Gpu, steps: u32) -> Result<(), Failure> {
        match self {
            Self::Epochs(training) => {
                let (trainer, data) = &mut **training;
                for _ in 0..steps {
                    ztilde::block_on(&gpu.device, trainer.epoch(data))?;
                }
            }
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

    /// The dispatches of a step, in training without the copy of the batch.
    pub(super) fn into_dispatches(self) -> Vec<Dispatch> {
        match self {
            Self::Training(training) | Self::Epochs(training) => training.0.into_dispatches(),
            Self::Inference(inference) => inference.dispatches().to_vec(),
        }
    }

    /// Fails if the training diverged: later steps no longer change the parameters, and may take a
    /// different time.
    pub(super) fn check(&self, gpu: &Gpu) -> Result<(), Failure> {
        let (Self::Training(training) | Self::Epochs(training)) = self else { return Ok(()) };
        let (trainer, _) = &**training;
        let fault = ztilde::block_on(&gpu.device, trainer.fault())?;
        fault.map_or(Ok(()), |fault| Err(Error::Diverged(fault).into()))
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
        let variants = [
            Variant::Resident(Optimizer::default().method),
            Variant::Resident(Method::GradientDescent),
            Variant::Running,
            Variant::Folded,
        ];
        for workload in &WORKLOADS[..3] {
            for variant in variants {
                let case = Case { workload, variant };
                gpu.wait().unwrap();
                let Some(before) = gpu.allocated() else {
                    continue; // This backend's allocator reports nothing.
                };
                let mut subject = case.prepare(&gpu, "").unwrap();
                // Staging memory is only freed after its upload has finished.
                subject.submit(&gpu, 1).unwrap();
                gpu.wait().unwrap();
                let held = (gpu.allocated().unwrap() - before) as f64;
                let planned = case.plan(&gpu.device, "").unwrap().bytes() as f64;
                let what = format!("{} {variant:?}", workload.name);
                assert!(
                    (held / planned - 1.0).abs() < 0.05,
                    "{what}: {planned} bytes were planned, {held} are held"
                );
            }
        }
    }

    #[test]
    fn a_plan_grows_with_the_batch_and_the_rows_alone() {
        let (_, device, _) = adapter::open().unwrap();
        let [paper, digits] = [&WORKLOADS[1], &WORKLOADS[0]];
        let planned = |workload: &Workload, batch_size: u32, rows: u32| {
            let optimizer = Optimizer::default();
            let options = TrainerOptions { batch_size, optimizer, ..Default::default() };
            let network = NetworkOptions::default();
            let sizes = workload.layer_sizes;
            let library = Trainer::planned_bytes(&device, sizes, &network, &options);
            (Plan::training(workload, rows, library).bytes(), library)
        };
        for workload in [paper, digits] {
            let inputs = u64::from(workload.layer_sizes[0]);
            let [(small, library), (double, twice)] =
                [30, 60].map(|batch_size| planned(workload, batch_size, 1000));
            // The batch's statistics do not grow with its rows.
            assert!(library.batch < twice.batch && twice.batch <= 2 * library.batch);
            assert_eq!(double - small, twice.batch - library.batch);
            let (more_rows, _) = planned(workload, 30, 2000);
            assert_eq!(more_rows - small, 4 * 1000 * (inputs + 1 + 1));
        }
    }
}
