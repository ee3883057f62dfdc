//! Runs that are stopped, resumed, and ended early.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use ztilde::Parameters;

use crate::{run, stderr, succeed, typed};

/// The report of a training, without the times.
#[track_caller]
fn report(folder: &Path, arguments: &str) -> Value {
    let output = succeed(folder, &format!("train {arguments} --json"));
    untimed(serde_json::from_slice(&output.stdout).expect("a report"))
}

fn untimed(mut report: Value) -> Value {
    match &mut report {
        Value::Object(entries) => {
            entries.retain(|name, _| !name.ends_with("seconds") && name != "samples_per_second");
            entries.values_mut().for_each(|value| *value = untimed(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = untimed(value.take())),
        _ => {}
    }
    report
}

/// A child that trains. It does not outlive a test that fails.
struct Training(Option<Child>);

impl Training {
    fn kill(&mut self) {
        let child = self.0.as_mut().expect("it runs");
        child.kill().expect("it was killed, or had ended");
        child.wait().expect("it ended");
    }

    fn output(mut self) -> Output {
        self.0.take().expect("it runs").wait_with_output().expect("it ended")
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a training, and waits until it has printed this many lines.
fn training(folder: &Path, arguments: &str, lines: usize) -> (Training, impl BufRead) {
    let mut child = typed(folder, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        stdout.read_line(&mut line).expect("a line");
    }
    (Training(Some(child)), stdout)
}

/// The results of a run: the model's bytes, and the report.
fn results(folder: &Path, name: &str) -> (Vec<u8>, Value) {
    let read = |extension: &str| fs::read(folder.join(format!("{name}.{extension}"))).expect(name);
    (read("model"), untimed(serde_json::from_slice(&read("json")).expect("a report")))
}

/// Rows in memory and in blocks, with every kind of state.
const RUNS: [&str; 3] = [
    "--optimizer adamw --schedule cosine --warm-up 0.5 --keep-best",
    "--memory 0.3 --remainder keep --optimizer momentum --schedule one-cycle",
    "--optimizer rmsprop --clip-norm 0.5 --class-weights balanced --no-batch-norm",
];

#[test]
#[cfg(unix)]
fn a_run_that_was_killed_again_and_again_ends_with_the_same_bits() {
    for options in RUNS {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let run = format!("train --epochs 8 --hidden 32 --seed 3 {options}");
        succeed(folder, &format!("{run} --model whole.model --json whole.json"));
        let (expected, expected_report) = results(folder, "whole");
        let run = format!(
            "{run} --model parts.model --json parts.json --checkpoint parts.checkpoint \
             --checkpoint-every 0.1 --resume"
        );
        for lines in [0, 2, 3, 1, 2] {
            let (mut child, _stdout) = training(folder, &run, lines);
            child.kill();
        }
        succeed(folder, &run);
        let (found, found_report) = results(folder, "parts");
        assert_eq!(found_report, expected_report, "{options}");
        assert!(found == expected, "the models differ: {options}");
        let kept = fs::read_dir(folder).unwrap().count();
        assert_eq!(kept, 5, "two models, two reports, a checkpoint, and nothing else");
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_a_run_after_a_step_and_resume_goes_on() {
    for options in RUNS {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let run = format!("train --epochs 40 --hidden 32 {options}");
        succeed(folder, &format!("{run} --model whole.model --json whole.json"));
        let run =
            format!("{run} --model parts.model --json parts.json --checkpoint run.checkpoint");
        let (child, _stdout) = training(folder, &run, 3);
        interrupt(&child);
        let output = child.output();
        assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
        for text in ["interrupted after step", "of 40", "run.checkpoint", "--resume"] {
            assert!(stderr(&output).contains(text), "no {text:?} in: {}", stderr(&output));
        }
        assert!(!folder.join("parts.model").exists(), "the run was not over");
        let output = run_again(folder, &run);
        assert!(stderr(&output).contains("resuming from run.checkpoint: step"));
        assert!(results(folder, "parts") == results(folder, "whole"), "{options}");
    }
}

#[cfg(unix)]
fn interrupt(child: &Training) {
    let child = child.0.as_ref().expect("it runs").id().to_string();
    let status = Command::new("kill").args(["-INT", &child]).status();
    assert!(status.expect("kill starts").success(), "the run ended before it was interrupted");
}

fn run_again(folder: &Path, run: &str) -> Output {
    succeed(folder, &format!("{run} --resume"))
}

#[test]
#[cfg(unix)]
fn ctrl_c_without_a_checkpoint_says_that_nothing_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (child, _stdout) = training(folder.path(), "train --epochs 10000", 2);
    interrupt(&child);
    let output = child.output();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("Nothing was kept"), "{}", stderr(&output));
}

#[test]
fn a_finished_run_goes_on_with_more_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = "train --hidden 32 --checkpoint run.checkpoint --resume --epochs";
    succeed(folder, &format!("{run} 2"));
    succeed(folder, &format!("{run} 3 --model parts.model"));
    succeed(folder, "train --hidden 32 --epochs 3 --model whole.model");
    let model = |name: &str| fs::read(folder.join(name)).unwrap();
    assert!(model("parts.model") == model("whole.model"));

    // A schedule that ends with the run would differ.
    let run = "train --hidden 8 --schedule cosine --checkpoint cosine.checkpoint --resume --epochs";
    succeed(folder, &format!("{run} 1"));
    let output = crate::run(folder, &format!("{run} 2"));
    assert_eq!(output.status.code(), Some(2));
    let printed = stderr(&output);
    assert!(
        printed.contains("--epochs") && printed.contains("--cosine-epochs 1.0 keeps it"),
        "{printed}"
    );
    succeed(folder, &format!("{run} 2 --cosine-epochs 1.0"));
}

#[test]
fn a_run_goes_on_only_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let row = |row: u32| format!("{},{}\n", row * 37 % 101, ["a", "b"][row as usize % 2]);
    let table: String = (0..80).map(row).collect();
    fs::write(folder.join("table.csv"), &table).unwrap();
    fs::write(folder.join("longer.csv"), format!("{table}7,a\n8,b\n9,a\n")).unwrap();
    fs::write(folder.join("other.csv"), table.replace("37,", "38,")).unwrap();
    let options = "--epochs 2 --hidden 4 --checkpoint run.checkpoint";
    succeed(folder, &format!("train table.csv {options}"));
    let refused = |arguments: &str, texts: &[&str]| {
        let output = run(folder, &format!("train {arguments} {options}"));
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        for text in texts {
            assert!(stderr(&output).contains(text), "no {text:?} in: {}", stderr(&output));
        }
    };
    refused("table.csv", &["run.checkpoint exists", "--resume", "remove it"]);
    refused("table.csv --seed 1 --resume", &["seed 0", "now it is 1"]);
    refused("table.csv --keep-best --resume", &["keep-best false", "now it is true"]);
    refused("table.csv --optimizer momentum --resume", &["--optimizer adam", "now it is momentum"]);
    refused("table.csv --schedule cosine --resume", &["--schedule constant", "now it is cosine"]);
    refused("longer.csv --resume", &["64 training rows", "there are 66"]);
    refused("other.csv --resume", &["rows with other values"]);
    fs::write(folder.join("named.csv"), format!("x,y\n{table}")).unwrap();
    refused("named.csv --resume", &["columns with other names"]);
    // The same rows in another order, whether they are training rows or held-out rows. The scales of the
    // inputs are the same.
    let lines: Vec<_> = table.lines().collect();
    for first in [0, 1, 17, 40] {
        let mut lines = lines.clone();
        lines.swap(first, first + 2);
        fs::write(folder.join("order.csv"), lines.join("\n")).unwrap();
        refused("order.csv --resume", &["in another order"]);
    }
    let whole = fs::read(folder.join("run.checkpoint")).unwrap();
    for broken in [&whole[..whole.len() / 2], &whole[..10], b"".as_slice(), b"a,b\n1,2\n"] {
        fs::write(folder.join("run.checkpoint"), broken).unwrap();
        refused("table.csv --resume", &["run.checkpoint: it is not a whole checkpoint"]);
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(folder.join("run.checkpoint"), flipped).unwrap();
    refused("table.csv --resume", &["run.checkpoint: it is not a whole checkpoint"]);
    fs::write(folder.join("run.checkpoint"), whole).unwrap();
    succeed(folder, &format!("train table.csv {options} --resume"));
}

/// The epoch with the smallest loss on the held-out rows.
fn best_epoch(report: &Value) -> usize {
    let epochs = report["epochs"].as_array().unwrap();
    let loss = |epoch: &&Value| epoch["test_loss"].as_f64().unwrap();
    let best = epochs.iter().min_by(|left, right| loss(left).total_cmp(&loss(right)));
    best.unwrap()["epoch"].as_u64().unwrap() as usize
}

#[test]
fn early_stopping_keeps_the_best_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = "--hidden 64 --learning-rate 0.03 --label-smoothing 0.1";
    let stopped = report(folder, &format!("{run} --epochs 500 --patience 3 --model best.model"));
    let best = best_epoch(&stopped);
    let last = &stopped["final"];
    assert_eq!(stopped["epochs"].as_array().unwrap().len(), best + 3, "three epochs are waited");
    assert_eq!((&last["end"], &last["epoch"]), (&"patience".into(), &best.into()));
    assert_eq!(last["test_loss"], stopped["epochs"][best - 1]["test_loss"]);
    report(folder, &format!("{run} --epochs {best} --model exact.model"));
    let layers = |name: &str| Parameters::load(folder.join(name)).unwrap().layers;
    assert_eq!(layers("best.model"), layers("exact.model"));

    // The best parameters are in the checkpoint of a run that has continued since.
    let run = format!("{run} --epochs 500 --patience 3 --checkpoint run.checkpoint --resume");
    report(folder, &run);
    let resumed = report(folder, &format!("{run} --model resumed.model"));
    assert_eq!(resumed["final"], stopped["final"]);
    assert_eq!(layers("resumed.model"), layers("exact.model"));
}

#[test]
fn what_the_last_step_ruined_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // One step, whose loss is still finite.
    let run = "train --held-out 0 --batch-size 1797 --epochs 1 --learning-rate 1e30 \
               --weight-decay 1e30 --optimizer gradient-descent";
    for result in ["--model run.model", "--checkpoint run.checkpoint"] {
        let output = crate::run(folder, &format!("{run} {result}"));
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("in step 1 a parameter after the update"),
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing was written");
    }
}

/// The learning rate rises until it is too large. The checkpoint of an earlier step remains.
#[test]
fn what_diverges_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = |rate: &str, epochs: u32| {
        format!(
            "train --no-batch-norm --optimizer gradient-descent --learning-rate {rate} \
             --schedule step --step-epochs 0.1 --step-factor 10 \
             --checkpoint run.checkpoint --checkpoint-every 0.3 --epochs {epochs}"
        )
    };
    let output = crate::run(folder, &run("1e-3", 20));
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let error = stderr(&output);
    let (_, kept) = error.split_once("run.checkpoint is of step ").expect(error);
    let kept: u64 = kept.split(',').next().unwrap().parse().unwrap();
    let (_, diverged) = error.split_once("diverged: in step ").expect(error);
    let diverged: u64 = diverged.split(' ').next().unwrap().parse().unwrap();
    assert!(kept > 0 && kept < diverged, "{error}");
    // The checkpoint is complete, and a run that resumes from it ends like this one.
    let output = crate::run(folder, &format!("{} --resume", run("1e-3", 20)));
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("diverged: in step {diverged} ")), "{error}");
    // With a much smaller learning rate it resumes, and prints a note.
    let output = crate::run(folder, &format!("{} --resume", run("1e-36", 2)));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let note = "the learning rate was 0.001, and from here on it is 1e-36";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
}

#[test]
fn a_time_limit_ends_a_run_that_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options = "--epochs 2 --batch-size 400 --hidden 32";
    let run = format!("{options} --checkpoint run.checkpoint --resume --model run.model");
    let mut rounds = 0;
    let finished = loop {
        let found = report(folder, &format!("{run} --time-limit 1ms"));
        rounds += 1;
        assert!(rounds < 100, "a run gets on however short its time is");
        if found["final"]["end"] == "epochs" {
            break found;
        }
        assert_eq!(found["final"]["end"], "time-limit");
        assert!(found["epochs"].as_array().unwrap().len() <= 2);
    };
    assert!(rounds > 2, "a step takes longer than a millisecond");
    let mut whole = report(folder, &format!("{options} --model whole.model"));
    whole["options"]["time_limit"] = finished["options"]["time_limit"].clone();
    assert_eq!(finished, whole);
    let layers = |name: &str| Parameters::load(folder.join(name)).unwrap().layers;
    assert_eq!(layers("run.model"), layers("whole.model"));
}

#[test]
fn classes_and_targets_are_weighed_and_smoothed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The number is independent of the class.
    let row = |row: u32| format!("{},{}\n", row % 7, if row % 50 < 40 { "many" } else { "few" });
    fs::write(folder.join("table.csv"), (0..500).map(row).collect::<String>()).unwrap();
    let run = "table.csv --hidden 8 --epochs 20 --learning-rate 0.01";
    let last = |options: &str| report(folder, &format!("{run} {options}"))["final"].take();
    assert_eq!(last("")["test_accuracy"], 0.8, "all are taken for the many");
    assert_eq!(last("--class-weights few=100")["test_accuracy"], 0.2, "the few count more");
    let row = |row: u32| format!("{},{}\n", row % 50, if row % 50 < 40 { "many" } else { "few" });
    fs::write(folder.join("table.csv"), (0..500).map(row).collect::<String>()).unwrap();
    let smoothed = report(folder, &format!("{run} --label-smoothing 0.5"));
    // No network can have a loss below the entropy of the targets 3/4 and 1/4.
    let entropy = -(0.75 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    let loss = smoothed["epochs"][19]["train_loss"].as_f64().unwrap();
    assert!((entropy - 1e-3..entropy + 0.1).contains(&loss), "{loss} {entropy}");
    for (options, text) in [
        ("--class-weights some=2", "\"some\", but the 2 classes are"),
        ("--class-weights few=-1", "at least 0"),
        ("--target 1 --task regression --class-weights balanced", "is a number"),
        ("--held-out 0 --patience 2", "--patience needs held-out rows"),
    ] {
        let output = crate::run(folder, &format!("train table.csv {options}"));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(text), "no {text:?} in: {}", stderr(&output));
    }
}

/// With class weights, label smoothing or both, every row is assigned to its own class.
#[test]
fn smoothed_labels_do_not_give_all_rows_to_a_rare_class() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let many = (0..1000).map(|row| format!("{},many\n", row % 10));
    let few = (0..30).map(|row| format!("{},few\n", 20 + row % 5));
    fs::write(folder.join("table.csv"), many.chain(few).collect::<String>()).unwrap();
    for options in [
        "--class-weights balanced",
        "--label-smoothing 0.1",
        "--class-weights balanced --label-smoothing 0.1",
        "--class-weights few=100 --label-smoothing 0.3",
    ] {
        let run = format!("table.csv --hidden 8 --epochs 10 --learning-rate 0.01 {options}");
        let last = report(folder, &run)["final"].take();
        assert_eq!(last["test_accuracy"], 1.0, "{options}");
    }
}

#[test]
fn a_comparison_is_two_trainings_on_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = "--epochs 2 --hidden 16 --seed 5";
    let both = report(folder, &format!("{run} --compare --plot both.svg"));
    for (name, option) in [("with_batch_norm", ""), ("without_batch_norm", "--no-batch-norm")] {
        let alone = report(folder, &format!("{run} {option}"));
        for part in ["epochs", "final"] {
            assert_eq!(both[name][part], alone[part], "{name}");
        }
    }
    let plot = fs::read_to_string(folder.join("both.svg")).unwrap();
    for name in ["with batch norm, held out", "without, held out", "without, in training"] {
        assert!(plot.contains(name), "no {name:?} in the legend");
    }
}

#[test]
fn a_watched_plot_is_there_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let run = "train --hidden 8 --epochs 100000 --plot plot.svg --watch";
    let (mut child, stdout) = training(folder.path(), run, 1);
    let mut lines = stdout.lines();
    while !plot.exists() {
        let line = lines.next().expect("the run ended before its plot was drawn");
        line.expect("a line");
    }
    assert!(fs::read_to_string(&plot).unwrap().ends_with("</svg>\n"), "it is whole");
    child.kill();
}
