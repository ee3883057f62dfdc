//! A run as a file: `train --config` and `--print-config`.

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use serde_json::Value;

use crate::{output, stderr, stdout, ztilde};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    output(&mut ztilde(folder, arguments))
}

/// The options in use, with this file and these arguments.
#[track_caller]
fn in_use(file: &str, options: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("run.toml"), file).expect("a file");
    let mut arguments = vec!["train", "--config", "run.toml", "--print-config"];
    arguments.extend(options);
    stdout(&run(folder.path(), &arguments)).to_owned()
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
}

/// 120 rows, whose second column has a name that needs quotation marks everywhere.
fn table() -> String {
    let row = |row: u32| {
        let (x, y) = (row * 37 % 101, row * 53 % 97);
        let class = if x > y { "above" } else { "below" };
        format!("{x},{y},{class},{row}\n")
    };
    format!("x,\"y \"\"far\"\", b\",class,row\n{}", (0..120).map(row).collect::<String>())
}

#[test]
fn the_printed_options_are_the_same_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let read = |name: &str| fs::read(folder.join(name)).expect(name);
    fs::write(folder.join("table.csv"), table()).expect("a file");
    let typed = [
        "train",
        "--epochs",
        "2",
        "--hidden",
        "8,4",
        "table.csv",
        "--features",
        "x,\"y \"\"far\"\", b\"",
        "--target",
        "3",
        "--header=yes",
        "--learning-rate",
        "5e-3",
        "--optimizer",
        "adamw",
        "--seed",
        "18446744073709551615",
        "--no-batch-norm",
        "--model",
        "2",
        "--json",
        "report.json",
    ];
    let of_run = |arguments: &[&str]| {
        stdout(&run(folder, arguments));
        let report: Value = serde_json::from_slice(&read("report.json")).expect("a report");
        let last = report["final"]["test_loss"].clone();
        let found = (report["options"].clone(), last, read("2"));
        fs::remove_file(folder.join("2")).expect("the model was written");
        found
    };
    let expected = of_run(&typed);
    assert_eq!(expected.0["seed"], u64::MAX);

    let print = [&typed[..], &["--print-config"]].concat();
    let output = run(folder, &print);
    let printed = stdout(&output);
    assert!(!folder.join("2").exists(), "nothing is trained");
    for line in [
        "data = \"table.csv\"",
        "epochs = 2",
        "hidden = [8, 4]",
        "target = 3",
        "header = \"yes\"",
        "learning-rate = 5e-3",
        "seed = \"18446744073709551615\"",
        "no-batch-norm = true",
        "model = \"2\"",
        "# batch-norm-epsilon = 0.00001",
        "held-out = 0.2",
        "# batch-size = ROWS",
    ] {
        assert_line(printed, line);
    }
    fs::write(folder.join("run.toml"), printed).expect("a file");
    let output = run(folder, &["train", "--config", "run.toml", "--print-config"]);
    assert_eq!(stdout(&output), printed, "what is printed of the printed");
    assert_eq!(of_run(&["train", "--config", "run.toml"]), expected);
}

#[test]
fn the_printed_options_are_those_of_the_help() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["train", "--help"]);
    let help = stdout(&output);
    let mut expected: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|option| option.split([' ', '[', '=']).next())
        .collect();
    assert!(expected.remove("config") && expected.remove("print-config"), "{expected:?}");
    expected.insert("data");
    let output = run(folder.path(), &["train", "--print-config"]);
    let printed = stdout(&output);
    let found: BTreeSet<_> = printed
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(found, expected, "keys (left) and the options of the help (right)");
    for line in ["## Data", "## Optimizer", "# Passes over the training rows", "epochs = 30"] {
        assert_line(printed, line);
    }
}

#[test]
fn typed_options_override_the_file() {
    let text = in_use("epochs = 3\nhidden = [4]\ndata = \"a.csv\"", &["--epochs", "5", "b.csv"]);
    for line in ["epochs = 5", "hidden = 4", "data = \"b.csv\""] {
        assert_line(&text, line);
    }
    // Other values of the file do not conflict with it.
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let file = "held-out = 0.1\nno-batch-norm = true\ncheckpoint = \"run\"\nresume = true";
    fs::write(folder.join("run.toml"), file).expect("a file");
    let typed = ["train", "--config", "run.toml", "--print-config", "--folds", "3"];
    let output = run(folder, &typed);
    for line in ["folds = 3", "# held-out = 0.2", "no-batch-norm = true", "# checkpoint = \"FILE\""]
    {
        assert_line(stdout(&output), line);
    }
    assert_line(stderr(&output), "note: run.toml: held-out is left out, for folds was typed");
    let text = in_use("no-batch-norm = true", &["--batch-norm-epsilon", "1e-3"]);
    for line in ["batch-norm-epsilon = 1e-3", "no-batch-norm = false"] {
        assert_line(&text, line);
    }
}

#[test]
fn a_value_is_written_as_toml_has_it_or_as_it_is_typed() {
    for (file, line) in [
        ("hidden = []", "hidden = \"\""),
        ("hidden = \"32,16\"", "hidden = [32, 16]"),
        ("features = [\"a, b\", 'say \"c\"', 3]", "features = '\"a, b\",\"say \"\"c\"\"\",3'"),
        ("header = true", "header = \"true\""),
        ("target = 7", "target = 7"),
        ("target = \"07\"", "target = \"07\""),
        ("target = \"nan\"", "target = \"nan\""),
        ("memory = 1_024.5", "memory = 1024.5"),
        ("json = true", "json = \"-\""),
        ("no-batch-norm = false", "no-batch-norm = false"),
        ("\u{feff}# as Windows writes it\r\nepochs = 4\r\n", "epochs = 4"),
    ] {
        assert_line(&in_use(file, &[]), line);
    }
}

#[test]
fn errors_name_the_place_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (file, expected) in [
        ("epochs = 3\n epocs = 4", "2:2: there is no option epocs; a similar one is epochs"),
        (
            "learning_rate = 1",
            "1:1: there is no option learning_rate; a similar one is learning-rate",
        ),
        ("zzz = 1", "1:1: there is no option zzz; `ztilde train --help`"),
        ("config = \"a\"", "1:1: config is for the command line"),
        ("[training]\nepochs = 1", "there are no tables: [training]"),
        ("epochs = \"many\"", "1:10: epochs = \"many\": must be a whole number"),
        ("epochs = 2.5", "1:10: epochs = 2.5: must be a whole number"),
        ("learning-rate = -1", "1:17: learning-rate = -1: must be a finite number above 0"),
        ("optimizer = \"adm\"", "must be one of gradient-descent, momentum"),
        ("optimizer = \"adm\"", "; a similar one is adam"),
        ("header = 1", "1:10: header = 1: must be one of yes, no"),
        ("no-batch-norm = 1", "1:17: no-batch-norm = 1: must be true or false"),
        ("model = 3", "1:9: model = 3: must be a path in quotation marks"),
        ("hidden = [8, { }]", "must be text, a decimal number, or a list of such"),
        ("plot = \"a.gif\"", "1:8: plot = \"a.gif\": a picture's name must end in .svg or .png"),
        ("é = 1\nepochs = = 1", "2:10: "),
        ("epochs = 1\nepochs = 2", "2:1: duplicate key"),
        (
            "folds = 3\nseed = 1\nheld-out = 0.1",
            "3:1: held-out and folds of line 1 cannot be used together: remove one of them",
        ),
    ] {
        fs::write(folder.join("run.toml"), file).expect("a file");
        let output = run(folder, &["train", "--config", "run.toml"]);
        assert_eq!(output.status.code(), Some(2), "{file}: {}", stderr(&output));
        let first = "error: run.toml:";
        let stderr = stderr(&output);
        assert!(stderr.starts_with(first) && stderr.contains(expected), "{file}: {stderr}");
    }
    let output = run(folder, &["train", "--config", "missing.toml"]);
    assert!(stderr(&output).contains("missing.toml: "), "{}", stderr(&output));
}

#[test]
fn wrong_options_are_reported_with_a_file_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("run.toml"), "epochs = 1").expect("a file");
    for (typed, expected) in [
        (
            &["--epochs", "2", "--epochs", "3"][..],
            "'--epochs <EPOCHS>' cannot be used multiple times",
        ),
        (&["--epoch", "2"], "a similar argument exists: '--epochs'"),
        (&["--folds", "3", "--held-out", "0.1"], "cannot be used with"),
        (&["--config", "run.toml"], "'--config <FILE>' cannot be used multiple times"),
    ] {
        let arguments = [&["train", "--config", "run.toml"][..], typed].concat();
        let output = run(folder, &arguments);
        assert_eq!(output.status.code(), Some(2), "{typed:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{typed:?}: {}", stderr(&output));
    }
}
