//! Inputs that never vary in the training rows have no influence.

use ztilde::{Layer, NetworkOptions, Parameters};

use super::*;

/// Three columns that never vary, and three that do.
fn table() -> String {
    let row = |row: usize| {
        let filled = if row.is_multiple_of(4) { "" } else { "7" };
        let other = ["up", "down"][row / 2 % 2];
        format!("2023,{filled},only,{other},{},{}\n", row % 5, ["a", "b"][row % 2])
    };
    let rows: String = (0..40).map(row).collect();
    format!("year,filled,word,other,x,y\n{rows}")
}

fn prepare(text: &str, arguments: &str, held_out: HeldOut) -> (Prepared, Vec<String>) {
    let (data, _) = read(text, arguments).unwrap();
    let mut notes = Vec::new();
    (data.prepare(held_out, ROOM, &mut notes).unwrap(), notes)
}

#[test]
fn any_cell_of_a_constant_column_makes_an_input_of_0() {
    for scale in ["", "--scale none", "--scale min-max", "--scale pixels"] {
        let (prepared, notes) = prepare(&table(), scale, HeldOut::Share(0.0));
        let fitted = prepared.preprocessing;
        assert_eq!(fitted.constant_inputs(), [0, 1, 2]);
        let row = |[year, filled, word]: [&str; 3]| {
            fitted.record(&[year, filled, word, "up", "3"]).unwrap()
        };
        let learned = row(["2023", "7", "only"]);
        assert_eq!(learned[..5], [0.0, 0.0, 0.0, 0.0, 1.0], "{scale}");
        for cells in [
            ["2025", "7", "only"],
            ["-1e300", "1e300", "never"],
            ["", "", ""],
            ["2023.0000000001", "8", "Only"],
        ] {
            assert_eq!(row(cells), learned, "{scale}: {cells:?}");
        }
        let expected = "the model ignores 3 of 5 input columns, constant in the training rows: \
                        \"year\", \"filled\", \"word\"";
        assert!(notes.iter().any(|note| note == expected), "{scale}: {notes:?}");
        let Rows::Memory(dataset) = prepared.learned else { panic!("few rows are in memory") };
        assert!(
            dataset.inputs().columns().into_iter().take(3).flatten().all(|&input| input == 0.0)
        );
    }
}

/// The standard deviations of the first two round to 0; the inputs of the third round to the same number.
#[test]
fn a_column_that_varies_by_less_than_rounding_is_constant() {
    for (numbers, scale) in [
        (["1e-200", "2e-200"], ""),
        (["5e-324", "0"], ""),
        (["16777216", "16777217"], "--scale none"),
    ] {
        let rows = (0..20).map(|row| format!("{},{row},{row}.5\n", numbers[row % 2]));
        let text = format!("tiny,x,y\n{}", rows.collect::<String>());
        let (prepared, notes) = prepare(&text, scale, HeldOut::Share(0.0));
        assert_eq!(prepared.preprocessing.constant_inputs(), [0], "{numbers:?}: {notes:?}");
        let record = |cell| prepared.preprocessing.record(&[cell, "1"]).unwrap();
        assert_eq!(record("1e300"), record(numbers[0]), "{numbers:?}");
    }
}

/// A column with one category and a missing value varies, and so does one with a small difference.
#[test]
fn what_varies_is_not_constant() {
    let rows = (0..20).map(|row| {
        let word = if row == 3 { "" } else { "only" };
        format!("{word},{},{row}.5\n", if row == 3 { "1.0000001" } else { "1" })
    });
    let text = format!("word,x,y\n{}", rows.collect::<String>());
    let (prepared, notes) = prepare(&text, "", HeldOut::Share(0.0));
    assert_eq!(prepared.preprocessing.constant_inputs(), [0_usize; 0]);
    assert!(notes.is_empty(), "{notes:?}");
    let record = |word, x| prepared.preprocessing.record(&[word, x]).unwrap();
    assert_eq!([record("only", "1")[0], record("other", "1")[0]], [1.0, 0.0]);
    assert_ne!(record("only", "1")[1], record("only", "1.0000001")[1]);
}

/// A fold without the only row of a category leaves its weights unchanged.
#[test]
fn a_category_of_held_out_rows_alone_counts_as_unknown() {
    let rows = (0..20).map(|row| {
        let word = if row == 7 { "rare" } else { ["up", "down"][row % 2] };
        format!("{word},{row},{row}.5\n")
    });
    let text = format!("word,x,y\n{}", rows.collect::<String>());
    let mut folds_without = 0;
    for fold in 0..4 {
        let (prepared, notes) = prepare(&text, "", HeldOut::Fold(fold, 4));
        let fitted = prepared.preprocessing;
        let [rare, unknown] = ["rare", "never"].map(|word| fitted.record(&[word, "3"]).unwrap());
        let is_noted = notes
            == ["categories in no training row, which the model treats as unknown: \
                                  \"rare\" of \"word\""];
        assert_eq!(rare == unknown, is_noted, "{notes:?}");
        assert_eq!(fitted.constant_inputs().len(), usize::from(is_noted));
        folds_without += u32::from(is_noted);
    }
    assert_eq!(folds_without, 1);
}

#[test]
fn images_have_constant_pixels() {
    let data = Data::read(&options(""), &mut Vec::new()).unwrap();
    let prepared = data.prepare(HeldOut::Share(0.2), ROOM, &mut Vec::new()).unwrap();
    let fitted = prepared.preprocessing;
    let constant = fitted.constant_inputs();
    assert!(constant.contains(&0), "the first pixel is always white: {constant:?}");
    let mut inputs = Vec::new();
    fitted.apply(&[16.0; 64], &mut inputs);
    for (input, value) in inputs.iter().enumerate() {
        assert_eq!(*value, if constant.contains(&input) { 0.0 } else { 1.0 }, "{input}");
    }
}

#[test]
fn the_weights_of_constant_inputs_are_0_in_the_model() {
    let fitted = prepare(&table(), "", HeldOut::Share(0.0)).0.preprocessing;
    for batch_norm in [true, false] {
        let options = NetworkOptions { batch_norm, ..Default::default() };
        let drawn = Parameters::initialize(&[6, 4, 2], &options).unwrap();
        let mut cleared = drawn.clone();
        fitted.clear_constant(&mut cleared);
        for input in 0..6 {
            let [before, after] =
                [&drawn, &cleared].map(|network| network.layers[0].weights().column(input));
            if input < 3 {
                assert!(after.iter().all(|&weight| weight == 0.0), "input {input}");
            } else {
                assert_eq!(before, after, "input {input}");
            }
        }
        assert_eq!(drawn.layers[1], cleared.layers[1]);
        assert!(matches!(cleared.layers[0], Layer::Normalized { .. }) == batch_norm);
    }
}
