//! The state of a training: read by the CPU, and restored on a device.

use wgpu::{Device, Queue};

use super::Trainer;
use super::ahead::Ahead;
use super::count::Count;
use super::history::History;
use crate::error::Result;
use crate::gpu::{Gpu, Matrix, Source, read_all};
use crate::layout::LearnedLayout;
use crate::network::Network;
use crate::options::TrainerOptions;
use crate::plan::HISTORY;
use crate::snapshot::{Place, Snapshot, State};

impl Trainer {
    /// Reads the state of the training, as it will be after everything that was submitted so far:
    /// parameters, running statistics, the optimizer's state, the options, the number of steps and the
    /// place in the data.
    ///
    /// One submission copies the whole state, so all of it belongs to the same moment. The training may
    /// continue while the future waits, without changing the snapshot. Steps in encoders that were not
    /// submitted yet are not in it, nor are the step at which the training [stopped](Trainer::fault) and
    /// those after it.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and errors of wgpu.
    pub fn snapshot(&self) -> impl Future<Output = Result<Snapshot>> + use<> {
        let memory = &self.memory;
        let [learned, running, _] = self.network.sources();
        let [velocity, mean_square] = [&memory.velocity, &memory.mean_square].map(Source::of);
        let window = self.window(HISTORY.into());
        let [history, counts] = self.window_sources(&window);
        let sources = [learned, running, velocity, mean_square, history, counts];
        let values = read_all::<f32, 6>(self.network.gpu(), sources);
        let unpack = self.network.unpack();
        let layout = self.network.layout().clone();
        // A tuning is for a device, and a snapshot for any.
        let options = TrainerOptions { tuning: String::new(), ..self.options.clone() };
        let place = self.places();
        async move {
            let [learned, running, velocity, mean_square, history, counts] = values.await?;
            let parameters = unpack(&learned, &running, &counts);
            let history = window.history(&history, &counts);
            let stop = layout.stop(&learned);
            let kept = stop.map_or(history.taken, |stop| stop.learned_steps(history.taken));
            let method = options.optimizer.method;
            Ok(Snapshot {
                parameters,
                steps: kept,
                place: place(&history, kept),
                velocity: method.has_velocity().then(|| layout.unpack(&velocity)),
                mean_square: method.has_mean_square().then(|| layout.unpack(&mean_square)),
                options,
            })
        }
    }

    /// Restores a training from a snapshot, on any device: the first trainer's, or another one after that was
    /// lost. A snapshot can be restored several times.
    ///
    /// On the same adapter, driver and version, and with the same batches, its steps are bit-identical to
    /// those of the first trainer.
    ///
    /// Until its first step on uploaded or streamed data, all data that the restored trainer
    /// [uploads](Trainer::upload) or [streams](Trainer::stream) begins at the snapshot's
    /// [place](Snapshot::place), and must be the same data: other values, or the same rows in another
    /// order, are an
    /// [`Error::OtherData`](crate::Error::OtherData). After [`Snapshot::take_place`], any data is
    /// accepted and begins with its first row.
    ///
    /// The count of [`steps`](Trainer::steps), the schedule, and the count of the batches that the
    /// running statistics have seen continue as well. The metrics of earlier steps are not kept.
    ///
    /// # Errors
    ///
    /// As [`Network::from_parameters`] and [`Trainer::new`].
    pub fn restore(device: &Device, queue: &Queue, snapshot: &Snapshot) -> Result<Self> {
        let network = Network::from_parameters(device, queue, &snapshot.parameters)?;
        let mut trainer = Self::new(network, snapshot.options.clone())?;
        trainer.network.begin_training(snapshot.steps)?;
        let Self { network, memory, .. } = &trainer;
        let gpu = network.gpu();
        for (matrix, state) in
            [(&memory.velocity, &snapshot.velocity), (&memory.mean_square, &snapshot.mean_square)]
        {
            write_state(gpu, network.layout(), matrix, state.as_ref())?;
        }
        trainer.count = Count::new(snapshot.steps, trainer.options.on_fault.skips());
        trainer.ahead = Ahead::new(snapshot.steps);
        trainer.steps_before = snapshot.steps;
        trainer.place_before = snapshot.place;
        trainer.place = snapshot.place;
        trainer.resumes_at = snapshot.place;
        Ok(trainer)
    }

    /// The place of the trainer in its data after a number of steps taken, if the history still has it.
    fn places(&self) -> impl FnOnce(&History, u64) -> Option<Place> + use<> {
        let Self { steps_before, place_before, .. } = *self;
        let places = self.places.clone();
        move |history, steps| {
            if steps <= steps_before {
                return place_before;
            }
            let number = history.number(history.record(steps - 1)?);
            let is_kept = number + u64::from(HISTORY) >= history.encoded;
            is_kept.then(|| places[(number % u64::from(HISTORY)) as usize])?
        }
    }
}

/// Writes the state of a method that has one.
fn write_state(
    gpu: &Gpu,
    layout: &LearnedLayout,
    matrix: &Matrix,
    state: Option<&State>,
) -> Result<()> {
    let Some(state) = state else { return Ok(()) };
    let layers = state.iter().map(|(weights, vectors)| (weights, vectors));
    gpu.upload(matrix, &layout.pack_tensors(layers))
}
