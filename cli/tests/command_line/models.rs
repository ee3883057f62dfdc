//! Uses of a trained model: evaluation, plots, and export to other runtimes.

use std::{fs, io::Write, path::Path, process::Output};

use serde_json::Value;
use zip::{ZipWriter, write::SimpleFileOptions};
use ztilde::{Activation, NetworkOptions, Parameters};

use crate::{npy, run, stderr, stdout, succeed};

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// A number, a word, and a class or a value that depends on both.
fn table(is_class: bool) -> String {
    let rows = (0..200).map(|row| {
        let x = f64::from(row * 37 % 101) - 50.0;
        let word = ["up", "down"][row as usize % 2];
        let value = if row % 2 == 0 { x } else { -x };
        match is_class {
            true => format!("{x},{word},{}\n", if value > 0.0 { "warm" } else { "cold" }),
            false => format!("{x},{word},{}\n", 1000.0 + 3.0 * value),
        }
    });
    format!("x,word,y\n{}", rows.collect::<String>())
}

/// The same columns in another order: they are found by their names.
fn reordered(table: &str) -> String {
    let cells = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        format!("{},{},{}\n", cells[2], cells[0], cells[1])
    };
    table.lines().map(cells).collect()
}

#[test]
fn a_model_is_evaluated_drawn_and_exported() {
    for is_class in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("table.csv"), table(is_class)).unwrap();
        fs::write(folder.join("other.csv"), reordered(&table(is_class))).unwrap();
        let training = "train table.csv --test-data table.csv --epochs 40 --hidden 16 \
                        --model m.safetensors --plot curves.png --json -";
        let trained = report(&succeed(folder, training));
        for data in ["table.csv", "other.csv"] {
            let plot = format!("{data}.svg");
            let evaluate = format!("evaluate m.safetensors {data} --plot {plot} --json -");
            let evaluation = report(&succeed(folder, &evaluate));
            assert_eq!(evaluation["rows"], 200);
            let names: &[&str] =
                if is_class { &["loss", "accuracy"] } else { &["loss", "rmse", "r2"] };
            for name in names {
                let [expected, found] =
                    [&trained["final"][format!("test_{name}")], &evaluation[*name]].map(|value| {
                        value
                            .as_f64()
                            .unwrap_or_else(|| panic!("{name} of {trained} and {evaluation}"))
                    });
                let error = (expected - found).abs();
                assert!(error <= 1e-6 * expected.abs(), "{name}: {expected} and {found}");
            }
            let good =
                if is_class { evaluation["accuracy"].as_f64() } else { evaluation["r2"].as_f64() };
            assert!(good.unwrap() > 0.9, "{evaluation}");
            if is_class {
                let confusion = evaluation["confusion"].as_array().unwrap().iter();
                let counts = confusion.flat_map(|row| row.as_array().unwrap());
                assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 200);
            } else {
                let [truth, found] = ["true_values", "predicted_values"].map(|name| {
                    let values = evaluation[name].as_array().expect(name);
                    values.iter().map(|value| value.as_f64().expect(name)).collect::<Vec<_>>()
                });
                let squares =
                    truth.iter().zip(&found).map(|(truth, found)| (truth - found).powi(2));
                let rmse = (squares.sum::<f64>() / 200.0).sqrt();
                assert!((rmse / evaluation["rmse"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{rmse}");
            }
            let svg = fs::read_to_string(folder.join(plot)).unwrap();
            assert!(
                svg.contains(if is_class { ">\nwarm\n<" } else { ">\npredicted y\n<" }),
                "{svg}"
            );
        }
        assert!(fs::read(folder.join("curves.png")).unwrap().starts_with(b"\x89PNG"));

        for (option, has_batch_norm) in [("", true), ("--fold", false)] {
            succeed(folder, &format!("export m.safetensors --onnx m.onnx {option}"));
            let onnx = fs::read(folder.join("m.onnx")).unwrap();
            let has = |text: &str| onnx.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            assert_eq!(has("BatchNormalization"), has_batch_norm);
            assert!(has("numbers") && has("categories") && has("RegexFullMatch"));
            assert_eq!([has("probabilities"), has("warm")], [is_class; 2]);
        }
    }
}

/// Images of one pixel, white or black, and their labels: as files of IDX in a folder, and as one `.npz`.
fn images(folder: &Path) {
    let file = fs::File::create(folder.join("images.npz")).unwrap();
    let mut archive = ZipWriter::new(file);
    fs::create_dir(folder.join("images")).unwrap();
    for (idx, npz, rows) in [("train", "train", 40_u8), ("t10k", "test", 6)] {
        let labels: Vec<u8> = (0..rows).map(|row| row % 2).collect();
        let pixels = labels.iter().map(|label| 255 * label).collect();
        for (what, letter, sizes, bytes) in
            [("images-idx3", "x", &[rows, 1, 1][..], pixels), ("labels-idx1", "y", &[rows], labels)]
        {
            let sizes = sizes.iter().flat_map(|&size| u32::from(size).to_be_bytes());
            let head = [0, 0, 8, if letter == "x" { 3 } else { 1 }];
            let idx_bytes: Vec<u8> = head.into_iter().chain(sizes).chain(bytes.clone()).collect();
            fs::write(folder.join(format!("images/{idx}-{what}-ubyte")), idx_bytes).unwrap();
            let member = format!("{letter}_{npz}.npy");
            archive.start_file(member, SimpleFileOptions::default()).unwrap();
            archive.write_all(&npy(rows.into(), 1, &bytes)).unwrap();
        }
    }
    archive.finish().unwrap();
}

/// The results on the training rows say little about the quality of a model.
#[test]
fn of_images_those_to_test_on_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    succeed(folder, "train images --epochs 3 --hidden 4 --batch-size 8 --model m.safetensors");
    let learned = "images/train-images-idx3-ubyte";
    let tested = Path::new("images").join("t10k-images-idx3-ubyte").display().to_string();
    for (data, rows, tested_file) in [
        ("images", 6, Some(tested.as_str())),
        ("images.npz", 6, Some("images.npz, x_test")),
        (learned, 40, None),
        ("images/t10k-images-idx3-ubyte", 6, None),
    ] {
        let note = tested_file.map(|file| format!("note: the rows are those of {file}\n"));
        let check = |output: &Output| match &note {
            Some(note) => assert!(stderr(output).contains(note), "{}", stderr(output)),
            None => assert!(!stderr(output).contains("the rows are"), "{}", stderr(output)),
        };
        let evaluated = succeed(folder, &format!("evaluate m.safetensors {data} --json -"));
        assert_eq!(report(&evaluated)["rows"], rows, "{data}");
        check(&evaluated);
        let predicted = succeed(folder, &format!("predict m.safetensors {data}"));
        assert_eq!(stdout(&predicted).lines().count(), 1 + rows, "{data}");
        check(&predicted);
    }
}

#[test]
fn what_is_no_model_is_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("table.csv"), table(true)).unwrap();
    succeed(folder, "train table.csv --epochs 1 --model m.safetensors");
    fs::write(folder.join("short.csv"), "x,y\n1,warm\n").unwrap();
    fs::write(folder.join("blind.csv"), "x,word\n1,up\n").unwrap();
    fs::write(folder.join("hot.csv"), "x,word,y\n1,up,warm\n2,up,hot\n").unwrap();
    for (arguments, texts) in [
        ("evaluate table.csv table.csv", ["table.csv", "the model cannot be read"]),
        ("evaluate none.safetensors table.csv", ["none.safetensors", "(os error 2)"]),
        (
            "evaluate m.safetensors short.csv",
            ["short.csv", "no column is called \"word\", which the model needs; there are"],
        ),
        (
            "evaluate m.safetensors blind.csv",
            ["no column is called \"y\"", "which the model's answers are compared with"],
        ),
        (
            "evaluate m.safetensors hot.csv",
            ["hot.csv, line 3", "\"hot\" is not one of the 2 classes"],
        ),
        ("evaluate m.safetensors table.csv --plot a.jpg", ["--plot", ".svg or .png"]),
        ("export m.safetensors --onnx no/folder.onnx", ["no", "(os error 2)"]),
    ] {
        let output = run(folder, arguments);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {printed}");
        for text in texts {
            assert!(printed.contains(text), "{arguments}: no {text:?} in {printed}");
        }
    }
}

/// The year is the same in every training row, and differs afterwards.
#[test]
fn a_column_that_never_varied_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = |year: u32, site: &str| -> String {
        let row = |row: i32| {
            let x = (row * 37 % 101) - 50;
            format!("{x},{year},{site},{}\n", if x > 0 { "warm" } else { "cold" })
        };
        (0..200).map(row).collect()
    };
    for (name, year, site) in [("then", 2023, "here"), ("now", 2025, "here"), ("there", 1, "there")]
    {
        fs::write(
            folder.join(format!("{name}.csv")),
            format!("x,year,site,y\n{}", rows(year, site)),
        )
        .unwrap();
    }
    for options in ["", "--no-batch-norm --scale none"] {
        let train = "train then.csv --epochs 20 --hidden 16 --model m.safetensors";
        let trained = succeed(folder, &format!("{train} {options}"));
        let note = "the model ignores 2 of 3 input columns, constant in the training rows";
        assert!(stderr(&trained).contains(note), "{}", stderr(&trained));
        let answers = |rows: &str| {
            let predicted = succeed(folder, &format!("predict m.safetensors {rows}"));
            let evaluated = succeed(folder, &format!("evaluate m.safetensors {rows} --json -"));
            (stdout(&predicted).to_owned(), report(&evaluated)["accuracy"].clone())
        };
        let then = answers("then.csv");
        assert!(then.1.as_f64().unwrap() > 0.95, "{then:?}");
        assert_eq!(answers("now.csv"), then, "{options}");
        assert_eq!(answers("there.csv"), then, "{options}");
    }
}

/// A model file as PyTorch would write it: without metadata, and with a path before the names.
fn as_of_pytorch(parameters: &Parameters) -> Vec<u8> {
    let bytes = parameters.to_bytes().unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let renamed = tensors.map(|(name, tensor)| (format!("module.net.{name}"), tensor));
    let header = Value::Object(renamed.collect()).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn what_a_file_of_pytorch_leaves_open_is_an_option_and_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options =
        NetworkOptions { activation: Activation::Tanh, epsilon: 0.5, ..Default::default() };
    let parameters = Parameters::initialize(&[2, 5, 3], &options).unwrap();
    parameters.save(folder.join("own.safetensors")).unwrap();
    fs::write(folder.join("theirs.safetensors"), as_of_pytorch(&parameters)).unwrap();
    fs::write(folder.join("rows.csv"), "1,-2\n0.5,3\n").unwrap();

    let own = succeed(folder, "predict own.safetensors rows.csv");
    let assumed = succeed(folder, "predict theirs.safetensors rows.csv");
    assert_ne!(stdout(&assumed), stdout(&own));
    let note = "note: theirs.safetensors: assumed, as the file does not say it: the activation relu, \
                the epsilon 1e-5";
    assert!(stderr(&assumed).contains(note), "{}", stderr(&assumed));
    assert!(
        stderr(&assumed).contains("all names begin with \"module.net.\""),
        "{}",
        stderr(&assumed)
    );

    let theirs = "theirs.safetensors --activation tanh --batch-norm-epsilon 0.5";
    let named = succeed(folder, &format!("predict {theirs} rows.csv"));
    assert_eq!(stdout(&named), stdout(&own));
    assert!(!stderr(&named).contains("activation"), "{}", stderr(&named));
    for (model, onnx) in [("own.safetensors", "own.onnx"), (theirs, "theirs.onnx")] {
        succeed(folder, &format!("export {model} --onnx {onnx}"));
    }
    let [own, theirs] =
        ["own.onnx", "theirs.onnx"].map(|file| fs::read(folder.join(file)).unwrap());
    assert_eq!(own, theirs);

    let output = run(folder, "predict own.safetensors rows.csv --activation relu");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("activation is tanh"), "{}", stderr(&output));
    let output = run(folder, "evaluate theirs.safetensors rows.csv");
    assert_eq!(output.status.code(), Some(2));
}
