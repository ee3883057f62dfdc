//! Parameters as a safetensors file under the names of PyTorch's `torch.nn.Sequential`.

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array1, Array2, ArrayViewD};
use safetensors::tensor::{TensorInfo, TensorView, serialize};
use safetensors::{Dtype, SafeTensorError};

use super::header;
use super::metadata::{self, Metadata};
use super::{BatchNorm, Layer, Parameters};
use crate::error::{Error, Result};
use crate::options::{Activation, NetworkOptions};

/// What the names of tensors begin with that are no part of the model: a
/// [`Snapshot`](crate::Snapshot) adds them.
const ADDED: &str = "optimizer.";

/// Raised when a file that was written by an older version can no longer be read as it was meant.
const VERSION: &str = "1";

impl Parameters {
    /// A file's contents: safetensors under the names of PyTorch's `torch.nn.Sequential`, the same
    /// bytes for the same parameters.
    ///
    /// A normalized layer is `Linear(bias=False)`, `BatchNorm1d` and an activation there, another
    /// hidden layer `Linear` and an activation, and each of them takes an index: `0.weight`,
    /// `1.weight` (gamma), `1.bias` (beta), `1.running_mean`, `1.running_var`,
    /// `1.num_batches_tracked`, then `3.weight` of the next layer. Such a `Sequential` loads it
    /// with `load_state_dict(safetensors.torch.load_file(path), strict=True)`.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check): no file is written that could not be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.to_bytes_with(Vec::new(), "")
    }

    /// The same with more tensors and more metadata.
    pub(crate) fn to_bytes_with(
        &self,
        added: Vec<(String, ArrayViewD<'_, f32>)>,
        metadata: &str,
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
                // A larger number would come back negative; nothing counts that far.
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
        let mut text = format!("{}{metadata}", self.describe());
        if !self.notes.is_empty() {
            text = format!("{text}\n{}", self.notes);
        }
        let metadata = HashMap::from([(metadata::ENTRY.to_owned(), text)]);
        views
            .and_then(|views| serialize(views, Some(metadata)))
            .map_err(|error| Error::Model(error.to_string()))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, or what PyTorch's
    /// `safetensors.torch.save_file(model.state_dict(), path)` did for a `Sequential` of the same
    /// form; hidden layers with and without normalization may alternate. Of the file of a
    /// [`Snapshot`](crate::Snapshot) it reads the model.
    ///
    /// PyTorch's files do not say which activation, epsilon and momentum the network has: they get
    /// those of [`NetworkOptions::default`] (ReLU, 1e-5, 0.1). Set [`Parameters::activation`]
    /// afterwards if it was another.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the bytes are damaged, or hold other tensors than these or options that this
    /// version does not know;
    /// [`Error::Architecture`] if the tensors do not fit each other or are not finite;
    /// [`Error::Option`] if the epsilon or momentum make no sense. Bytes from anywhere may be
    /// tried: nothing panics.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(ModelFile::read(bytes)?.parameters)
    }

    /// What PyTorch's state dictionaries leave out. `{:e}` writes as many digits as bring the same
    /// f32 back.
    fn describe(&self) -> String {
        format!(
            "version={VERSION} activation={} epsilon={:e} momentum={:e}",
            self.activation.name(),
            self.epsilon,
            self.momentum
        )
    }
}

/// A file's contents.
pub(crate) struct ModelFile<'a> {
    pub(crate) parameters: Parameters,
    /// PyTorch's files have none.
    pub(crate) metadata: Option<Metadata>,
    /// The tensors that are no part of the model.
    pub(crate) added: Tensors<'a>,
}

impl<'a> ModelFile<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let (header, data) = header::split(bytes)?;
        let entry = header.metadata().as_ref().and_then(|entries| entries.get(metadata::ENTRY));
        // Notes may be of more than one line.
        let (pairs, notes) =
            entry.map_or(("", ""), |text| text.split_once('\n').unwrap_or((text, "")));
        let metadata = entry.map(|_| Metadata::parse(pairs)).transpose()?;
        let options = metadata.as_ref().map_or(Ok(NetworkOptions::default()), network_options)?;
        // The rest of a snapshot's is read by whoever reads a snapshot.
        if let Some(model) = metadata.as_ref().filter(|metadata| !metadata.has("snapshot")) {
            model.expect_all_read()?;
        }
        let (added, unread) = header
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .partition(|(name, _)| name.starts_with(ADDED));
        let layers = read_layers(&mut Tensors { unread, data })?;
        let NetworkOptions { activation, epsilon, momentum, .. } = options;
        let parameters =
            Parameters { activation, epsilon, momentum, layers, notes: notes.to_owned() };
        parameters.check()?;
        Ok(Self { parameters, metadata, added: Tensors { unread: added, data } })
    }
}

fn network_options(metadata: &Metadata) -> Result<NetworkOptions> {
    metadata.expect_version("version", VERSION)?;
    Ok(NetworkOptions {
        activation: metadata.choice("activation", Activation::from_name)?,
        epsilon: metadata.parsed("epsilon")?,
        momentum: metadata.parsed("momentum")?,
        ..Default::default()
    })
}

/// Reads `Linear`, with `BatchNorm1d` where it has no biases, and steps over an activation, until
/// all tensors have been read.
fn read_layers(tensors: &mut Tensors<'_>) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let mut index = 0;
    loop {
        let weights = tensors.matrix(&format!("{index}.weight"))?;
        let outputs = weights.nrows();
        let bias = format!("{index}.bias");
        index += 1;
        if tensors.unread.contains_key(&bias) {
            let biases = tensors.vector(&bias, outputs)?;
            layers.push(Layer::Linear { weights, biases });
            if tensors.unread.contains_key(&format!("{index}.running_mean")) {
                return Err(Error::Model(format!(
                    "{bias} stands before a normalization, whose mean cancels it: subtract it from \
                     {index}.running_mean and make the layer Linear(bias=False)"
                )));
            }
        } else {
            let batch_norm = BatchNorm {
                gamma: tensors.vector(&format!("{index}.weight"), outputs)?,
                beta: tensors.vector(&format!("{index}.bias"), outputs)?,
                running_mean: tensors.vector(&format!("{index}.running_mean"), outputs)?,
                running_var: tensors.vector(&format!("{index}.running_var"), outputs)?,
                batches: tensors.count(&format!("{index}.num_batches_tracked"))?,
            };
            layers.push(Layer::Normalized { weights, batch_norm });
            index += 1;
        }
        if tensors.unread.is_empty() {
            return Ok(layers);
        }
        // The activation has an index, but no tensors.
        index += 1;
    }
}

/// The tensors of a file that have not been read yet.
pub(crate) struct Tensors<'a> {
    unread: BTreeMap<String, TensorInfo>,
    data: &'a [u8],
}

impl<'a> Tensors<'a> {
    fn matrix(&mut self, name: &str) -> Result<Array2<f32>> {
        let (shape, bytes) = self.take(name, Dtype::F32)?;
        let [rows, columns] = shape[..] else {
            return Err(Error::Model(format!("{name} has shape {shape:?}, but must be a matrix")));
        };
        Array2::from_shape_vec([rows, columns], floats(bytes))
            .map_err(|error| Error::Model(format!("{name}: {error}")))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Array1<f32>> {
        Ok(self.floats(name, &[length])?.into())
    }

    /// The values of a tensor that has this shape.
    pub(crate) fn floats(&mut self, name: &str, needed: &[usize]) -> Result<Vec<f32>> {
        let (shape, bytes) = self.take(name, Dtype::F32)?;
        if shape != needed {
            return Err(Error::Model(format!(
                "{name} has shape {shape:?}, but must have {needed:?}"
            )));
        }
        Ok(floats(bytes))
    }

    /// That everything was read.
    pub(crate) fn expect_none_left(&self) -> Result<()> {
        match self.unread.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::Model(format!("{name} belongs to nothing in the file"))),
        }
    }

    fn count(&mut self, name: &str) -> Result<u64> {
        let (shape, bytes) = self.take(name, Dtype::I64)?;
        let number = bytes.try_into().ok().filter(|_| shape.is_empty()).map(i64::from_le_bytes);
        let Some(number) = number else {
            return Err(Error::Model(format!("{name} has shape {shape:?}, but must have []")));
        };
        u64::try_from(number)
            .map_err(|_| Error::Model(format!("{name} is {number}, but must be at least 0")))
    }

    fn take(&mut self, name: &str, needed: Dtype) -> Result<(Vec<usize>, &'a [u8])> {
        let Some(info) = self.unread.remove(name) else {
            return Err(self.missing(name));
        };
        let TensorInfo { dtype, shape, data_offsets: (start, end) } = info;
        if dtype != needed {
            return Err(Error::Model(format!("{name} is of type {dtype}, but must be {needed}")));
        }
        let bytes = self.data.get(start..end);
        let bytes = bytes.ok_or_else(|| Error::Model(format!("{name} ends behind the file")))?;
        Ok((shape, bytes))
    }

    fn missing(&self, name: &str) -> Error {
        const SHOWN: usize = 6;
        let mut found: Vec<&str> = self.unread.keys().map(String::as_str).take(SHOWN).collect();
        match self.unread.len() {
            0 => found.push("no more tensors"),
            1..=SHOWN => {}
            _ => found.push("…"),
        }
        Error::Model(format!(
            "{name} is missing, the file goes on with {} (what can be read is a Sequential of \
             Linear, BatchNorm1d behind a Linear without biases, an activation, …, Linear)",
            found.join(", ")
        ))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|&value| f32::from_le_bytes(value)).collect()
}
