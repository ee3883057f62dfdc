//! The fault at which a training has stopped, and the steps that it has skipped.

use super::Trainer;
use crate::error::{Fault, Quantity, Result};
use crate::fused::record_step::{COUNTS, Counts, whole};
use crate::gpu::{Source, read_all};
use crate::layout::{Learned, LearnedLayout};
use crate::network::Network;

/// The skipped steps ([`OnFault::SkipStep`](crate::OnFault::SkipStep)).
///
/// ```
/// use ztilde::{Network, OnFault, Quantity, Trainer, TrainerOptions, block_on};
/// use wgpu::util::{BufferInitDescriptor, DeviceExt};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// # let buffer = |contents: &[u8]| {
/// #     let usage = wgpu::BufferUsages::COPY_SRC;
/// #     device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
/// # };
/// let network = Network::new(&device, &queue, &[1, 4, 2], Default::default())?;
/// let options = TrainerOptions { batch_size: 2, on_fault: OnFault::SkipStep, ..Default::default() };
/// let mut trainer = Trainer::new(network, options)?;
/// // A sensor that fails.
/// let inputs = buffer(bytemuck::cast_slice(&[1.0, f32::NAN]));
/// let classes = buffer(bytemuck::cast_slice(&[0_u32, 1]));
/// let mut encoder = device.create_command_encoder(&Default::default());
/// trainer.encode_step(&mut encoder, &inputs, &classes)?;
/// queue.submit([encoder.finish()]);
/// let skipped = block_on(&device, trainer.skipped())?;
/// assert_eq!(skipped.steps, 1);
/// assert_eq!(skipped.last.unwrap().quantity, Quantity::BatchStatistics);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The number of skipped steps since this trainer was made or restored.
    pub steps: u64,
    /// Why the last one was skipped. Its step number counts encoded steps, from 1.
    pub last: Option<Fault>,
}

impl Trainer {
    /// The fault that has stopped the training in the steps that were submitted so far: a loss, a gradient or
    /// a batch's statistics that are not finite, or an update that overflows. None without a fault.
    ///
    /// The GPU checks each step itself. From such a step on, it leaves the parameters unchanged:
    /// [`Network::parameters`](crate::Network::parameters) and [`Trainer::snapshot`] return the state
    /// after the step before, which an [`Inference`](crate::Inference) uses from the next step on. To
    /// continue, perhaps with a smaller learning rate, [restore](Trainer::restore) the snapshot.
    ///
    /// It reads only some bytes, like [`Trainer::loss`]. [`Trainer::epoch`] calls it automatically.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and errors of wgpu.
    pub fn fault(&self) -> impl Future<Output = Result<Option<Fault>>> + use<> {
        let notes = self.read_notes();
        async move {
            let Notes { values, layers, taken, .. } = notes.await?;
            Ok(fault_of(&values, &layers, taken))
        }
    }

    /// The skipped steps among the steps that were submitted so far, if the options have
    /// [`OnFault::SkipStep`](crate::OnFault::SkipStep); otherwise no steps.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and errors of wgpu.
    pub fn skipped(&self) -> impl Future<Output = Result<Skipped>> + use<> {
        let notes = self.read_notes();
        async move {
            let Notes { values, layers, counts, encoded, .. } = notes.await?;
            // The GPU counts modulo 2³², which no training reaches with skipped steps.
            let steps = u64::from(counts.skipped);
            let last = (steps > 0).then(|| {
                let (layer, quantity) = first(&LearnedLayout::faults_of(&values), &layers);
                Fault { step: whole(counts.last_skipped, encoded) + 1, layer, quantity }
            });
            Ok(Skipped { steps, last })
        }
    }

    /// The stop and the faults.
    pub(super) fn stop_source(&self) -> Source<'_> {
        self.network.layout().stop_source(self.network.packed().buffer())
    }

    fn read_notes(&self) -> impl Future<Output = Result<Notes>> + use<> {
        let network = &self.network;
        let counts = Source::new(network.counts().buffer(), COUNTS.into());
        let values = read_all::<f32, 2>(network.gpu(), [self.stop_source(), counts]);
        let layers = normalized_layers(network);
        let reading = self.count.reading();
        async move {
            let [values, counts] = values.await?;
            let counts = Counts::of(&counts);
            let taken = reading.learn(counts.taken);
            Ok(Notes { values, layers, counts, taken, encoded: reading.encoded() })
        }
    }
}

/// Whether each layer is normalized.
pub(super) fn normalized_layers(network: &Network) -> Vec<bool> {
    let is_normalized = |learned: &Learned| matches!(learned, Learned::Normalized { .. });
    network.learned().iter().map(is_normalized).collect()
}

/// The fault at which a training of `taken` steps has stopped, from the values of [`Trainer::stop_source`].
pub(super) fn fault_of(values: &[f32], is_normalized: &[bool], taken: u64) -> Option<Fault> {
    let stop = LearnedLayout::stop_of(values)?;
    let (layer, quantity) = match &stop.faults {
        None => (None, Quantity::Update),
        Some(faults) => first(faults, is_normalized),
    };
    Some(Fault { step: stop.step(taken), layer, quantity })
}

/// The GPU's records of the steps so far.
struct Notes {
    /// The stop and the faults.
    values: Vec<f32>,
    /// Whether each layer is normalized.
    layers: Vec<bool>,
    counts: Counts,
    taken: u64,
    encoded: u64,
}

/// The first quantity that was not finite, and its layer. Later faults follow from it: statistics and
/// loss in the order of the layers, then gradients in reverse order.
fn first(faults: &[[bool; 4]], is_normalized: &[bool]) -> (Option<usize>, Quantity) {
    let last = is_normalized.len() - 1;
    let layers = || faults.iter().enumerate();
    let seen_forward = layers().find(|(_, faults)| faults[0]);
    let seen_backward = layers().rfind(|(_, faults)| faults.contains(&true));
    let (layer, faults) =
        seen_forward.or(seen_backward).expect("learning stops where a layer has a fault");
    let quantity = match *faults {
        [true, ..] if layer == last => Quantity::Loss,
        [true, ..] => Quantity::BatchStatistics,
        [_, true, ..] if is_normalized[layer] => Quantity::GradGamma,
        [_, true, ..] => Quantity::GradBiases,
        [_, _, true, _] => Quantity::GradBeta,
        _ => Quantity::GradWeights,
    };
    (Some(layer + 1), quantity)
}
