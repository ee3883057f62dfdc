//! `ztilde man`: manual pages, made of the same text as the help.

use std::{fs, io, path::PathBuf};

use clap::{
    Args, Command,
    builder::{PossibleValue, PossibleValuesParser},
};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{failure::Failure, output};

/// Writes the manual pages
///
/// Without --output, one page goes to stdout: that of a subcommand, or the one about all of them.
#[derive(Args)]
pub(crate) struct Manual {
    /// The subcommand that the page is about [default: all of them]
    #[arg(value_name = "SUBCOMMAND", conflicts_with = "output")]
    subcommand: Option<String>,

    /// Write all pages to this folder, which is made if it is not there
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
}

impl Manual {
    /// `command` is the whole command line.
    pub(crate) fn run(&self, command: Command) -> Result<(), Failure> {
        // `help` has no page: the pages are the help.
        let command = command.mut_subcommand("help", |help| help.hide(true));
        if let Some(folder) = &self.output {
            let failed = |error| Failure::input(format!("{}: {error}", folder.display()));
            fs::create_dir_all(folder).map_err(failed)?;
            for page in [&command].into_iter().chain(described(&command)) {
                let name = Man::new(page.clone()).get_filename();
                fs::write(folder.join(name), text(&command, page).map_err(failed)?)
                    .map_err(failed)?;
            }
            return Ok(());
        }
        let wanted = self.subcommand.as_deref();
        let page = described(&command).find(|page| Some(page.get_name()) == wanted);
        let page = page.unwrap_or(&command);
        let text = text(&command, page).map_err(|error| Failure::input(error.to_string()))?;
        output::print(text.trim_end())
    }
}

/// The command line, whose `man` knows what it has a page for.
pub(crate) fn name_pages(command: Command) -> Command {
    let names =
        PossibleValuesParser::new(described(&command).map(|page| page.get_name().to_owned()));
    command.mut_subcommand("man", |man| man.mut_arg("subcommand", |page| page.value_parser(names)))
}

/// The subcommands that have a page.
fn described(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|page| !page.is_hide_set())
}

/// The manual page of `page`, which is `command` or a subcommand of it.
fn text(command: &Command, page: &Command) -> io::Result<String> {
    let version = command.get_version().unwrap_or_default();
    let title = page.get_display_name().unwrap_or(page.get_name()).to_uppercase();
    // No date: the same source makes the same pages.
    let head = format!(".TH {title} 1 \"\" \"ztilde {version}\" \"ztilde manual\"\n");
    let mut text = head.into_bytes();
    let man = Man::new(terse(page.clone()));
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if page.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let is_subcommand = page.get_name() != command.get_name();
    let mut roff = Roff::new();
    for page in is_subcommand.then_some(page).into_iter().chain([command]) {
        let after = page.get_after_help().map(ToString::to_string).unwrap_or_default();
        append_sections(&mut roff, &after);
    }
    if is_subcommand {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(command.get_name()), roman("(1)")]);
    }
    roff.to_writer(&mut text)?;
    Ok(bold_code(&String::from_utf8_lossy(&text)))
}

/// The synopsis without each option by its name, and values that explain themselves in one line.
fn terse(mut page: Command) -> Command {
    let usage = page.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    page.override_usage(usage).mut_args(|option| {
        let values = option.get_possible_values();
        if values.is_empty() || values.iter().any(|value| value.get_help().is_some()) {
            return option;
        }
        let names: Vec<_> = values.iter().map(PossibleValue::get_name).collect();
        let help = option.get_long_help().or(option.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let help = format!("{help} [possible values: {}]", names.join(", "));
        option.long_help(help).hide_possible_values(true)
    })
}

/// What stands after the options of the help, under headings that end with a colon, line by line.
fn append_sections(roff: &mut Roff, after: &str) {
    for line in after.lines() {
        match line.strip_suffix(':') {
            Some(heading) if !heading.starts_with(' ') => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            _ => {
                roff.text([roman(line)]);
            }
        }
    }
}

/// Pages have bold text where the help has backticks.
fn bold_code(text: &str) -> String {
    let mut parts = text.split('`');
    let mut bold = parts.next().unwrap_or_default().to_owned();
    for (place, part) in parts.enumerate() {
        bold.push_str(if place % 2 == 0 { "\\fB" } else { "\\fR" });
        bold.push_str(part);
    }
    bold
}
