//! Command lines at the end of each subcommand's help.

use clap::Command;

/// The command line, with the examples of its subcommands at the end of their help.
pub(crate) fn append(command: Command) -> Command {
    command.mut_subcommands(|subcommand| match examples(subcommand.get_name()) {
        "" => subcommand,
        examples => subcommand.after_help(examples),
    })
}

fn examples(subcommand: &str) -> &'static str {
    match subcommand {
        "train" => TRAIN,
        "evaluate" => EVALUATE,
        "predict" => PREDICT,
        "export" => EXPORT,
        "bench" => BENCH,
        "adapters" => ADAPTERS,
        "completions" => COMPLETIONS,
        "man" => MAN,
        _ => "",
    }
}

const TRAIN: &str = "\
Examples:
  Learn the handwritten digits, and draw how it went:
    ztilde train --plot digits.svg

  Learn the column `class` of a table, and keep the model:
    ztilde train wine.csv --target class --model wine.safetensors

  How good is that? Ten-fold cross-validation:
    ztilde train wine.csv --target class --folds 10

  A long run; Ctrl-C stops it, and the same command goes on with it:
    ztilde train wine.csv --time-limit 8h --checkpoint wine.run --resume

  The options as a file, and a run with it:
    ztilde train wine.csv --hidden 32 --print-config > run.toml
    ztilde train --config run.toml --seed 1";

const EVALUATE: &str = "\
Examples:
  How good is a model on other rows, and what does it take for what?
    ztilde evaluate wine.safetensors more.csv --plot confusion.svg

  The same for a program:
    ztilde evaluate wine.safetensors more.csv --json > report.json";

const PREDICT: &str = "\
Examples:
  What a model says of each row of a table:
    ztilde predict wine.safetensors more.csv --output classes.csv

  The same in a pipe:
    head -n 20 more.csv | ztilde predict wine.safetensors";

const EXPORT: &str = "\
Examples:
  A model for ONNX Runtime, which takes the cells of the table:
    ztilde export wine.safetensors --onnx wine.onnx

  The same without operators for batch normalization:
    ztilde export wine.safetensors --onnx wine.onnx --fold";

const BENCH: &str = "\
Examples:
  How fast is training a small network, and a wide one?
    ztilde bench digits wide --mode train --optimizer adam

  What each kernel of a step takes:
    ztilde bench mnist --mode train --profile

  Matrix products, for a program:
    ztilde bench --matmul 512,1024x256x512 --json - > products.json";

const ADAPTERS: &str = "\
Examples:
  What can this computer train on?
    ztilde adapters

  What would OpenGL offer?
    WGPU_BACKEND=gl ztilde adapters

  The same for a program:
    ztilde adapters --json";

const COMPLETIONS: &str = "\
Examples:
  For bash, where bash-completion is installed:
    ztilde completions bash \\
      > ~/.local/share/bash-completion/completions/ztilde

  For zsh, to a folder that is in fpath before compinit is called:
    ztilde completions zsh > ~/.zfunc/_ztilde

  For fish:
    ztilde completions fish > ~/.config/fish/completions/ztilde.fish

  For PowerShell, a line of the profile:
    ztilde completions powershell | Out-String | Invoke-Expression";

const MAN: &str = "\
Examples:
  Install the pages, which `man ztilde` and `man ztilde-train` show:
    ztilde man --output ~/.local/share/man/man1

  Read one:
    ztilde man train | man -l -";
