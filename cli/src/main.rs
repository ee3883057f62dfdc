//! `ztilde`: trains batch-normalized multilayer perceptrons on any GPU, at a terminal.
//!
//! Results go to stdout, progress and notes to stderr.

mod adapter;
mod adapters;
mod bench;
mod checkpoint;
mod class_weights;
mod data;
mod diverged;
mod evaluate;
mod export;
mod failure;
mod interrupt;
mod model;
mod onnx;
mod options;
mod output;
mod plot;
mod progress;
mod report;
mod run;
mod settle;
mod train;

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};

/// Trains batch-normalized multilayer perceptrons on any GPU.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Train>),
    Evaluate(Box<evaluate::Evaluate>),
    Export(export::Export),
    Bench(bench::Bench),
    Adapters(adapters::Adapters),
}

const ENVIRONMENT: &str = "\
Environment:
  WGPU_BACKEND       use only these backends: vulkan, metal, dx12, gl, separated by commas;
                     without it, gl only where there is no other
  WGPU_ADAPTER_NAME  use the adapter whose name contains this, in any case
  WGPU_POWER_PREF    high: a discrete GPU first (as without it); low: an integrated one first;
                     none: the first GPU that the driver names
  NO_COLOR           no colors

Exit codes:
  0  done
  2  wrong usage or bad input
  3  no adapter
  4  device lost or out of memory
  5  training diverged
  6  interrupted by Ctrl-C or a termination signal, between two steps; --checkpoint was written
130  interrupted a second time, at once";

fn main() -> ExitCode {
    // As near to the start of the process as Rust can tell on every system.
    let start = Instant::now();
    let result = match Arguments::parse().command {
        Command::Train(train) => train.run(),
        Command::Evaluate(evaluate) => evaluate.run(),
        Command::Export(export) => export.run(),
        Command::Bench(bench) => bench.run(start),
        Command::Adapters(adapters) => adapters.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            failure.exit_code()
        }
    }
}
