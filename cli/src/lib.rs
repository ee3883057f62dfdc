//! `ztilde`: trains batch-normalized multilayer perceptrons on any GPU, at a terminal.
//!
//! Results go to stdout, progress and notes to stderr. The code is a library because fuzzing calls its
//! readers, and the manual pages are made from its [`command`]. The binary calls [`main`].

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod adapter;
mod adapters;
mod bench;
mod check;
mod checkpoint;
mod class_weights;
mod completions;
mod config;
mod data;
mod diverged;
mod evaluate;
mod examples;
mod export;
mod failure;
mod forward;
mod interrupt;
mod model;
mod nvidia;
mod onnx;
mod optimizers;
mod options;
mod output;
mod plot;
mod predict;
mod progress;
pub mod readers;
mod report;
mod run;
mod settle;
mod state;
mod train;
mod tuning;
mod values;
mod wording;

use std::{env, path::Path, process::ExitCode, time::Instant};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use failure::Failure;

/// Trains batch-normalized multilayer perceptrons on any GPU.
#[derive(Parser)]
#[command(name = "ztilde", version, max_term_width = 100, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Train>),
    Evaluate(Box<evaluate::Evaluate>),
    Predict(predict::Predict),
    Export(export::Export),
    Bench(bench::Bench),
    Check(check::Check),
    Adapters(adapters::Adapters),
    Completions(completions::Completions),
}

const ENVIRONMENT: &str = "\
Environment:
  WGPU_BACKEND       use only these backends, separated by commas:
                     vulkan, metal, dx12, gl; without it, gl only
                     where there is no other
  WGPU_ADAPTER_NAME  use the adapter whose name contains this, in
                     upper or lower case
  WGPU_POWER_PREF    high: a discrete GPU first (as without it);
                     low: an integrated one first;
                     none: the first GPU that the driver names
  WGPU_DX12_COMPILER fxc or dxc, on Direct3D 12; without it, dxc if
                     Windows finds a dxcompiler.dll, which compiles
                     kernels faster
  NO_COLOR           no colors

Exit codes:
  0  done
  1  a check failed
  2  wrong usage or bad input
  3  no adapter
  4  device lost, out of memory, silent, or refusing a call
  5  training diverged
  6  interrupted by Ctrl-C or a termination signal, between two steps;
     --checkpoint was written
130  interrupted a second time, at once";

/// Runs the binary, from the arguments of the process to its exit code.
pub fn main() -> ExitCode {
    // As close to the start of the process as Rust can measure on every system.
    let start = Instant::now();
    match run(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            failure.exit_code()
        }
    }
}

/// Options of other programs, and what to use instead: clap would suggest the most similar name.
const ELSEWHERE: [(&str, &str); 4] = [
    ("--dropout", "there is no dropout; --weight-decay and --patience reduce overfitting"),
    ("--lr", "--learning-rate sets the learning rate"),
    ("--layers", "--hidden sets the sizes of the hidden layers"),
    ("--l2", "--weight-decay pulls the weights towards 0"),
];

/// Replaces clap's advice where it would not help.
fn advised(error: clap::Error, command: &mut clap::Command) -> clap::Error {
    let typed = |kind| match error.get(kind) {
        Some(ContextValue::String(typed)) => typed.as_str(),
        _ => "",
    };
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let file = typed(ContextKind::InvalidSubcommand);
            let is_file = Path::new(file).exists() || file.contains(['.', '/', '\\']);
            is_file.then(|| format!("'{file}' is not a command: ztilde train {file} trains on it"))
        }
        ErrorKind::UnknownArgument => {
            let option = typed(ContextKind::InvalidArg).split('=').next().unwrap_or_default();
            let found = ELSEWHERE.iter().find(|(name, _)| *name == option);
            found.map(|(_, advice)| format!("unexpected argument '{option}' found: {advice}"))
        }
        _ => None,
    };
    let kind = error.kind();
    let typed_command = env::args_os().nth(1).and_then(|name| name.into_string().ok());
    let typed_command = typed_command.unwrap_or_default();
    message.map_or(error, |message| match command.find_subcommand_mut(&typed_command) {
        Some(command) => command.error(kind, message),
        None => command.error(kind, message),
    })
}

/// The whole command line.
pub fn command() -> clap::Command {
    let mut command = examples::append(Arguments::command());
    command.build();
    command
}

fn run(start: Instant) -> Result<(), Failure> {
    let mut command = command();
    let typed = config::complete(&command, env::args_os().collect())?;
    let matches = command.clone().try_get_matches_from(typed);
    let matches = matches.unwrap_or_else(|error| advised(error, &mut command).exit());
    if let Some(file) = config::printed(&command, &matches)? {
        return output::print(&file);
    }
    let arguments = Arguments::from_arg_matches(&matches);
    match arguments.unwrap_or_else(|error| error.format(&mut command).exit()).command {
        Command::Train(train) => train.run(),
        Command::Evaluate(evaluate) => evaluate.run(),
        Command::Predict(predict) => predict.run(),
        Command::Export(export) => export.run(),
        Command::Bench(bench) => bench.run(start),
        Command::Check(check) => check.run(),
        Command::Adapters(adapters) => adapters.run(),
        Command::Completions(completions) => completions.run(command),
    }
}
