//! Whole data sets: read, divided, scaled.

use std::{fs, path::PathBuf};

use clap::{Args, Command, FromArgMatches};
use tempfile::TempDir;
use ztilde::Targets;

use super::*;
use crate::data::{columns::preprocessing::Values, formats::parquet, rows::split};

mod constant;
mod notes;

const ROOM: Room = Room { memory: 1 << 20, batch_size: 4, seed: 0 };

fn options(arguments: &str) -> DataOptions {
    let command = DataOptions::augment_args(Command::new("train").no_binary_name(true));
    // These options are tested elsewhere, and options here exclude them.
    let command = command.arg(clap::arg!(--held_out)).arg(clap::arg!(--model));
    let matches = command.get_matches_from(arguments.split_whitespace());
    DataOptions::from_arg_matches(&matches).unwrap()
}

/// A folder with a file, removed after the test.
struct Folder(TempDir);

impl Folder {
    fn with(name: &str, text: impl AsRef<[u8]>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path(name), text).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The data and its notes.
fn read(text: impl AsRef<[u8]>, arguments: &str) -> Result<(Data, Vec<String>), String> {
    let folder = Folder::with("table.csv", text);
    let options = DataOptions { data: Some(folder.path("table.csv")), ..options(arguments) };
    let mut notes = Vec::new();
    let data = Data::read(&options, &mut notes).map_err(|error| error.to_string())?;
    Ok((data, notes))
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, arguments: &str, expected: &[&str]) {
    let found = read(text, arguments).and_then(|(data, _)| {
        let prepared = data.prepare(HeldOut::Share(0.2), ROOM, &mut Vec::new());
        prepared.map(|_| ()).map_err(|error| error.to_string())
    });
    let error = found.expect_err("it is refused");
    for expected in expected {
        assert!(error.contains(expected), "no {expected:?} in: {error}");
    }
}

/// All rows in memory, without held-out rows.
fn rows(data: &Data) -> (Preprocessing, ztilde::Dataset) {
    let prepared = data.prepare(HeldOut::Share(0.0), ROOM, &mut Vec::new()).unwrap();
    let Rows::Memory(dataset) = prepared.learned else { panic!("few rows are in memory") };
    (prepared.preprocessing, dataset)
}

fn classes(data: &Data) -> Vec<String> {
    data.table.preprocessing.target.classes().map(<[String]>::to_vec).unwrap_or_default()
}

const FLOWERS: &str = "\
\"sepal, cm\",color,constant,kind\r
1,red,5,setosa\r
2,,5,virginica\r
NA,blue,5,setosa\r
3,red,5,virginica\r
\r
";

#[test]
fn a_table_becomes_inputs_and_classes() {
    let (data, notes) = read([b"\xef\xbb\xbf", FLOWERS.as_bytes()].concat(), "").unwrap();
    assert_eq!(classes(&data), ["setosa", "virginica"]);
    let (preprocessing, dataset) = rows(&data);
    let names: Vec<_> = preprocessing.columns.iter().map(|column| &column.name).collect();
    assert_eq!(names, ["sepal, cm", "color", "constant"]);
    assert_eq!(
        preprocessing.columns[1].values,
        Values::Category(vec!["blue".into(), "red".into()])
    );
    // The mean of 1, 2 and 3 is 2, their variance 2/3.
    let one = 1.5_f32.sqrt();
    assert_eq!(
        dataset.inputs(),
        ndarray::array![
            [-one, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [one, 0.0, 1.0, 0.0]
        ]
    );
    assert_eq!(dataset.targets(), &Targets::from(&[0, 1, 0, 1]));
    assert!(notes[0].contains("4 rows, 3 columns as 4 inputs"), "{notes:?}");
    assert!(notes[0].contains("\"kind\", the last column, is 2 classes"), "{notes:?}");
    assert!(notes[1].contains("filled: 2 missing values"), "{notes:?}");

    // A record becomes the same inputs as in training, bit for bit.
    assert_eq!(preprocessing.record(&["3", "red", "5"]).unwrap(), dataset.inputs().row(3).to_vec());
}

#[test]
fn missing_values_are_filled_dropped_or_an_error() {
    let count = |arguments: &str| {
        let (data, notes) = read(FLOWERS, arguments).unwrap();
        (data.table.counts.rows, notes.join("; "))
    };
    let (rows, notes) = count("--missing drop");
    assert_eq!(rows, 2);
    assert!(notes.contains("left out: 2 rows with a missing value"), "{notes}");
    refused(
        FLOWERS,
        "--missing error",
        &["table.csv, line 3, column 2 (\"color\")", "--missing fill"],
    );
    let (data, notes) = read("x,y\n1,a\n2,\n3,b\n4,?\n", "").unwrap();
    assert_eq!(data.table.counts.rows, 2);
    assert!(notes.join("; ").contains("left out: 2 rows without a target"), "{notes:?}");
    refused("x,y\n1,a\n2,\n", "--missing error", &["line 3, column 2 (\"y\")"]);
}

/// With a decimal comma elsewhere, points may separate thousands: 1.500 may mean 1500.
#[test]
fn points_beside_decimal_commas_are_asked_about() {
    let table = |cells: [&str; 4]| {
        let row = |cell: &str| format!("{cell};0,5\n{cell};1,25\n{cell};-3,0\n");
        format!("v;y\n{}", cells.map(row).concat())
    };
    for cells in [["1.500", "2.250", "950", "12"], ["-1.234", "1.000", "7", "8"]] {
        refused(table(cells), "", &["column 1 (\"v\")", cells[0], "\"y\"", "--drop v"]);
    }
    for cells in
        [["1.500", "2.25", "950", "12"], ["0.125", "0.250", "7", "8"], ["1", "2", "3", "9"]]
    {
        let (data, _) = read(table(cells), "").unwrap();
        assert_eq!(data.table.counts.rows, 12, "{cells:?}");
    }
    let (data, _) = read(table(["1.500", "2.250", "950", "12"]).replace(',', "."), "").unwrap();
    assert_eq!(data.table.counts.rows, 12, "without a decimal comma, a point is a decimal point");
}

#[test]
fn the_task_follows_from_the_target() {
    let task = |cells: &[String], arguments: &str| {
        let rows: Vec<_> =
            cells.iter().map(|cell| format!("1,{cell}\n2,{cell}\n3,{cell}\n")).collect();
        let (data, _) = read(format!("x,y\n{}", rows.concat()), arguments).unwrap();
        classes(&data)
    };
    let numbers = |count: u32| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(task(&numbers(20), "").len(), 20);
    assert_eq!(task(&numbers(21), ""), [""; 0], "many whole numbers are a number");
    assert_eq!(task(&numbers(21), "--task classification").len(), 21);
    assert_eq!(task(&numbers(3), "--task regression"), [""; 0]);
    assert_eq!(task(&["0.5".to_owned(), "1".to_owned()], ""), [""; 0]);
    let sorted = ["10", "9", "2"].map(str::to_owned);
    assert_eq!(task(&sorted, ""), ["2", "9", "10"]);
    assert_eq!(task(&sorted, "--task classification"), ["2", "9", "10"]);
    let (data, _) = read("1,0\n2,1\n3,0\n4,1\n5,1\n", "").unwrap();
    assert_eq!(classes(&data), [""; 0], "a value is there less than three times on average");
    assert_eq!(task(&["1.0".to_owned(), "-0".to_owned(), "0".to_owned()], ""), ["0", "1"]);
}

#[test]
fn columns_are_chosen() {
    let text = "id,a,b,kind,c\n1,2,3,x,4\n2,3,5,y,4\n3,3,5,y,7\n";
    let columns = |arguments: &str| {
        let (data, _) = read(text, arguments).unwrap();
        let Preprocessing { columns, target, .. } = &data.table.preprocessing;
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        format!("{} > {}", names.join(" "), target.name)
    };
    assert_eq!(columns(""), "id a b kind > c");
    assert_eq!(columns("--target kind"), "id a b c > kind");
    assert_eq!(columns("--target 4 --drop id,c"), "a b > kind");
    assert_eq!(columns("--target kind --features 5,2-3"), "c a b > kind");
    refused(text, "--target kid", &["--target: no column is called \"kid\"; nearest: \"kind\""]);
    refused(
        text,
        "--target kind --drop kind",
        &["--drop leaves out column 4 (\"kind\"), the target"],
    );
    refused(text, "--features a,c", &["--features names column 5 (\"c\"), which is the target"]);
    refused(text, "--features c --target c", &["which is the target"]);
    refused(text, "--drop id,a,b,kind", &["of 5 columns, --drop"]);
    refused("x\n1\n2\n", "", &["only one column", "--delimiter", "--skip-lines"]);
}

#[test]
fn numbers_that_are_names_are_categories() {
    let text = "zip,n,y\n01,1,a\n1,2,b\n02,1,a\n";
    let (data, _) = read(text, "--categorical zip").unwrap();
    let Values::Category(zips) = &data.table.preprocessing.columns[0].values else { panic!() };
    assert_eq!(zips, &["01", "1", "02"]);
}

#[test]
fn scales_are_those_of_the_training_rows() {
    let text: String =
        (0..40).map(|row| format!("{},{}\n", row * row, 0.5 * f64::from(row))).collect();
    let (data, _) = read(text, "--scale min-max").unwrap();
    let Prepared { preprocessing, learned, held_out, .. } =
        data.prepare(HeldOut::Share(0.25), ROOM, &mut Vec::new()).unwrap();
    let (Rows::Memory(learned), Some(Rows::Memory(held_out))) = (learned, held_out) else {
        panic!()
    };
    assert_eq!((learned.rows(), held_out.rows()), (30, 10));
    let column: Vec<f32> = learned.inputs().column(0).to_vec();
    assert_eq!(column.iter().copied().fold(f32::INFINITY, f32::min), 0.0);
    assert_eq!(column.iter().copied().fold(0.0, f32::max), 1.0);
    let Targets::Values(targets) = learned.targets() else { panic!() };
    let mean = targets.iter().map(|&target| f64::from(target)).sum::<f64>() / 30.0;
    let square = targets.iter().map(|&target| f64::from(target).powi(2)).sum::<f64>() / 30.0;
    assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6, "{mean} {square}");
    // The held-out rows have another mean.
    let Targets::Values(targets) = held_out.targets() else { panic!() };
    assert!(targets.iter().sum::<f32>().abs() > 1e-3);
    assert!(preprocessing.target_scale() > 1.0);
}

#[test]
fn folds_hold_out_each_row_once() {
    let text: String =
        (0..30).map(|row| format!("{row},{}\n", if row % 3 == 0 { "a" } else { "b" })).collect();
    let (data, _) = read(text, "--scale none").unwrap();
    let mut seen = Vec::new();
    for fold in 0..4 {
        let prepared = data.prepare(HeldOut::Fold(fold, 4), ROOM, &mut Vec::new()).unwrap();
        let Some(Rows::Memory(held_out)) = prepared.held_out else { panic!() };
        assert_eq!(u64::from(held_out.rows()) + prepared.learned.count(), 30);
        seen.extend(held_out.inputs().iter().map(|&row| row as u32));
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..30));
}

#[test]
fn many_rows_are_in_blocks_and_otherwise_the_same() {
    let text: String = (0..500).map(|row| format!("{},{},{}\n", row, row % 7, row % 2)).collect();
    let (data, _) = read(text, "").unwrap();
    let prepare = |memory| {
        let room = Room { memory, ..ROOM };
        data.prepare(HeldOut::Share(0.2), room, &mut Vec::new()).unwrap()
    };
    let collect = |rows: &Rows| {
        let mut all = Vec::new();
        rows.visit(|dataset| {
            let Targets::Classes(classes) = dataset.targets() else { panic!() };
            for (row, class) in dataset.inputs().rows().into_iter().zip(classes.iter()) {
                all.push((row.to_vec(), *class));
            }
            Ok(())
        })
        .unwrap();
        all.sort_by(|left, right| left.partial_cmp(right).unwrap());
        all
    };
    let [memory, blocks] = [1 << 20, 1000].map(prepare);
    assert!(matches!(&blocks.learned, Rows::Blocks(file) if file.blocks() > 4));
    assert_eq!(memory.preprocessing, blocks.preprocessing);
    assert_eq!(collect(&memory.learned), collect(&blocks.learned));
    assert_eq!(collect(&memory.held_out.unwrap()), collect(&blocks.held_out.unwrap()));
}

#[test]
fn rows_to_test_on_come_from_a_file_of_their_own() {
    let folder = Folder::with("train.csv", "a,kind,b\n1,x,2\n3,y,4\n5,x,9\n");
    let test = |text: &str| {
        fs::write(folder.path("test.csv"), text).unwrap();
        let options = DataOptions {
            data: Some(folder.path("train.csv")),
            test_data: Some(folder.path("test.csv")),
            ..options("--target kind --scale none")
        };
        let data = Data::read(&options, &mut Vec::new()).map_err(|error| error.to_string())?;
        let prepared = data.prepare(HeldOut::Share(0.2), ROOM, &mut Vec::new()).unwrap();
        let Some(Rows::Memory(rows)) = prepared.held_out else { panic!() };
        assert_eq!(prepared.learned.count(), 3);
        Ok::<_, String>((rows.inputs().clone(), rows.targets().clone()))
    };
    // Columns are found by name, in another order, and an extra column is ignored.
    let (inputs, targets) = test("kind;b;other;a\ny;7;z;8\n").unwrap();
    assert_eq!(inputs, ndarray::array![[8.0, 7.0]]);
    assert_eq!(targets, Targets::from(&[1]));
    // By their numbers.
    let (inputs, _) = test("8,x,7\n").unwrap();
    assert_eq!(inputs, ndarray::array![[8.0, 7.0]]);
    for (text, expected) in [
        ("a,kind\n1,x\n", "no column is called \"b\""),
        (
            "a,kind,b\n1,z,2\n",
            "line 2, column 2 (\"kind\"): \"z\" is not one of the 2 classes: x, y",
        ),
        ("a,kind,b\n1,x,two\n", "line 2, column 3 (\"b\"): \"two\" is not a number"),
    ] {
        let error = test(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// An IDX file of bytes.
fn idx(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let sizes = shape.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, shape.len() as u8].into_iter().chain(sizes).chain(elements.iter().copied()).collect()
}

#[test]
fn a_folder_of_images_brings_its_own_test() {
    let folder = Folder::with("train-images-idx3-ubyte", idx(&[3, 1, 2], &[0, 255, 51, 0, 0, 0]));
    let read = |arguments: &str| {
        let options = DataOptions { data: Some(folder.0.path().to_owned()), ..options(arguments) };
        Data::read(&options, &mut Vec::new()).map_err(|error| error.to_string())
    };
    let error = read("").err().unwrap();
    assert!(error.contains("idx3-ubyte; --targets"), "{error}");
    fs::write(folder.path("train-labels-idx1-ubyte"), idx(&[3], &[7, 30, 7])).unwrap();
    fs::write(folder.path("t10k-images-idx3-ubyte"), idx(&[1, 1, 2], &[255, 0])).unwrap();
    fs::write(folder.path("t10k-labels-idx1-ubyte"), idx(&[1], &[30])).unwrap();
    let data = read("").unwrap();
    let prepared = data.prepare(HeldOut::Share(0.2), ROOM, &mut Vec::new()).unwrap();
    let (Rows::Memory(learned), Some(Rows::Memory(test))) = (prepared.learned, prepared.held_out)
    else {
        panic!()
    };
    assert_eq!(learned.inputs(), ndarray::array![[0.0, 1.0], [0.2, 0.0], [0.0, 0.0]]);
    assert_eq!(learned.targets(), &Targets::from(&[0, 1, 0]));
    assert_eq!(
        (test.inputs(), test.targets()),
        (&ndarray::array![[1.0, 0.0]], &Targets::from(&[1]))
    );
    let data = read(&format!("--test-data {}", folder.0.path().display())).unwrap();
    assert_eq!(data.test.unwrap().counts.rows, 1, "of a folder to test on, too");

    fs::write(folder.path("t10k-labels-idx1-ubyte"), idx(&[1], &[8])).unwrap();
    let error = read("").err().unwrap();
    assert!(error.contains("8 is not one of the 2 classes: 7, 30"), "{error}");
    fs::write(folder.path("train-labels-idx1-ubyte"), idx(&[2], &[7, 30])).unwrap();
    let error = read("").err().unwrap();
    assert!(error.contains("2 rows of targets, but") && error.contains("has 3 rows"), "{error}");
}

#[test]
fn the_digits_are_what_they_were() {
    let data = Data::read(&options(""), &mut Vec::new()).unwrap();
    let mut changed = 0;
    for seed in 0..8 {
        let room = Room { memory: 1 << 30, batch_size: 64, seed };
        let prepared = data.prepare(HeldOut::Share(0.2), room, &mut Vec::new()).unwrap();
        let (learned, held_out) = digits::load().unwrap().split(0.2, seed).unwrap();
        assert!(matches!(prepared.learned, Rows::Memory(found) if found == learned));
        let Some(Rows::Memory(found)) = prepared.held_out else { panic!("few rows are in memory") };
        // A pixel that is white in all training rows is also white in the others.
        let mut inputs = held_out.inputs().to_owned();
        for input in prepared.preprocessing.constant_inputs() {
            inputs.column_mut(input).fill(0.0);
        }
        changed += u32::from(inputs != held_out.inputs());
        assert_eq!((found.inputs(), found.targets()), (&inputs, held_out.targets()));
    }
    assert!(changed > 0, "ink in such a pixel, in a row that is held out by one of the seeds");
}

#[test]
fn nothing_that_is_read_panics() {
    let texts = [FLOWERS.to_owned(), "1,2,a\n3,4,b\n5,6,a\n7,8,b\n".repeat(5)];
    let pieces = ["\"", ",", "\n", "\r", "NaN", "1e999", "-", "\u{feff}", "é", "\0", "?", " "];
    let mut generator = split::generator(split::Purpose::Order, 1, [0, 0]);
    for text in &texts {
        for _ in 0..400 {
            let mut text = text.clone();
            for _ in 0..3 {
                let mut place = split::below(&mut generator, text.len() as u64 + 1) as usize;
                while !text.is_char_boundary(place) {
                    place -= 1;
                }
                let piece = pieces[split::below(&mut generator, pieces.len() as u64) as usize];
                text.insert_str(place, piece);
            }
            if let Ok((data, _)) = read(&text, "") {
                let _ = data.prepare(HeldOut::Share(0.25), ROOM, &mut Vec::new());
            }
        }
    }
}

#[test]
fn parquet_has_columns_of_text() {
    let codec = ::parquet::basic::Compression::SNAPPY;
    let file = parquet::tests::file(codec, &[40, 60]);
    refused(
        &file,
        "--target price",
        &["column 6 (\"list\") holds lists", "--drop list leaves out"],
    );
    let (data, notes) = read(&file, "--drop list --target price").unwrap();
    let time = &data.table.preprocessing.columns[3];
    assert_eq!(time.encode("1969-12-31 12:00:00"), Ok(-0.5));
    assert_eq!(time.encode("1969-12-31"), Ok(-1.0), "as other programs write midnight");
    assert!(notes.iter().any(|note| note.contains("\"time\"): \"1969-12-31 23:59:59.9999")));
    let (data, notes) = read(&file, "--drop list,time --target price").unwrap();
    assert!(notes[0].contains("66 rows, 3 columns as 9 inputs"), "{notes:?}");
    let columns = &data.table.preprocessing.columns;
    let digits = (0..7).map(|digit| format!("0{digit}")).collect();
    assert_eq!(columns[2].values, Values::Category(digits), "text is not a number");
    let (preprocessing, dataset) = rows(&data);
    assert_eq!(preprocessing.target.name, "price");
    let largest = (u64::MAX - 1).to_string();
    let first = preprocessing.record(&[&largest, "0.125", "01"]).unwrap();
    assert_eq!(dataset.inputs().row(0).to_vec(), first);
    let (_, notes) = read(&file, "--drop list,time --target price --missing-values 0.125").unwrap();
    assert!(notes.iter().any(|note| note.contains("size: 1 of 66 missing")), "{notes:?}");
    refused(
        &file,
        "--drop list,time --target price --missing error",
        &["table.csv, row 1, column 2 (\"size\"): the value is missing"],
    );
    refused(&file[..99], "", &["table.csv: ", "Parquet"]);
}
