//! What is refused, left out or guessed of a table, and told.

use super::*;

#[test]
fn what_cannot_be_learned_is_told_with_its_place() {
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
        &["line 4, column 1 (\"x\"): \"inf\" is no finite number"],
    );
    refused("x,y\n1,1\n2,1e400\n", "", &["line 3, column 2 (\"y\"): \"1e400\" is no finite"]);
    refused("x;y\n1,5;a\n2;b\n1,25;a\n", "", &["column 1 (\"x\")", "\"2\" is a number"]);
    refused("x;y\n1,5;a\n2,5;b\n", "", &["(\"x\") has numbers with a comma", "\"1,5\" in line 2"]);
    refused("x;y\n1;1,5\n2;2,5\n", "", &["(\"y\") has numbers with a comma"]);
    refused("x,y\n1,a\n2o,b\n", "", &["line 3, column 1 (\"x\"): \"2o\" is no number", "--drop x"]);
    refused(
        "150,4,a,b\n1,2,3,0\n",
        "",
        &["line 2, column 3: \"3\" is a number, but \"a\" in line 1", "--header yes"],
    );
    refused("x,y\n1,2\n1,2,3\n", "", &["line 3: there are 3 cells, but 2 in line 1"]);
    refused(b"x,y\n1,a\n2,\xff\n", "", &["line 3: the text is not UTF-8"]);
    refused(b"\x7fELF\0\0", "", &["binary"]);
    refused("x,y\n1,a\n2,b\n", "--task regression", &["is text (\"a\" in line 2)"]);
    refused(
        "x,y\n1,2\n1e300,3\n-1e300,2\n1,3\n",
        "--scale none",
        &["goes from ", " to 1e300, which is too far"],
    );
    let names: String = (0..150).map(|row| format!("{row},name {row},{}\n", row % 2)).collect();
    refused(
        format!("n,name,y\n{names}"),
        "",
        &["column 2 (\"name\") has 150 (\"name 0\" in line 2)", "--drop name"],
    );
    let options = DataOptions { data: Some("no such file".into()), ..options("") };
    let error = Data::read(&options, &mut Vec::new()).err().unwrap().to_string();
    assert!(error.starts_with("no such file: "), "{error}");
    let folder = Folder::with("other", "");
    let options = DataOptions { data: Some(folder.0.path().to_owned()), ..options };
    let error = Data::read(&options, &mut Vec::new()).err().unwrap().to_string();
    assert!(error.contains("is a folder without"), "{error}");
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
        (data.table.counts.rows, notes[0].contains("numbers the columns"))
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
fn a_number_too_far_is_told_wherever_it_is() {
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
