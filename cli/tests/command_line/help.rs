//! Help, examples, completions and suggestions of the binary.

use std::process::{Command, Output, Stdio};

use crate::{output, ztilde};

fn run(arguments: &[&str], columns: &str) -> Output {
    output(ztilde(".", arguments).env("COLUMNS", columns))
}

/// The stdout of a run, which must succeed.
#[track_caller]
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments, "80");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The subcommands that the help lists, without `help`.
fn subcommands() -> Vec<String> {
    let help = stdout(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect(&help);
    let (list, _) = list.split_once("\n\n").expect(&help);
    let names = list.lines().filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// The long options in a text of the help.
fn options(help: &str) -> Vec<&str> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("      --"));
    lines.map(|line| line.split([' ', '[']).next().unwrap_or_default()).collect()
}

/// The command lines at the end of a subcommand's help.
fn examples(subcommand: &str) -> Vec<String> {
    let help = stdout(&[subcommand, "--help"]);
    let (_, examples) = help.split_once("Examples:\n").expect(&help);
    let examples = examples.replace("\\\n", "");
    let lines = examples.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[cfg(unix)]
#[test]
fn the_examples_of_the_help_work() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let bin = home.join("bin");
    for folder in
        ["bin", ".zfunc", ".config/fish/completions", ".local/share/bash-completion/completions"]
    {
        fs::create_dir_all(home.join(folder)).expect(folder);
    }
    let script = |name: &str, text: &str| {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect(name);
    };
    // One epoch tests as much as thirty.
    fs::write(home.join("short.toml"), "epochs = 1").expect("a file");
    let shorten = "case \"$*\" in *--config*) ;; train*) set -- \"$@\" --config short.toml ;; esac";
    script("ztilde", &format!("{shorten}\nexec '{}' \"$@\"", env!("CARGO_BIN_EXE_ztilde")));
    let row = |row: u32| format!("{},{},{}\n", row * 37 % 101, row * 53 % 97, row % 3);
    let table = format!("ash,hue,class\n{}", (0..60).map(row).collect::<String>());
    for name in ["wine.csv", "more.csv"] {
        fs::write(home.join(name), &table).expect(name);
    }
    let path = std::env::var("PATH").expect("a path");
    for subcommand in subcommands() {
        let examples = examples(&subcommand);
        assert!((2..=6).contains(&examples.len()), "{subcommand} has {} examples", examples.len());
        for example in examples.iter().filter(|example| !example.contains("Invoke-Expression")) {
            let mut command = Command::new("sh");
            command.arg("-c").arg(example).current_dir(home).stdin(Stdio::null());
            command.env("HOME", home).env("PATH", format!("{}:{path}", bin.display()));
            // These take long. Errors of the command line are reported before the adapter is requested.
            if ["bench", "check"].contains(&&subcommand[..]) {
                command.env("WGPU_ADAPTER_NAME", "no such GPU");
            }
            let output = command.output().expect("a shell");
            let expected = match &subcommand[..] {
                "bench" | "check" => 3,
                // OpenGL may be missing.
                "adapters" if output.status.code() == Some(3) => 3,
                _ => 0,
            };
            assert_eq!(output.status.code(), Some(expected), "{example}: {output:?}");
        }
    }
    for file in ["digits.svg", "wine.onnx", ".zfunc/_ztilde"] {
        assert!(fs::metadata(home.join(file)).is_ok_and(|file| file.len() > 100), "{file}");
    }
}

#[test]
fn what_stands_in_columns_is_not_wrapped_at_80() {
    let mut texts = vec![vec!["--help"]];
    let subcommands = subcommands();
    texts.extend(subcommands.iter().map(|name| vec![name.as_str(), "--help"]));
    for arguments in texts {
        let help = stdout(&arguments);
        let heading = if arguments.len() > 1 { "Examples:" } else { "Environment:" };
        let (_, columns) = help.split_once(heading).expect(heading);
        let wide = run(&arguments, "100");
        assert!(wide.stdout.ends_with(columns.as_bytes()), "{arguments:?}");
        // A manual page (scripts/manual) indents them by seven.
        let long = columns.lines().find(|line| line.chars().count() > 73);
        assert_eq!(long, None, "{arguments:?}");
    }
}

#[test]
fn every_shell_completes_options_and_values() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&["completions", shell]);
        for subcommand in subcommands() {
            assert!(script.contains(&subcommand), "{subcommand} in {shell}");
        }
        // fish has names without hyphens.
        for option in options(&stdout(&["train", "--help"])) {
            assert!(script.contains(option), "--{option} in {shell}");
        }
        let knows_values = ["bash", "fish", "zsh"].contains(&shell);
        assert_eq!(script.contains("leaky-relu"), knows_values, "values in {shell}");
    }
}

#[test]
fn what_is_misspelled_gets_a_suggestion() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("table.csv");
    let rows: String = (0..30).map(|row| format!("{row},{},{}\n", row * 7 % 5, row % 2)).collect();
    std::fs::write(&table, format!("alcohol,ash,class\n{rows}")).expect("a file");
    let table = table.to_str().expect("UTF-8");
    let cases: [(&[&str], &str); 6] = [
        (&["trian"], "'train'"),
        (&["train", "--optimzer", "adam"], "'--optimizer'"),
        (&["train", "--learning_rate", "1"], "'--learning-rate'"),
        (&["train", "--optimizer", "adm"], "'adam'"),
        (&["train", "--activation", "rellu"], "'relu'"),
        (&["train", table, "--target", "alchohol"], "nearest: \"alcohol\""),
    ];
    for (arguments, suggestion) in cases {
        let output = run(arguments, "80");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(suggestion), "{arguments:?}: {stderr}");
    }
}
