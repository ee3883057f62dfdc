//! Snapshot files: they keep the whole state, they are model files too, and any bytes may be read.

use std::fs;

use ndarray::Array2;
use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize};
use ztilde::{
    Dataset, Error, Loss, Network, NetworkOptions, OnFault, Optimizer, Parameters, Remainder,
    Schedule, Snapshot, Trainer, TrainerOptions, block_on,
};

use crate::fixtures::comparisons::assert_refused;
use crate::fixtures::test_device;

/// A snapshot after a few steps, in the middle of an epoch, with numbers that inexact decimals would
/// change.
fn snapshot(optimizer: Optimizer, batch_norm: bool, has_data: bool) -> Snapshot {
    let (device, queue) = test_device::device();
    let options = NetworkOptions { batch_norm, ..Default::default() };
    let mut parameters = Parameters::initialize(&[2, 3, 2], &options).unwrap();
    "of cats = and\ndogs".clone_into(&mut parameters.notes);
    let network = Network::from_parameters(&device, &queue, &parameters).unwrap();
    let options = TrainerOptions {
        batch_size: 4,
        loss: if batch_norm { Loss::SoftmaxCrossEntropy } else { Loss::BinaryCrossEntropy },
        optimizer: Optimizer { learning_rate: 0.1 / 3.0, ..optimizer },
        label_smoothing: if batch_norm { 0.1 } else { 0.0 },
        class_weights: batch_norm.then(|| vec![1.0 / 3.0, 1e-30]),
        clip_norm: batch_norm.then_some(1.0 / 7.0),
        remainder: if batch_norm { Remainder::Keep } else { Remainder::Drop },
        seed: u64::MAX,
        on_fault: if batch_norm { OnFault::SkipStep } else { OnFault::Stop },
        // No part of a snapshot.
        tuning: "text".to_owned(),
    };
    let mut trainer = Trainer::new(network, options).unwrap();
    let inputs = Array2::from_shape_fn([14, 2], |(row, column)| ((3 * row + column) as f32).sin());
    let steps = if has_data { 5 } else { 0 };
    let dataset = if batch_norm {
        Dataset::new(inputs, (0..14).map(|row| row % 2).collect::<Vec<u32>>())
    } else {
        Dataset::new(inputs, (0..28).map(|value| (value % 3) as f32 / 2.0).collect::<Vec<f32>>())
    };
    let mut data = trainer.upload(&dataset.unwrap()).unwrap();
    trainer.train(&mut data, steps).unwrap();
    block_on(&device, trainer.snapshot()).unwrap()
}

fn optimizers() -> [Optimizer; 7] {
    let schedules = [
        Schedule::Constant,
        Schedule::Step { every: u64::MAX, factor: 1.0 / 3.0 },
        Schedule::Cosine { steps: 1000, last: 0.1 / 7.0 },
    ];
    let [constant, stepping, falling] = schedules;
    [
        Optimizer { schedule: constant, ..Optimizer::gradient_descent(0.1) },
        Optimizer { schedule: stepping, ..Optimizer::momentum(0.1, 0.9) },
        Optimizer { schedule: falling, ..Optimizer::nesterov(0.1, 1.0 / 3.0) },
        Optimizer {
            schedule: Schedule::OneCycle { steps: 30 },
            warm_up: 7,
            decays_all: true,
            ..Optimizer::rmsprop(0.1)
        },
        Optimizer::adam(0.1),
        Optimizer::adamw(0.1, 1e-300 + 0.1 / 3.0),
        Optimizer::lion(0.1, 1.0 / 3.0),
    ]
}

fn adam() -> Snapshot {
    snapshot(optimizers()[4], true, true)
}

#[test]
fn a_round_trip_keeps_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.safetensors");
    for (number, optimizer) in optimizers().into_iter().enumerate() {
        for has_data in [true, false] {
            let snapshot = snapshot(optimizer, number % 2 == 0, has_data);
            snapshot.save(&path).unwrap();
            let loaded = Snapshot::load(&path).unwrap();
            assert_eq!(loaded, snapshot);
            assert_eq!(loaded.options(), snapshot.options());
            assert_eq!(loaded.to_bytes().unwrap(), fs::read(&path).unwrap());
            assert_eq!(loaded.place().is_some(), has_data);
            // A model file with additional tensors and metadata.
            assert_eq!(Parameters::load(&path).unwrap(), *snapshot.parameters());
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_tensors_have_the_documented_names() {
    let names = |snapshot: &Snapshot| {
        let bytes = snapshot.to_bytes().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.retain(|name| name.starts_with("optimizer."));
        names.sort();
        for name in &names {
            let parameter = name.splitn(3, '.').last().unwrap();
            let [state, parameter] = [name, parameter].map(|name| file.tensor(name).unwrap());
            assert_eq!(state.shape(), parameter.shape(), "{name}");
            assert!(state.data().iter().any(|&byte| byte != 0), "{name} is 0");
        }
        names
    };
    let parameters = ["0.weight", "1.bias", "1.weight", "3.bias", "3.weight"];
    let of = |state: &str| parameters.map(|name| format!("optimizer.{state}.{name}")).to_vec();
    let both = [of("mean_square"), of("velocity")].concat();
    let [velocity, mean_square] = [of("velocity"), of("mean_square")];
    let expected =
        [vec![], velocity.clone(), velocity.clone(), mean_square, both.clone(), both, velocity];
    for (optimizer, expected) in optimizers().into_iter().zip(expected) {
        assert_eq!(names(&snapshot(optimizer, true, true)), expected);
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let bytes = adam().to_bytes().unwrap();
    for length in 0..bytes.len() {
        let found = Snapshot::from_bytes(&bytes[..length]);
        assert!(matches!(found, Err(Error::Model(_))), "{length}: {found:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Snapshot::from_bytes(&longer), Err(Error::Model(_))));
}

/// An accepted file can be written again, and is restored or refused by name.
#[test]
fn a_flipped_bit_never_panics() {
    // Of those with other options, spread over the header.
    const EACH: usize = 25;
    let (device, queue) = test_device::device();
    let snapshot = adam();
    let bytes = snapshot.to_bytes().unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let [mut refused, mut others, mut restored] = [0; 3];
    // All bits of the header, and one of each byte of the values after it.
    let in_header = 0..8 * header;
    let in_values = (header..bytes.len()).map(|byte| 8 * byte + byte % 8);
    for bit in in_header.chain(in_values) {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(found) = Snapshot::from_bytes(&bytes) else {
            refused += 1;
            continue;
        };
        assert_eq!(Snapshot::from_bytes(&found.to_bytes().unwrap()).unwrap(), found);
        // Only the header's numbers could make a trainer that cannot take a step. Each new one compiles kernels.
        if bit / 8 < header && found != snapshot {
            others += 1;
            if others % EACH != 1 {
                continue;
            }
            restored += 1;
            if let Ok(mut trainer) = Trainer::restore(&device, &queue, &found) {
                let rows = trainer.options().batch_size as usize;
                let _ = trainer.step(&vec![0.5; 2 * rows], vec![0; rows]);
            }
        }
    }
    assert!(refused > 1000, "only {refused} flips were refused");
    assert!(restored > 12, "only {restored} of {others} other snapshots");
}

/// The file with other tensors, or another text in its metadata.
fn changed(
    bytes: &[u8],
    change: impl Fn(&str, TensorView<'_>) -> Option<(String, Vec<usize>, Vec<u8>)>,
    text: impl Fn(&str) -> String,
) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .filter_map(|(name, tensor)| {
            let dtype = tensor.dtype();
            change(&name, tensor).map(|(name, shape, data)| (name, dtype, shape, data))
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let metadata = metadata.into_iter().map(|(name, value)| (name, text(&value))).collect();
    serialize(views, Some(metadata)).unwrap()
}

fn same(name: &str, tensor: TensorView<'_>) -> Option<(String, Vec<usize>, Vec<u8>)> {
    Some((name.to_owned(), tensor.shape().to_vec(), tensor.data().to_vec()))
}

#[test]
fn tensors_that_do_not_fit_are_refused_with_both_shapes() {
    let bytes = adam().to_bytes().unwrap();
    let with = |name: &str, shape: &[usize]| {
        let change = |found: &str, tensor: TensorView<'_>| {
            let (name, shape) = (found == name).then(|| (name.to_owned(), shape.to_vec()))?;
            let values: usize = shape.iter().product();
            let data = tensor.data().iter().copied().cycle().take(4 * values).collect();
            Some((name, shape, data))
        };
        changed(
            &bytes,
            |found, tensor| change(found, tensor.clone()).or_else(|| same(found, tensor)),
            str::to_owned,
        )
    };
    for (name, found, needed) in [
        ("optimizer.velocity.0.weight", &[2, 3][..], "[3, 2]"),
        ("optimizer.velocity.1.bias", &[4], "[3]"),
        ("optimizer.mean_square.3.weight", &[6], "[2, 3]"),
        ("optimizer.mean_square.3.bias", &[2, 1], "[2]"),
    ] {
        let shapes = format!("has shape {found:?}, but must have {needed}");
        assert_refused(Snapshot::from_bytes(&with(name, found)), &[name, &shapes]);
    }
    let without = "optimizer.mean_square.1.weight";
    let less = changed(
        &bytes,
        |name, tensor| same(name, tensor).filter(|_| name != without),
        str::to_owned,
    );
    assert_refused(Snapshot::from_bytes(&less), &[without, "missing"]);
    let renamed = |name: &str, tensor: TensorView<'_>| {
        let (name, shape, data) = same(name, tensor)?;
        Some((name.replace("mean_square.1.weight", "mean_square.7.weight"), shape, data))
    };
    assert_refused(
        Snapshot::from_bytes(&changed(&bytes, renamed, str::to_owned)),
        &[without, "missing"],
    );
    // A velocity, which gradient descent does not have.
    let adam = r#"{"adam":{"beta1":0.9,"beta2":0.999,"epsilon":1e-8,"decoupled":false}}"#;
    let other = changed(&bytes, same, |text| text.replace(adam, r#""gradient-descent""#));
    assert_refused(
        Snapshot::from_bytes(&other),
        &["optimizer.mean_square.0.weight belongs to nothing"],
    );
}

#[test]
fn metadata_that_makes_no_sense_is_refused() {
    let bytes = adam().to_bytes().unwrap();
    let with = |from: &str, to: &str| {
        changed(&bytes, same, |text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        })
    };
    let snapshot = r#""snapshot":{"version":2"#;
    for (from, to, parts) in [
        (snapshot, r#""snapshot":{"version":3,"mixing":0.1"#, ["snapshot 3", "snapshot 2"]),
        (snapshot, r#""snapshot":{"mixing":0.1"#, ["missing field", "version"]),
        (r#""steps":5,"#, "", ["missing field", "steps"]),
        (r#""steps":5"#, r#""steps":-5"#, ["-5", "u64"]),
        (
            r#""steps":5"#,
            r#""steps":9223372036854775808"#,
            ["9223372036854775808", "9223372036854775807"],
        ),
        (
            r#""epoch":2"#,
            r#""epoch":9223372036854775808"#,
            ["place.epoch is 9223372036854775808", "9223372036854775807"],
        ),
        (r#""position":1"#, r#""position":6"#, ["place.position is 6", "4 mini-batches"]),
        (r#""rows":14"#, r#""rows":"x""#, ["\"x\"", "u32"]),
        (r#""batch_size":4"#, r#""batch_size":0"#, ["batch_size is 0", "at least 1"]),
        ("[0.33333334,1e-30]", "[1,2,3]", ["class_weights holds 3", "2 are needed"]),
        (r#""softmax-"#, r#""hardmax-"#, ["`hardmax-cross-entropy`", "`mean-squared-error`"]),
        (r#""keep""#, r#""k""#, ["`k`", "`drop`"]),
        (r#""beta1":0.9"#, r#""beta1":1"#, ["beta1 is 1", "below 1"]),
        (r#""beta1":0.9"#, r#""beta1":null"#, ["null", "f64"]),
        (r#"{"adam""#, r#"{"a""#, ["unknown variant `a`", "`adam`"]),
        (r#""constant""#, r#""odd""#, ["`odd`", "`constant`"]),
        (r#""data":"#, r#""data":-"#, ["u64", "metadata"]),
        // Options of a later version, of another method and of another schedule; an incomplete place.
        (r#""seed":"#, r#""mixing":0.1,"seed":"#, ["unknown field `mixing`", "`seed`"]),
        (r#""beta1":"#, r#""momentum":0.9,"beta1":"#, ["unknown field `momentum`", "`beta1`"]),
        (r#""beta1":0.9,"#, "", ["missing field", "beta1"]),
        (r#""constant""#, r#"{"cosine":{"steps":9}}"#, ["missing field", "last"]),
        (r#""constant""#, r#"{"one-cycle":{"steps":9,"last":0}}"#, ["unknown field", "last"]),
        (r#","rows":14"#, "", ["missing field", "rows"]),
    ] {
        assert_refused(Snapshot::from_bytes(&with(from, to)), &parts);
    }
}

/// The place of an app that removed the fingerprint resumes with any data of the same number of rows.
#[test]
fn a_snapshot_without_a_fingerprint_is_read() {
    let snapshot = adam();
    let fingerprint = snapshot.place().unwrap().data().unwrap().to_string();
    let without =
        changed(&snapshot.to_bytes().unwrap(), same, |text| text.replace(&fingerprint, "null"));
    let place = Snapshot::from_bytes(&without).unwrap().place().unwrap();
    assert_eq!(Some(place), snapshot.place().map(ztilde::Place::for_any_data));
    assert_eq!(place.data(), None);
}

/// Version 1 of the metadata was no JSON.
#[test]
fn a_snapshot_of_the_first_version_is_refused_by_its_version() {
    let first = changed(&adam().to_bytes().unwrap(), same, |_| {
        "version=1 activation=relu epsilon=1e-5 momentum=1e-1 snapshot=1 trainer.steps=5".to_owned()
    });
    assert_refused(Snapshot::from_bytes(&first), &["version 1", "version 2"]);
    let model = Parameters::from_bytes(&first).unwrap_err().to_string();
    assert!(model.contains("version 1"), "{model}");
}

/// The training options of a later version do not concern the model in a snapshot.
#[test]
fn a_model_is_read_from_a_snapshot_with_unknown_options() {
    let snapshot = adam();
    let later = changed(&snapshot.to_bytes().unwrap(), same, |text| {
        text.replace(r#""seed":"#, r#""mixing":0.1,"seed":"#)
    });
    assert_refused(Snapshot::from_bytes(&later), &["unknown field `mixing`"]);
    assert_eq!(Parameters::from_bytes(&later).unwrap(), *snapshot.parameters());
}

#[test]
fn a_model_is_not_a_snapshot() {
    let bytes = adam().parameters().to_bytes().unwrap();
    assert_refused(Snapshot::from_bytes(&bytes), &["a model", "not the state of its training"]);
    let pytorch = include_bytes!("../data/pytorch.safetensors");
    assert_refused(Snapshot::from_bytes(pytorch), &["a model", "not the state of its training"]);
}
