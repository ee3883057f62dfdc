//! What a training has stopped at, if it has.

use super::Trainer;
use crate::error::{Fault, Quantity, Result};
use crate::gpu::{Source, read_all};
use crate::kernels::record_step::{COUNTS, Counts, whole};
use crate::layout::{Learned, LearnedLayout};

/// The steps that were skipped ([`OnFault::SkipStep`](crate::OnFault::SkipStep)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many, since this trainer was made or restored.
    pub steps: u64,
    /// Why the last one was skipped. Its number is that in the order in which steps were encoded.
    pub last: Option<Fault>,
}

impl Trainer {
    /// What the training has stopped at, in the steps that were submitted so far: a loss, a gradient or a
    /// batch's statistics that are not finite. None if all is well.
    ///
    /// The GPU looks at each step itself, and does not learn from such a one, nor from any after it:
    /// [`Network::parameters`](crate::Network::parameters) and [`Trainer::snapshot`] give what the step
    /// before has left, and an [`Inference`](crate::Inference) sees that from the next step on. To go on,
    /// with a smaller learning rate perhaps, [restore](Trainer::restore) the snapshot.
    ///
    /// It reads some bytes, so it may be asked as often as a loss. [`Trainer::epoch`] asks by itself.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and what wgpu reports.
    pub fn fault(&self) -> impl Future<Output = Result<Option<Fault>>> + use<> {
        let notes = self.read_notes();
        async move {
            let Notes { values, layers, taken, .. } = notes.await?;
            Ok(LearnedLayout::stop_of(&values).map(|stop| {
                let (layer, quantity) = match &stop.faults {
                    None => (None, Quantity::Update),
                    Some(faults) => first(faults, &layers),
                };
                Fault { step: stop.step(taken), layer, quantity }
            }))
        }
    }

    /// The steps that were skipped of those that were submitted so far, where the options ask for
    /// [`OnFault::SkipStep`](crate::OnFault::SkipStep); none otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and what wgpu reports.
    pub fn skipped(&self) -> impl Future<Output = Result<Skipped>> + use<> {
        let notes = self.read_notes();
        async move {
            let Notes { values, layers, counts, encoded, .. } = notes.await?;
            // A trainer of 2³² skipped steps has other troubles.
            let steps = u64::from(counts.skipped);
            let last = (steps > 0).then(|| {
                let (layer, quantity) = first(&LearnedLayout::faults_of(&values), &layers);
                Fault { step: whole(counts.last_skipped, encoded) + 1, layer, quantity }
            });
            Ok(Skipped { steps, last })
        }
    }

    fn read_notes(&self) -> impl Future<Output = Result<Notes>> + use<> {
        let network = &self.network;
        let stop = network.layout().stop_source(network.packed().buffer());
        let counts = Source::new(network.counts().buffer(), COUNTS.into());
        let values = read_all::<f32, 2>(network.gpu(), [stop, counts]);
        let is_normalized = |learned: &Learned| matches!(learned, Learned::Normalized { .. });
        let layers: Vec<bool> = network.learned().iter().map(is_normalized).collect();
        let reading = self.count.reading();
        async move {
            let [values, counts] = values.await?;
            let counts = Counts::of(&counts);
            let taken = reading.learn(counts.taken);
            Ok(Notes { values, layers, counts, taken, encoded: reading.encoded() })
        }
    }
}

/// What the GPU has noted of the steps so far.
struct Notes {
    /// The stop and the faults.
    values: Vec<f32>,
    /// Whether each layer is normalized.
    layers: Vec<bool>,
    counts: Counts,
    taken: u64,
    encoded: u64,
}

/// What was computed first of all that was not finite, and in which layer. What comes after it need not
/// be finite either: statistics and loss on the way from the inputs, gradients on the way back.
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
    (Some(layer), quantity)
}
