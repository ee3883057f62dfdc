//! The options of `ztilde train`, as they are typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, ValueHint, value_parser};
use serde::Serialize;
use ztilde::{Activation, Loss, Method, NetworkOptions, Optimizer, Remainder};

use crate::{
    data::DataOptions,
    failure::Failure,
    optimizers::{names, of_methods, of_optimizers},
    output::Json,
    plot::{PictureFile, Theme},
    values::{
        ClassWeights, Sizes, activation, activation_name, decimal, from_0, from_0_below_1,
        from_0_to_1, loss, method, positive, remainder, remainder_name, serialize_remainder,
    },
};

/// The options, grouped by the topics of the help.
#[derive(Args, Serialize)]
pub(crate) struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: DataOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) training: Training,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) learning: Learning,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) long_runs: LongRuns,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) results: Results,
}

#[derive(Args, Serialize)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// Sizes of the hidden layers, separated by commas; empty for a linear model
    #[arg(long, value_name = "SIZES", default_value = "128,64")]
    pub(crate) hidden: Sizes,

    /// The activation function of the hidden layers
    #[arg(long, default_value = Activation::default().name(), value_parser = activation())]
    #[serde(serialize_with = "activation_name")]
    pub(crate) activation: Activation,

    /// Give the hidden layers biases instead of batch normalization
    #[arg(long)]
    #[serde(skip)]
    pub(crate) no_batch_norm: bool,

    /// The constant that is added to the variance, inside the square root
    #[arg(hide_short_help = true, long, value_name = "NUMBER", conflicts_with = "no_batch_norm", value_parser = positive,
        default_value_t = decimal(NetworkOptions::default().epsilon))]
    pub(crate) batch_norm_epsilon: f64,

    /// The weight of each mini-batch in the running statistics
    ///
    /// This is PyTorch's convention; Keras's number is one minus this.
    #[arg(hide_short_help = true, long, value_name = "NUMBER", conflicts_with = "no_batch_norm", value_parser = from_0_to_1,
        default_value_t = decimal(NetworkOptions::default().momentum))]
    pub(crate) batch_norm_momentum: f64,
}

#[derive(Args, Serialize)]
#[command(next_help_heading = "Training")]
pub(crate) struct Training {
    /// Passes over the training rows
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(1..))]
    pub(crate) epochs: u32,

    /// Rows of a mini-batch [default: 64, or 32, 16, 8 if an epoch had fewer than 8 mini-batches]
    ///
    /// Batch normalization needs at least 2.
    #[arg(long, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    #[serde(skip)]
    pub(crate) batch_size: Option<u32>,

    /// What to do with the last rows of an epoch that do not fill a mini-batch
    #[arg(long, default_value = remainder_name(Remainder::default()), value_parser = remainder())]
    #[serde(serialize_with = "serialize_remainder")]
    pub(crate) remainder: Remainder,

    /// The share of rows that is held out from training, to test on after each epoch
    ///
    /// With 0 all rows are training rows, and nothing is tested.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = from_0_below_1)]
    pub(crate) held_out: f64,

    /// The loss [default: softmax-cross-entropy for classes, mean-squared-error for numbers]
    #[arg(long, value_name = "NAME", value_parser = loss())]
    #[serde(skip)]
    pub(crate) loss: Option<Loss>,

    /// With huber: the error from which on the loss is linear, in deviations of the target [default: 1]
    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = positive)]
    #[serde(skip)]
    pub(crate) delta: Option<f64>,

    /// The share of each target that is spread evenly over all classes
    #[arg(hide_short_help = true, long, value_name = "SHARE", default_value_t = 0.0, value_parser = from_0_below_1)]
    pub(crate) label_smoothing: f64,

    /// The weight of each class in training [default: 1]
    ///
    /// `balanced` gives all classes the same total weight. `setosa=2,virginica=0.5` names weights; other
    /// classes weigh 1. Test results are not weighted.
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) class_weights: Option<ClassWeights>,

    /// The seed of the initial weights, of the held-out rows, and of the shuffling
    ///
    /// On the same adapter and driver, the same seed gives the same network.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

impl Training {
    /// The numbers that only some losses have.
    pub(crate) fn hyperparameters(&self) -> [(&'static str, Option<f64>); 1] {
        [("delta", self.delta)]
    }

    /// The number of batches in an epoch of this many rows.
    pub(crate) fn steps_per_epoch(&self, rows: u64, batch_size: u32) -> Result<u64, Failure> {
        let steps = match self.remainder {
            Remainder::Drop => rows / u64::from(batch_size),
            Remainder::Keep => rows.div_ceil(batch_size.into()),
        };
        if steps > 0 {
            return Ok(steps);
        }
        Err(Failure::input(format!(
            "--batch-size is {batch_size}, but there are only {rows} training rows, and \
             --remainder drop leaves out what does not fill a batch"
        )))
    }
}

/// How the parameters move. The numbers that only some optimizers or schedules have are `None`
/// unless they were typed: `settle` supplies their defaults.
#[derive(Args)]
#[command(next_help_heading = "Optimizer")]
pub(crate) struct Learning {
    /// The optimizer
    #[arg(long, default_value = Optimizer::default().method.name(), value_parser = method())]
    pub(crate) optimizer: Method,

    #[arg(long, value_name = "NUMBER", value_parser = positive, help = of_optimizers(
        "The learning rate, before the schedule", |usual| Some(usual.learning_rate)))]
    pub(crate) learning_rate: Option<f64>,

    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = from_0_below_1,
        help = of_methods("the share of the velocity that is kept", "momentum"))]
    pub(crate) momentum: Option<f64>,

    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = from_0_below_1,
        help = of_methods("the share of the mean square that is kept", "smoothing"))]
    pub(crate) smoothing: Option<f64>,

    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = from_0_below_1,
        help = of_methods("the first decay rate, β₁", "beta1"))]
    pub(crate) beta1: Option<f64>,

    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = from_0_below_1,
        help = of_methods("the second decay rate, β₂", "beta2"))]
    pub(crate) beta2: Option<f64>,

    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = positive,
        help = of_methods("added to the root of the mean square", "epsilon"))]
    pub(crate) optimizer_epsilon: Option<f64>,

    #[arg(long, value_name = "NUMBER", value_parser = from_0, help = of_optimizers(
        &format!("The weight decay: decoupled in {}, part of the gradient in all others",
            names(|usual| usual.method.is_decoupled())),
        |usual| Some(usual.weight_decay)))]
    pub(crate) weight_decay: Option<f64>,

    /// Let gamma, beta and biases decay, too, not only weights
    #[arg(hide_short_help = true, long)]
    pub(crate) decay_all: bool,

    /// The largest norm of the gradient [default: none]
    ///
    /// A longer gradient is scaled down to this norm.
    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = positive)]
    pub(crate) clip_norm: Option<f64>,

    /// The schedule of the learning rate
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant)]
    pub(crate) schedule: ScheduleName,

    /// Epochs in which the learning rate first rises to its scheduled value
    #[arg(hide_short_help = true, long, value_name = "EPOCHS", default_value_t = 0.0, value_parser = from_0)]
    pub(crate) warm_up: f64,

    /// With step: epochs between two reductions [default: 10]
    #[arg(hide_short_help = true, long, value_name = "EPOCHS", value_parser = positive)]
    pub(crate) step_epochs: Option<f64>,

    /// With step: the factor of each reduction [default: 0.1]
    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = positive)]
    pub(crate) step_factor: Option<f64>,

    /// With cosine: epochs until the lowest learning rate [default: all --epochs]
    #[arg(hide_short_help = true, long, value_name = "EPOCHS", value_parser = positive)]
    pub(crate) cosine_epochs: Option<f64>,

    /// With cosine: the lowest learning rate, as a share of the highest [default: 0]
    #[arg(hide_short_help = true, long, value_name = "NUMBER", value_parser = from_0)]
    pub(crate) cosine_last: Option<f64>,

    /// With one-cycle: epochs of the rise and the fall together [default: all --epochs]
    ///
    /// The learning rate rises from a 25th of --learning-rate to all of it, and falls to almost 0.
    #[arg(hide_short_help = true, long, value_name = "EPOCHS", value_parser = positive)]
    pub(crate) one_cycle_epochs: Option<f64>,
}

impl Learning {
    /// The numbers that only some methods have, under the library's names.
    pub(crate) fn hyperparameters(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("momentum", self.momentum),
            ("smoothing", self.smoothing),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("epsilon", self.optimizer_epsilon),
        ]
    }
}

/// When a run ends before all epochs are over, and how it resumes.
#[derive(Args)]
#[command(next_help_heading = "Long runs")]
pub(crate) struct LongRuns {
    /// Keep the parameters of the best epoch instead of the last one
    ///
    /// The best epoch has the smallest loss on the held-out rows, so its result on them is slightly
    /// optimistic.
    #[arg(long)]
    pub(crate) keep_best: bool,

    /// Stop when the loss on held-out rows has not improved for this many epochs [default: never]
    ///
    /// Implies --keep-best.
    #[arg(long, value_name = "EPOCHS", value_parser = value_parser!(u32).range(1..))]
    pub(crate) patience: Option<u32>,

    /// Stop after this much training time, such as 90s, 30m or 8h [default: none]
    ///
    /// The run then ends like a complete one.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) time_limit: Option<Duration>,

    /// Save the state of the run to this file, for --resume
    ///
    /// It is saved at the intervals of --checkpoint-every, on Ctrl-C or a termination signal, and at the end.
    #[arg(long, value_name = "FILE", conflicts_with = "folds")]
    pub(crate) checkpoint: Option<PathBuf>,

    /// Epochs between two saves of the checkpoint; 0.1 saves ten times per epoch
    #[arg(hide_short_help = true, long, value_name = "EPOCHS", default_value_t = 1.0, value_parser = positive,
        requires = "checkpoint")]
    pub(crate) checkpoint_every: f64,

    /// Resume from the checkpoint, if there is one
    ///
    /// On the same adapter and driver, the result is bit-identical to that of an uninterrupted run. The data
    /// and the options must be the same, except --epochs, --patience, --time-limit, the options of results,
    /// and --learning-rate, which may be lowered after a run has diverged.
    #[arg(long, requires = "checkpoint", conflicts_with = "folds")]
    pub(crate) resume: bool,

    /// Measure how this adapter computes the network fastest
    ///
    /// It takes some seconds, once: the result is kept in the user's cache folder, for later runs with --tune. It
    /// changes no bit of the training.
    #[arg(long)]
    pub(crate) tune: bool,
}

impl LongRuns {
    /// Whether the network that is kept is that of the best epoch.
    pub(crate) fn keeps_best(&self) -> bool {
        self.keep_best || self.patience.is_some()
    }
}

#[derive(Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct Results {
    /// Train twice, with and without batch normalization, and compare
    ///
    /// Both trainings start from the same weights and use the same mini-batches. The plot and the report
    /// show both.
    #[arg(long, conflicts_with_all = ["no_batch_norm", "folds", "model", "checkpoint"])]
    pub(crate) compare: bool,

    /// Save the trained network to this file: safetensors under PyTorch's names
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,

    /// Plot loss and accuracy (or RMSE) over the epochs, as .svg or .png
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "folds")]
    pub(crate) plot: Option<PictureFile>,

    /// Update the plot during training, at most once a second
    #[arg(hide_short_help = true, long, requires = "plot")]
    pub(crate) watch: bool,

    /// The colors of the plot
    #[arg(hide_short_help = true, long, value_enum, default_value_t, requires = "plot")]
    pub(crate) theme: Theme,

    /// Write the results as JSON, to a file or to stdout (-)
    ///
    /// With stdout, the table of the epochs goes to stderr. `baseline` is the accuracy, or the RMSE, of a
    /// constant prediction: the most frequent class, or the mean, of the training rows. `filled` counts
    /// missing values and unknown categories for each column that has any.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1,
        default_missing_value = "-")]
    pub(crate) json: Option<Json>,
}

/// The schedules, by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScheduleName {
    Constant,
    Step,
    Cosine,
    OneCycle,
}

/// The name of an option's value on the command line.
pub(crate) fn typed_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
