//! Cells become inputs, and the preprocessing is the same after it was saved.

use super::*;
use crate::data::cell::forms::{Decimal, Form};

fn example() -> Preprocessing {
    let number = |name: &str, number, shift, scale, fill| {
        Column::new(name, number, Values::Number { shift, scale, fill })
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Preprocessing {
        has_header: true,
        width: 5,
        columns: vec![
            number("length", 1, 0.1 + 0.2, 1.0 / 3.0, Some(f64::MIN_POSITIVE / 3.0)),
            Column::new("color", 3, Values::Category(names(&["1", "blue", "red"]))),
            number("width", 4, -2.0, 0.5, None),
        ],
        target: Target::new("kind", Some(5), TargetValues::Classes(names(&["0", "1", "x"]))),
        missing_words: Words::USUAL,
    }
}

#[test]
fn json_keeps_every_bit() {
    let written = example();
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(Preprocessing::from_json(&text).as_ref(), Ok(&written));
    let mut many = Preprocessing { width: 2000, ..written.clone() };
    many.target.number = Some(2000);
    many.columns = (1..2000)
        .map(|number| {
            let shift = (f64::from(number).sqrt() - 7.0) * 10_f64.powi(number % 60 - 30);
            let values = Values::Number { shift, scale: shift.abs(), fill: Some(1.0 / shift) };
            Column::new(number.to_string(), number as usize, values)
        })
        .filter(|column| column.number != 49)
        .collect();
    let read = Preprocessing::from_json(&serde_json::to_string(&many).unwrap());
    assert!(read == Ok(many), "some of 6,000 numbers have changed");
    let refused = |from: &str, to: &str, expected: &str| {
        assert!(text.contains(from), "{text}");
        let error = Preprocessing::from_json(&text.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    refused("\"scale\":0.5", "\"scale\":0.0", "divides it by 0");
    refused("\"scale\":0.5", "\"scale\":1e999", "number out of range");
    refused("\"scale\":0.5", "\"scales\":0.5", "scales");
    refused("\"blue\",\"red\"", "\"red\",\"red\"", "\"red\" twice in \"color\"");
    refused("\"0\",\"1\",\"x\"", "", "no names for the values of \"kind\"");
    refused("\"number\":4", "\"number\":0", "as column 0, but they are 1 to 5");
    refused("\"number\":4", "\"number\":6", "as column 6, but they are 1 to 5");
    refused("\"number\":5", "\"number\":4", "the target \"kind\" as column 4 of 5");
    refused("\"number\":5", "\"number\":0", "the target \"kind\" as column 0 of 5");
    refused("{\"has_header\"", "{\"header\"", "header");
    for new in ["constant", "reading", "missing_words"] {
        assert!(!text.contains(new), "a usual table has the format of before: {text}");
    }
    let mut constant = written.clone();
    constant.columns[1].constant = vec![0, 2];
    let text = serde_json::to_string(&constant).unwrap();
    assert_eq!(Preprocessing::from_json(&text), Ok(constant));
    let mut read_otherwise = written.clone();
    let form = Form::Number { unit: Some("%".to_owned()), decimal: Decimal::Comma };
    read_otherwise.columns[0].reading.form = form;
    read_otherwise.columns[1].reading.unquoted_is_missing = true;
    read_otherwise.target.reading.unquoted_is_missing = true;
    read_otherwise.missing_words = Words::list("unknown,-999").unwrap();
    let otherwise = serde_json::to_string(&read_otherwise).unwrap();
    assert_eq!(Preprocessing::from_json(&otherwise), Ok(read_otherwise));
    let error = Preprocessing::from_json(&text.replace("[0,2]", "[0,3]")).unwrap_err();
    assert!(error.contains("input 3 of \"color\" as a constant, but its 3 input(s)"), "{error}");
}

#[test]
fn a_record_becomes_inputs() {
    let example = example();
    assert_eq!((example.inputs(), example.outputs()), (5, 3));
    let record = |cells: &[&str]| example.record(cells);
    let length = ((1.5 - (0.1 + 0.2)) / (1.0 / 3.0)) as f32;
    assert_eq!(record(&["1.5", " red ", "-1"]), Ok(vec![length, 0.0, 0.0, 1.0, 2.0]));
    assert_eq!(record(&["1.5", "1.0", "-1"]).unwrap()[1..4], [1.0, 0.0, 0.0]);
    // A missing or unknown value becomes the fill, or the mean if there is no fill; as a category, it
    // becomes 0 throughout.
    let fill = ((f64::MIN_POSITIVE / 3.0 - (0.1 + 0.2)) / (1.0 / 3.0)) as f32;
    assert_eq!(record(&["?", "green", "NA"]), Ok(vec![fill, 0.0, 0.0, 0.0, 0.0]));
    let error = record(&["long", "red", "1"]).unwrap_err();
    assert!(error.starts_with("\"long\" is not a number"), "{error}");
    assert_eq!(
        record(&["1e400", "red", "1"]),
        Err("\"1e400\" is not a finite number: correct or empty the cell".to_owned())
    );
}

#[test]
fn a_class_is_known_or_an_error() {
    let target = example().target;
    assert_eq!(target.encode("x"), Ok(2.0));
    assert_eq!(target.encode("1.0"), Ok(1.0));
    assert!(target.encode("").unwrap().is_nan());
    let error = target.encode("y").unwrap_err();
    assert!(error.contains("\"y\" is not one of the 3 classes: 0, 1, x"), "{error}");
    assert!(target.encode("X").is_err(), "other letters are another name");
}

#[test]
fn what_is_true_is_so_in_any_letters() {
    for known in [["false", "true"], ["False", "True"], ["FALSE", "TRUE"]] {
        let known = known.map(str::to_owned).to_vec();
        let values = TargetValues::Classes(known.clone());
        let target = Target { values, ..example().target };
        let column = Column { values: Values::Category(known), ..example().columns[1].clone() };
        for (place, cell) in [(1.0, "true"), (1.0, " True"), (1.0, "TRUE"), (0.0, "False")] {
            assert_eq!((column.encode(cell), target.encode(cell)), (Ok(place), Ok(place)));
        }
    }
    let both = ["True", "true"].map(str::to_owned).to_vec();
    let both = Target { values: TargetValues::Classes(both), ..example().target };
    assert_eq!((both.encode("True"), both.encode("true")), (Ok(0.0), Ok(1.0)));
}
