//! Turns the typed options into the library's options. Defaults that depend on other options are filled in,
//! and options without an effect are refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use ztilde::{Loss, NetworkOptions, Optimizer, Schedule, TrainerOptions};

use crate::{
    data::Target,
    failure::Failure,
    options::{Learning, Options, ScheduleName, Training, typed_name},
};

/// All options, with their defaults filled in.
pub(crate) struct Settled {
    pub(crate) network: NetworkOptions,
    pub(crate) trainer: TrainerOptions,
    /// The same options for the report, under their names on the command line.
    pub(crate) report: Map<String, Value>,
}

/// Schedules count steps, so the number of steps in an epoch is needed.
pub(crate) fn settle(
    options: &Options,
    batch_size: u32,
    steps_per_epoch: u64,
) -> Result<Settled, Failure> {
    let (network, training) = (&options.network, &options.training);
    let mut report = match serde_json::to_value(options) {
        Ok(Value::Object(report)) => report,
        other => {
            return Err(Failure::input(format!("the options are not a JSON object: {other:?}")));
        }
    };
    let mut optimizer = optimizer(&options.learning, &mut report)?;
    let Learning { decay_all, clip_norm, warm_up, .. } = options.learning;
    optimizer.schedule =
        schedule(&options.learning, training.epochs, steps_per_epoch, &mut report)?;
    optimizer.warm_up = (warm_up * steps_per_epoch as f64).round() as u64;
    optimizer.decays_all = decay_all;
    let long_runs = &options.long_runs;
    let time_limit = long_runs.time_limit.map(|limit| limit.as_secs_f64());
    for (name, value) in [
        ("batch_size", batch_size.into()),
        ("decay_all", decay_all.into()),
        ("clip_norm", clip_norm.into()),
        ("warm_up", warm_up.into()),
        ("batch_norm", (!network.no_batch_norm).into()),
        ("keep_best", long_runs.keeps_best().into()),
        ("patience", long_runs.patience.into()),
        ("time_limit", time_limit.into()),
    ] {
        report.insert(name.to_owned(), value);
    }
    if network.no_batch_norm {
        report.remove("batch_norm_epsilon");
        report.remove("batch_norm_momentum");
    }
    Ok(Settled {
        network: NetworkOptions {
            activation: network.activation,
            batch_norm: !network.no_batch_norm,
            epsilon: network.batch_norm_epsilon as f32,
            momentum: network.batch_norm_momentum as f32,
            seed: training.seed,
        },
        trainer: TrainerOptions {
            batch_size,
            optimizer,
            label_smoothing: training.label_smoothing as f32,
            clip_norm,
            remainder: training.remainder,
            seed: training.seed,
            ..TrainerOptions::default()
        },
        report,
    })
}

fn optimizer(learning: &Learning, report: &mut Map<String, Value>) -> Result<Optimizer, Failure> {
    let typed =
        [("learning_rate", learning.learning_rate), ("weight_decay", learning.weight_decay)];
    let hyperparameters = learning.hyperparameters().map(|(name, typed)| (option_of(name), typed));
    let mut numbers = Numbers::new(typed.into_iter().chain(hyperparameters), report);
    let mut optimizer = Optimizer::usual(learning.optimizer);
    numbers.take("learning_rate", &mut optimizer.learning_rate);
    numbers.take("weight_decay", &mut optimizer.weight_decay);
    for (name, value) in optimizer.method.hyperparameters() {
        numbers.take(option_of(name), value);
    }
    numbers.finish("optimizer", learning.optimizer.name())?;
    Ok(optimizer)
}

/// The option of a method's hyperparameter. Batch normalization has an epsilon, too.
fn option_of(hyperparameter: &'static str) -> &'static str {
    if hyperparameter == "epsilon" { "optimizer_epsilon" } else { hyperparameter }
}

impl Settled {
    /// Takes the typed loss, or else the usual one for the kind of the targets.
    pub(crate) fn take_loss(&mut self, typed: &Training, target: &Target) -> Result<(), Failure> {
        let has_classes = target.classes().is_some();
        let usual = if has_classes { Loss::SoftmaxCrossEntropy } else { Loss::MeanSquaredError };
        let mut loss = typed.loss.unwrap_or(usual);
        if loss.has_class_targets() != has_classes {
            let [needed, found] =
                if has_classes { ["numbers", "a class"] } else { ["classes", "a number"] };
            return Err(Failure::input(format!(
                "--loss {} compares {needed}, but the target {:?} is {found}",
                loss.name(),
                target.name
            )));
        }
        let mut numbers = Numbers::new(typed.hyperparameters(), &mut self.report);
        for (name, value) in loss.hyperparameters() {
            numbers.take(name, value);
        }
        numbers.finish("loss", loss.name())?;
        self.trainer.loss = loss;
        Ok(())
    }
}

fn schedule(
    learning: &Learning,
    epochs: u32,
    steps_per_epoch: u64,
    report: &mut Map<String, Value>,
) -> Result<Schedule, Failure> {
    let chosen = typed_name(learning.schedule);
    let mut numbers = Numbers::new(
        [
            ("step_epochs", learning.step_epochs),
            ("step_factor", learning.step_factor),
            ("cosine_epochs", learning.cosine_epochs),
            ("cosine_last", learning.cosine_last),
            ("one_cycle_epochs", learning.one_cycle_epochs),
        ],
        report,
    );
    let steps = |epochs: f64| ((epochs * steps_per_epoch as f64).round() as u64).max(1);
    let schedule = match learning.schedule {
        ScheduleName::Constant => Schedule::Constant,
        ScheduleName::Step => {
            let (mut epochs, mut factor) = (10.0, 0.1);
            numbers.take("step_epochs", &mut epochs);
            numbers.take("step_factor", &mut factor);
            Schedule::Step { every: steps(epochs), factor }
        }
        ScheduleName::Cosine => {
            let (mut epochs, mut last) = (epochs.into(), 0.0);
            numbers.take("cosine_epochs", &mut epochs);
            numbers.take("cosine_last", &mut last);
            Schedule::Cosine { steps: steps(epochs), last }
        }
        ScheduleName::OneCycle => {
            let mut epochs = epochs.into();
            numbers.take("one_cycle_epochs", &mut epochs);
            Schedule::OneCycle { steps: steps(epochs) }
        }
    };
    numbers.finish("schedule", &chosen)?;
    Ok(schedule)
}

/// The typed hyperparameters of an optimizer or a schedule, until they are used.
struct Numbers<'a> {
    typed: BTreeMap<&'static str, f64>,
    report: &'a mut Map<String, Value>,
}

impl<'a> Numbers<'a> {
    fn new(
        options: impl IntoIterator<Item = (&'static str, Option<f64>)>,
        report: &'a mut Map<String, Value>,
    ) -> Self {
        let typed = options.into_iter().filter_map(|(name, typed)| Some((name, typed?))).collect();
        Self { typed, report }
    }

    /// Replaces the default by the typed number, and reports the result.
    fn take(&mut self, name: &'static str, number: &mut f64) {
        if let Some(typed) = self.typed.remove(name) {
            *number = typed;
        }
        self.report.insert(name.to_owned(), (*number).into());
    }

    /// A typed number without an effect is a mistake, and an error.
    fn finish(self, choice: &str, chosen: &str) -> Result<(), Failure> {
        self.report.insert(choice.to_owned(), chosen.into());
        match self.typed.first_key_value() {
            None => Ok(()),
            Some((name, number)) => Err(Failure::input(format!(
                "--{} is {number}, but --{choice} {chosen} has no such number",
                name.replace('_', "-")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches, ValueEnum};
    use ztilde::Method;

    use super::*;

    fn command() -> clap::Command {
        Options::augment_args(clap::Command::new("train").no_binary_name(true))
    }

    fn typed(arguments: &str) -> Options {
        let matches = command().get_matches_from(arguments.split_whitespace());
        Options::from_arg_matches(&matches).unwrap()
    }

    fn settled(arguments: &str) -> Result<Settled, Failure> {
        settle(&typed(arguments), 64, 22)
    }

    #[test]
    fn the_defaults_are_the_librarys() {
        let settled = settled("").unwrap();
        assert_eq!(settled.network, NetworkOptions::default());
        assert_eq!(settled.trainer, TrainerOptions::default());
        assert_eq!(settled.report["hidden"], serde_json::json!([128, 64]));
        assert_eq!(settled.report["batch_norm_epsilon"], 1e-5);
        assert_eq!(settled.report["epochs"], 30);
        assert_eq!(settled.report["held_out"], 0.2);
    }

    #[test]
    fn the_seed_reaches_the_network_and_the_shuffle() {
        let settled = settled("--seed 7").unwrap();
        assert_eq!((settled.network.seed, settled.trainer.seed), (7, 7));
    }

    #[test]
    fn every_number_reaches_its_optimizer() {
        let method = |arguments| settled(arguments).unwrap().trainer.optimizer;
        assert_eq!(
            method("--optimizer gradient-descent --learning-rate 0.5 --weight-decay 0.1"),
            Optimizer { weight_decay: 0.1, ..Optimizer::gradient_descent(0.5) }
        );
        assert_eq!(method("--optimizer momentum --momentum 0.5"), Optimizer::momentum(0.01, 0.5));
        assert_eq!(method("--optimizer nesterov"), Optimizer::nesterov(0.01, 0.9));
        assert_eq!(
            method("--optimizer gradient-descent --decay-all --warm-up 0.5"),
            Optimizer { decays_all: true, warm_up: 11, ..Optimizer::gradient_descent(0.1) }
        );
        assert_eq!(
            method("--optimizer rmsprop --smoothing 0.5 --optimizer-epsilon 0.25").method,
            Method::RmsProp { smoothing: 0.5, epsilon: 0.25 }
        );
        assert_eq!(
            method("--optimizer adamw --beta1 0.5 --beta2 0.25 --optimizer-epsilon 1").method,
            Method::Adam { beta1: 0.5, beta2: 0.25, epsilon: 1.0, decoupled: true }
        );
    }

    #[test]
    fn every_hyperparameter_has_an_option() {
        let options = typed("").learning.hyperparameters();
        for mut method in Method::ALL {
            for (name, _) in method.hyperparameters() {
                assert!(options.iter().any(|(typed, _)| *typed == name), "{name}");
            }
        }
        let options = typed("").training.hyperparameters();
        for mut loss in Loss::ALL {
            for (name, _) in loss.hyperparameters() {
                assert!(options.iter().any(|(typed, _)| *typed == name), "{name}");
            }
        }
    }

    #[test]
    fn epochs_become_steps() {
        let schedule = |arguments| settled(arguments).unwrap().trainer.optimizer.schedule;
        assert_eq!(
            schedule("--schedule step --step-epochs 2 --step-factor 0.5"),
            Schedule::Step { every: 44, factor: 0.5 }
        );
        assert_eq!(
            schedule("--schedule cosine --epochs 3"),
            Schedule::Cosine { steps: 66, last: 0.0 }
        );
        assert_eq!(
            schedule("--schedule cosine --cosine-epochs 0.5 --cosine-last 0.1"),
            Schedule::Cosine { steps: 11, last: 0.1 }
        );
        assert_eq!(schedule("--schedule one-cycle --epochs 3"), Schedule::OneCycle { steps: 66 });
        assert_eq!(
            schedule("--schedule one-cycle --one-cycle-epochs 2"),
            Schedule::OneCycle { steps: 44 }
        );
    }

    #[test]
    fn a_number_that_nothing_reads_is_refused() {
        for (arguments, option) in [
            ("--beta1 0.5 --optimizer momentum", "--beta1 is 0.5, but --optimizer momentum"),
            ("--momentum 0.5", "--momentum is 0.5, but --optimizer adam"),
            ("--smoothing 0.5 --optimizer nesterov", "--smoothing"),
            ("--optimizer-epsilon 0.5 --optimizer gradient-descent", "--optimizer-epsilon"),
            ("--step-factor 0.5", "--step-factor is 0.5, but --schedule constant"),
            ("--cosine-last 0.5 --schedule step", "--cosine-last"),
            ("--one-cycle-epochs 5 --schedule cosine", "--one-cycle-epochs"),
        ] {
            let error = settled(arguments).err().expect(arguments).to_string();
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn the_help_names_the_defaults() {
        let command = command();
        let check = |arguments: String| {
            for (name, value) in settled(&arguments).unwrap().report {
                let mut options = command.get_arguments();
                let Some(option) = options.find(|option| *option.get_id() == *name) else {
                    continue;
                };
                // clap itself adds the defaults that it knows to the help.
                if !value.is_f64() || !option.get_default_values().is_empty() {
                    continue;
                }
                let help = option.get_help().map(ToString::to_string).unwrap_or_default();
                let (_, default) = help.split_once("[default:").expect(&name);
                let mut words = default.split([' ', ',', ']']);
                assert!(
                    words.any(|word| word == "--epochs" || word.parse().ok() == value.as_f64()),
                    "{name} is {value} with {arguments:?}, but its help says: {default}"
                );
            }
        };
        for name in Method::ALL.map(Method::name) {
            check(format!("--optimizer {name}"));
        }
        for name in ScheduleName::value_variants() {
            check(format!("--schedule {}", typed_name(*name)));
        }
    }
}
