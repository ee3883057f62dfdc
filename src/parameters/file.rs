//! Parameters as a safetensors file under the names of PyTorch's `torch.nn.Sequential`.

use std::collections::HashMap;

use ndarray::ArrayViewD;
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensorError};
use serde::Serialize;

use super::metadata::{ENTRY, Metadata, VERSION};
use super::tensors::Tensors;
use super::{Layer, Parameters, header, state_dict};
use crate::error::{Error, Result};
use crate::options::{Activation, NetworkOptions};

/// The prefix of tensors that are not part of the model: a [`Snapshot`](crate::Snapshot) adds them.
const ADDED: &str = "optimizer.";

impl Parameters {
    /// A file's contents: safetensors under the names of PyTorch's `torch.nn.Sequential`, the same
    /// bytes for the same parameters.
    ///
    /// A normalized layer is `Linear(bias=False)`, `BatchNorm1d` and an activation; a hidden layer with
    /// biases is `Linear` and an activation. Each module takes an index: `0.weight`, `1.weight` (gamma),
    /// `1.bias` (beta), `1.running_mean`, `1.running_var`, `1.num_batches_tracked`, then `3.weight` of
    /// the next layer. Such a `Sequential` loads it with
    /// `load_state_dict(safetensors.torch.load_file(path), strict=True)`.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check): every written file can be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.to_bytes_with(Vec::new(), None::<()>)
    }

    /// The same with more tensors, and with the state of a snapshot in the metadata.
    pub(crate) fn to_bytes_with(
        &self,
        added: Vec<(String, ArrayViewD<'_, f32>)>,
        snapshot: Option<impl Serialize>,
    ) -> Result<Vec<u8>> {
        self.check()?;
        let floats = self.tensors().into_iter().chain(added).map(|(name, values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, Dtype::F32, values.shape().to_vec(), bytes)
        });
        let counts = self.indexed_layers().filter_map(|(index, layer)| match layer {
            Layer::Linear { .. } => None,
            Layer::Normalized { batch_norm, .. } => Some((
                format!("{}.num_batches_tracked", index + 1),
                Dtype::I64,
                Vec::new(),
                // A larger number would be read as negative; no count reaches it.
                batch_norm.batches.min(i64::MAX as u64).to_le_bytes().to_vec(),
            )),
        });
        let tensors: Vec<_> = floats.chain(counts).collect();
        let views: Result<Vec<_>, SafeTensorError> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect();
        let &Self { activation, epsilon, momentum, .. } = self;
        let metadata = Metadata { version: VERSION, activation, epsilon, momentum, snapshot };
        let text = serde_json::to_string(&metadata);
        let mut text = text.map_err(|error| Error::Model(error.to_string()))?;
        if !self.notes.is_empty() {
            text = format!("{text}\n{}", self.notes);
        }
        let metadata = HashMap::from([(ENTRY.to_owned(), text)]);
        views
            .and_then(|views| serialize(views, Some(metadata)))
            .map_err(|error| Error::Model(error.to_string()))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, or what PyTorch's
    /// `safetensors.torch.save_file(model.state_dict(), path)` did. From the file of a
    /// [`Snapshot`](crate::Snapshot) it reads the model.
    ///
    /// This is [`from_bytes_with`](Self::from_bytes_with) with the default options. It discards the
    /// remarks, which matter for files of other programs.
    ///
    /// # Errors
    ///
    /// As [`from_bytes_with`](Self::from_bytes_with).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self::from_bytes_with(bytes, &LoadOptions::default())?.parameters)
    }

    /// Reads a model file of this crate or of PyTorch. PyTorch's files may leave some options open.
    ///
    /// The model must be a `torch.nn.Sequential` of `Linear`, optionally `BatchNorm1d` directly after
    /// it, an activation, …, and a `Linear` at the end. Hidden layers with and without normalization may
    /// alternate. These differences from [`to_bytes`](Self::to_bytes) are accepted, each with a remark:
    ///
    /// - a path before all indices, such as `module.` or `net.`, and blocks within blocks;
    /// - more modules without tensors, such as Dropout, than the activation after each hidden layer;
    /// - F16, BF16 and F64 tensors, whose values are converted to F32;
    /// - a bias before a normalization, which would cancel the bias: it is subtracted from the running
    ///   mean;
    /// - `Linear(bias=False)`, `BatchNorm1d(affine=False)`, and no `num_batches_tracked`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the bytes are damaged, hold tensors or options that this version does not
    /// know, or contradict the given options; [`Error::Architecture`] if the tensors do not fit each
    /// other or are not finite; [`Error::Option`] if the epsilon or momentum is out of range. No bytes
    /// make it panic.
    pub fn from_bytes_with(bytes: &[u8], options: &LoadOptions) -> Result<Loaded> {
        let ModelFile { parameters, remarks, .. } = ModelFile::read(bytes, options)?;
        Ok(Loaded { parameters, remarks })
    }
}

/// Options that a model file may leave open, as PyTorch's do. `None` takes the file's value, or else the
/// default. A value that contradicts the file is an error.
///
/// ```
/// use ztilde::{Activation, LoadOptions, Loaded, Parameters};
///
/// let bytes = Parameters::initialize(&[4, 16, 3], &Default::default())?.to_bytes()?;
/// // A file of PyTorch does not say its activation. Our own files do, and a contradiction is an error.
/// let options = LoadOptions { activation: Some(Activation::Relu), ..Default::default() };
/// let Loaded { parameters, remarks } = Parameters::from_bytes_with(&bytes, &options)?;
/// assert_eq!((parameters.layer_sizes(), remarks.len()), (vec![4, 16, 3], 0));
/// let options = LoadOptions { activation: Some(Activation::Tanh), ..Default::default() };
/// assert!(Parameters::from_bytes_with(&bytes, &options).is_err());
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// The function after each hidden layer; ReLU if neither the file nor the app names one.
    pub activation: Option<Activation>,
    /// The number that batch normalization adds to the variance, inside the root; 1e-5 if neither gives it.
    pub epsilon: Option<f32>,
    /// The weight of the new value in the running statistics; 0.1 if neither gives it.
    pub momentum: Option<f32>,
}

/// A model that was read from a file, with remarks on how it was read.
///
/// See the example of [`LoadOptions`].
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The network.
    pub parameters: Parameters,
    /// One sentence for each value that was assumed, converted or left out. Empty for files that
    /// [`Parameters::to_bytes`] wrote.
    pub remarks: Vec<String>,
}

/// A file's contents.
pub(crate) struct ModelFile<'a> {
    pub(crate) parameters: Parameters,
    /// As [`Loaded::remarks`].
    pub(crate) remarks: Vec<String>,
    /// The text of the metadata without the notes. None in PyTorch's files.
    pub(crate) metadata: Option<String>,
    /// The tensors outside the model.
    pub(crate) added: Tensors<'a>,
}

impl<'a> ModelFile<'a> {
    pub(crate) fn read(bytes: &'a [u8], asked: &LoadOptions) -> Result<Self> {
        let (header, data) = header::split(bytes)?;
        let entry = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        // The notes may have several lines.
        let (text, notes) =
            entry.map_or(("", ""), |text| text.split_once('\n').unwrap_or((text, "")));
        let metadata = entry.map(|_| text.to_owned());
        let resolved = asked.resolve(metadata.as_deref().map(said_options).transpose()?)?;
        let (added, unread) = header
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .partition(|(name, _)| name.starts_with(ADDED));
        let mut tensors = Tensors::new(unread, data);
        let mut remarks = Vec::new();
        let layers = state_dict::read_layers(&mut tensors, resolved.activation, &mut remarks)?;
        remarks.extend(tensors.conversions());
        let parameters = resolved.or_defaults(layers, notes.to_owned(), &mut remarks);
        parameters.check()?;
        Ok(Self { parameters, remarks, metadata, added: Tensors::new(added, data) })
    }
}

/// The reader of snapshots checks the state of a snapshot.
fn said_options(text: &str) -> Result<LoadOptions> {
    let Metadata { activation, epsilon, momentum, .. } = <Metadata>::parse(text)?;
    Ok(LoadOptions {
        activation: Some(activation),
        epsilon: Some(epsilon),
        momentum: Some(momentum),
    })
}

impl LoadOptions {
    /// The options of the file and of the call, which must not contradict each other.
    fn resolve(&self, said: Option<Self>) -> Result<Self> {
        fn same<T: PartialEq + Copy>(
            name: &str,
            [said, asked]: [Option<T>; 2],
            text: impl Fn(T) -> String,
        ) -> Result<Option<T>> {
            match (said, asked) {
                (Some(said), Some(asked)) if said != asked => Err(Error::Model(format!(
                    "the file says that its {name} is {}, but the options of the load say {}",
                    text(said),
                    text(asked)
                ))),
                _ => Ok(said.or(asked)),
            }
        }
        let said = said.unwrap_or_default();
        let activation = [said.activation, self.activation];
        let number = |number: f32| number.to_string();
        Ok(Self {
            activation: same("activation", activation, |activation| activation.name().to_owned())?,
            epsilon: same("epsilon", [said.epsilon, self.epsilon], number)?,
            momentum: same("momentum", [said.momentum, self.momentum], number)?,
        })
    }

    /// A network with these options. Missing ones take their defaults, with a remark.
    fn or_defaults(
        &self,
        layers: Vec<Layer>,
        notes: String,
        remarks: &mut Vec<String>,
    ) -> Parameters {
        let NetworkOptions { activation, epsilon, momentum, .. } = NetworkOptions::default();
        let mut assumed = Vec::new();
        if self.activation.is_none() && layers.len() > 1 {
            assumed.push(format!("the activation {}", activation.name()));
        }
        let parameters = Parameters {
            activation: self.activation.unwrap_or(activation),
            epsilon: self.epsilon.unwrap_or(epsilon),
            momentum: self.momentum.unwrap_or(momentum),
            layers,
            notes,
        };
        if parameters.has_batch_norm() {
            let epsilon = self.epsilon.is_none().then(|| format!("the epsilon {epsilon:e}"));
            let momentum = self.momentum.is_none().then(|| format!("the momentum {momentum}"));
            assumed.extend(epsilon.into_iter().chain(momentum));
        }
        if !assumed.is_empty() {
            let list = assumed.join(", ");
            remarks.push(format!("assumed, as the file does not say it: {list}"));
        }
        parameters
    }
}
