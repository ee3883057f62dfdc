//! Tuning: measures the plans that a step may follow, which all give the same bits.

#[cfg(test)]
mod tests;
mod text;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::{Device, WasmNotSend};

use super::{Trainer, check_rows};
use crate::data::Targets;
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, KernelCache, Source, Stopwatch, read_all};
use crate::network::Network;
use crate::options::{Optimizer, TrainerOptions};
use crate::plan::StepPlan;

/// The most measurements of a network. The layers that follow keep the model's choice.
const MOST: usize = 96;

/// The share of the time that a way must take at most to be taken.
const ENOUGH: f64 = 0.9;

/// The measurements of each way, whose median counts.
const ROUNDS: usize = 9;

/// The same on a slow device, where one measurement takes more than `LONG` microseconds.
const FEW_ROUNDS: usize = 3;
const LONG: f64 = 50_000.0;

/// Why a way is dropped that does not give the plan's bits.
const DIFFERS: &str = "its results differ from the plan's in a bit, which is a bug of the driver";

/// The microseconds that a measurement should take, and the most repetitions in it.
const MEASURED: f64 = 1000.0;
const MOST_REPETITIONS: f64 = 64.0;

/// The fastest way to compute the layers of a step on one device, as measured there.
///
/// [`Tuning::measure`] finds it. [`TrainerOptions::tuning`] takes its [text](Tuning::text). An app may keep
/// the text in a file, or ship it; the library touches no disk.
///
/// Tuning changes no bit of a result: on a device, all plans add up in the same order. A plan whose first
/// steps differ in a bit is a bug of the driver: it is dropped and [reported](TunedChoice::error).
///
/// ```
/// use ztilde::{Network, Trainer, TrainerOptions, Tuning, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[8, 24, 3], Default::default())?;
/// let options = TrainerOptions { batch_size: 100, ..Default::default() };
/// let tuning = block_on(&device, Tuning::measure(&network, &options))?;
/// for choice in tuning.choices() {
///     println!("layer {}: {} {:?}", choice.layer(), choice.way(), choice.microseconds());
/// }
/// let text = tuning.text().to_owned(); // The app may save it.
///
/// let options = TrainerOptions { tuning: text, ..options };
/// assert!(Tuning::is_known(&network, &options));
/// let trainer = Trainer::new(network, options)?;
/// assert!(trainer.is_tuned());
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    text: String,
    choices: Vec<TunedChoice>,
}

/// A way to compute a layer that was compared with the way that the plan had until then.
///
/// See the example of [`Tuning`].
#[derive(Clone, Debug, PartialEq)]
pub struct TunedChoice {
    layer: usize,
    way: String,
    before: String,
    microseconds: Option<[f64; 2]>,
    error: Option<String>,
    is_taken: bool,
}

impl TunedChoice {
    /// The layer, counted from 1.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// How it computes the layer: the patch of a product that a workgroup computes at once, how the rows are
    /// divided, and where the gradients of the weights are computed.
    pub fn way(&self) -> &str {
        &self.way
    }

    /// The way that the plan had until then.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// The median times of this way and of the one before: of all dispatches of the layers that differ, in
    /// one step. None if it was dropped.
    pub fn microseconds(&self) -> Option<[f64; 2]> {
        self.microseconds
    }

    /// Why it was dropped, without a measurement: a bit of its results differs, or the device reports an
    /// error.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether the plan has taken it: the fastest of its layer, if it takes at most 90 % of the time.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }
}

impl Tuning {
    /// Measures the ways to compute the layers of a step, on the network's device: layer by layer, the up to
    /// eight other ways that the cost model deems fastest, and at most 96 of a network.
    ///
    /// It trains copies of the network on random rows, so the network stays as it is. Each way takes two
    /// steps, whose parameters and gradients are compared bit for bit with those of the plan before. Then its
    /// dispatches are timed: with `Features::TIMESTAMP_QUERY` by the GPU's clock, or else by the CPU's. It
    /// takes some seconds, most of which are for compiling, and the memory of two further trainers.
    ///
    /// A way whose bits differ, or of which the device reports an error, is dropped.
    ///
    /// In a browser without timestamps no way is taken.
    ///
    /// See the example of [`Tuning`].
    ///
    /// # Errors
    ///
    /// As [`Trainer::new`]; [`Error::Diverged`] if the network's parameters are so large that a step on
    /// random rows is not finite; and [`Error::DeviceLost`].
    pub async fn measure(network: &Network, options: &TrainerOptions) -> Result<Self> {
        options.check(network.outputs())?;
        check_rows(network, options.batch_size)?;
        let plan = StepPlan::of_layers(network.gpu().class, network.sizes(), options);
        let judge = Stopwatch::new(network.gpu())?;
        Self::by(judge, network, plan, options).await
    }

    /// Whether the options' [tuning](TrainerOptions::tuning) has a line for the steps of such a trainer, so that
    /// nothing needs to be measured.
    ///
    /// See the example of [`Tuning`].
    pub fn is_known(network: &Network, options: &TrainerOptions) -> bool {
        let plan = StepPlan::of_layers(network.gpu().class, network.sizes(), options);
        known(&network.gpu().device, &plan, options).is_some()
    }

    /// A line of text, some hundred bytes long, with the adapter, its driver, the version of this library,
    /// the shape of the step, and the way of each layer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A text of several tunings, one in each line: the lines of `text`, and this one. It replaces an earlier
    /// line for the same step on the same device. Lines that cannot be read are removed.
    pub fn added_to(&self, text: &str) -> String {
        text::with_line(text, &self.text)
    }

    /// All ways that were compared, in their order.
    pub fn choices(&self) -> &[TunedChoice] {
        &self.choices
    }

    /// The same, from this plan, by this judge.
    async fn by<J: Judge>(
        mut judge: J,
        network: &Network,
        mut plan: StepPlan,
        options: &TrainerOptions,
    ) -> Result<Self> {
        let device = network.gpu().device.clone();
        let mut choices: Vec<TunedChoice> = Vec::new();
        if plan.choices().is_empty() {
            return Ok(Self { text: text::line(&device, &plan), choices });
        }
        // The copies share kernels.
        let _kernels = KernelCache::new(&device);
        let copy = copies(network, options).await?;
        let mut own = copy(&plan)?;
        if let Some(fault) = own.fault().await? {
            return Err(Error::Diverged(fault));
        }
        let expected = judge.bits(&own).await?;
        for index in 0..plan.choices().len() {
            let mut best: Option<(f64, usize, StepPlan)> = None;
            for other in plan.others(index, J::MOST_OF_LAYER.min(MOST - choices.len())) {
                let [way, before] = [&other, &plan].map(|plan| plan.choices().swap_remove(index));
                let compared = match copy(&other) {
                    Ok(copy) => compared(&mut judge, &expected, [&copy, &own]).await,
                    Err(error) => Err(error),
                };
                let (microseconds, error) = match compared {
                    Ok(Some(times)) => (Some(times), None),
                    Ok(None) => (None, Some(DIFFERS.to_owned())),
                    Err(lost @ Error::DeviceLost(_)) => return Err(lost),
                    Err(error) => (None, Some(error.to_string())),
                };
                if let Some([time, of_own]) = microseconds {
                    let gain = of_own - time;
                    let is_best = best.as_ref().is_none_or(|(most, ..)| gain > *most);
                    if time < ENOUGH * of_own && is_best {
                        best = Some((gain, choices.len(), other));
                    }
                }
                let (layer, is_taken) = (index + 1, false);
                choices.push(TunedChoice { layer, way, before, microseconds, error, is_taken });
            }
            if let Some((_, number, other)) = best {
                choices[number].is_taken = true;
                own = copy(&other)?;
                plan = other;
            }
        }
        Ok(Self { text: text::line(&device, &plan), choices })
    }
}

/// What is measured. Tests have a judge of their own.
trait Judge: WasmNotSend {
    /// The most ways of a layer that are measured.
    const MOST_OF_LAYER: usize = 8;

    /// Values that two steps have left, which do not depend on the plan.
    fn bits(&mut self, trainer: &Trainer) -> impl Future<Output = Result<Vec<u32>>> + WasmNotSend;

    /// The time of these dispatches, as the mean of that number of repetitions.
    fn time(
        &mut self,
        dispatches: &[&Dispatch],
        times: u32,
    ) -> impl Future<Output = Result<f64>> + WasmNotSend;
}

impl Judge for Stopwatch {
    async fn bits(&mut self, trainer: &Trainer) -> Result<Vec<u32>> {
        let [learned, running, _] = trainer.network.sources();
        let sources = [learned, running, Source::of(&trainer.memory.gradients)];
        Ok(read_all(trainer.network.gpu(), sources).await?.concat())
    }

    async fn time(&mut self, dispatches: &[&Dispatch], times: u32) -> Result<f64> {
        self.microseconds(dispatches, times).await
    }
}

/// Makes trainers of copies of a network, each of which has taken two steps on the same random rows.
async fn copies(
    network: &Network,
    options: &TrainerOptions,
) -> Result<impl Fn(&StepPlan) -> Result<Trainer> + use<>> {
    let parameters = network.parameters().await?;
    let (device, queue) = (network.gpu().device.clone(), network.gpu().queue.clone());
    // No step should diverge.
    let optimizer = Optimizer { learning_rate: 1e-3, ..Optimizer::usual(options.optimizer.method) };
    let options = TrainerOptions { optimizer, tuning: String::new(), ..options.clone() };
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    let [rows, features, outputs] =
        [options.batch_size, network.inputs(), network.outputs()].map(|size| size as usize);
    let inputs = (0..rows * features).map(|_| generator.random_range(-1.0..1.0));
    let inputs: Vec<f32> = inputs.collect();
    // Values that are probabilities suit all losses.
    let values = if options.loss.has_class_targets() { 0 } else { rows * outputs };
    let values: Vec<f32> = (0..values).map(|_| generator.random_range(0.0..1.0)).collect();
    let classes: Vec<u32> = (0..rows).map(|_| generator.random_range(0..outputs as u32)).collect();
    Ok(move |plan: &StepPlan| {
        let network = Network::from_parameters(&device, &queue, &parameters)?;
        let mut trainer = Trainer::with_plan(network, plan.clone(), options.clone())?;
        for _ in 0..2 {
            let targets = match options.loss.has_class_targets() {
                true => Targets::from(&classes[..]),
                false => Targets::from(&values[..]),
            };
            trainer.step(&inputs, targets)?;
        }
        Ok(trainer)
    })
}

/// The median times of the dispatches in which two trainers differ, measured alternately. None if the first
/// one's results are not the expected bits.
async fn compared(
    judge: &mut impl Judge,
    expected: &[u32],
    trainers: [&Trainer; 2],
) -> Result<Option<[f64; 2]>> {
    if judge.bits(trainers[0]).await? != expected {
        return Ok(None);
    }
    let layers = trainers[0].plan.differing_layers(&trainers[1].plan);
    let prefixes: Vec<_> = layers.iter().map(|layer| format!("layer {layer}/")).collect();
    let differing = trainers.map(|trainer| {
        let is_of = |dispatch: &&Dispatch| {
            prefixes.iter().any(|prefix| dispatch.name().starts_with(prefix))
        };
        trainer.step.dispatches().iter().filter(is_of).collect::<Vec<_>>()
    });
    // The first run of a pipeline may take longer.
    let mut first: f64 = 1.0;
    for dispatches in &differing {
        first = first.max(judge.time(dispatches, 1).await?);
    }
    let times = (MEASURED / first).clamp(1.0, MOST_REPETITIONS) as u32;
    let rounds = if first > LONG { FEW_ROUNDS } else { ROUNDS };
    let mut measured = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (measured, dispatches) in measured.iter_mut().zip(&differing) {
            measured.push(judge.time(dispatches, times).await?);
        }
    }
    Ok(Some(measured.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[rounds / 2]
    })))
}

/// The plan that the options' tuning has for a step, if it has one.
pub(super) fn known(
    device: &Device,
    plan: &StepPlan,
    options: &TrainerOptions,
) -> Option<StepPlan> {
    text::known(device, plan, &options.tuning)
}

impl Trainer {
    /// Whether its plan is the one that [`TrainerOptions::tuning`] has for this step, this adapter, its
    /// driver and this version. Otherwise the text is ignored, and the plan is the model's.
    pub fn is_tuned(&self) -> bool {
        let device = &self.network.gpu().device;
        known(device, &self.plan, &self.options).is_some_and(|plan| plan == self.plan)
    }
}
