//! What training goes on with: taken to the CPU, and brought to a device again.

use wgpu::{Device, Queue};

use super::ahead::Ahead;
use super::count::Count;
use super::history::History;
use super::{HISTORY, Trainer};
use crate::error::Result;
use crate::gpu::{Gpu, Matrix, Source, read_all};
use crate::layout::LearnedLayout;
use crate::network::Network;
use crate::snapshot::{Place, Snapshot, State};

impl Trainer {
    /// Takes to the CPU what the training goes on with, as it will be after everything that was
    /// submitted so far: parameters, running statistics, the optimizer's memory, the options, the number
    /// of steps and the place in the data.
    ///
    /// All of it is of one moment: one submission copies it, at once. The app and the training go on
    /// while the future waits, and what they do does not show in it. Steps in encoders that were not
    /// submitted yet are not in it, nor counted; nor are those that were not learned from, as the
    /// training had [stopped](Trainer::fault).
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and what wgpu reports.
    pub fn snapshot(&self) -> impl Future<Output = Result<Snapshot>> + use<> {
        let memory = &self.memory;
        let [learned, running, _] = self.network.sources();
        let [velocity, mean_square] = [&memory.velocity, &memory.mean_square]
            .map(|matrix| Source::new(matrix.buffer(), matrix.values()));
        let window = self.window(HISTORY.into());
        let [history, counts] = self.window_sources(&window);
        let sources = [learned, running, velocity, mean_square, history, counts];
        let values = read_all::<f32, 6>(self.network.gpu(), sources);
        let unpack = self.network.unpack();
        let layout = self.network.layout().clone();
        let options = self.options.clone();
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

    /// Goes on with a snapshot, on any device: where the first trainer was, or on another one after that
    /// was lost. A snapshot can be restored as often as one likes.
    ///
    /// On the same adapter, driver and version the steps give what those of the first trainer would
    /// have, to the bit, if they are given the same batches: until it has learned from some, all data
    /// that the restored trainer [uploads](Trainer::upload) or [streams](Trainer::stream) begins at the
    /// snapshot's [place](Snapshot::place), and has to be the same data: other values, or the same rows in
    /// another order, are an [`Error::OtherData`](crate::Error::OtherData).
    /// [`Snapshot::take_place`] lets it begin with the first row of any data.
    ///
    /// Counting goes on as well: of [`steps`](Trainer::steps), of the schedule, of the batches that the
    /// running statistics have seen. What the former steps saw is forgotten.
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

    /// Where the trainer was in its data after so many steps that were taken: those kept in its history.
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
    gpu.upload(matrix.buffer(), &layout.pack_tensors(layers))
}
