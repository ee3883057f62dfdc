//! Exit codes, adapters, reports and plots, and the complete output of a training.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use ztilde::Parameters;

use crate::{output, stderr, stdout, ztilde};

fn run(arguments: &[&str]) -> Output {
    output(&mut ztilde(".", arguments))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

fn read_json(path: &Path) -> Value {
    json(&fs::read_to_string(path).expect("the report was written"))
}

/// Fails unless the run ended with that code, and printed every text on stderr.
fn assert_fails(output: &Output, code: i32, texts: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    for text in texts {
        assert!(stderr(output).contains(text), "no {text:?} in: {}", stderr(output));
    }
}

#[test]
fn wrong_usage_is_code_2_and_names_both_numbers() {
    let cases: [(&[&str], &[&str]); 15] = [
        (&[], &["Usage"]),
        (&["learn"], &["learn"]),
        (&["train", "--learning-rate", "-1"], &["'-1'", "above 0"]),
        (&["train", "--learning-rate", "nan"], &["'nan'", "finite"]),
        (&["train", "--batch-norm-momentum", "1.5"], &["1.5", "between 0 and 1"]),
        (&["train", "--held-out", "1"], &["'1'", "below 1"]),
        (&["train", "--held-out", "0.0001"], &["0.0001", "1797"]),
        (&["train", "--hidden", "128,0"], &["\"0\"", "at least 1"]),
        (&["train", "--batch-size", "2000"], &["2000", "1438"]),
        (&["train", "--batch-size", "1"], &["1 row", "at least 2 rows"]),
        (&["train", "--beta1", "0.5", "--optimizer", "momentum"], &["--beta1 is 0.5", "momentum"]),
        (&["train", "--cosine-last", "0.5"], &["--cosine-last is 0.5", "constant"]),
        (&["train", "--no-batch-norm", "--batch-norm-epsilon", "1"], &["--batch-norm-epsilon"]),
        (&["train", "--theme", "dark"], &["required", "--plot <FILE>"]),
        (&["evaluate", "model", "--theme", "dark"], &["required", "--plot <FILE>"]),
    ];
    for (arguments, texts) in cases {
        assert_fails(&run(arguments), 2, texts);
    }
}

#[test]
fn a_path_that_cannot_be_written_is_found_before_the_training() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing").join("file");
    let missing = missing.to_str().expect("UTF-8");
    let directory = directory.path().to_str().expect("UTF-8");
    for (option, path) in
        [("--model", missing), ("--model", directory), ("--json", missing), ("--json", directory)]
    {
        let output = run(&["train", option, path]);
        assert_fails(&output, 2, &[directory]);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_help_names_every_default() {
    let output = run(&["train", "--help"]);
    let help = stdout(&output);
    let options = help.split("\n      --").skip(1);
    let mut count = 0;
    for option in options {
        let head = option.lines().next().unwrap_or_default();
        let name = head.split(' ').next().unwrap_or_default();
        // Flags and output files have no effect unless they are given.
        if head.contains('<') && !["checkpoint", "config", "model", "plot", "json"].contains(&name)
        {
            assert!(option.contains("[default:"), "--{name} has no default in the help");
            count += 1;
        }
    }
    assert!(count >= 47, "only {count} options with a default");
}

#[test]
fn adapters_names_the_one_that_would_be_used() {
    let output = run(&["adapters", "--json"]);
    let report = json(stdout(&output));
    let adapters = report["adapters"].as_array().expect("a list");
    let used: Vec<_> = adapters.iter().filter(|adapter| adapter["used"] == true).collect();
    let [used] = used[..] else { panic!("one adapter is used: {report}") };
    assert!(used["max_storage_buffer_binding_size"].as_u64() >= Some(1 << 27), "{used}");

    let output = run(&["adapters"]);
    let name = used["name"].as_str().expect("a name");
    assert!(stdout(&output).contains(&format!("{name}  <- would be used")));
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_code_2() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let mut command = ztilde(".", &[]);
    let output = output(command.arg(OsStr::from_bytes(b"\xff")));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

/// Without a desktop, Mesa and libwayland complain on stderr.
#[test]
fn nothing_foreign_is_on_stderr() {
    for directory in [None, Some(""), Some("relative"), Some("/nonexistent")] {
        for arguments in [&["adapters"][..], &["train", "--epochs", "1"]] {
            let mut command = ztilde(".", arguments);
            command.env_remove("NODEVICE_SELECT").env_remove("XDG_RUNTIME_DIR");
            command.envs(directory.map(|directory| ("XDG_RUNTIME_DIR", directory)));
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{}", stderr(&output));
            let known = ["adapter: ", "note: ", "this is a software adapter", "epoch "];
            let foreign = stderr(&output)
                .split(['\n', '\r'])
                .find(|line| !line.is_empty() && !known.iter().any(|word| line.starts_with(word)));
            assert_eq!(foreign, None, "{arguments:?} with {directory:?}");
        }
    }
}

#[test]
fn no_adapter_is_code_3() {
    let name = json(stdout(&run(&["adapters", "--json"])))["adapters"][0]["name"].clone();
    let name = name.as_str().expect("a name");
    for arguments in [["train"], ["adapters"]] {
        let mut command = ztilde(".", &arguments);
        let output = command.env("WGPU_ADAPTER_NAME", "no such GPU").output().expect("it starts");
        assert_fails(&output, 3, &["no such GPU", name]);

        // A backend of another system.
        let elsewhere = if cfg!(target_vendor = "apple") { "dx12" } else { "metal" };
        let mut command = ztilde(".", &arguments);
        let output = command.env("WGPU_BACKEND", elsewhere).output().expect("it starts");
        assert_fails(&output, 3, &["mesa-vulkan-drivers", "scripts/with-adapter"]);
    }
    let output =
        ztilde(".", &["adapters"]).env("WGPU_BACKEND", "noop").output().expect("it starts");
    assert_fails(&output, 2, &["noop", "vulkan"]);
}

#[test]
fn a_training_learns_reports_and_saves() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("digits.safetensors");
    let model = model.to_str().expect("UTF-8");
    let output = run(&["train", "--epochs", "4", "--json", "-", "--model", model]);

    // Only the object is on stdout; the adapter and the table are on stderr.
    let report = json(stdout(&output));
    // Some drivers write to stderr too.
    let mut notes = stderr(&output).lines();
    assert!(notes.any(|line| line.starts_with("adapter: ")), "{}", stderr(&output));
    assert!(stderr(&output).contains("epoch  train loss  train accuracy  test loss"));

    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    for field in ["name", "backend", "type", "driver"] {
        assert!(report["adapter"][field].is_string(), "{field} in {}", report["adapter"]);
    }
    let data = &report["data"];
    for (field, count) in [("rows", 1797), ("features", 64), ("inputs", 64), ("classes", 10)] {
        assert_eq!(data[field], count, "{field}");
    }
    for (option, value) in [
        ("hidden", serde_json::json!([128, 64])),
        ("activation", "relu".into()),
        ("batch_norm", true.into()),
        ("batch_norm_epsilon", 1e-5.into()),
        ("batch_norm_momentum", 0.1.into()),
        ("optimizer", "adam".into()),
        ("learning_rate", 1e-3.into()),
        ("schedule", "constant".into()),
        ("clip_norm", Value::Null),
        ("batch_size", 64.into()),
        ("remainder", "drop".into()),
        ("epochs", 4.into()),
        ("held_out", 0.2.into()),
        ("seed", 0.into()),
    ] {
        assert_eq!(report["options"][option], value, "{option}");
    }

    let epochs = report["epochs"].as_array().expect("a list");
    assert_eq!(epochs.len(), 4);
    for (index, epoch) in epochs.iter().enumerate() {
        assert_eq!(epoch["epoch"], index + 1);
        for field in ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"] {
            assert!(epoch[field].as_f64() > Some(0.0), "{field} in {epoch}");
        }
    }
    let last = &report["final"];
    assert_eq!(last["test_accuracy"], epochs[3]["test_accuracy"]);
    assert_eq!(last["test_loss"], epochs[3]["test_loss"]);
    assert_eq!(last["steps"], 4 * (1438 / 64));
    assert!(last["test_accuracy"].as_f64() > Some(0.85), "{last}");
    assert!(last["seconds"].as_f64() > Some(0.0), "{last}");
    assert!(last["samples_per_second"].as_f64() > Some(0.0), "{last}");

    let parameters = Parameters::load(model).expect("the model was saved");
    let shapes: Vec<_> = parameters.layers.iter().map(|layer| layer.weights().dim()).collect();
    assert_eq!(shapes, [(128, 64), (64, 128), (10, 64)]);
}

#[test]
fn the_table_has_a_line_per_epoch() {
    let output = run(&["train", "--epochs", "2", "--hidden", "16"]);
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("epoch"));
    assert_eq!(lines[1].split_whitespace().next(), Some("1"));
    assert_eq!(lines[2].split_whitespace().next(), Some("2"));
    assert!(lines[3].starts_with("test accuracy"), "{}", lines[3]);
}

#[test]
fn nothing_is_tested_without_held_out_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.json");
    let path = file.to_str().expect("UTF-8");
    let output = run(&[
        "train",
        "--epochs",
        "1",
        "--hidden",
        "",
        "--held-out",
        "0",
        "--remainder",
        "keep",
        "--optimizer",
        "nesterov",
        "--schedule",
        "cosine",
        "--json",
        path,
    ]);
    assert!(!stdout(&output).contains("test"), "{}", stdout(&output));
    let report = read_json(&file);
    assert_eq!(report["options"]["hidden"], serde_json::json!([]));
    assert_eq!(report["options"]["momentum"], 0.9);
    assert_eq!(report["options"]["cosine_epochs"], 1.0);
    assert_eq!(report["epochs"][0]["test_accuracy"], Value::Null);
    assert_eq!(report["final"]["test_loss"], Value::Null);
    // 1,797 rows are 28 batches of 64, and one of 5.
    assert_eq!(report["final"]["steps"], 29);
}

#[test]
fn the_seed_decides_the_result() {
    let losses = |seed| {
        let output =
            run(&["train", "--epochs", "2", "--hidden", "16", "--seed", seed, "--json", "-"]);
        let report = json(stdout(&output));
        [0, 1].map(|epoch| report["epochs"][epoch]["train_loss"].clone())
    };
    assert_eq!(losses("3"), losses("3"));
    assert_ne!(losses("3"), losses("4"));
}

#[test]
fn a_training_that_diverges_is_code_5_and_names_step_and_layer() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("model");
    let path = model.to_str().expect("UTF-8");
    let arguments = "train --no-batch-norm --optimizer gradient-descent --learning-rate 1e30";
    let mut arguments: Vec<_> = arguments.split(' ').collect();
    arguments.extend(["--model", path]);
    assert_fails(&run(&arguments), 5, &["in step ", " layer", "is not finite"]);
    // It is noticed even without a test set.
    arguments.extend(["--held-out", "0"]);
    assert_fails(&run(&arguments), 5, &["in step ", " layer", "is not finite"]);
    assert!(!model.exists());
}

#[test]
fn a_closed_stdout_stops_neither_the_training_nor_the_model() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("model");
    let path = model.to_str().expect("UTF-8");
    let mut child = ztilde(".", &["train", "--epochs", "1", "--hidden", "16", "--model", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("the binary ends").success());
    assert!(model.exists());
}
