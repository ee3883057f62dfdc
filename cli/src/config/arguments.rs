//! The options that a file may set, as clap knows them and as one types them.

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

/// The subcommand whose options a file may set.
pub(super) const SUBCOMMAND: &str = "train";

/// The options that a file may set.
pub(super) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let does_something_else = matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !does_something_else && !["config", "print_config"].contains(&argument.get_id().as_str())
    })
}

pub(super) fn is_typed(option: &Arg, matches: &ArgMatches) -> bool {
    matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// The key of an option in a file.
pub(super) fn key(argument: &Arg) -> &str {
    argument.get_long().unwrap_or(argument.get_id().as_str())
}

/// Whether clap refuses the two arguments together. Either may declare the conflict.
pub(super) fn conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    let says = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|found| found.get_id() == other.get_id())
    };
    says(one, other) || says(other, one)
}

/// An option as one would type it.
pub(super) fn argument(argument: &Arg, value: &str) -> String {
    match argument.get_long() {
        Some(name) => format!("--{name}={value}"),
        None => value.to_owned(),
    }
}

/// Whether an option is a path, which is text even if it looks like a number.
pub(super) fn is_path(argument: &Arg) -> bool {
    use clap::ValueHint::{AnyPath, DirPath, FilePath};
    matches!(argument.get_value_hint(), AnyPath | DirPath | FilePath)
}

/// Reads this option alone, without the options that it requires.
pub(super) fn check(option: &Arg, arguments: &[String]) -> Result<(), clap::Error> {
    use clap::builder::Resettable::Reset;
    let alone = option.clone().required(false).conflicts_with(Reset).requires(Reset);
    let command = Command::new(SUBCOMMAND).no_binary_name(true).arg(alone);
    command.try_get_matches_from(arguments).map(|_| ())
}
