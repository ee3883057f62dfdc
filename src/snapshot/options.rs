//! The trainer's options as text, and back, bit for bit: `{:e}` writes enough digits to restore the same
//! number.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::options::{Loss, Method, OnFault, Optimizer, Remainder, Schedule, TrainerOptions};
use crate::parameters::Metadata;

const NONE: &str = "none";

/// ` name=value` for each option.
pub(super) fn describe(options: &TrainerOptions) -> String {
    let TrainerOptions { batch_size, loss, optimizer, clip_norm, remainder, seed, .. } = options;
    let TrainerOptions { label_smoothing, class_weights, on_fault, .. } = options;
    let Optimizer { method, learning_rate, schedule, .. } = optimizer;
    let Optimizer { warm_up, weight_decay, decays_all, .. } = optimizer;
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        write!(text, " {name}={value}").expect("writing to a string never fails");
    };
    let number = |value: f64| format!("{value:e}");
    add("trainer.batch_size", &batch_size.to_string());
    add("trainer.loss", loss.name());
    add("trainer.label_smoothing", &format!("{label_smoothing:e}"));
    let weights = |weights: &[f32]| {
        let texts: Vec<_> = weights.iter().map(|weight| format!("{weight:e}")).collect();
        texts.join(",")
    };
    add("trainer.class_weights", &class_weights.as_deref().map_or(NONE.to_owned(), weights));
    add("trainer.clip_norm", &clip_norm.map_or(NONE.to_owned(), number));
    add("trainer.remainder", remainder_name(*remainder));
    add("trainer.seed", &seed.to_string());
    add("trainer.on_fault", on_fault_name(*on_fault));
    add("optimizer.learning_rate", &number(*learning_rate));
    add("optimizer.warm_up", &warm_up.to_string());
    add("optimizer.weight_decay", &number(*weight_decay));
    add("optimizer.decays_all", &decays_all.to_string());
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
        Schedule::OneCycle { steps } => {
            add("schedule", "one-cycle");
            add("schedule.steps", &steps.to_string());
        }
    }
    text
}

/// Reads the options for a network with this many outputs.
pub(super) fn read(metadata: &Metadata, outputs: u32) -> Result<TrainerOptions> {
    let options = TrainerOptions {
        batch_size: metadata.parsed("trainer.batch_size")?,
        loss: metadata.choice("trainer.loss", Loss::from_name)?,
        label_smoothing: metadata.parsed("trainer.label_smoothing")?,
        class_weights: metadata.choice("trainer.class_weights", |value| match value {
            NONE => Some(None),
            list => {
                list.split(',').map(|weight| weight.parse().ok()).collect::<Option<_>>().map(Some)
            }
        })?,
        optimizer: Optimizer {
            method: method(metadata)?,
            learning_rate: metadata.parsed("optimizer.learning_rate")?,
            schedule: schedule(metadata)?,
            warm_up: metadata.parsed("optimizer.warm_up")?,
            weight_decay: metadata.parsed("optimizer.weight_decay")?,
            decays_all: metadata.parsed("optimizer.decays_all")?,
        },
        clip_norm: metadata.choice("trainer.clip_norm", |value| match value {
            NONE => Some(None),
            number => number.parse().ok().map(Some),
        })?,
        remainder: metadata.choice("trainer.remainder", |value| {
            let all = [Remainder::Drop, Remainder::Keep];
            all.into_iter().find(|&remainder| remainder_name(remainder) == value)
        })?,
        seed: metadata.parsed("trainer.seed")?,
        on_fault: on_fault(metadata)?,
    };
    options.check(outputs)?;
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
        "one-cycle" => Ok(Schedule::OneCycle { steps: metadata.parsed("schedule.steps")? }),
        other => Err(Error::Model(format!("its schedule is {other:?}"))),
    }
}

/// Files of older versions do not have this option: their trainings stop.
fn on_fault(metadata: &Metadata) -> Result<OnFault> {
    const NAME: &str = "trainer.on_fault";
    if !metadata.has(NAME) {
        return Ok(OnFault::Stop);
    }
    metadata.choice(NAME, |value| {
        let all = [OnFault::Stop, OnFault::SkipStep];
        all.into_iter().find(|&on_fault| on_fault_name(on_fault) == value)
    })
}

const fn on_fault_name(on_fault: OnFault) -> &'static str {
    match on_fault {
        OnFault::Stop => "stop",
        OnFault::SkipStep => "skip-step",
    }
}

const fn remainder_name(remainder: Remainder) -> &'static str {
    match remainder {
        Remainder::Drop => "drop",
        Remainder::Keep => "keep",
    }
}
