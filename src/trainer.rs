//! `Trainer`: the state of a training; one step, one epoch.

mod ahead;
mod bound_batch;
#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
mod count;
mod epoch;
mod fault;
mod hidden_layer;
mod history;
mod memory;
mod metrics;
mod pieces;
mod snapshot;
mod step;
#[cfg(test)]
mod tests;
mod training_data;
mod tuning;
mod units;
mod whole;

use wgpu::{CommandEncoder, ComputePassDescriptor};

use crate::data::{Targets, check_finite};
use crate::error::{Error, Result};
use crate::fused::copy_rows::CopyRows;
use crate::fused::gather_rows::GatherRows;
use crate::gpu::{Dispatch, Glance, InFlight, side_by_side};
use crate::network::Network;
use crate::options::TrainerOptions;
use crate::plan::{HISTORY, StepPlan};
use crate::snapshot::Place;
use ahead::{Ahead, Number};
pub use bound_batch::BoundBatch;
use count::{Count, Reading};
pub use fault::Skipped;
pub use hidden_layer::{HiddenBatchNorm, HiddenLayer};
use memory::Memory;
pub use metrics::{EpochMetrics, StepMetrics};
use step::StepKernels;
pub use training_data::TrainingData;
pub use tuning::{TunedChoice, Tuning};
use units::Step;

/// Trains a network. Holds the gradients, the optimizer's state, and the matrices of a batch.
///
/// After construction a step creates no GPU object, except a buffer of four bytes after 4096 steps in
/// the app's encoders without a read, and in [`Trainer::epoch`] three small buffers for each submission,
/// which are read. Only futures wait; natively, so do [`block_on`](crate::block_on) and
/// [`Trainer::train`], which has at most three submissions in flight.
///
/// The same seed gives the same bits on the same adapter, driver and version, for any division of the
/// steps into submissions.
///
/// ```
/// use ztilde::{Loss, Network, Optimizer, Trainer, TrainerOptions, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[1, 16, 1], Default::default())?;
/// let mut trainer = Trainer::new(network, TrainerOptions {
///     batch_size: 32,
///     loss: Loss::MeanSquaredError,
///     optimizer: Optimizer::adam(0.02),
///     ..Default::default()
/// })?;
/// let inputs: Vec<f32> = (0..32).map(|row| row as f32 / 16.0 - 1.0).collect();
/// let squares: Vec<f32> = inputs.iter().map(|x| x * x).collect();
/// trainer.step(&inputs, &squares)?;
/// let before = block_on(&device, trainer.loss())?;
/// for _ in 0..50 {
///     trainer.step(&inputs, &squares)?;
/// }
/// assert!(block_on(&device, trainer.loss())? < before / 2.0);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    options: TrainerOptions,
    plan: StepPlan,
    kernels: StepKernels,
    gather: GatherRows,
    copy_rows: CopyRows,
    memory: Memory,
    /// Copies a batch from the CPU or from an app's buffer to the trainer's batch before a step.
    arrival: Vec<Dispatch>,
    /// One step on a batch of `batch_size` rows.
    step: Step,
    count: Count,
    /// The submissions of steps on uploaded and streamed data.
    in_flight: InFlight,
    /// A read of the GPU's count, without a future.
    glance: Option<(Glance, Reading)>,
    ahead: Ahead,
    /// Steps that were taken before this trainer was restored from a snapshot.
    steps_before: u64,
    /// The place of that snapshot.
    place_before: Option<Place>,
    /// The current place in the data of the last step.
    place: Option<Place>,
    /// The place at which uploaded or streamed data begins after a restore, until the first step on such
    /// data.
    resumes_at: Option<Place>,
    /// The place after each of the last steps, at the step's number modulo [`HISTORY`].
    places: Vec<Option<Place>>,
}

impl Trainer {
    /// Creates a trainer for a network.
    ///
    /// See the example of [`Trainer`].
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if an option is out of range, [`Error::Length`] if there is not one class weight
    /// per output, [`Error::BatchTooSmall`] if batches of one row would have to be normalized,
    /// [`Error::TooLarge`] if a matrix of the batch is too large for the device (see
    /// [`required_limits`](crate::required_limits); the error names the largest matrix, before anything
    /// is allocated),
    /// [`Error::TooMany`] if a software adapter would not finish its loops (batches of millions of rows,
    /// layers of tens of thousands of outputs), and errors of wgpu.
    pub fn new(network: Network, options: TrainerOptions) -> Result<Self> {
        options.check(network.outputs())?;
        check_rows(&network, options.batch_size)?;
        let plan = StepPlan::of_layers(network.gpu().class, network.sizes(), &options);
        let tuned = tuning::known(&network.gpu().device, &plan, &options);
        Self::with_plan(network, tuned.unwrap_or(plan), options)
    }

    /// Creates a trainer whose steps follow this plan.
    fn with_plan(mut network: Network, plan: StepPlan, options: TrainerOptions) -> Result<Self> {
        let device = &network.gpu().device;
        let memory = Memory::new(&network, &plan, &options)?;
        let (kernels, gather) = side_by_side(|| {
            let kernels = StepKernels::new(&network, &plan, &memory, &options)?;
            Ok((kernels, GatherRows::new(device)?))
        })?;
        let dispatches = step::bind(&network, &plan, &kernels, &memory, options.batch_size)?;
        let copy_rows = network.inference_kernels().copy_rows.clone();
        let arrival = step::bind_arrival(&network, &copy_rows, &memory)?;
        network.begin_training(0)?;
        Ok(Self {
            gather,
            arrival,
            copy_rows,
            kernels,
            memory,
            step: Step::new(dispatches, &plan, options.batch_size),
            count: Count::new(0, options.on_fault.skips()),
            in_flight: InFlight::new(network.gpu()),
            glance: None,
            ahead: Ahead::new(0),
            steps_before: 0,
            place_before: None,
            place: None,
            resumes_at: None,
            places: vec![None; HISTORY as usize],
            plan,
            network,
            options,
        })
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the network. If the training had stopped at a [fault](Trainer::fault), no other trainer
    /// can change this network: create a new one from its parameters ([`Network::from_parameters`]).
    pub fn into_network(self) -> Network {
        self.network
    }

    /// The options. Only the learning rate can change.
    pub fn options(&self) -> &TrainerOptions {
        &self.options
    }

    /// How its steps are divided into dispatches.
    pub fn plan(&self) -> &StepPlan {
        &self.plan
    }

    /// The steps taken so far, with those before a restore. An encoded step counts as taken until a read
    /// of the GPU ([`Trainer::loss`], [`Trainer::metrics`], [`Trainer::fault`],
    /// [`Trainer::skipped`], [`Trainer::snapshot`]) shows that its encoder was not submitted, or that
    /// the step was skipped.
    pub fn steps(&self) -> u64 {
        self.count.expected()
    }

    /// Ends the training and returns the dispatches of a step on a full batch, in order, for example to
    /// time each of them. The dispatches may run any number of times and in any order, and keep their
    /// memory alive.
    pub fn into_dispatches(self) -> Vec<Dispatch> {
        self.step.into_dispatches()
    }

    /// Sets the learning rate, before the schedule, of the steps that are not encoded yet.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if it is not finite and above 0.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let mut optimizer = self.options.optimizer;
        optimizer.learning_rate = learning_rate;
        optimizer.check()?;
        self.options.optimizer = optimizer;
        self.ahead.change_rate(self.count.encoded());
        Ok(())
    }

    /// One step on a batch from the CPU: uploads it and submits the step; does not wait.
    ///
    /// `inputs` are `batch_size` rows, row-major; so are targets that are values, while class indices
    /// are one per row.
    ///
    /// See the example of [`Trainer`].
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::Targets`], [`Error::Class`] or [`Error::Probability`] if the batch
    /// does not fit the network and the loss, [`Error::NotFinite`] with the first value that is NaN or
    /// infinite, and errors of wgpu. No step is taken then.
    pub fn step<'a>(&mut self, inputs: &[f32], targets: impl Into<Targets<'a>>) -> Result<()> {
        let targets = targets.into();
        self.check_batch(inputs, &targets)?;
        self.announce(1)?;
        let gpu = self.network.gpu();
        let dense_inputs = &self.memory.dense_inputs;
        gpu.write(dense_inputs.buffer(), dense_inputs.first(), inputs)?;
        let target_buffer = self.memory.batch.targets.buffer();
        match &targets {
            Targets::Classes(classes) => gpu.write(target_buffer, 0, classes)?,
            Targets::Values(values) => gpu.write(target_buffer, 0, values)?,
        }
        gpu.submit("ztilde/step", |encoder| self.encode(encoder, &self.arrival))?;
        self.count_submitted();
        Ok(())
    }

    /// A step on the batch that `arrival` copies to the trainer's batch.
    fn encode(&self, encoder: &mut CommandEncoder, arrival: &[Dispatch]) {
        self.number().encode(encoder);
        let mut pass = begin_pass(encoder);
        for dispatch in arrival {
            dispatch.encode(&mut pass);
        }
        self.step.encode(&mut pass, 0..self.step.units());
    }

    fn check_batch(&self, inputs: &[f32], targets: &Targets<'_>) -> Result<()> {
        let rows = u64::from(self.options.batch_size);
        let features = u64::from(self.network.inputs());
        if inputs.len() as u64 != rows * features {
            return Err(Error::Length {
                what: "inputs",
                found: inputs.len() as u64,
                needed: rows * features,
                why: format!("{rows} rows × {features} features"),
            });
        }
        let outputs = self.network.outputs();
        targets.check(self.options.loss, rows, outputs.into())?;
        check_finite("inputs", features as usize, inputs.iter())?;
        match targets {
            Targets::Classes(_) => Ok(()),
            Targets::Values(values) => check_finite("targets", outputs as usize, values.iter()),
        }
    }

    /// A step was encoded into the app's encoder.
    fn count_encoded(&mut self) {
        self.keep_place();
        self.count.encode();
        self.network.count_step(self.count.encoded());
    }

    /// A step was encoded and submitted.
    fn count_submitted(&mut self) {
        self.keep_place();
        self.count.submit();
        self.network.count_step(self.count.encoded());
    }

    fn keep_place(&mut self) {
        let slot = self.count.encoded() % u64::from(HISTORY);
        self.places[slot as usize] = self.place;
    }
}

fn begin_pass(encoder: &mut CommandEncoder) -> wgpu::ComputePass<'_> {
    let label = Some("ztilde/training");
    encoder.begin_compute_pass(&ComputePassDescriptor { label, timestamp_writes: None })
}

fn check_rows(network: &Network, rows: u32) -> Result<()> {
    if rows < 2 && network.has_batch_norm() {
        return Err(Error::BatchTooSmall { rows: rows.into() });
    }
    Ok(())
}
