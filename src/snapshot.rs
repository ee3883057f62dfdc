//! `Snapshot`: the complete state of a training, on the CPU.

mod file;

use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::options::TrainerOptions;
use crate::parameters::Parameters;

/// The state of a [`Trainer`](crate::Trainer) at one moment: its network, its optimizer's state, and its
/// place in the data.
///
/// [`Trainer::snapshot`](crate::Trainer::snapshot) takes one, and
/// [`Trainer::restore`](crate::Trainer::restore) continues from it, on any device. On the adapter where
/// it was taken, the result is bit-identical to an uninterrupted training.
///
/// ```
/// use ztilde::{Network, Snapshot, Trainer, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[2, 8, 2], Default::default())?;
/// let mut trainer = Trainer::new(network, Default::default())?;
/// trainer.step(&[0.5; 64 * 2], &[1_u32; 64])?;
/// let bytes = block_on(&device, trainer.snapshot())?.to_bytes()?;
///
/// let mut restored = Trainer::restore(&device, &queue, &Snapshot::from_bytes(&bytes)?)?;
/// assert_eq!(restored.steps(), 1);
/// restored.step(&[0.5; 64 * 2], &[1_u32; 64])?;
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub(crate) parameters: Parameters,
    pub(crate) options: TrainerOptions,
    pub(crate) steps: u64,
    pub(crate) place: Option<Place>,
    /// None if the method has no velocity; likewise the mean square.
    pub(crate) velocity: Option<State>,
    pub(crate) mean_square: Option<State>,
}

/// An optimizer's state of each layer: a value for each weight, then for each bias, or for each gamma and
/// each beta.
pub(crate) type State = Vec<(Array2<f32>, Vec<Array1<f32>>)>;

/// A place in a trainer's data, between two mini-batches.
///
/// It is valid in the data set that it was taken in, and for trainers with the same batch size, remainder
/// and seed. It identifies the data set by its [fingerprint](crate::Dataset::fingerprint): rows in
/// another order are other data.
///
/// ```
/// use ztilde::{Dataset, Network, Trainer, TrainerOptions, ndarray::Array2};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// # let classes: Vec<u32> = (0..40).map(|row| row % 2).collect();
/// # let dataset = Dataset::new(Array2::from_shape_fn([40, 2], |(row, _)| row as f32), classes)?;
/// let network = Network::new(&device, &queue, &[2, 8, 2], Default::default())?;
/// let mut trainer = Trainer::new(network, TrainerOptions { batch_size: 8, ..Default::default() })?;
/// let mut data = trainer.upload(&dataset)?;
/// trainer.train(&mut data, 7)?; // Five batches are an epoch.
/// let place = data.place();
/// assert_eq!((place.epoch(), place.position()), (2, 2));
/// trainer.train(&mut data, 3)?;
/// data.go_to(place)?;
/// assert_eq!(data.position(), 2);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub(crate) epoch: u64,
    pub(crate) position: u32,
    pub(crate) rows: u32,
    /// The fingerprint of the data set.
    pub(crate) data: Option<u64>,
}

impl Snapshot {
    /// The network's parameters, with the running statistics.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The options, with the learning rate at the time of the snapshot.
    pub fn options(&self) -> &TrainerOptions {
        &self.options
    }

    /// Sets the [`tuning`](TrainerOptions::tuning) of the trainers that are restored from it. A snapshot has
    /// none when it is taken or read, because a tuning is for one device.
    pub fn set_tuning(&mut self, text: impl Into<String>) {
        self.options.tuning = text.into();
    }

    /// The number of steps that were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The trainer's place in the [`TrainingData`](crate::TrainingData) of its last step. None if it
    /// learned only from the app's own batches, or if it stopped at a fault more than 8,000 steps ago.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Removes the place. A trainer that is restored from this snapshot then begins uploaded or streamed
    /// data with its first epoch.
    ///
    /// For apps that alternate between several data sets and keep the place of each one:
    /// [`TrainingData::place`](crate::TrainingData::place) and
    /// [`TrainingData::go_to`](crate::TrainingData::go_to).
    pub fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Place {
    /// The number of the epoch, counted from 1; 0 before the first step.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the epoch's mini-batches before this place.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Rows of the data set.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The [fingerprint](crate::Dataset::fingerprint) of the data set. None if this is a place [for any
    /// data](Self::for_any_data).
    pub fn data(&self) -> Option<u64> {
        self.data
    }

    /// The same place in any data set with the same number of rows, for an app that continues with other
    /// data on purpose.
    #[must_use]
    pub fn for_any_data(self) -> Self {
        Self { data: None, ..self }
    }
}
