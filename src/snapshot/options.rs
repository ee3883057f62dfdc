//! The trainer's options as text, and back, to the bit: `{:e}` writes as many digits as bring the same
//! number back.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::options::{Loss, Method, Optimizer, Remainder, Schedule, TrainerOptions};
use crate::parameters::Metadata;

const NO_CLIPPING: &str = "none";

/// ` name=value` for each.
pub(super) fn describe(options: &TrainerOptions) -> String {
    let TrainerOptions { batch_size, loss, optimizer, clip_norm, remainder, seed } = options;
    let Optimizer { method, learning_rate, schedule, weight_decay } = optimizer;
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        write!(text, " {name}={value}").expect("writing to a string never fails");
    };
    let number = |value: f64| format!("{value:e}");
    add("trainer.batch_size", &batch_size.to_string());
    add("trainer.loss", loss.name());
    add("trainer.clip_norm", &clip_norm.map_or(NO_CLIPPING.to_owned(), number));
    add("trainer.remainder", remainder_name(*remainder));
    add("trainer.seed", &seed.to_string());
    add("optimizer.learning_rate", &number(*learning_rate));
    add("optimizer.weight_decay", &number(*weight_decay));
    match *method {
        Method::GradientDescent => add("optimizer.method", "gradient-descent"),
        Method::Momentum { momentum, nesterov } => {
            add("optimizer.method", "momentum");
            add("optimizer.momentum", &number(momentum));
            add("optimizer.nesterov", &nesterov.to_string());
        }
        Method::RmsProp { smoothing, epsilon } => {
            add("optimizer.method", "rmsprop");
            add("optimizer.smoothing", &number(smoothing));
            add("optimizer.epsilon", &number(epsilon));
        }
        Method::Adam { beta1, beta2, epsilon, decoupled } => {
            add("optimizer.method", "adam");
            add("optimizer.beta1", &number(beta1));
            add("optimizer.beta2", &number(beta2));
            add("optimizer.epsilon", &number(epsilon));
            add("optimizer.decoupled", &decoupled.to_string());
        }
    }
    match *schedule {
        Schedule::Constant => add("schedule", "constant"),
        Schedule::Step { every, factor } => {
            add("schedule", "step");
            add("schedule.every", &every.to_string());
            add("schedule.factor", &number(factor));
        }
        Schedule::Cosine { steps, last } => {
            add("schedule", "cosine");
            add("schedule.steps", &steps.to_string());
            add("schedule.last", &number(last));
        }
    }
    text
}

pub(super) fn read(metadata: &Metadata) -> Result<TrainerOptions> {
    let options = TrainerOptions {
        batch_size: metadata.parsed("trainer.batch_size")?,
        loss: metadata.choice("trainer.loss", Loss::from_name)?,
        optimizer: Optimizer {
            method: method(metadata)?,
            learning_rate: metadata.parsed("optimizer.learning_rate")?,
            schedule: schedule(metadata)?,
            weight_decay: metadata.parsed("optimizer.weight_decay")?,
        },
        clip_norm: metadata.choice("trainer.clip_norm", |value| match value {
            NO_CLIPPING => Some(None),
            number => number.parse().ok().map(Some),
        })?,
        remainder: metadata.choice("trainer.remainder", |value| {
            let all = [Remainder::Drop, Remainder::Keep];
            all.into_iter().find(|&remainder| remainder_name(remainder) == value)
        })?,
        seed: metadata.parsed("trainer.seed")?,
    };
    options.check()?;
    Ok(options)
}

fn method(metadata: &Metadata) -> Result<Method> {
    match metadata.get("optimizer.method")? {
        "gradient-descent" => Ok(Method::GradientDescent),
        "momentum" => Ok(Method::Momentum {
            momentum: metadata.parsed("optimizer.momentum")?,
            nesterov: metadata.parsed("optimizer.nesterov")?,
        }),
        "rmsprop" => Ok(Method::RmsProp {
            smoothing: metadata.parsed("optimizer.smoothing")?,
            epsilon: metadata.parsed("optimizer.epsilon")?,
        }),
        "adam" => Ok(Method::Adam {
            beta1: metadata.parsed("optimizer.beta1")?,
            beta2: metadata.parsed("optimizer.beta2")?,
            epsilon: metadata.parsed("optimizer.epsilon")?,
            decoupled: metadata.parsed("optimizer.decoupled")?,
        }),
        other => Err(Error::Model(format!("its optimizer.method is {other:?}"))),
    }
}

fn schedule(metadata: &Metadata) -> Result<Schedule> {
    match metadata.get("schedule")? {
        "constant" => Ok(Schedule::Constant),
        "step" => Ok(Schedule::Step {
            every: metadata.parsed("schedule.every")?,
            factor: metadata.parsed("schedule.factor")?,
        }),
        "cosine" => Ok(Schedule::Cosine {
            steps: metadata.parsed("schedule.steps")?,
            last: metadata.parsed("schedule.last")?,
        }),
        other => Err(Error::Model(format!("its schedule is {other:?}"))),
    }
}

const fn remainder_name(remainder: Remainder) -> &'static str {
    match remainder {
        Remainder::Drop => "drop",
        Remainder::Keep => "keep",
    }
}
