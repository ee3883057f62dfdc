//! Gaps: `predict` and `evaluate` count missing values and unknown categories, and `--strict` refuses them.

use std::{fs, io::Write, path::Path, process::Output, process::Stdio};

use serde_json::{Value, json};

use crate::{output, run, stderr, stdout, succeed, typed};

const HEADER: &str = "class,sex,age,survived\n";

/// A number that may be missing, and words; the target `survived` depends on the words.
fn passengers(rows: usize, write: impl Fn(&str, &str, usize) -> [String; 3]) -> String {
    let rows = (0..rows).map(|row| {
        let (class, sex) = (["1st", "2nd", "3rd"][row % 3], ["female", "male"][row / 3 % 2]);
        let survived = if sex == "female" && class != "3rd" { "yes" } else { "no" };
        format!("{},{survived}\n", write(class, sex, row).join(","))
    });
    format!("{HEADER}{}", rows.collect::<String>())
}

fn as_trained(class: &str, sex: &str, row: usize) -> [String; 3] {
    [class.to_owned(), sex.to_owned(), (20 + row % 50).to_string()]
}

/// The class in other words, the sex in capitals, and the age missing.
fn otherwise(class: &str, sex: &str, _: usize) -> [String; 3] {
    let class = ["First", "Second", "Third"][usize::from(class.as_bytes()[0] - b'1')];
    [class.to_owned(), sex.to_uppercase(), String::new()]
}

/// A folder with a model, its training table, and tables with other and with the same categories.
fn trained() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.csv"), passengers(240, as_trained)).unwrap();
    fs::write(folder.path().join("other.csv"), passengers(263, otherwise)).unwrap();
    fs::write(folder.path().join("same.csv"), passengers(60, as_trained)).unwrap();
    succeed(folder.path(), "train train.csv --epochs 20 --hidden 16 --model model");
    folder
}

fn with_stdin(folder: &Path, arguments: &str, text: &str) -> Output {
    let mut command = typed(folder, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().unwrap().write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[track_caller]
fn assert_printed(output: &Output, expected: &[&str]) {
    for expected in expected {
        assert!(stderr(output).contains(expected), "no {expected:?} in {}", stderr(output));
    }
}

const NOTES: [&str; 3] = [
    "note: other.csv: class: 263 of 263 unknown (line 2: \"First\" is not one of the 3 known \
     categories: \"1st\", ",
    "sex: 263 of 263 unknown (line 2: \"FEMALE\" is not one of the 2 known categories",
    "age: 263 of 263 missing, taken as the mean of the training rows",
];

#[test]
fn unknown_and_missing_cells_are_counted_by_column() {
    let folder = trained();
    let folder = folder.path();
    let predicted = succeed(folder, "predict model other.csv");
    assert_printed(&predicted, &NOTES);
    assert_eq!(stdout(&predicted).lines().count(), 264);
    let text = fs::read_to_string(folder.join("other.csv")).unwrap();
    let piped = with_stdin(folder, "predict model", &text);
    assert_printed(&piped, &[&NOTES[0].replace("other.csv", "stdin"), NOTES[1], NOTES[2]]);
    assert_eq!(piped.stdout, predicted.stdout);

    let evaluated = succeed(folder, "evaluate model other.csv --json -");
    assert_printed(&evaluated, &NOTES);
    let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    let column = |name, missing, unknown, first: Value| {
        json!({"column": name, "rows": 263, "missing": missing, "unknown": unknown,
            "first_unknown": first})
    };
    let expected = [
        column("class", 0, 263, "First".into()),
        column("sex", 0, 263, "FEMALE".into()),
        column("age", 263, 0, Value::Null),
    ];
    assert_eq!(report["filled"], json!(expected));

    // A table without gaps has no notes, and `train` counts the gaps of test data.
    for command in ["predict model same.csv", "evaluate model same.csv"] {
        let output = succeed(folder, command);
        let is_noted = ["unknown", "missing"].iter().any(|word| stderr(&output).contains(word));
        assert!(!is_noted, "{command}: {}", stderr(&output));
    }
    let trained = succeed(folder, "train same.csv --test-data other.csv --epochs 1 --json -");
    assert_printed(&trained, &NOTES);
    let report: Value = serde_json::from_slice(&trained.stdout).unwrap();
    assert_eq!(report["data"]["filled"], json!([]));
    assert_eq!(report["data"]["test_filled"], json!(expected));
}

/// The notes also count the rows that are left out.
#[test]
fn rows_that_are_not_evaluated_are_counted() {
    let folder = trained();
    let folder = folder.path();
    let rows = "1st,male,,no\n2nd,male,30,no\n2nd,male,30,\nSecond,male,30,no\n";
    fs::write(folder.join("some.csv"), format!("{HEADER}{rows}")).unwrap();
    let filled = succeed(folder, "evaluate model some.csv");
    assert_printed(
        &filled,
        &["left out: 1 row without a target", "class: 1 of 3 unknown", "age: 1 of 3 mis"],
    );
    let dropped = succeed(folder, "evaluate model some.csv --missing drop");
    assert_printed(
        &dropped,
        &["out: 1 row with a missing value", "out: 1 row with an unknown category"],
    );
    assert!(stdout(&dropped).contains("on 1 rows"), "{}", stdout(&dropped));
    fs::write(folder.join("none.csv"), format!("{HEADER}1st,male,30,\n")).unwrap();
    let none = run(folder, "evaluate model none.csv");
    assert_eq!(none.status.code(), Some(2));
    assert_printed(
        &none,
        &["none.csv: no row is left to test on", "left out: 1 row without a target"],
    );
}

#[test]
fn strict_refuses_them_before_anything_is_written() {
    let folder = trained();
    let folder = folder.path();
    // The error is after more rows than are computed and written at once.
    let mut late = passengers(210_000, as_trained);
    late.push_str("1st,Male,30,no\n");
    fs::write(folder.join("late.csv"), late).unwrap();
    let gap = passengers(60, as_trained) + "1st,male,,no\n";
    fs::write(folder.join("gap.csv"), &gap).unwrap();
    let new = passengers(60, as_trained) + "1st,child,3,no\n";
    fs::write(folder.join("new.csv"), &new).unwrap();
    for (arguments, expected) in [
        (
            "predict model late.csv --strict",
            "late.csv, line 210002, column 2 (\"sex\"): \"Male\" is",
        ),
        (
            "predict model gap.csv --strict",
            "gap.csv, line 62, column 3 (\"age\"): the value is mis",
        ),
        ("predict model new.csv --strict --missing fill", "line 62, column 2 (\"sex\"): \"child\""),
        ("predict model new.csv --strict --output out.csv", "line 62, column 2 (\"sex\")"),
        ("evaluate model gap.csv --strict --json out.json", "line 62, column 3 (\"age\")"),
        ("evaluate model new.csv --strict --json out.json", "\"child\" is not one of the 2 known"),
        ("evaluate model new.csv --strict --missing drop", "line 62, column 2 (\"sex\")"),
        ("evaluate model new.csv --missing error", "\"child\" is not one of the 2 known"),
    ] {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", stderr(&output));
        assert_printed(&output, &[expected]);
        assert!(output.stdout.is_empty(), "{arguments}");
    }
    assert!(!folder.join("out.csv").exists() && !folder.join("out.json").exists());
    for arguments in [
        "predict model gap.csv --strict --missing fill",
        "predict model same.csv --strict",
        "evaluate model gap.csv --strict --missing fill",
        "evaluate model gap.csv --strict --missing drop",
        "evaluate model same.csv --strict",
    ] {
        succeed(folder, arguments);
    }
    let piped = with_stdin(folder, "predict model --strict", &new);
    assert_eq!(piped.status.code(), Some(2));
    assert_printed(&piped, &["stdin, line 62, column 2 (\"sex\"): \"child\" is not one of the 2"]);
}

/// Arrays have categories that are numbers, and NaN where a value is missing.
#[test]
fn arrays_are_counted_alike() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = |codes: [u8; 3]| {
        let row = |row: usize| [codes[row % 3], (row % 7) as u8, u8::from(row % 3 == 2)];
        (0..60).flat_map(row).collect::<Vec<_>>()
    };
    let learned = rows([9, 200, 10]);
    let line = |row: &[u8]| format!("{},{},{}\n", row[0], row[1], row[2]);
    fs::write(folder.join("table.csv"), learned.chunks(3).map(line).collect::<String>()).unwrap();
    let options = "--categorical 1 --task classification --epochs 2 --model model";
    succeed(folder, &format!("train table.csv {options}"));
    fs::write(folder.join("rows.npy"), crate::npy(60, 3, &rows([9, 11, 10]))).unwrap();
    let expected = "column 1: 20 of 60 unknown (row 2: \"11\" is not one of the 3 known categories";
    for command in ["predict", "evaluate"] {
        let counted = succeed(folder, &format!("{command} model rows.npy"));
        assert_printed(&counted, &[expected]);
        let refused = output(&mut typed(folder, &format!("{command} model rows.npy --strict")));
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert_printed(&refused, &["row 2", "11", "column 1"]);
    }
}
