//! A run as a file: `ztilde train --config FILE`, and `--print-config`, which makes such a file.
//!
//! This module lists no options: it looks up a key of the file among the options of the command line and
//! turns it into an argument, which is read as if it were typed.

mod arguments;
mod file;
mod template;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Command};

use crate::{failure::Failure, output};
use arguments::{SUBCOMMAND, conflict, is_typed, key, options};
use file::Entry;

#[derive(Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigOptions {
    /// Take options from this TOML file; options on the command line override it
    ///
    /// The keys are the long names of the options, such as `learning-rate = 0.01`,
    /// `hidden = [128, 64]` or `no-batch-norm = true`; the key of DATA is `data`. Paths are relative
    /// to the folder that ztilde is started in, as they are when typed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write the options in use to stdout, as a file for --config, and end without training
    #[arg(long)]
    print_config: bool,
}

/// The command line, with the options of its `--config` file inserted.
pub(crate) fn complete(command: &Command, typed: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    // Errors are ignored here: an option that is missing may be in the file. The merged arguments are
    // parsed once more, and that reports errors.
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(&typed) else {
        return Ok(typed);
    };
    let Some((train, matches)) = parts(command, &matches) else {
        return Ok(typed);
    };
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Ok(typed);
    };
    let held = beside(train, matches, path, file::read(path, train)?);
    // The first argument is the name of the program, which could equal the subcommand's name.
    let place = typed.iter().skip(1).position(|argument| argument == SUBCOMMAND);
    let (before, after) = typed.split_at(place.map_or(typed.len(), |place| place + 2));
    let held = held.into_iter().flat_map(|entry| entry.arguments).map(OsString::from);
    Ok(before.iter().cloned().chain(held).chain(after.iter().cloned()).collect())
}

/// The options of a file that the command line does not override.
fn beside<'a>(
    command: &'a Command,
    matches: &ArgMatches,
    path: &Path,
    mut held: Vec<Entry<'a>>,
) -> Vec<Entry<'a>> {
    let typed: Vec<_> = options(command).filter(|option| is_typed(option, matches)).collect();
    held.retain(|entry| typed.iter().all(|typed| typed.get_id() != entry.option.get_id()));
    held.retain(|entry| {
        let against = typed.iter().find(|typed| conflict(command, typed, entry.option));
        if let Some(typed) = against {
            let (path, held, typed) = (path.display(), key(entry.option), key(typed));
            output::note(&format!("note: {path}: {held} is left out, for {typed} was typed"));
        }
        against.is_none()
    });
    held
}

/// The file that `--print-config` asks for, if it was typed.
pub(crate) fn printed(command: &Command, matches: &ArgMatches) -> Result<Option<String>, Failure> {
    match parts(command, matches) {
        Some((train, matches)) if matches.get_flag("print_config") => {
            template::template(train, matches).map(Some)
        }
        _ => Ok(None),
    }
}

/// The subcommand whose options a file may set, and its typed arguments, if it was typed.
fn parts<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> Option<(&'a Command, &'a ArgMatches)> {
    let matches = matches.subcommand_matches(SUBCOMMAND)?;
    Some((command.find_subcommand(SUBCOMMAND)?, matches))
}
