//! `ztilde completions`: completion scripts for shells.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{failure::Failure, output};

/// Writes the completions of a shell to stdout
///
/// The shell then completes subcommands, options, the values that an option may have, and files.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// `command` is the whole command line.
    pub(crate) fn run(&self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "ztilde", &mut script);
        output::print(String::from_utf8_lossy(&script).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueHint};

    #[test]
    fn shells_complete_files_and_folders() {
        let command = crate::Arguments::command();
        let mut count = 0;
        for option in command.get_subcommands().flat_map(clap::Command::get_arguments) {
            let names = option.get_value_names().unwrap_or_default();
            if names.iter().any(|name| ["FILE", "FOLDER", "DATA", "MODEL"].contains(&&**name)) {
                let hint = option.get_value_hint();
                let is_path =
                    matches!(hint, ValueHint::AnyPath | ValueHint::DirPath | ValueHint::FilePath);
                assert!(is_path, "{} completes {hint:?}", option.get_id());
                count += 1;
            }
        }
        assert!(count > 10, "{count} options");
    }
}
