//! The predictions of a trained model, one line per row.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Stdio},
};

use serde_json::Value;
use ztilde::{Layer, NetworkOptions, Parameters};

use crate::{npy, run, stdout, typed};

/// The stdout of `predict`.
#[track_caller]
fn succeed(folder: &Path, arguments: &str) -> String {
    stdout(&run(folder, arguments)).to_owned()
}

/// The same with a text on stdin.
#[track_caller]
fn succeed_with(folder: &Path, arguments: &str, text: &str) -> String {
    let mut child = with_pipes(folder, arguments);
    child.stdin.take().unwrap().write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    stdout(&output).to_owned()
}

fn with_pipes(folder: &Path, arguments: &str) -> Child {
    let mut command = typed(folder, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn report(text: &str) -> Value {
    serde_json::from_str(text).expect("a report")
}

const CLASSES: [&str; 2] = ["say \"hot\", or so", "cold"];

/// Records of a number that may be missing, a word, and a class or a value that depends on both.
fn table(is_class: bool) -> Vec<[String; 3]> {
    let rows = (0..200).map(|row| {
        let x = f64::from(row * 37 % 101) - 50.0;
        let word = ["up", "down"][row as usize % 2];
        let value = if row % 2 == 0 { x } else { -x };
        let y = match is_class {
            true => CLASSES[usize::from(value < 0.0)].to_owned(),
            false => (1e6 + 3.0 * value).to_string(),
        };
        [if row % 20 == 0 { String::new() } else { x.to_string() }, word.to_owned(), y]
    });
    rows.collect()
}

/// Some columns of records, as CSV.
fn text<'a>(rows: impl IntoIterator<Item = &'a [String; 3]>, columns: &[usize]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = ["x", "word", "y"];
    writer.write_record(columns.iter().map(|&column| names[column])).unwrap();
    for row in rows {
        writer.write_record(columns.iter().map(|&column| &row[column])).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

/// A folder with a table and a model of it.
fn trained(is_class: bool) -> (tempfile::TempDir, Vec<[String; 3]>) {
    let folder = tempfile::tempdir().unwrap();
    let rows = table(is_class);
    fs::write(folder.path().join("table.csv"), text(&rows, &[0, 1, 2])).unwrap();
    let train = "train table.csv --epochs 20 --hidden 16 --model model";
    succeed(folder.path(), train);
    (folder, rows)
}

#[test]
fn every_row_has_its_class_and_probabilities() {
    let (folder, rows) = trained(true);
    let folder = folder.path();
    let found = succeed(folder, "predict model table.csv");
    let lines = records(&found);
    let names = CLASSES.map(|class| format!("probability of {class}"));
    assert_eq!(lines[0], ["y", &names[1], &names[0]]);
    assert_eq!(lines.len(), 1 + rows.len());
    let mut right = 0;
    for (line, row) in lines[1..].iter().zip(&rows) {
        let [cold, hot] = [1, 2].map(|place| line[place].parse::<f32>().unwrap());
        assert!((f64::from(cold) + f64::from(hot) - 1.0).abs() < 1e-6, "{line:?}");
        assert_eq!(line[0], CLASSES[usize::from(cold >= hot)], "{line:?}");
        right += u32::from(line[0] == row[2]);
    }
    assert!(right < 200, "the missing numbers leave something to guess");
    let evaluation = report(&succeed(folder, "evaluate model table.csv --json -"));
    assert_eq!(evaluation["accuracy"].as_f64(), Some(f64::from(right) / 200.0));

    // The rows in another order, from another file, and with additional columns.
    let rest = found.split_once('\n').unwrap().1;
    let backwards: String = rest.lines().rev().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("reversed.csv"), text(rows.iter().rev(), &[0, 1, 2])).unwrap();
    let found_backwards = succeed(folder, "predict model reversed.csv");
    assert_eq!(found_backwards.split_once('\n').unwrap().1, backwards);
    for (columns, text) in [
        ("all", text(&rows, &[0, 1, 2])),
        ("reordered", text(&rows, &[2, 1, 0])),
        ("without the target", text(&rows, &[1, 0])),
        ("of an unknown class", text(&rows, &[0, 1, 2]).replace(",cold", ",lukewarm")),
        ("without names", text(&rows, &[0, 1]).replacen("x,word\n", "", 1)),
    ] {
        assert_eq!(succeed_with(folder, "predict model", &text), found, "{columns}");
    }
    succeed(folder, "predict model table.csv --output found.csv");
    assert_eq!(fs::read_to_string(folder.join("found.csv")).unwrap(), found);
}

#[test]
fn outputs_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let column = |row: u32, column: u32| (row * (2 * column + 1) * 37 % 101).to_string();
    let line = |row: u32, y: &str| {
        let numbers: Vec<String> = (0..8).map(|place| column(row, place)).collect();
        format!("{},{y}\n", numbers.join(","))
    };
    for targets in [["left", "right"], ["0.5", "-7.25"]] {
        let mut rows: String = (0..200).map(|row| line(row, targets[row as usize % 2])).collect();
        fs::write(folder.join("table.csv"), &rows).unwrap();
        succeed(folder, "train table.csv --epochs 1 --hidden 16 --model model");
        // Each number is within the range of single precision; their products in the first layer are not.
        rows += &format!("{},{}\n", ["9e39"; 8].join(","), targets[0]);
        fs::write(folder.join("large.csv"), &rows).unwrap();
        for command in ["predict", "evaluate"] {
            let output = run(folder, &format!("{command} model large.csv"));
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command}: {error}");
            assert!(error.contains("row 201: the network's output is "), "{command}: {error}");
        }
    }
}

#[test]
fn every_row_has_its_value_in_own_units() {
    let (folder, rows) = trained(false);
    let folder = folder.path();
    let found = succeed(folder, "predict model table.csv");
    let lines = records(&found);
    assert_eq!((lines[0].as_slice(), lines.len()), (&["y".to_owned()][..], 201));
    let squares = lines[1..].iter().zip(&rows).map(|(line, row)| {
        let [found, truth] = [&line[0], &row[2]].map(|cell| cell.parse::<f64>().unwrap());
        (found - truth).powi(2)
    });
    let rmse = (squares.sum::<f64>() / 200.0).sqrt();
    let evaluation = report(&succeed(folder, "evaluate model table.csv --json -"));
    let expected = evaluation["rmse"].as_f64().unwrap();
    assert!((rmse - expected).abs() < 1e-5 * expected, "{rmse} and {expected}");
    assert!(evaluation["r2"].as_f64() > Some(0.5), "{evaluation}");
    assert_eq!(succeed_with(folder, "predict model -", &text(&rows, &[1, 0])), found);
}

/// More rows than are passed to the network at once, and not a multiple. The model has no preprocessing.
#[test]
fn rows_keep_their_order_over_many_pieces() {
    const COLUMNS: usize = 4096;
    const ROWS: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut parameters =
        Parameters::initialize(&[COLUMNS as u32, 2], &NetworkOptions::default()).unwrap();
    parameters.save(folder.join("model")).unwrap();
    let Layer::Linear { weights, biases } = &parameters.layers[0] else { panic!("one layer") };
    let mut bytes = vec![0; ROWS * COLUMNS];
    let mut expected = Vec::new();
    for row in 0..ROWS {
        let byte = (row * 77 % 256) as u8;
        bytes[row * COLUMNS + row] = byte;
        expected.push([0, 1].map(|at| weights[[at, row]] * f32::from(byte) + biases[at]));
    }
    fs::write(folder.join("rows.npy"), npy(ROWS, COLUMNS, &bytes)).unwrap();
    let found = succeed(folder, "predict model rows.npy");
    let lines = records(&found);
    assert_eq!(lines[0], ["output 1", "output 2"]);
    assert_eq!(lines.len(), 1 + ROWS);
    for (line, expected) in lines[1..].iter().zip(&expected) {
        for (cell, expected) in line.iter().zip(expected) {
            let error = (cell.parse::<f32>().unwrap() - expected).abs();
            assert!(error <= 1e-5 * expected.abs() + 1e-6, "{line:?}, but {expected}");
        }
    }
    let text: String = bytes
        .chunks(COLUMNS)
        .map(|row| row.iter().map(u8::to_string).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    assert_eq!(succeed_with(folder, "predict model", &text), found);

    let error = run(folder, "predict model rows.npy --output no/folder.csv");
    assert_eq!(error.status.code(), Some(2));
    fs::write(folder.join("short.csv"), "1,2,3\n").unwrap();
    let error = String::from_utf8(run(folder, "predict model short.csv").stderr).unwrap();
    assert!(error.contains("short.csv: there are 3 columns, but the network has 4096"), "{error}");
    fs::write(folder.join("gap.csv"), text.replacen("0,0,", "0,,", 1)).unwrap();
    let error = String::from_utf8(run(folder, "predict model gap.csv").stderr).unwrap();
    assert!(error.contains("gap.csv, line 1, column 2: the value is missing"), "{error}");
    let Layer::Linear { weights, .. } = &mut parameters.layers[0] else { panic!("one layer") };
    weights.fill(3e38);
    parameters.save(folder.join("steep")).unwrap();
    let error = String::from_utf8(run(folder, "predict steep rows.npy").stderr).unwrap();
    assert!(error.contains("row 2: the network's output is inf"), "{error}");
}

#[test]
fn numbers_that_are_categories_are_so_in_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes: Vec<u8> = (0..60).flat_map(|row| [[9, 200, 10][row % 3], (row % 7) as u8]).collect();
    let row = |row: &[u8]| format!("{},{},{}\n", row[0], row[1], u8::from(row[0] == 10));
    let table: String = bytes.chunks(2).map(row).collect();
    fs::write(folder.join("table.csv"), &table).unwrap();
    succeed(
        folder,
        "train table.csv --categorical 1 --task classification --epochs 9 --model model",
    );
    fs::write(folder.join("rows.npy"), npy(60, 2, &bytes)).unwrap();
    let found = succeed(folder, "predict model rows.npy");
    assert_eq!(found, succeed(folder, "predict model table.csv"));
    let lines = records(&found);
    let is_right =
        |(line, row): &(&Vec<String>, &[u8])| line[0] == u8::from(row[0] == 10).to_string();
    assert!(lines[1..].iter().zip(bytes.chunks(2)).filter(is_right).count() > 50, "{found}");
    // In Fortran order, which pandas uses.
    let columns: Vec<u8> = (0..2).flat_map(|at| bytes[at..].iter().copied().step_by(2)).collect();
    let mut fortran = npy(60, 2, &columns);
    let order = fortran.windows(5).position(|word| word == b"False").unwrap();
    fortran[order..][..5].copy_from_slice(b"True ");
    fs::write(folder.join("fortran.npy"), fortran).unwrap();
    assert_eq!(succeed(folder, "predict model fortran.npy"), found);
    let unknown = npy(1, 2, &[11, 3]);
    fs::write(folder.join("unknown.npy"), unknown).unwrap();
    assert_eq!(records(&succeed(folder, "predict model unknown.npy")).len(), 2);
    let output = run(folder, "predict model unknown.npy --missing error");
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("unknown.npy, row 1, column 1: \"11\" is not one of the 3"),
        "{printed}"
    );
}

#[test]
fn what_is_wrong_with_the_rows_is_code_2() {
    let (folder, _) = trained(true);
    let folder = folder.path();
    for (name, text) in [
        ("empty.csv", ""),
        ("short.csv", "x,word\n1,up\n2\n"),
        ("other.csv", "x,world\n1,up\n"),
        ("word.csv", "x,word\n1,up\n\ntwo,up\n"),
        ("large.csv", "x,word\n1,up\n1e60,up\n"),
        ("gap.csv", "x,word\n1,up\n,up\n"),
        ("new.csv", "x,word\n1,up\n1,sideways\n"),
        ("wide.csv", "1,up,cold,2\n"),
        ("binary.csv", "a\0b"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("found.csv"), "of before").unwrap();
    for (arguments, expected) in [
        ("empty.csv", "error: empty.csv: the file is empty"),
        ("-", "error: stdin: the file is empty"),
        ("none.csv", "error: none.csv: "),
        ("short.csv", "error: short.csv, line 3: there is 1 cell, but 2 in line 1"),
        (
            "other.csv",
            "other.csv: no column is called \"word\", which the model needs; nearest: \"wor",
        ),
        ("word.csv", "error: word.csv, line 4, column 1 (\"x\"): \"two\" is not a number"),
        (
            "large.csv",
            "error: large.csv, line 3, column 1 (\"x\"): 1e60 is too far from the training rows",
        ),
        (
            "gap.csv --missing error",
            "error: gap.csv, line 3, column 1 (\"x\"): the value is missing",
        ),
        (
            "new.csv --missing error",
            "line 3, column 2 (\"word\"): \"sideways\" is not one of the 2",
        ),
        ("wide.csv", "error: wide.csv: there are 4 columns, but 3 in the training table"),
        ("gap.csv --missing drop", "[possible values: fill, error]"),
        ("binary.csv", "error: binary.csv: the format of this binary file is unknown"),
        ("word.csv --output found.csv", "line 4"),
    ] {
        let output = run(folder, &format!("predict model {arguments}"));
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {printed}");
        assert!(printed.contains(expected), "{arguments}: no {expected:?} in {printed}");
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, 0, "{arguments}: lines before the fault");
    }
    // A failed run leaves no new file, and the old file is unchanged.
    assert_eq!(fs::read_to_string(folder.join("found.csv")).unwrap(), "of before");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains("found.csv")).count(), 1);

    for filled in ["gap.csv", "new.csv"] {
        assert_eq!(records(&succeed(folder, &format!("predict model {filled}"))).len(), 3);
    }
    // A file without rows is not an error.
    assert_eq!(records(&succeed_with(folder, "predict model", "word,x\n")).len(), 1);
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let (folder, rows) = trained(true);
    let mut child = with_pipes(folder.path(), "predict model");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = std::thread::spawn(move || {
        stdin.write_all(text(&rows, &[0, 1, 2]).as_bytes()).unwrap();
        let more = text(&rows, &[0, 1, 2]).split_once('\n').unwrap().1.repeat(10_000);
        // It also stops reading.
        assert!(stdin.write_all(more.as_bytes()).is_err());
    });
    stdout.read_exact(&mut [0; 100]).expect("the first lines");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap();
}
