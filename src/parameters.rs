//! The parameters on the CPU. They connect the GPU, the model file and the reference.

#[cfg(not(target_arch = "wasm32"))]
mod disk;
mod file;
mod folded;
mod header;
mod metadata;
mod modules;
mod state_dict;
mod tensors;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use disk::{read_file, write_file};
pub(crate) use file::ModelFile;
pub use file::{LoadOptions, Loaded};
pub(crate) use metadata::{Metadata, Version};

use ndarray::{Array1, Array2, ArrayViewD};

use crate::error::{Error, Result};
use crate::options::{Activation, NetworkOptions};
use crate::random::{self, Purpose};

/// A complete network: its layers, and the functions between them.
///
/// ```
/// use ztilde::{Layer, Parameters};
///
/// let parameters = Parameters::initialize(&[4, 16, 3], &Default::default())?;
/// let Layer::Normalized { weights, batch_norm } = &parameters.layers[0] else { unreachable!() };
/// assert_eq!(weights.dim(), (16, 4));
/// assert_eq!((batch_norm.gamma[0], batch_norm.beta[0]), (1.0, 0.0));
/// let Layer::Linear { weights, biases } = &parameters.layers[1] else { unreachable!() };
/// assert_eq!((weights.dim(), biases.len()), ((3, 16), 3));
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The function after each hidden layer.
    pub activation: Activation,
    /// Added to the variance, inside the root.
    pub epsilon: f32,
    /// The weight of the new value in the running statistics.
    pub momentum: f32,
    /// The hidden layers, then the output layer, which is [`Layer::Linear`].
    pub layers: Vec<Layer>,
    /// The app's notes on the network, such as the names of its classes and the scaling of its inputs.
    /// They are kept in training and saved to files; the library does not read them. Empty by default.
    pub notes: String,
}

/// One layer's parameters.
///
/// See the example of [`Parameters`].
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// `inputs · weightsᵀ + biases`.
    Linear {
        /// `[outputs, inputs]`: a row is one neuron.
        weights: Array2<f32>,
        /// One per output.
        biases: Array1<f32>,
    },
    /// `inputs · weightsᵀ`, normalized over the batch, then scaled and shifted.
    Normalized {
        /// `[outputs, inputs]`: a row is one neuron.
        weights: Array2<f32>,
        /// One of each per output.
        batch_norm: BatchNorm,
    },
}

/// The parameters and the running statistics of batch normalization, for each feature of a layer.
///
/// See the example of [`Parameters`].
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// The scale.
    pub gamma: Array1<f32>,
    /// The shift.
    pub beta: Array1<f32>,
    /// The mean that inference uses.
    pub running_mean: Array1<f32>,
    /// The variance that inference uses; it was averaged from variances that divide by n − 1.
    pub running_var: Array1<f32>,
    /// How many batches the running statistics have seen; PyTorch's `num_batches_tracked`.
    pub batches: u64,
}

impl Parameters {
    /// The parameters that a network of these sizes starts with: the number of inputs first, the
    /// number of outputs last.
    ///
    /// Weights are uniform between ± a bound: √(6 / inputs) before ReLU, leaky ReLU, GELU and SiLU
    /// (He et al., arXiv 1502.01852, equation 10, whose variance 2 / inputs is that of this uniform
    /// distribution), and √(6 / (inputs + outputs)) before tanh, sigmoid, identity and in the
    /// output layer (Glorot and Bengio 2010, equation 16). Gamma and the running variances are 1;
    /// beta, biases and the running means are 0.
    ///
    /// The same seed gives the same bits on every platform.
    ///
    /// # Errors
    ///
    /// [`Error::Architecture`] with fewer than two sizes, a size of 0, or more weights than memory;
    /// [`Error::Option`] if an option is out of range.
    pub fn initialize(layer_sizes: &[u32], options: &NetworkOptions) -> Result<Self> {
        options.check()?;
        if layer_sizes.len() < 2 {
            return Err(Error::Architecture(format!(
                "{} layer size(s) {layer_sizes:?}, but at least 2 are needed: inputs and outputs",
                layer_sizes.len()
            )));
        }
        if layer_sizes.contains(&0) {
            return Err(Error::Architecture(format!("a layer size is 0 in {layer_sizes:?}")));
        }
        let mut generator = random::generator(Purpose::Weights, options.seed, 0);
        let last = layer_sizes.len() - 2;
        let mut layers = Vec::with_capacity(layer_sizes.len() - 1);
        for (index, sizes) in layer_sizes.windows(2).enumerate() {
            let [inputs, outputs] = [sizes[0], sizes[1]];
            let hidden = index < last;
            let fan = if hidden && options.activation.keeps_half() {
                f64::from(inputs)
            } else {
                f64::from(inputs) + f64::from(outputs)
            };
            // IEEE 754 rounds the root and the product the same way everywhere.
            let bound = (6.0 / fan).sqrt() as f32;
            let weights =
                new_weights([outputs, inputs], || bound * random::symmetric(&mut generator))?;
            layers.push(if hidden && options.batch_norm {
                Layer::Normalized { weights, batch_norm: BatchNorm::new(outputs) }
            } else {
                Layer::Linear { weights, biases: Array1::zeros(outputs as usize) }
            });
        }
        let NetworkOptions { activation, epsilon, momentum, .. } = *options;
        Ok(Self { activation, epsilon, momentum, layers, notes: String::new() })
    }

    /// The number of inputs, of each hidden layer's outputs, and of the network's outputs: what
    /// [`initialize`](Self::initialize) was given. Empty if there are no layers.
    pub fn layer_sizes(&self) -> Vec<u32> {
        let inputs = self.layers.first().map(|layer| layer.weights().ncols());
        let outputs = self.layers.iter().map(|layer| layer.weights().nrows());
        inputs.into_iter().chain(outputs).map(|size| size as u32).collect()
    }

    /// Whether any layer is normalized over the batch.
    pub fn has_batch_norm(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Normalized { .. }))
    }

    /// Checks that this is a network: the shapes of the layers fit each other, the last layer is linear,
    /// and all numbers are finite.
    ///
    /// # Errors
    ///
    /// [`Error::Architecture`] names what does not fit, by the names that a file gives the tensors:
    /// `1.running_var` is the running variance of the first layer. [`Error::Option`] if epsilon or
    /// momentum is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { activation, epsilon, momentum, .. } = *self;
        NetworkOptions { activation, epsilon, momentum, ..Default::default() }.check()?;
        if !matches!(self.layers.last(), Some(Layer::Linear { .. })) {
            return Err(Error::Architecture(format!(
                "the last of the {} layer(s) must be linear with biases",
                self.layers.len()
            )));
        }
        self.check_shapes()?;
        self.tensors().iter().try_for_each(check_values)
    }

    /// Adds `count` to the number of batches that the running statistics have seen.
    pub(crate) fn count_batches(&mut self, count: u64) {
        for layer in &mut self.layers {
            if let Layer::Normalized { batch_norm, .. } = layer {
                batch_norm.batches += count;
            }
        }
    }

    fn check_shapes(&self) -> Result<()> {
        let mut inputs = None;
        for (index, layer) in self.indexed_layers() {
            let [rows, columns] = layer.weights().dim().into();
            if [rows, columns].iter().any(|&size| size == 0 || u32::try_from(size).is_err()) {
                return Err(Error::Architecture(format!(
                    "{index}.weight is {rows} × {columns}, but both must lie between 1 and {}",
                    u32::MAX
                )));
            }
            if let Some((before, outputs)) = inputs.filter(|&(_, outputs)| outputs != columns) {
                return Err(Error::Architecture(format!(
                    "{index}.weight takes {columns} inputs, but {before}.weight has {outputs} outputs"
                )));
            }
            inputs = Some((index, rows));
            for (name, vector) in layer.vectors(index) {
                if vector.len() != rows {
                    return Err(Error::Architecture(format!(
                        "{name} holds {} values, but {index}.weight has {rows} outputs",
                        vector.len()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Each layer with the index of its weights in `torch.nn.Sequential`, where normalizations and
    /// activations are counted too.
    fn indexed_layers(&self) -> impl Iterator<Item = (usize, &Layer)> {
        self.layers.iter().scan(0, |next, layer| {
            let index = *next;
            *next += match layer {
                Layer::Linear { .. } => 2,
                Layer::Normalized { .. } => 3,
            };
            Some((index, layer))
        })
    }

    /// Each layer's learned tensors, with their names and shapes: weights, then biases, or gamma and beta.
    pub(crate) fn learned(&self) -> impl Iterator<Item = Vec<(String, &[usize])>> {
        self.indexed_layers().map(|(index, layer)| {
            let vectors = layer.learned_vectors(index).into_iter();
            std::iter::once((format!("{index}.weight"), layer.weights().shape()))
                .chain(vectors.map(|(name, vector)| (name, vector.shape())))
                .collect()
        })
    }

    /// Every tensor of floats under PyTorch's name.
    fn tensors(&self) -> Vec<(String, ArrayViewD<'_, f32>)> {
        let mut tensors = Vec::new();
        for (index, layer) in self.indexed_layers() {
            tensors.push((format!("{index}.weight"), layer.weights().view().into_dyn()));
            for (name, vector) in layer.vectors(index) {
                tensors.push((name, vector.view().into_dyn()));
            }
        }
        tensors
    }
}

impl Layer {
    /// `[outputs, inputs]`: a row is one neuron.
    pub fn weights(&self) -> &Array2<f32> {
        match self {
            Self::Linear { weights, .. } | Self::Normalized { weights, .. } => weights,
        }
    }

    /// The vectors with a value per output, under PyTorch's names. `index` is the weights' index.
    fn vectors(&self, index: usize) -> Vec<(String, &Array1<f32>)> {
        let mut vectors = self.learned_vectors(index);
        if let Self::Normalized { batch_norm, .. } = self {
            let index = index + 1;
            vectors.push((format!("{index}.running_mean"), &batch_norm.running_mean));
            vectors.push((format!("{index}.running_var"), &batch_norm.running_var));
        }
        vectors
    }

    /// The vectors that are learned by gradients.
    fn learned_vectors(&self, index: usize) -> Vec<(String, &Array1<f32>)> {
        match self {
            Self::Linear { biases, .. } => vec![(format!("{index}.bias"), biases)],
            Self::Normalized { batch_norm, .. } => vec![
                (format!("{}.weight", index + 1), &batch_norm.gamma),
                (format!("{}.bias", index + 1), &batch_norm.beta),
            ],
        }
    }
}

impl BatchNorm {
    fn new(features: u32) -> Self {
        let features = features as usize;
        Self {
            gamma: Array1::ones(features),
            beta: Array1::zeros(features),
            running_mean: Array1::zeros(features),
            running_var: Array1::ones(features),
            batches: 0,
        }
    }
}

fn new_weights([outputs, inputs]: [u32; 2], value: impl FnMut() -> f32) -> Result<Array2<f32>> {
    let too_many =
        || Error::Architecture(format!("{outputs} × {inputs} weights exceed the memory"));
    let shape = [outputs as usize, inputs as usize];
    let count = shape[0].checked_mul(shape[1]).ok_or_else(too_many)?;
    let mut weights = Vec::new();
    weights.try_reserve_exact(count).map_err(|_| too_many())?;
    weights.extend(std::iter::repeat_with(value).take(count));
    Array2::from_shape_vec(shape, weights).map_err(|_| too_many())
}

fn check_values((name, values): &(String, ArrayViewD<'_, f32>)) -> Result<()> {
    values.iter().enumerate().try_for_each(|(index, &value)| check_value(name, index, value))
}

/// Whether a tensor of this name may hold the value.
fn check_value(name: &str, index: usize, value: f32) -> Result<()> {
    let variance = name.ends_with("running_var");
    if value.is_finite() && !(variance && value < 0.0) {
        return Ok(());
    }
    let expected = if variance { "finite and at least 0" } else { "finite" };
    Err(Error::Architecture(format!("value {index} of {name} is {value}, but must be {expected}")))
}
