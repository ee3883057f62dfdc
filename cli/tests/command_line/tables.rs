//! Training on a user's own tables.

use std::{fs, process::Output};

use serde_json::Value;

use crate::{run, stderr};

/// Runs the binary in a folder that has these files.
fn run_with(files: &[(&str, String)], arguments: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    run(folder.path(), arguments)
}

/// The report of a run, which must succeed.
#[track_caller]
fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(output));
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Numbers that look random, between −1 and 1.
fn noise() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / 2_f64.powi(52) - 1.0
    }
}

/// Points in a plane, whose class is the sign of their product; a word and a large offset beside them.
fn classes(rows: usize) -> String {
    let mut noise = noise();
    let rows = (0..rows).map(|row| {
        let (x, y) = (noise(), noise());
        let word = ["red", "blue", ""][row % 3];
        let class = if x * y > 0.0 { "same" } else { "different" };
        format!("{},{},{word},{class}\r\n", 1e6 + x, y)
    });
    format!("\u{feff}\"x, far\",y,word,sign\r\n{}\r\n", rows.collect::<String>())
}

#[test]
fn options_of_classes_are_refused_for_numbers() {
    let files = [("table.csv", (0..60).map(|row| format!("{row},{}.5\n", row * 7 % 50)).collect())];
    for options in ["--label-smoothing 0.1", "--class-weights balanced"] {
        let output = run_with(&files, &format!("train table.csv {options}"));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let option = options.split(' ').next().unwrap();
        let error = stderr(&output);
        assert!(error.contains(option) && error.contains("is a number"), "{error}");
    }
}

#[test]
fn a_loss_is_for_classes_or_for_numbers() {
    let numbers = (0..60).map(|row| format!("{row},{}.5\n", row * 7 % 50)).collect::<String>();
    let files = [("numbers.csv", numbers), ("classes.csv", classes(60))];
    let refused = |arguments: &str, expected: &str| {
        let output = run_with(&files, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    let of_numbers = "--loss huber compares numbers, but the target \"sign\" is a class";
    refused("train classes.csv --loss huber", of_numbers);
    refused("train numbers.csv --loss softmax-cross-entropy", "compares classes, but the target");
    let no_delta = "--delta is 0.5, but --loss mean-squared-error has no such number";
    refused("train numbers.csv --delta 0.5", no_delta);

    let [huber, usual] = ["--loss huber --delta 0.5", ""].map(|options| {
        report(&run_with(&files, &format!("train numbers.csv --epochs 2 --json {options}")))
    });
    assert_eq!(
        (&huber["options"]["loss"], &huber["options"]["delta"]),
        (&"huber".into(), &0.5.into())
    );
    assert_eq!(usual["options"]["loss"], "mean-squared-error");
    // The mini-batches have no RMSE unless their loss is its square; tests have one.
    let of_epoch = |report: &Value| {
        let epoch = &report["epochs"][0];
        (
            epoch["train_rmse"].is_number(),
            epoch["test_rmse"].is_number(),
            epoch["test_r2"].is_number(),
        )
    };
    assert_eq!([of_epoch(&huber), of_epoch(&usual)], [(false, true, true), (true, true, true)]);
}

#[test]
fn a_table_with_words_is_learned() {
    let files = [("table.csv", classes(400))];
    let output = run_with(&files, "train table.csv --epochs 20 --learning-rate 0.01 --json");
    let report = report(&output);
    let data = &report["data"];
    assert_eq!(data["rows"], 400);
    assert_eq!(data["inputs"], 4);
    assert_eq!(data["columns"], serde_json::json!(["x, far", "y", "word"]));
    assert_eq!(data["class_names"], serde_json::json!(["different", "same"]));
    assert_eq!(data["target"], "sign");
    assert!(stderr(&output).contains("note: table.csv: 400 rows, 3 columns as 4 inputs"));
    assert!(stderr(&output).contains("filled: 133 missing values"));
    assert_eq!(report["options"]["batch_size"], 32);
    let accuracy = report["final"]["test_accuracy"].as_f64();
    assert!(accuracy > Some(0.9), "{accuracy:?}");
}

/// A value in thousands, which depends on two numbers.
fn values(rows: usize) -> String {
    let mut noise = noise();
    let rows = (0..rows).map(|_| {
        let (x, y) = (noise(), noise());
        format!("{x},{y},{}\n", 5000.0 + 1000.0 * (x + y * y))
    });
    rows.collect()
}

#[test]
fn a_number_is_learned_in_its_own_units() {
    let files = [("table.csv", values(400))];
    let output = run_with(&files, "train table.csv --epochs 20 --learning-rate 0.01 --json");
    let report = report(&output);
    assert_eq!(report["data"]["classes"], Value::Null);
    let last = &report["final"];
    let [rmse, r2] = ["test_rmse", "test_r2"].map(|name| last[name].as_f64().expect(name));
    // The deviation of the target is 650. The squared error is 1 − R² of its square.
    assert!(r2 > 0.9, "{last}");
    assert!((rmse / 650.0 - (1.0 - r2).sqrt()).abs() < 0.05, "{last}");
    let first = &report["epochs"][0];
    assert!(first["train_rmse"].as_f64() > Some(100.0), "{first}");
    assert_eq!(first["test_accuracy"], Value::Null);
    assert!(stderr(&output).contains("test RMSE  test R²"), "{}", stderr(&output));
}

#[test]
fn folds_are_trained_one_after_the_other() {
    let files = [("table.csv", classes(90))];
    let output = run_with(&files, "train table.csv --epochs 2 --hidden 8 --folds 3 --json");
    let report = report(&output);
    let folds = report["folds"].as_array().expect("folds");
    assert_eq!(folds.len(), 3);
    let accuracies: Vec<f64> =
        folds.iter().filter_map(|fold| fold["final"]["test_accuracy"].as_f64()).collect();
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    let found = report["final"]["test_accuracy"].as_f64().expect("a mean");
    assert!((found - mean).abs() < 1e-12, "{report}");
    assert!(stderr(&output).contains("the mean and deviation of 3 folds"), "{}", stderr(&output));

    let output = run_with(&files, "train table.csv --folds 3 --held-out 0.5");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--held-out"), "{}", stderr(&output));
}

#[test]
fn a_table_larger_than_its_memory_is_learned_in_blocks() {
    let files = [("table.csv", classes(400)), ("test.csv", classes(50))];
    let arguments = "train table.csv --epochs 20 --learning-rate 0.01 --batch-size 32 --json";
    let blocks = format!("{arguments} --memory 0.004");
    let report_of_blocks = report(&run_with(&files, &blocks));
    assert_eq!(report_of_blocks["final"]["steps"], 20 * (320 / 32));
    let accuracy = report_of_blocks["final"]["test_accuracy"].as_f64();
    assert!(accuracy > Some(0.85), "{accuracy:?}");
    // The same seed gives the same results.
    let again = report(&run_with(&files, &blocks));
    assert_eq!(again["epochs"][19]["train_loss"], report_of_blocks["epochs"][19]["train_loss"]);

    let tested =
        report(&run_with(&files, &format!("{blocks} --test-data test.csv --remainder keep")));
    assert_eq!(tested["final"]["steps"], 20 * 13, "400 rows are 12 batches of 32 and one of 16");
}

/// A target that no column predicts: classes, of which one has two thirds of the rows, or numbers.
fn guesses(is_class: bool) -> String {
    let row = |row: usize| {
        let target = match is_class {
            true => ["no", "yes", "no"][row % 3].to_owned(),
            false => (100 + 10 * (row * row % 7)).to_string() + ".5",
        };
        format!("{},{target}\n", row / 60 % 2)
    };
    (0..300).map(row).collect()
}

#[test]
fn results_stand_beside_the_same_answer_for_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for is_class in [true, false] {
        fs::write(folder.join("table.csv"), guesses(is_class)).unwrap();
        let train = "train table.csv --hidden 4 --epochs 5 --seed 3";
        let output = run(folder, &format!("{train} --model model --json report.json"));
        let report: Value =
            serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
        let baseline = &report["final"]["baseline"];
        let name = if is_class { "accuracy" } else { "rmse" };
        let found = baseline[name].as_f64().unwrap_or_else(|| panic!("{report}"));
        assert_eq!(baseline["answer_from"], "training-rows");
        let line = match is_class {
            true => "(always \"no\", the most frequent class in training)",
            false => "the mean in training)",
        };
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains("baseline: ") && printed.contains(line), "{printed}");
        if is_class {
            // The held-out rows have the same share of each class: 40 of 60.
            assert!((found - 2.0 / 3.0).abs() < 1e-9 && baseline["answer"] == "no", "{baseline}");
            assert!(stderr(&output).contains("no better than the baseline"), "{}", stderr(&output));
        } else {
            let [rmse, r2] =
                ["test_rmse", "test_r2"].map(|name| report["final"][name].as_f64().unwrap());
            // R² is 0 for the mean of the test rows, which is a slightly better prediction than the mean
            // of the training rows.
            let best = rmse / (1.0 - r2).sqrt();
            assert!(found >= best && found < 1.1 * best, "{found} and {best}");
        }

        // A model file keeps the answer from training.
        let evaluated = run(folder, "evaluate model table.csv --json");
        let report = self::report(&evaluated);
        assert_eq!(report["baseline"]["answer"], baseline["answer"]);
        assert!(stderr(&evaluated).contains(line), "{}", stderr(&evaluated));
        if is_class {
            assert_eq!(report["baseline"]["accuracy"], 2.0 / 3.0);
        }
        let folds = run(folder, &format!("{train} --folds 3 --json report.json"));
        let printed = String::from_utf8_lossy(&folds.stdout).into_owned();
        assert!(printed.contains("of 3 folds; baseline: "), "{printed}");
        let report: Value =
            serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
        let of_folds = report["folds"].as_array().unwrap().iter();
        let of_folds = of_folds.map(|fold| fold["final"]["baseline"][name].as_f64().unwrap());
        let mean = of_folds.sum::<f64>() / 3.0;
        let found = report["final"]["baseline"][name].as_f64().unwrap();
        assert!((found - mean).abs() < 1e-12, "{found} and {mean}");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_code_2() {
    let files = [("table.csv", classes(9)), ("empty.csv", String::new())];
    for (arguments, expected) in [
        ("missing.csv", "error: missing.csv: "),
        ("empty.csv", "error: empty.csv: the file is empty"),
        (".", "error: . is a folder without"),
        ("table.csv --target sing", "nearest: \"sign\""),
        ("table.csv --batch-size 64", "--batch-size is 64, but there are only 7 training rows"),
        ("table.csv --test-data empty.csv", "error: empty.csv: the file is empty"),
        ("table.csv --task regression", "is text (\"different\" in line 2)"),
        ("--drop 100", "there is no column 100: the columns are 1 to 64"),
    ] {
        let output = run_with(&files, &format!("train {arguments}"));
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments}: {}", stderr(&output));
    }
}

/// The head of the results is printed only after all options have been checked.
#[test]
fn a_refused_run_prints_no_head() {
    let files = [("table.csv", guesses(true))];
    for wrong in ["--batch-size 1", "--class-weights maybe=2", "--learning-rate 1e-300"] {
        for more in ["", " --folds 3", " --compare"] {
            let output = run_with(&files, &format!("train table.csv --epochs 1 {wrong}{more}"));
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
            let (_, error) = stderr(&output).rsplit_once("error: ").expect("an error");
            assert!(error.len() < 200, "{error}");
        }
    }
    // The last batch of 240 training rows has one row.
    let output = run_with(&files, "train table.csv --batch-size 239 --remainder keep");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn advice_fits_what_was_typed() {
    let files = [("table.csv", classes(60))];
    for (arguments, advice) in [
        ("table.csv", "ztilde train table.csv trains on it"),
        ("train table.csv --dropout 0.2", "there is no dropout"),
        ("train table.csv --dropout=0.2", "there is no dropout"),
        ("train table.csv --lr 0.2", "--learning-rate"),
    ] {
        let output = run_with(&files, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(advice), "{}", stderr(&output));
        assert!(!stderr(&output).contains("'--drop'"), "{}", stderr(&output));
    }
}

/// A model stores how its columns are read, so each row of the table gets the same inputs again.
#[test]
fn a_model_reads_columns_as_training_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut noise = noise();
    let rows = (0..120).map(|row| {
        let (share, price) = (50.0 + 50.0 * noise(), 2000.0 + 1000.0 * noise());
        let date = format!("{:02}.{:02}.2024", row % 28 + 1, row % 12 + 1);
        let thousands = format!("{},{:03}.50", price as u32 / 1000, price as u32 % 1000);
        let class = ["NA", "rest"][usize::from(share > 50.0)];
        let gap = if row % 9 == 0 { "unknown" } else { "7" };
        format!("{share:.1}%;${thousands};{date};name {row};{gap};\"{class}\"\n")
    });
    let rows: Vec<String> = rows.collect();
    let table = |rows: &[String]| format!("share;price;day;name;n;kind\n{}", rows.concat());
    fs::write(folder.join("table.csv"), table(&rows)).expect("a file");
    let train =
        "train table.csv --epochs 20 --learning-rate 0.01 --missing-values unknown --model model";
    let output = run(folder, train);
    assert!(output.status.success(), "{}", stderr(&output));
    for note in ["\"name\") has 120", "is a percentage (%)", "amount of money ($)", "(DD.MM.YYYY)"]
    {
        assert!(stderr(&output).contains(note), "{}", stderr(&output));
    }
    let output = run(folder, "evaluate model table.csv --json -");
    assert!(report(&output)["accuracy"].as_f64() > Some(0.9), "{}", stderr(&output));
    let all = run(folder, "predict model table.csv");
    assert!(stderr(&all).contains("n: 14 of 120 missing"), "{}", stderr(&all));
    let strict = run(folder, "predict model table.csv --strict");
    assert!(stderr(&strict).contains("line 2, column 5 (\"n\"): the value is missing"));
    let strict = run(folder, "predict model table.csv --strict --missing fill");
    assert_eq!(strict.stdout, all.stdout, "{}", stderr(&strict));
    let without: Vec<_> = rows.iter().map(|row| row.replace("\"NA\"", "NA")).collect();
    fs::write(folder.join("unquoted.csv"), table(&without)).expect("a file");
    let again = run(folder, "predict model unquoted.csv");
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(again.stdout, all.stdout);
    assert_eq!(report(&run(folder, "evaluate model unquoted.csv --json -"))["rows"], 120);
    fs::write(folder.join("mixed.csv"), table(&[rows[0].replace('%', "")])).expect("a file");
    let output = run(folder, "predict model mixed.csv");
    assert!(stderr(&output).contains("is not a percentage (%), as the column had in training"));
    assert!(run(folder, "export model --onnx model.onnx").status.success());

    let times = "2024-01-01 10:00,1.5\n2024-01-02 11:30,2\n".repeat(9);
    fs::write(folder.join("times.csv"), format!("t,y\n{times}")).expect("a file");
    assert!(run(folder, "train times.csv --epochs 1 --model times").status.success());
    // Days with a fraction have more digits than ONNX's floats, but not more than its doubles.
    let output = run(folder, "export times --onnx times.onnx");
    assert!(output.status.success(), "{}", stderr(&output));
}
