//! `ztilde bench`, run as a user or a script runs it. No test here depends on the speed of the machine.

use std::process::Output;

use serde_json::Value;

use crate::{output, stderr, stdout, ztilde};

fn bench(arguments: &[&str]) -> Output {
    output(&mut ztilde(".", &[&["bench"], arguments].concat()))
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("{field} is not a number in {row}"))
}

#[test]
fn a_row_is_an_object_with_all_fields() {
    let output = bench(&["digits", "--seconds", "0.1", "--json", "-"]);
    // Only the objects are on stdout; plans and the table are on stderr.
    let rows: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let notes = stderr(&output);
    assert!(notes.contains("digits: 64 rows of 64-128-64-10; planned "), "{notes}");
    assert!(notes.lines().any(|line| line.starts_with("workload  ")), "{notes}");

    let fields = "tool adapter workload mode variant opt ms_median ms_min ms_max steps_s samples_s \
                  gflop_s dispatches first_step_s gpu_bytes";
    for row in &rows {
        for field in fields.split_whitespace() {
            assert!(row.get(field).is_some(), "no {field} in {row}");
        }
        assert_eq!(row["tool"], "ztilde");
        let [min, median, max] = ["ms_min", "ms_median", "ms_max"].map(|name| number(row, name));
        assert!(0.0 < min && min <= median && median <= max, "{row}");
        assert!((number(row, "steps_s") * median - 1e3).abs() < 1e-6, "{row}");
        assert!(number(row, "repetitions") >= 3.0, "{row}");
        assert!(
            !row["gpu_bytes"].is_number()
                || row["gpu_bytes"].as_u64() >= row["planned_bytes"].as_u64()
        );
    }

    let of = |mode: &str| rows.iter().filter(|row| row["mode"] == mode).collect::<Vec<_>>();
    let ([copy], [train, descent], [epoch, _], [running, folded]) =
        (&of("copy")[..], &of("train")[..], &of("epoch")[..], &of("infer")[..])
    else {
        panic!("one copy, two trainings, two of epochs and two inferences: {rows:?}");
    };
    assert!(number(copy, "gb_s") > 0.0);
    assert_eq!([&train["opt"], &descent["opt"]], ["adam", "gradient-descent"]);
    assert_eq!([&running["opt"], &folded["opt"]], [&Value::Null; 2]);
    let variants = [train, descent, epoch, running, folded].map(|row| &row["variant"]);
    assert_eq!(variants, ["resident", "resident", "resident", "running", "folded"]);
    // 1,797 rows in mini-batches of 64: an epoch has 28 full ones, and a smaller one is dropped.
    assert_eq!(epoch["steps_per_repetition"].as_u64().map(|steps| steps % 28), Some(0), "{epoch}");
    for row in [train, descent, epoch, running, folded] {
        assert_eq!(row["workload"], "digits");
        assert!(number(row, "dispatches") >= 1.0, "{row}");
        assert!((number(row, "samples_s") / number(row, "steps_s") - 64.0).abs() < 1e-6, "{row}");
    }
    // 64 rows: 4 operations for each weight of the first layer, 6 for the others'; 2 in inference.
    let per_step = |row: &Value| number(row, "gflop_s") * 1e9 / number(row, "steps_s");
    assert!((per_step(train) / (64.0 * (4.0 * 8192.0 + 6.0 * 8832.0)) - 1.0).abs() < 1e-6);
    assert!((per_step(epoch) / per_step(train) - 1.0).abs() < 1e-6);
    for row in [running, folded] {
        assert!((per_step(row) / (64.0 * 2.0 * (8192.0 + 8832.0)) - 1.0).abs() < 1e-6);
    }

    // The first step of the process is one of the first row.
    assert!(number(train, "first_step_s") > 0.0);
    assert_eq!(descent["first_step_s"], Value::Null);

    let products = of("matmul");
    let shares = products.iter().map(|row| number(row, "limit_share"));
    assert_eq!(products.len(), 3);
    assert_eq!(shares.fold(0.0, f64::max), 1.0, "the fastest product is the limit");
}

#[test]
fn a_profile_has_every_dispatch_and_sums_up_the_kernels() {
    let output = bench(&[
        "digits",
        "--mode",
        "train",
        "--optimizer",
        "adam",
        "--matmul",
        "64x32x16",
        "--seconds",
        "0.01",
        "--profile",
    ]);
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert!(stderr(&output).contains("64x32x16: planned 14 KiB"), "{}", stderr(&output));
    assert_eq!(lines.iter().filter(|line| line.starts_with("64x32x16  ")).count(), 3);
    if stderr(&output).contains("no timestamps") {
        return;
    }
    let table = |head: &str| {
        let rows = lines.iter().skip_while(|line| !line.starts_with(head)).skip(1);
        rows.take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().rev().collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let [dispatches, kernels] = [table("  dispatch "), table("  kernel ")];
    let row = lines.iter().find(|line| line.starts_with("digits  ")).expect("a row");
    let count = row.split_whitespace().nth(11).expect("a column");
    assert_eq!(dispatches.len().to_string(), count, "{row}");
    assert!(kernels.len() < dispatches.len(), "{lines:?}");
    for table in [dispatches, kernels] {
        let shares: Vec<f64> =
            table.iter().map(|words| words[1].parse().expect("a share")).collect();
        assert!((shares.iter().sum::<f64>() - 100.0).abs() < 2.0, "{shares:?}");
        assert!(shares.is_sorted_by(|one, other| one >= other), "{shares:?}");
    }
}

#[test]
fn a_tuning_is_an_object_of_its_network() {
    let arguments = ["digits", "--mode", "train", "--optimizer", "adam,lion", "--seconds", "0.01"];
    let output = bench(&[&arguments[..], &["--tune", "--json", "-"]].concat());
    let objects: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of =
        |mode: &str| objects.iter().filter(|object| object["mode"] == mode).collect::<Vec<_>>();
    let [tuned, trained] = ["tune", "train"].map(of);
    assert_eq!([tuned.len(), trained.len()], [1, 2], "both optimizers have one tuning");
    let tuned = tuned[0];
    for field in ["tool", "version", "adapter", "backend", "driver", "workload", "tuning"] {
        assert!(!tuned[field].as_str().expect(field).is_empty(), "{field}: {tuned}");
    }
    let line = tuned["tuning"].as_str().expect("a text");
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    assert_eq!(line["step"], "64 rows of 64-128n-64n-10");
    assert_eq!(line["adapter"], tuned["adapter"]);
    let choices = tuned["choices"].as_array().expect("a list");
    let table = stderr(&output);
    let found = table.lines().filter(|line| line.starts_with("  layer ")).count();
    assert_eq!(found, choices.len(), "{table}");
    for choice in choices {
        assert!(choice["error"].is_null(), "{choice}");
        assert!(choice["microseconds"].as_f64() > Some(0.0), "{choice}");
        let way = choice["way"].as_str().expect("words");
        assert!(table.contains(way) && choice["before"] != choice["way"], "{choice}");
    }
}

#[test]
fn wrong_usage_is_code_2_and_says_what_is_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing").join("file");
    let missing = missing.to_str().expect("UTF-8");
    let directory = directory.path().to_str().expect("UTF-8");
    let cases: [(&[&str], &str); 8] = [
        (&["digit"], "'digits'"),
        (&["mnits"], "'mnist'"),
        (&["--mode", "training"], "'train'"),
        (&["--optimizer", "adem"], "'adam'"),
        (&["--seconds", "0"], "above 0"),
        (&["--matmul", "512x512"], "one or three"),
        (&["--matmul", "0"], "at least 1"),
        (&["--json", missing], directory),
    ];
    for (arguments, text) in cases {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(text), "no {text} in: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_product_that_the_device_cannot_bind_is_code_2() {
    let output = bench(&["--matmul", "1000000"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("needs 4000000000000 bytes"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("planned"), "it is found before anything is made");
}

#[test]
fn a_plan_for_another_device_needs_no_adapter() {
    let plan = |class: &[&str]| {
        let arguments = [&["bench", "digits", "--plan", "--optimizer", "adam"], class].concat();
        output(ztilde(".", &arguments).env("WGPU_ADAPTER_NAME", "no such adapter"))
    };
    let found = plan(&["--device-class", "nvidia"]);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    for text in ["digits: 64 rows of 64-128-64-10, adam", "layer 1/layer_forward", "update/update"]
    {
        assert!(stdout(&found).contains(text), "no {text} in: {}", stdout(&found));
    }
    assert_ne!(stdout(&found), stdout(&plan(&["--device-class", "mali"])));
    // The adapter's own plan does.
    assert_eq!(plan(&[]).status.code(), Some(3));
}
