//! Errors about tables, and notes on omissions and guesses.

use super::*;
use crate::data::columns::gaps::Gaps;

#[test]
fn errors_about_tables_name_the_place() {
    refused("", "", &["empty"]);
    refused("\n\n", "", &["table.csv: there are no rows"]);
    refused("a,b\n1,2\n", "--skip-lines 3", &["no rows after --skip-lines 3"]);
    refused("x,y\n", "", &["table.csv: there is a header, but no rows"]);
    refused("1,2\n", "", &["the target, is 2 in every row"]);
    refused("x,y\n1,a\n2,b\n", "", &["--held-out 0.2 of 2 row(s)"]);
    refused(
        "x,y\n1,a\n2,a\n",
        "",
        &["column 2 (\"y\"), the target, is \"a\" in every row", "--target"],
    );
    refused("x,y\n1,\n2,\n", "", &["the target, has no values"]);
    refused("x,y\n,a\n,b\n", "", &["no column beside the target has values"]);
    refused(
        "x,y\n1,a\n2,b\ninf,a\n",
        "",
        &["line 4, column 1 (\"x\"): \"inf\" is not a finite number"],
    );
    refused("x,y\n1,1\n2,1e400\n", "", &["line 3, column 2 (\"y\"): \"1e400\" is not a finite"]);
    refused(
        "x,y\n1,a\n2o,b\n",
        "",
        &["line 3, column 1 (\"x\"): \"2o\" is not a number", "--drop x"],
    );
    refused(
        "150,4,a,b\n1,2,3,0\n",
        "",
        &["line 2, column 3: \"3\" is a number, but \"a\" in line 1", "--header yes"],
    );
    refused("x,y\n1,2\n1,2,3\n", "", &["line 3: there are 3 cells, but 2 in line 1"]);
    refused(
        b"x,y\n1,a\n2,Z\xfcrich\n",
        "",
        &["line 3: the text is not UTF-8", "\"Zürich\"", "iconv"],
    );
    refused(b"\x7fELF\0\0", "", &["binary"]);
    refused("x,y\n1,a\n2,b\n", "--task regression", &["is text (\"a\" in line 2)"]);
    refused(
        "x,y\n1,2\n1e300,3\n-1e300,2\n1,3\n",
        "--scale none",
        &["goes from ", " to 1e300, which is too far"],
    );
    let names: String = (0..150).map(|row| format!("{},name {row}\n", row % 2)).collect();
    refused(
        format!("y,name\n{names}"),
        "--target y",
        &["no column beside the target", "column 2 (\"name\") has 150 (\"name 0\" in line 2)"],
    );
    refused(
        format!("y,name\n{names}"),
        "--target y --categorical name",
        &["--categorical names column 2 (\"name\"), which has 150 different values", "--drop name"],
    );
    let options = DataOptions { data: Some("no such file".into()), ..options("") };
    let error = Data::read(&options, &mut Vec::new()).err().unwrap().to_string();
    assert!(error.starts_with("no such file: "), "{error}");
    let folder = Folder::with("other", "");
    let options = DataOptions { data: Some(folder.0.path().to_owned()), ..options };
    let error = Data::read(&options, &mut Vec::new()).err().unwrap().to_string();
    assert!(error.contains("is a folder without"), "{error}");
}

/// The number of missing cells in the input columns.
fn missing(data: &Data) -> u64 {
    data.table.counts.gaps.iter().map(Gaps::missing).sum()
}

/// A class or a category may have the name of a missing value, such as NA for Namibia.
#[test]
fn a_name_that_looks_missing_does_not_vanish() {
    let rows = |names: [&str; 3], repeat: usize| {
        let row = |row: usize| format!("{row},{},{}\n", names[row % 3], ["a", "b"][row % 2]);
        format!("x,country,y\n{}", (0..3 * repeat).map(row).collect::<String>())
    };
    for word in ["NA", "Null", "nan", "?", "None", "<NA>"] {
        let text = rows(["DE", "FR", word], 20);
        let vanishing = ["\"country\"), the target, has", "in 20 rows", "--missing-values \"\""];
        refused(&text, "--target country", &vanishing);
        let (data, _) = read(&text, "--target country --missing-values other").unwrap();
        assert!(classes(&data).contains(&word.to_owned()) && data.table.counts.rows == 60);
        let (data, _) = read(&text, &format!("--target country --missing-values {word}")).unwrap();
        assert_eq!((classes(&data).len(), data.table.counts.rows), (2, 40));
        let quoted = rows(["DE", "FR", &format!("\"{word}\"")], 20);
        let (data, notes) = read(&quoted, "--target country").unwrap();
        assert_eq!((classes(&data).len(), data.table.counts.rows), (3, 60), "{notes:?}");

        let (data, notes) = read(&text, "--target y").unwrap();
        assert_eq!(data.table.preprocessing.inputs(), 3);
        let expected = format!("column 2 (\"country\") has {word:?} 20 times; --missing-values");
        assert!(notes.iter().any(|note| note.contains(&expected)), "{notes:?}");
        for (text, arguments) in [(&quoted, ""), (&text, " --missing-values other")] {
            let (data, notes) = read(text, &format!("--target y{arguments}")).unwrap();
            assert_eq!(data.table.preprocessing.inputs(), 4, "{notes:?}");
        }
    }
    // Only one other class, few missing values, or a target of numbers.
    refused(
        rows(["NA", "DE", "DE"], 9),
        "--target country",
        &["\"NA\" in 9 row(s) is read as missing"],
    );
    let few = rows(["DE", "FR", "FR"], 20) + "7,NA,a\n";
    assert_eq!(read(&few, "--target country").unwrap().0.table.counts.rows, 60);
    let (data, _) = read(rows(["0", "1", "NA"], 20), "--target country").unwrap();
    assert_eq!((classes(&data).len(), data.table.counts.rows), (2, 40));
    let (data, _) = read(rows(["0", "1", "-999"], 20), "--missing-values -999").unwrap();
    assert_eq!(missing(&data), 20);
    // In a column of numbers, quotes have no meaning.
    let (data, _) = read("x,y\n\"1\",a\n\"NA\",b\n3,a\n2,b\n", "").unwrap();
    assert_eq!((missing(&data), data.table.preprocessing.inputs()), (1, 1));
    let (data, _) = read("x,y\n\"NA\",a\n2,b\n3,a\n2,b\n", "").unwrap();
    assert_eq!((missing(&data), data.table.preprocessing.inputs()), (1, 1));
}

/// The cells of all rows.
fn cells_of(table: &Table) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    let row = |cells: &[f64], _| {
        rows.push(cells.to_vec());
        Ok(())
    };
    table.walk(row).unwrap();
    rows
}

/// A table that is read again with the model's preprocessing has the same cells.
#[test]
fn a_known_table_has_the_same_missing_values() {
    let text = "x,c,y\n1,NA,a\n2,\"NA\",b\n,DE,a\n4,NA,b\n5,DE,a\n";
    for (arguments, expected) in
        [("", [None, Some(1.0)]), ("--missing-values x", [Some(1.0), Some(1.0)])]
    {
        let folder = Folder::with("table.csv", text);
        let path = Some(folder.path("table.csv"));
        let options = DataOptions { data: path.clone(), test_data: path, ..options(arguments) };
        let data = Data::read(&options, &mut Vec::new()).unwrap();
        let [rows, learned] = [data.test.as_ref().unwrap(), &data.table].map(cells_of);
        assert_eq!(format!("{rows:?}"), format!("{learned:?}"));
        let found = [0, 1].map(|row: usize| Some(rows[row][1]).filter(|cell| !cell.is_nan()));
        assert_eq!(found, expected, "{arguments}");
    }
}

/// The same cells are missing as in training; other cells without a known category are unknown.
#[test]
fn gaps_are_counted_as_the_columns_are_read() {
    let row = |row: usize| {
        let word = ["DE", "\"NA\"", "NA", ""][row % 4];
        let day =
            if row.is_multiple_of(5) { String::new() } else { format!("2024-01-{:02}", row + 1) };
        format!("{day},{row}%,{word},\"NA\",{}\n", ["a", "b"][row % 2])
    };
    let header = "day,share,mixed,quoted,y\n";
    let learned = format!("{header}{}", (0..20).map(row).collect::<String>());
    let tested = format!(
        "{header}2024-05-05,?,\"NA\",NA,a\n,\"NA\",NA,other,b\n-,3%,na,\"na\",b\n,4 %,-,,a\n"
    );
    let notes = |arguments: &str, tested: &str| {
        let folder = Folder::with("table.csv", &learned);
        fs::write(folder.path("test.csv"), tested).unwrap();
        let [data, test_data] = ["table.csv", "test.csv"].map(|name| Some(folder.path(name)));
        let options = DataOptions { data, test_data, ..options(arguments) };
        let data = Data::read(&options, &mut Vec::new()).map_err(|error| error.to_string())?;
        let test = data.test.as_ref().unwrap();
        Ok::<_, String>([&data.table, test].map(|table| table.notes().join("\n")))
    };
    let has = |notes: &str, expected: &[&str]| {
        for expected in expected {
            assert!(notes.contains(expected), "no {expected:?} in {notes}");
        }
        assert_eq!(notes.lines().count(), expected.len(), "{notes}");
    };
    let error = notes("", &tested).unwrap_err();
    assert!(error.contains("line 4, column 1 (\"day\"): \"-\" is not a date"), "{error}");
    let [learned_notes, tested_notes] = notes("", &tested.replace("\n-,", "\n,")).unwrap();
    has(
        &learned_notes,
        &[
            "filled: 14 missing values",
            "day: 4 of 20 missing, taken as the mean of the training rows",
            "mixed: 10 of 20 missing, taken as no category",
        ],
    );
    has(
        &tested_notes,
        &[
            "filled: 8 missing values",
            "day: 3 of 4 missing, taken as the mean",
            "share: 2 of 4 missing, taken as the mean",
            "mixed: 1 of 4 unknown (line 5: \"-\" is not one of the 2 known categories: \"DE\", \"NA\"); \
             2 of 4 missing",
            "quoted: 2 of 4 unknown (line 3: \"other\" is not one of the 1 known categories: \"NA\"); 1 of 4 \
             missing",
        ],
    );
}

/// Dates, amounts and percentages are numbers, not categories.
#[test]
fn numbers_in_a_form_of_their_own_are_numbers() {
    let read_column = |cells: &[&str], separator: &str| {
        let rows = cells.iter().enumerate();
        let row = |(row, cell): (usize, &&str)| {
            let cell = if separator == "," { format!("\"{cell}\"") } else { (*cell).to_owned() };
            format!("{row}{separator}{cell}{separator}{}\n", ["a", "b"][row % 2])
        };
        let text = format!("n{separator}x{separator}y\n{}", rows.map(row).collect::<String>());
        read(&text, "").map(|(data, notes)| {
            let numbers: Vec<f64> = cells_of(&data.table).iter().map(|row| row[1]).collect();
            (numbers, notes.join("; "), data.table.preprocessing.columns[1].clone())
        })
    };
    for (cells, separator, numbers, note) in [
        (["3%", "4.5%", "", "-1 %"], ",", [3.0, 4.5, f64::NAN, -1.0], "\"3%\" is a percentage"),
        (
            ["$1.20", "$1,234.50", "-$3", "NA"],
            ",",
            [1.2, 1234.5, -3.0, f64::NAN],
            "amount of money",
        ),
        (["1,5", "2", "3,25", "-4"], ";", [1.5, 2.0, 3.25, -4.0], "decimal comma"),
        (["1.234,5", "2", "3,25", "4"], ";", [1234.5, 2.0, 3.25, 4.0], "decimal comma"),
        (["1,234", "2", "3,250.5", "4"], ",", [1234.0, 2.0, 3250.5, 4.0], "thousands separators"),
        (["1,234", "2,500", "3,125", "4"], ";", [1.234, 2.5, 3.125, 4.0], "decimal comma"),
        (["1D+00", "2", "3.5D-01", "4"], ",", [1.0, 2.0, 0.35, 4.0], "Fortran"),
        (
            ["2024-01-01", "2024-01-03", "?", "1970-01-02"],
            ",",
            [19_723.0, 19_725.0, f64::NAN, 1.0],
            "days since 1970-01-01): column 2 (\"x\"): \"2024-01-01\" is a date (YYYY-MM-DD)",
        ),
        (
            ["2/1/2024", "1/31/2024", "", "1/2/1970"],
            ",",
            [19_754.0, 19_753.0, f64::NAN, 1.0],
            "a date (MM/DD/YYYY)",
        ),
        (
            ["2024-01-01 12:00", "2024-01-01 18:00", "", "1970-01-01 00:00"],
            ",",
            [19_723.5, 19_723.75, f64::NAN, 0.0],
            "a point in time (YYYY-MM-DD hh:mm)",
        ),
    ] {
        let (found, notes, column) = read_column(&cells, separator).unwrap();
        assert_eq!(format!("{found:?}"), format!("{numbers:?}"), "{cells:?}");
        assert!(notes.contains(note), "{notes}");
        let again = cells.map(|cell| column.encode(cell).unwrap());
        assert_eq!(format!("{again:?}"), format!("{numbers:?}"), "{cells:?}");
    }
    for (cells, expected) in [
        (["3%", "4%", "5", "6%"], "\"3%\" is a percentage (%), but \"5\" is not"),
        (["3", "4", "5%", "6"], "\"5%\" is a percentage (%), but \"3\" is not"),
        (["$3", "$4", "€5", "$6"], "\"$3\" is an amount of money ($), but \"€5\" is not"),
        (["2024-01-01", "2024-01-02", "soon", "2024-01-03"], "but \"soon\" is not"),
        (["2024-01-01", "7", "2024-01-02", "2024-01-03"], "\"2024-01-01\" is a date"),
        (
            ["1.5", "1,5", "2,5", "3,5"],
            "\"1,5\" is a number with a decimal comma, but \"1.5\" is not",
        ),
    ] {
        let error = read_column(&cells, ";").unwrap_err();
        let has = |part: &str| error.contains(part);
        assert!(has(expected) && has("(\"x\"): ") && has("--categorical x"), "{error}");
    }
    // Words that contain digits remain words.
    for cells in [
        ["5 kg", "7 kg", "1", "2"].map(|cell| format!("{cell} m")),
        ["a", "b", "3%", "c"].map(str::to_owned),
    ] {
        let cells = cells.each_ref().map(String::as_str);
        let (_, _, column) = read_column(&cells, ",").unwrap();
        assert!(matches!(column.values, Values::Category(_)), "{cells:?}");
    }
}

#[test]
fn more_different_dates_than_are_counted_are_read() {
    let row = |row: u32| {
        let (hour, minute, second) = (row / 3600, row / 60 % 60, row % 60);
        format!("2024-01-01 {hour:02}:{minute:02}:{second:02}.{},{}\n", row % 2 * 5, row % 7 / 2)
    };
    let text: String = (0..86_000).chain(0..30_000).map(row).collect();
    let text = format!("time,y\n{}{text}", text.replace("2024", "2023"));
    let (data, _) = read(&text, "").unwrap();
    let (mut rows, mut sum) = (0, 0.0);
    data.table
        .walk(|cells, _| {
            rows += 1;
            sum += cells[0] - if rows <= 116_000 { 19_358.0 } else { 19_723.0 };
            Ok(())
        })
        .unwrap();
    let seconds = |rows: f64| rows * (rows - 1.0) / 2.0 + rows / 4.0;
    let expected = 2.0 * (seconds(86_000.0) + seconds(30_000.0)) / 86_400.0;
    assert!((sum - expected).abs() < 1e-3 && rows == 232_000, "{sum}, but {expected}");
}

#[test]
fn text_of_many_values_is_left_out_with_one_note() {
    let row = |row: u32| format!("{row}.5,name {row},id-{row},\"{row}, street\",{}\n", row % 2);
    let text: String = (0..150).map(row).collect();
    let (data, notes) = read(format!("n,full name,Individual ID,c,y\n{text}"), "").unwrap();
    assert_eq!(data.table.preprocessing.inputs(), 1);
    let many: Vec<_> = notes.iter().filter(|note| note.contains("left out")).collect();
    assert_eq!(many.len(), 1, "{notes:?}");
    for name in ["full name", "Individual ID", "\"c\"", "more than 100 different values"] {
        assert!(many[0].contains(name), "{notes:?}");
    }
    refused(
        format!(
            "y,x,Individual ID\n{}",
            (0..1100).map(|row| format!("{row},{},id{row}\n", row % 7)).collect::<String>()
        ),
        "",
        &["the target, has 1100 different texts", "--target"],
    );
}

#[test]
fn infinity_is_a_word_among_words() {
    let (data, _) = read("pool,y\ninfinity,1\nplunge,2\ninfinity,1\nplunge,2\n", "").unwrap();
    let Values::Category(pools) = &data.table.preprocessing.columns[0].values else { panic!() };
    assert_eq!(pools, &["infinity", "plunge"]);
    refused(
        "x,y\n1,1\ninfinity,2\n",
        "",
        &["\"infinity\" is not a finite number", "--categorical x"],
    );
}

#[test]
fn years_name_columns() {
    let first = |first: &str, arguments: &str| {
        let text = format!("{first}\n5,6.5,7,a\n6,5,8,b\n7,5,7.5,a\n");
        let (data, notes) = read(text, arguments).unwrap();
        (data.table.counts.rows, notes.iter().any(|note| note.contains("contains years")))
    };
    assert_eq!(first("1990,1995,2000,y", ""), (3, true));
    assert_eq!(first("1990,1991,1992,y", "--header no"), (4, false));
    assert_eq!(first("1990,1991,1994,b", ""), (4, false));
    let (data, _) = read("1990,1991,1992,a\n1993,1994,1995,b\n", "").unwrap();
    assert_eq!(data.table.counts.rows, 2, "a row as the next one");
}

#[test]
fn a_column_that_counts_the_rows_is_left_out() {
    let (data, notes) = read(",x,y\n0,5,a\n1,7,b\n2,6,a\n", "").unwrap();
    assert_eq!(data.table.preprocessing.columns[0].name, "x");
    assert!(notes[0].contains("counts the rows"), "{notes:?}");
    let (data, _) = read(",x,y\n0,5,a\n2,7,b\n1,6,a\n", "").unwrap();
    assert_eq!(data.table.preprocessing.columns.len(), 2);
    let (data, notes) = read("id,x,y\n1,5,a\n2,7,b\n3,6,a\n", "").unwrap();
    assert_eq!(data.table.preprocessing.columns.len(), 2, "with a name it may say something");
    assert!(notes[0].contains("--drop id"), "{notes:?}");
}

#[test]
fn a_column_without_values_is_left_out() {
    let (data, notes) = read("x,n,y,z\n5,,a,\n7,?,b,\n6,,a,\n", "--target y").unwrap();
    assert_eq!(data.table.preprocessing.columns.len(), 1);
    assert!(notes[0].ends_with("any value: column 2 (\"n\"), column 4 (\"z\")"), "{notes:?}");
    refused("x,y,z\n5,a,\n7,b,\n", "", &["column 3 (\"z\"), the target, has no values at all"]);
}

#[test]
fn a_row_that_numbers_the_columns_is_a_header() {
    let rows = |first: &str, arguments: &str| {
        let text = format!("{first}\n7,5,1,2,9\n6,7,2,8,7\n7,6,2,8,9\n");
        let (data, notes) = read(text, arguments).unwrap();
        (data.table.counts.rows, notes[0].contains("numbers of the columns"))
    };
    for first in ["0,1,2,3,4", "1,2,3,4,5", "0,1,2,3,y", ",0,1,2,3"] {
        assert_eq!(rows(first, ""), (3, true), "{first}");
    }
    for first in ["0,1,2,3,3", "2,3,4,5,6", "0.0,1,2,3,4.0", "1,2,3,,9"] {
        assert_eq!(rows(first, ""), (4, false), "{first}");
    }
    assert_eq!(rows("0,1,2,3,4", "--header no"), (4, false));
    assert_eq!(rows("a,b,c,d,e", ""), (3, false));
}

#[test]
fn a_number_too_far_is_refused_in_every_place() {
    let near: String = (0..40).map(|row| format!("1.{row},{}\n", row % 2)).collect();
    let (data, _) = read(format!("x,y\n{near}1e300,1\n"), "").unwrap();
    let mut tested = 0;
    for seed in 0..20 {
        let prepared = data.prepare(HeldOut::Share(0.2), Room { seed, ..ROOM }, &mut Vec::new());
        let error = prepared.err().expect("it is refused").to_string();
        let is_tested = error.contains("table.csv: \"x\" is 1e300 in a row to test on");
        assert!(is_tested || error.contains("\"x\" goes from 1.0 to 1e300"), "{error}");
        tested += u32::from(is_tested);
    }
    assert!((1..20).contains(&tested), "it is in either part: {tested}");
}
