//! Snapshots as files: a model file with the optimizer's state as further tensors and the rest as
//! further metadata.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use ndarray::{Array2, ArrayViewD};
use serde::{Deserialize, Serialize};

use super::{Place, Snapshot, State};
use crate::data::batches;
use crate::error::{Error, Result};
use crate::options::TrainerOptions;
use crate::parameters::{LoadOptions, Metadata, ModelFile, Parameters, Version};
#[cfg(not(target_arch = "wasm32"))]
use crate::parameters::{read_file, write_file};

/// Raised when snapshots of older versions can no longer be read with their original meaning.
const VERSION: u32 = 2;

/// A snapshot without its tensors: a part of the metadata of its model.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    steps: u64,
    place: Option<Place>,
    options: TrainerOptions,
}

/// The largest number of steps from which counting can continue without overflow.
const MOST_STEPS: u64 = i64::MAX as u64;

impl Snapshot {
    /// Writes [`to_bytes`](Self::to_bytes) to a temporary file and renames it, so that the complete old
    /// file or the complete new one exists at any time, even if the power fails.
    ///
    /// # Errors
    ///
    /// Those of [`to_bytes`](Self::to_bytes); [`Error::File`] if the file cannot be written. An older
    /// file then stays unchanged, unless only the last step failed, which makes the new file's name
    /// survive a power cut.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a file as [`from_bytes`](Self::from_bytes) does.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read, and those of [`from_bytes`](Self::from_bytes).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&read_file(path.as_ref())?)
    }

    /// A file's contents: those of [`Parameters::to_bytes`] with additions, so that
    /// [`Parameters::load`] reads the model of a snapshot. The same bytes for the same snapshot.
    ///
    /// For each learned tensor, for example `0.weight` or `1.bias`, there are
    /// `optimizer.velocity.0.weight` (momentum's velocity, or Adam's mean of the gradients) and
    /// `optimizer.mean_square.0.weight` (that of `RMSprop` and Adam), if the method has them. The
    /// options, the steps and the place in the data are in the metadata. PyTorch's `load_state_dict` takes
    /// such a file with `strict=False`.
    ///
    /// # Errors
    ///
    /// Those of [`Parameters::check`]: a diverged training is not written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut added = Vec::new();
        for (name, state) in [("velocity", &self.velocity), ("mean_square", &self.mean_square)] {
            added.extend(state.iter().flat_map(|state| tensors(&self.parameters, name, state)));
        }
        let Self { steps, place, options, .. } = self.clone();
        let description = Description { version: VERSION, steps, place, options };
        self.parameters.to_bytes_with(added, Some(description))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// As [`Parameters::from_bytes`]; [`Error::Model`] also for an option that this version does not
    /// know, for a model without the rest of a snapshot, or if the optimizer's state does not fit the
    /// model; [`Error::Option`] if a trainer's option is out of range. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = ModelFile::read(bytes, &LoadOptions::default())?;
        let ModelFile { parameters, remarks, metadata, mut added } = file;
        let text = metadata.unwrap_or_default();
        let found = if text.is_empty() { None } else { Metadata::parse(&text)?.snapshot };
        let Some::<Version>(version) = found else {
            let message = "it holds a model, but not the state of its training".to_owned();
            return Err(Error::Model(message));
        };
        version.expect("snapshot", VERSION)?;
        // A snapshot must be exactly as it was written, because training must continue bit-identically.
        if let Some(remark) = remarks.first() {
            return Err(Error::Model(format!("its model is not that of a snapshot: {remark}")));
        }
        let described = Metadata::parse(&text)?.snapshot;
        let Description { version: _, steps, place, options } = described.expect("it has one");
        options.check(outputs(&parameters))?;
        check_counts(steps, place, &options)?;
        let mut state = |has: bool, name: &str| {
            let floats = |name: &str, shape: &[usize]| added.floats(name, shape);
            has.then(|| read_state(&parameters, name, floats)).transpose()
        };
        let method = options.optimizer.method;
        let velocity = state(method.has_velocity(), "velocity")?;
        let mean_square = state(method.has_mean_square(), "mean_square")?;
        added.expect_none_left()?;
        Ok(Self { parameters, options, steps, place, velocity, mean_square })
    }
}

fn outputs(parameters: &Parameters) -> u32 {
    parameters.layer_sizes().last().copied().unwrap_or(0)
}

fn tensor_name(state: &str, parameter: &str) -> String {
    format!("optimizer.{state}.{parameter}")
}

fn tensors<'a>(
    parameters: &Parameters,
    name: &str,
    state: &'a State,
) -> Vec<(String, ArrayViewD<'a, f32>)> {
    let layers = parameters.learned().zip(state);
    layers
        .flat_map(|(learned, (weights, vectors))| {
            let vectors = vectors.iter().map(|vector| vector.view().into_dyn());
            let tensors = std::iter::once(weights.view().into_dyn()).chain(vectors);
            let names = learned.into_iter().map(|(parameter, _)| tensor_name(name, &parameter));
            names.zip(tensors).collect::<Vec<_>>()
        })
        .collect()
}

fn read_state(
    parameters: &Parameters,
    name: &str,
    mut floats: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<State> {
    let mut state = State::new();
    for learned in parameters.learned() {
        let mut tensors = learned
            .into_iter()
            .map(|(parameter, shape)| Ok((shape, floats(&tensor_name(name, &parameter), shape)?)));
        let (shape, weights) = tensors.next().expect("a layer has weights")?;
        let weights = Array2::from_shape_vec([shape[0], shape[1]], weights);
        let weights = weights.map_err(|error| Error::Model(format!("{name}: {error}")))?;
        let vectors = tensors.map(|tensor: Result<_>| Ok(tensor?.1.into()));
        state.push((weights, vectors.collect::<Result<_>>()?));
    }
    Ok(state)
}

fn check_counts(steps: u64, place: Option<Place>, options: &TrainerOptions) -> Result<()> {
    let epoch = place.map_or(0, |place| place.epoch);
    for (name, number) in [("steps", steps), ("place.epoch", epoch)] {
        if number > MOST_STEPS {
            let message = format!("its {name} is {number}, but {MOST_STEPS} is the most");
            return Err(Error::Model(message));
        }
    }
    let Some(Place { position, rows, .. }) = place else { return Ok(()) };
    let most = batches(rows, options.batch_size, options.remainder);
    if position > most {
        return Err(Error::Model(format!(
            "its place.position is {position}, but an epoch has {most} mini-batches"
        )));
    }
    Ok(())
}
