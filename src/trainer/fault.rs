//! What a training has stopped at, if it has.

use super::Trainer;
use crate::error::{Fault, Quantity, Result};
use crate::gpu::{Source, read_all};
use crate::kernels::record_step::{COUNTS, Counts};
use crate::layout::{Learned, LearnedLayout};

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
        let network = &self.network;
        let stop = network.layout().stop_source(network.packed().buffer());
        let counts = Source::new(network.counts().buffer(), COUNTS.into());
        let values = read_all::<f32, 2>(network.gpu(), [stop, counts]);
        let is_normalized = |learned: &Learned| matches!(learned, Learned::Normalized { .. });
        let layers: Vec<bool> = network.learned().iter().map(is_normalized).collect();
        let reading = self.count.reading();
        async move {
            let [stop, counts] = values.await?;
            let taken = reading.learn(Counts::of(&counts).taken);
            let stop = LearnedLayout::stop_of(&stop);
            Ok(stop.map(|stop| {
                let (layer, quantity) = match &stop.faults {
                    None => (None, Quantity::Update),
                    Some(faults) => first(faults, &layers),
                };
                Fault { step: stop.step(taken), layer, quantity }
            }))
        }
    }
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
