//! Model files whose tensors are not those of a network: each is refused with the reason.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, serialize};
use ztilde::{Activation, Parameters, Result};

use crate::fixtures::comparisons::assert_refused;
use crate::fixtures::pytorch_file::{PYTORCH, Tensor, tensors};

fn floats(shape: &[usize], value: f32) -> Tensor {
    let bytes = value.to_le_bytes().repeat(shape.iter().product());
    Tensor(Dtype::F32, shape.to_vec(), bytes)
}

/// PyTorch's file with some of its tensors replaced, added or (by `None`) left out.
fn altered(changes: &[(&str, Option<Tensor>)]) -> Result<Parameters> {
    altered_with(changes, None)
}

fn altered_with(changes: &[(&str, Option<Tensor>)], metadata: Option<&str>) -> Result<Parameters> {
    let mut tensors = tensors(PYTORCH);
    for (name, tensor) in changes {
        match tensor {
            Some(tensor) => tensors.insert((*name).to_owned(), tensor.clone()),
            None => tensors.remove(*name),
        };
    }
    let metadata = metadata.map(|text| HashMap::from([("ztilde".to_owned(), text.to_owned())]));
    Parameters::from_bytes(&serialize(&tensors, metadata).unwrap())
}

#[test]
fn tensors_of_other_types_and_shapes_are_refused() {
    altered(&[]).unwrap();
    let bytes = Tensor(Dtype::U8, vec![4, 3], vec![0; 12]);
    assert_refused(altered(&[("0.weight", Some(bytes))]), &["0.weight", "U8", "F32"]);
    let whole = Tensor(Dtype::I64, vec![4], vec![0; 32]);
    assert_refused(altered(&[("1.bias", Some(whole))]), &["1.bias", "I64", "F32"]);
    let count = |dtype, shape: &[usize], number: i64| {
        let bytes = &number.to_le_bytes()[..if dtype == Dtype::I32 { 4 } else { 8 }];
        altered(&[("1.num_batches_tracked", Some(Tensor(dtype, shape.to_vec(), bytes.to_vec())))])
    };
    assert_refused(count(Dtype::I32, &[], 1), &["1.num_batches_tracked", "I32", "I64"]);
    assert_refused(count(Dtype::I64, &[1], 1), &["[1]", "[]"]);
    assert_refused(count(Dtype::I64, &[], -1), &["-1", "at least 0"]);

    assert_refused(altered(&[("0.weight", Some(floats(&[12], 1.0)))]), &["[12]", "matrix"]);
    assert_refused(altered(&[("1.weight", Some(floats(&[5], 1.0)))]), &["[5]", "[4]"]);
    assert_refused(altered(&[("1.running_mean", Some(floats(&[], 1.0)))]), &["[]", "[4]"]);
    assert_refused(altered(&[("5.bias", Some(floats(&[2, 1], 1.0)))]), &["[2, 1]", "[2]"]);
    assert_refused(
        altered(&[("5.weight", Some(floats(&[2, 7], 1.0)))]),
        &["5.weight takes 7 inputs", "3.weight has 3 outputs"],
    );
    assert_refused(altered(&[("0.weight", Some(floats(&[4, 0], 1.0)))]), &["4 × 0"]);
}

#[test]
fn missing_and_unknown_tensors_are_refused() {
    assert_refused(altered(&[("0.weight", None)]), &["1.running_mean", "must follow a Linear"]);
    assert_refused(altered(&[("3.weight", None)]), &["3.weight is missing"]);
    assert_refused(altered(&[("1.running_var", None)]), &["1.running_var is missing"]);
    assert_refused(altered(&[("head.weight", Some(floats(&[1], 1.0)))]), &["head.weight"]);
    let last = [("3.weight", None), ("3.bias", None), ("5.weight", None), ("5.bias", None)];
    assert_refused(altered(&last), &["last", "linear"]);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let nan = floats(&[2], f32::NAN);
    assert_refused(altered(&[("5.bias", Some(nan))]), &["value 0 of 5.bias", "NaN"]);
    let infinite = floats(&[4, 3], f32::INFINITY);
    assert_refused(altered(&[("0.weight", Some(infinite))]), &["0.weight", "inf"]);
    let negative = floats(&[4], -1.0);
    assert_refused(altered(&[("1.running_var", Some(negative))]), &["1.running_var", "-1"]);
}

#[test]
fn the_metadata_is_read_strictly() {
    let with = |metadata: &str| altered_with(&[], Some(metadata));
    let valid = r#"{"version":2,"activation":"silu","epsilon":1e-3,"momentum":0.25}"#;
    let read = with(valid).unwrap();
    assert_eq!(read.activation, Activation::Silu);
    assert_eq!((read.epsilon, read.momentum), (1e-3, 0.25));
    let first = "version=1 activation=silu epsilon=1e-3 momentum=0.25";
    assert_refused(with(first), &["version 1", "version 2"]);
    let refused: [(_, _, &[&str]); 11] = [
        ("2,", r#"3,"dropout":0.5,"#, &["version 3", "version 2"]),
        ("silu", "swish", &["`swish`", "`relu`"]),
        (r#","momentum":0.25"#, "", &["missing field `momentum`"]),
        ("1e-3", r#""small""#, &["\"small\"", "f32"]),
        ("1e-3", "null", &["null", "f32"]),
        ("1e-3", "NaN", &["its metadata cannot be read"]),
        ("0.25", "1.25", &["momentum", "1.25"]),
        ("0.25", r#"0.25,"dropout":0.5"#, &["unknown field `dropout`"]),
        ("0.25", r#"0.25,"place":{"rows":3}"#, &["unknown field `place`"]),
        ("0.25", r#"0.25,"epsilon":1"#, &["duplicate field `epsilon`"]),
        ("0.25}", "0.25} folded", &["trailing characters"]),
    ];
    for (from, to, words) in refused {
        assert_refused(with(&valid.replacen(from, to, 1)), words);
    }
}
