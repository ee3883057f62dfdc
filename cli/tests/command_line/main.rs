//! Tests of the binary, run as a user or a script runs it. Each file tests one task, and this one holds
//! the functions that they share.

mod bench;
mod check;
mod config;
mod gaps;
mod help;
mod hostile_files;
mod long_runs;
mod models;
mod predict;
mod tables;
mod terminal;
mod tuning;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary, started in a folder, with nothing on its stdin.
fn ztilde(folder: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ztilde"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// The command for one typed line, with blanks between the arguments.
fn typed(folder: &Path, line: &str) -> Command {
    ztilde(folder, &line.split_whitespace().collect::<Vec<_>>())
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

fn run(folder: &Path, line: &str) -> Output {
    output(&mut typed(folder, line))
}

#[track_caller]
fn succeed(folder: &Path, line: &str) -> Output {
    let output = run(folder, line);
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    output
}

/// The stdout of a run, which must succeed.
#[track_caller]
fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(output));
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// The header and the bytes of an array, as NumPy writes it.
fn npy(rows: usize, columns: usize, bytes: &[u8]) -> Vec<u8> {
    let entries = "'descr': '|u1', 'fortran_order': False";
    let header = format!("{{{entries}, 'shape': ({rows}, {columns}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}
