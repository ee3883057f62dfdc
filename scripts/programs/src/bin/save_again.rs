//! Reads a model, or the snapshot of a training, and saves it over another file.
//!
//! ```sh
//! cargo run --package programs --bin save_again -- model FROM TO
//! cargo run --package programs --bin save_again -- snapshot FROM TO
//! ```
//!
//! It needs no GPU, so that `scripts/crash-saves` can kill it at each of its system calls.

use std::env;
use std::process::ExitCode;

use ztilde::{Parameters, Result, Snapshot};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, from, to] = &arguments[..] else {
        eprintln!("what to save is missing: model or snapshot, FROM and TO");
        return ExitCode::from(1);
    };
    match save(kind, from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn save(kind: &str, from: &str, to: &str) -> Result<()> {
    match kind {
        "snapshot" => Snapshot::load(from)?.save(to),
        _ => Parameters::load(from)?.save(to),
    }
}
