//! One error type: mistakes of an app, and failures of a device or a disk.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate. A failed call changes nothing: a trainer keeps its state, a file its
/// contents.
///
/// ```
/// use ztilde::{Error, Parameters};
///
/// match Parameters::initialize(&[4, 0, 3], &Default::default()) {
///     Err(Error::Architecture(what)) => assert_eq!(what, "a layer size is 0 in [4, 0, 3]"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has a value that is out of range.
    #[error("{option} is {value}, but must be {expected}")]
    Option {
        /// The option's name, as the app writes it.
        option: &'static str,
        /// The value that the app gave it.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },

    /// Layer sizes or tensors that do not form a network.
    #[error("not a network: {0}")]
    Architecture(String),

    /// A slice, a buffer or a tensor of the wrong length.
    #[error("{what} holds {found} values, but {needed} are needed ({why})")]
    Length {
        /// The name of the argument.
        what: &'static str,
        /// The number of values that it holds.
        found: u64,
        /// The number of values that it should hold.
        needed: u64,
        /// The derivation of that number, as a product or a sum.
        why: String,
    },

    /// A matrix whose shape, rows × columns, is not the one that a kernel needs.
    #[error("{kernel}: {what} is {} × {}, but {} × {} is needed", found[0], found[1], needed[0], needed[1])]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The matrix, by the name of its binding.
        what: &'static str,
        /// Its rows and columns.
        found: [u32; 2],
        /// The rows and columns that fit the others.
        needed: [u32; 2],
    },

    /// The loss needs targets of another kind.
    #[error("{loss} needs {needed} as targets, but got {found}")]
    Targets {
        /// The loss.
        loss: &'static str,
        /// The targets that the loss needs.
        needed: &'static str,
        /// The targets that it got.
        found: &'static str,
    },

    /// A class index that is not a class.
    #[error(
        "the target of row {row} is class {class}, but there are {classes} classes, counted from 0"
    )]
    Class {
        /// The row, counted from 0.
        row: u64,
        /// Its class.
        class: u32,
        /// The number of classes.
        classes: u32,
    },

    /// A target of binary cross-entropy that is not a probability.
    #[error(
        "the target in row {row}, column {column} is {value}, but binary-cross-entropy needs it \
         between 0 and 1"
    )]
    Probability {
        /// The row, counted from 0.
        row: u64,
        /// The column, counted from 0.
        column: u64,
        /// Below 0, above 1, or NaN.
        value: f32,
    },

    /// A value in a data set that is NaN or infinite.
    #[error("{what}: the value in row {row}, column {column} is {value}, but must be finite")]
    NotFinite {
        /// Inputs or targets.
        what: &'static str,
        /// The row, counted from 0.
        row: u64,
        /// The column, counted from 0.
        column: u64,
        /// NaN or an infinity.
        value: f32,
    },

    /// A batch that is too small: one row has no variance.
    #[error("a batch of {rows} row(s) cannot be normalized: its variance needs at least 2 rows")]
    BatchTooSmall {
        /// Rows in the batch.
        rows: u64,
    },

    /// The training data, or the bound batch, belongs to another trainer.
    #[error("the training data belongs to another trainer")]
    OtherTrainer,

    /// The data set differs from the one that a place belongs to.
    #[error(
        "the data set has other values than the one that the training used, or its rows are in \
         another order: its fingerprint is {found:016x}, but {needed:016x} is needed. \
         Snapshot::take_place makes a restored training begin with the first row, and \
         Place::for_any_data allows other data"
    )]
    OtherData {
        /// The fingerprint of the data set.
        found: u64,
        /// The fingerprint of the data set that the place belongs to.
        needed: u64,
    },

    /// The training has met numbers that are not finite, and has stopped there.
    #[error(
        "training diverged in {0}. The parameters are those of the step before; a smaller learning \
         rate or a clip_norm may help"
    )]
    Diverged(Fault),

    /// More than the device can hold or bind.
    #[error("{what} needs {needed} bytes, but the device's {limit} is {allowed}")]
    TooLarge {
        /// The matrix or buffer.
        what: String,
        /// Bytes it would take.
        needed: u64,
        /// The name of the limit in `wgpu::Limits`.
        limit: &'static str,
        /// The device's value of it.
        allowed: u64,
    },

    /// A model file that is truncated, damaged, or written by neither this crate nor PyTorch.
    #[error("the model cannot be read: {0}")]
    Model(String),

    /// Reading or writing a file failed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// The device has no memory left.
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),

    /// A buffer without a usage that the call needs.
    #[error("{what} was made without BufferUsages::{missing}")]
    Usage {
        /// The buffer.
        what: String,
        /// The usage, by its name in `wgpu::BufferUsages`.
        missing: &'static str,
    },

    /// A matrix that is placed in its buffer as the call or the kernel cannot read it: empty, not
    /// aligned, with rows that overlap, or with another distance between its rows.
    #[error("{what}: {reason}")]
    Placement {
        /// The matrix, or the kernel that it was bound to.
        what: String,
        /// What is wrong, with the two numbers that disagree.
        reason: String,
    },

    /// More work than a kernel can count.
    #[error("{what} takes {needed} {unit}, but {limit} ends at {allowed}: {cure}")]
    TooMany {
        /// The kernel and its shape.
        what: String,
        /// The number that the work would take.
        needed: u64,
        /// Rows, values, or rounds of a loop.
        unit: &'static str,
        /// The source of the limit, such as the device.
        limit: &'static str,
        /// The largest number allowed.
        allowed: u64,
        /// What to do about it.
        cure: &'static str,
    },

    /// An error that wgpu reports inside a call: a buffer of another device, a buffer that was
    /// destroyed, a shader that the driver does not compile.
    #[error("wgpu: {0}")]
    Wgpu(String),

    /// The device did not answer in time. It may answer later: call again.
    #[error("the device did not answer within {limit:?}, after {waited:?}")]
    Timeout {
        /// How long the call waited.
        waited: Duration,
        /// The limit of the wait.
        limit: Duration,
    },

    /// The device was lost. To continue on a new device, use the state that was read or saved last: the
    /// [`Parameters`](crate::Parameters), or a [`Snapshot`](crate::Snapshot) of the training.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
}

/// The reason why a training has stopped: the first of its numbers that were not finite.
///
/// Neither that step nor a later one changes parameters, running statistics and the optimizer's state.
/// (After a fault of the update, its finite results are kept, and parameters that would have become
/// infinite keep their values.)
///
/// ```
/// use ztilde::{Fault, Quantity};
///
/// let fault = Fault { step: 57, layer: Some(2), quantity: Quantity::GradWeights };
/// assert_eq!(fault.to_string(), "step 57: the gradient of the weights of layer 2 is not finite");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the step, counted from 1; 0 if another trainer of the network encoded it.
    pub step: u64,
    /// The layer, counted from 1; the last one is the output layer. None for the update, which concerns
    /// all layers.
    pub layer: Option<usize>,
    /// The quantity that was not finite.
    pub quantity: Quantity,
}

/// The quantity of a step that is not finite. If several are not finite, the one computed first.
///
/// See the example of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The mean or the variance of the batch, in a layer with batch normalization: the inputs or the
    /// weights are too large, or inputs are NaN.
    BatchStatistics,
    /// The loss of the batch: outputs or targets are too large, a class index has no class, or a target
    /// of binary cross-entropy is outside 0 to 1.
    Loss,
    /// The gradient of gamma. As in all gradients, a value beyond 2⁵⁰ counts as infinite, since sums of
    /// squares of such values overflow.
    GradGamma,
    /// The gradient of beta.
    GradBeta,
    /// The gradient of the biases.
    GradBiases,
    /// The gradient of the weights.
    GradWeights,
    /// A parameter after the update: the learning rate or the weight decay is far too large.
    Update,
}

impl fmt::Display for Fault {
    /// For example, `step 57: the gradient of the weights of layer 2 is not finite`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, layer, quantity } = self;
        let place = layer.map_or(String::new(), |layer| format!(" of layer {layer}"));
        write!(formatter, "step {step}: {quantity}{place} is not finite")
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BatchStatistics => "the mean or the variance of the batch",
            Self::Loss => "the loss",
            Self::GradGamma => "the gradient of gamma",
            Self::GradBeta => "the gradient of beta",
            Self::GradBiases => "the gradient of the biases",
            Self::GradWeights => "the gradient of the weights",
            Self::Update => "a parameter after the update",
        })
    }
}
