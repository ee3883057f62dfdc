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
        "check" => CHECK,
        "adapters" => ADAPTERS,
        "completions" => COMPLETIONS,
        _ => "",
    }
}

const TRAIN: &str = "\
Examples:
  Train on the handwritten digits, and plot the curves:
    ztilde train --plot digits.svg

  Predict the column `class` of a table, and save the model:
    ztilde train wine.csv --target class --model wine.safetensors

  Ten-fold cross-validation:
    ztilde train wine.csv --target class --folds 10

  A long run; Ctrl-C stops it, and the same command resumes it:
    ztilde train wine.csv --time-limit 8h --checkpoint wine.run --resume

  Write the options to a file, and run it:
    ztilde train wine.csv --hidden 32 --print-config > run.toml
    ztilde train --config run.toml --seed 1";

const EVALUATE: &str = "\
Examples:
  Evaluate a model on other rows, and plot its confusion matrix:
    ztilde evaluate wine.safetensors more.csv --plot confusion.svg

  The same for a program:
    ztilde evaluate wine.safetensors more.csv --json > report.json";

const PREDICT: &str = "\
Examples:
  Predict each row of a table:
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
  Compare training of a small network and a wide one:
    ztilde bench digits wide --mode train --optimizer adam

  The time of each kernel of a step:
    ztilde bench mnist --mode train --profile

  Matrix products, for a program:
    ztilde bench --matmul 512,1024x256x512 --json - > products.json";

const CHECK: &str = "\
Examples:
  Check the adapter that training would use:
    ztilde check

  Check OpenGL, and write what a report needs:
    WGPU_BACKEND=gl ztilde check --json report.json

  Check one kernel:
    ztilde check layer_forward";

const ADAPTERS: &str = "\
Examples:
  List the adapters of this computer:
    ztilde adapters

  List those of OpenGL:
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
