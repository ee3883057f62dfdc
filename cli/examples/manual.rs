//! Writes the manual pages of `ztilde` to a folder, from the same text as the help: `scripts/manual`.

use std::{env, error::Error, fs, io, path::Path};

use clap::{Command, builder::PossibleValue};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("name the folder for the pages")?;
    write(Path::new(&folder))?;
    Ok(())
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let command = command();
    for page in [&command].into_iter().chain(described(&command)) {
        fs::write(folder.join(Man::new(page.clone()).get_filename()), text(&command, page)?)?;
    }
    Ok(())
}

/// The command line. `help` has no page: the pages are the help.
fn command() -> Command {
    ztilde_cli::command().mut_subcommand("help", |help| help.hide(true))
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

/// A synopsis that does not list all options, and possible values on one line.
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

/// The lines after the options of the help, under headings that end with a colon.
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

/// Pages have bold text in place of the help's backticks.
fn bold_code(text: &str) -> String {
    let mut parts = text.split('`');
    let mut bold = parts.next().unwrap_or_default().to_owned();
    for (place, part) in parts.enumerate() {
        bold.push_str(if place % 2 == 0 { "\\fB" } else { "\\fR" });
        bold.push_str(part);
    }
    bold
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The long options in a text of the help.
    fn options(help: &str) -> Vec<&str> {
        let lines = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        lines.map(|line| line.split([' ', '[']).next().unwrap_or_default()).collect()
    }

    #[test]
    fn the_manual_has_what_the_help_has() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("share").join("man1");
        write(&pages).unwrap();
        let read = |name: &str| fs::read_to_string(pages.join(name)).unwrap();
        let overview = read("ztilde.1");
        let command = command();
        for subcommand in described(&command) {
            let name = subcommand.get_name();
            assert!(overview.contains(&format!("ztilde\\-{name}(1)")), "{name}");
            let page = read(&format!("ztilde-{name}.1"));
            let help = subcommand.clone().render_long_help().to_string();
            for option in options(&help) {
                let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(page.contains(&escaped), "--{option} of {name}");
            }
            let headings =
                ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "ENVIRONMENT", "EXIT CODES"];
            for heading in headings {
                let is_heading = |line: &str| line.replace('"', "") == format!(".SH {heading}");
                assert!(page.lines().any(is_heading), "{heading} of {name}:\n{page}");
            }
            assert!(!page.contains('`'), "{page}");
        }
        let count = fs::read_dir(&pages).unwrap().count();
        assert_eq!(count, described(&command).count() + 1, "a page for each, and one about all");
    }
}
