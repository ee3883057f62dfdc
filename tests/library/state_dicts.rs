//! PyTorch's state dictionaries in their usual forms. A form with exactly one meaning is read, with a
//! remark. Any other form is refused, with the name of the tensor.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, serialize};
use ztilde::ndarray::{Array1, array};
use ztilde::{
    Activation, Layer, LoadOptions, Loaded, NetworkOptions, Parameters, Result, Snapshot,
};

use crate::fixtures::comparisons::assert_refused;
use crate::fixtures::pytorch_file::{PYTORCH, Tensor, Tensors, tensors};

impl Tensor {
    fn floats(&self) -> Vec<f32> {
        assert_eq!(self.0, Dtype::F32);
        self.2.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    /// The same shape with other bytes for each of its floats.
    fn converted<const BYTES: usize>(&self, to: Dtype, bytes: fn(f32) -> [u8; BYTES]) -> Self {
        Self(to, self.1.clone(), self.floats().into_iter().flat_map(bytes).collect())
    }
}

fn floats(values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor(Dtype::F32, vec![values.len()], bytes)
}

/// PyTorch's file with some of its modules renamed.
fn renamed(names: &[(&str, &str)]) -> Tensors {
    let rename = |(name, tensor): (String, Tensor)| {
        let (module, leaf) = name.split_once('.').unwrap();
        let found = names.iter().find(|(from, _)| *from == module);
        (format!("{}.{leaf}", found.map_or(module, |(_, to)| to)), tensor)
    };
    tensors(PYTORCH).into_iter().map(rename).collect()
}

/// PyTorch's file without the tensors whose names have this prefix.
fn without(beginnings: &[&str]) -> Tensors {
    let mut tensors = tensors(PYTORCH);
    tensors.retain(|name, _| !beginnings.iter().any(|beginning| name.starts_with(beginning)));
    tensors
}

fn load_with(tensors: &Tensors, options: &LoadOptions) -> Result<Loaded> {
    Parameters::from_bytes_with(&serialize(tensors, None).unwrap(), options)
}

fn load(tensors: &Tensors) -> Result<Loaded> {
    load_with(tensors, &LoadOptions::default())
}

fn activation(activation: Activation) -> LoadOptions {
    LoadOptions { activation: Some(activation), ..Default::default() }
}

/// The parameters of PyTorch's unchanged file.
fn original() -> Parameters {
    Parameters::from_bytes(PYTORCH).unwrap()
}

#[track_caller]
fn assert_remarked(loaded: &Loaded, words: &[&str]) {
    let is_in = |remark: &String| words.iter().all(|word| remark.contains(word));
    assert!(loaded.remarks.iter().any(is_in), "no {words:?} in {:?}", loaded.remarks);
}

/// Checks that the file is read like the original, with a remark that contains these words.
#[track_caller]
fn assert_same(tensors: &Tensors, words: &[&str]) {
    let loaded = load(tensors).unwrap();
    assert_eq!(loaded.parameters, original());
    assert_remarked(&loaded, words);
}

#[test]
fn what_the_file_does_not_say_is_an_option_and_a_remark() {
    let loaded = load(&tensors(PYTORCH)).unwrap();
    let assumed = "assumed, as the file does not say it: the activation relu, the epsilon 1e-5, the \
                   momentum 0.1";
    assert_eq!(loaded.remarks, [assumed]);
    let options = LoadOptions {
        activation: Some(Activation::Silu),
        epsilon: Some(1e-3),
        momentum: Some(0.25),
    };
    let loaded = load_with(&tensors(PYTORCH), &options).unwrap();
    assert_eq!(loaded.remarks, [""; 0]);
    let Parameters { activation: found, epsilon, momentum, .. } = loaded.parameters;
    assert_eq!((found, epsilon, momentum), (Activation::Silu, 1e-3, 0.25));
    let nonsense = LoadOptions { epsilon: Some(-1.0), ..Default::default() };
    assert_refused(load_with(&tensors(PYTORCH), &nonsense), &["epsilon", "-1"]);

    // A file that ztilde wrote contains all three options, and needs no remark.
    let own = Parameters { activation: Activation::Tanh, ..original() }.to_bytes().unwrap();
    for options in [LoadOptions::default(), activation(Activation::Tanh)] {
        let loaded = Parameters::from_bytes_with(&own, &options).unwrap();
        assert_eq!((loaded.parameters.activation, loaded.remarks.len()), (Activation::Tanh, 0));
    }
    let other = Parameters::from_bytes_with(&own, &activation(Activation::Relu));
    assert_refused(other, &["activation is tanh", "say relu"]);
    let other = LoadOptions { epsilon: Some(1e-3), ..Default::default() };
    assert_refused(Parameters::from_bytes_with(&own, &other), &["epsilon is 0.00001", "say 0.001"]);
}

#[test]
fn a_path_before_the_indices_is_left_out() {
    for prefix in ["module", "_orig_mod", "net", "model.net", "_orig_mod.module.model", "a.0"] {
        let names = ["0", "1", "3", "5"].map(|name| (name, format!("{prefix}.{name}")));
        let names: Vec<_> = names.iter().map(|(from, to)| (*from, to.as_str())).collect();
        assert_same(&renamed(&names), &[&format!("\"{prefix}.\"")]);
    }
    let some = renamed(&[("0", "module.0"), ("1", "module.1")]);
    assert_refused(load(&some), &["module.0.weight", "order"]);
}

#[test]
fn modules_without_tensors_leave_gaps() {
    let gap = "2 modules without tensors stand between 1 and 4";
    assert_same(&renamed(&[("3", "4"), ("5", "6")]), &[gap, "Dropout"]);
    assert_same(&renamed(&[("5", "11")]), &["7 modules without tensors stand between 3 and 11"]);
    // A Flatten is first, and 10 is after 2, unlike in alphabetical order.
    let names = [("0", "1"), ("1", "2"), ("3", "10"), ("5", "12")];
    assert_same(&renamed(&names), &["1 module(s) without tensors stand before 1"]);
}

#[test]
fn blocks_of_a_sequential_follow_each_other() {
    let names = [("0", "0.0"), ("1", "0.1"), ("3", "1.0"), ("5", "2")];
    assert_same(&renamed(&names), &["assumed"]);
    let apart = renamed(&[("0", "0.0"), ("1", "1.0"), ("3", "1.2"), ("5", "1.4")]);
    assert_refused(load(&apart), &["0.0", "1.0", "different blocks"]);
    let inside = renamed(&[("1", "0.1")]);
    assert_refused(load(&inside), &["0.1", "no Sequential"]);
}

#[test]
fn other_types_of_floats_are_converted() {
    let double = |value: f32| f64::from(value).to_le_bytes();
    let brain = |value: f32| ((value.to_bits() >> 16) as u16).to_le_bytes();
    // Drops the excess bits, for numbers around 1.
    let half = |value: f32| {
        let bits = value.to_bits();
        let exponent = ((bits >> 23 & 0xff) as i32 - 127 + 15).clamp(1, 30) as u32;
        ((bits >> 31 << 15 | exponent << 10 | bits >> 13 & 0x3ff) as u16).to_le_bytes()
    };
    let close = |found: &Parameters, relative: f32| {
        let all = |network: &Parameters| -> Vec<f32> {
            let weights = network.layers.iter().flat_map(|layer| layer.weights().iter().copied());
            let Layer::Normalized { batch_norm, .. } = &network.layers[0] else {
                panic!("the first layer is normalized")
            };
            weights.chain(batch_norm.running_var.iter().copied()).collect()
        };
        for (found, expected) in all(found).into_iter().zip(all(&original())) {
            assert!((found - expected).abs() <= relative * expected.abs(), "{found}, {expected}");
        }
    };
    let converted = |to: Dtype| {
        let mut all = tensors(PYTORCH);
        for tensor in all.values_mut().filter(|tensor| tensor.0 == Dtype::F32) {
            *tensor = match to {
                Dtype::F64 => tensor.converted(to, double),
                Dtype::BF16 => tensor.converted(to, brain),
                _ => tensor.converted(to, half),
            };
        }
        let loaded = load(&all).unwrap();
        assert_remarked(&loaded, &["9 tensor(s)", &format!("type {to} "), "F32"]);
        loaded.parameters
    };
    assert_eq!(converted(Dtype::F64), original());
    close(&converted(Dtype::BF16), 1.0 / 128.0);
    close(&converted(Dtype::F16), 1.0 / 1024.0);

    let with = |name: &str, tensor: Tensor| {
        let mut all = tensors(PYTORCH);
        all.insert(name.to_owned(), tensor);
        load(&all)
    };
    let large = [1.0, 1e39].map(f64::to_le_bytes).concat();
    let large = with("5.bias", Tensor(Dtype::F64, vec![2], large));
    assert_refused(large, &["value 1 of 5.bias is 1e39", "F32"]);
    let infinite = Tensor(Dtype::F16, vec![2], vec![0, 0, 0, 0x7c]);
    assert_refused(with("5.bias", infinite), &["value 1 of 5.bias is inf"]);
    let whole = Tensor(Dtype::I8, vec![2], vec![0, 1]);
    assert_refused(with("5.bias", whole), &["5.bias", "I8", "F16"]);
}

#[test]
fn a_bias_before_a_normalization_is_folded_into_the_mean() {
    let biases = array![0.5_f32, -2.0, 1e-3, 7.0];
    let mut with_bias = tensors(PYTORCH);
    with_bias.insert("0.bias".to_owned(), floats(biases.as_slice().unwrap()));
    let loaded = load(&with_bias).unwrap();
    assert_remarked(&loaded, &["0.bias", "subtracted from 1.running_mean"]);
    let mut expected = original();
    let Layer::Normalized { batch_norm, .. } = &mut expected.layers[0] else {
        panic!("the first layer is normalized")
    };
    batch_norm.running_mean -= &biases;
    assert_eq!(loaded.parameters, expected);
    with_bias.insert("0.bias".to_owned(), floats(&[1.0; 3]));
    assert_refused(load(&with_bias), &["0.bias", "[3]", "[4]"]);
}

#[test]
fn tensors_that_options_of_a_module_leave_out_have_their_values() {
    let loaded = load(&without(&["1.weight", "1.bias"])).unwrap();
    assert_remarked(&loaded, &["1.weight and 1.bias", "affine=False", "1 and 0"]);
    let mut expected = original();
    let Layer::Normalized { batch_norm, .. } = &mut expected.layers[0] else {
        panic!("the first layer is normalized")
    };
    (batch_norm.gamma, batch_norm.beta) = (Array1::ones(4), Array1::zeros(4));
    assert_eq!(loaded.parameters, expected);
    for one in ["1.weight", "1.bias"] {
        assert_refused(load(&without(&[one])), &[one, "missing", "[4]"]);
    }

    let loaded = load(&without(&["1.num_batches_tracked"])).unwrap();
    assert_remarked(&loaded, &["1.num_batches_tracked is missing"]);
    let Layer::Normalized { batch_norm, .. } = &loaded.parameters.layers[0] else {
        panic!("the first layer is normalized")
    };
    assert_eq!(batch_norm.batches, 0);

    let loaded = load(&without(&["3.bias", "5.bias"])).unwrap();
    assert_remarked(&loaded, &["3.bias is missing", "bias=False"]);
    for (layer, outputs) in [(1, 3), (2, 2)] {
        let Layer::Linear { biases, .. } = &loaded.parameters.layers[layer] else {
            panic!("layer {layer} is linear")
        };
        assert_eq!(biases, Array1::<f32>::zeros(outputs));
    }
}

#[test]
fn missing_statistics_must_be_measured_first() {
    let learned_alone = without(&["1.running", "1.num"]);
    let advice =
        ["1.weight", "[4]", "1.running_mean", "track_running_stats=True", "measured first"];
    assert_refused(load(&learned_alone), &advice);
    assert_refused(load(&without(&["1.running_var"])), &["1.running_var is missing", "[4]"]);
    assert_refused(load(&without(&["1.running"])), &["1.running_mean is missing"]);
}

#[test]
fn a_normalization_follows_its_linear() {
    let first = renamed(&[("1", "0"), ("0", "1"), ("3", "4"), ("5", "6")]);
    assert_refused(load(&first), &["0.running_mean", "must follow a Linear"]);
    let behind_activation = renamed(&[("1", "2"), ("3", "4"), ("5", "6")]);
    assert_refused(load(&behind_activation), &["between 0 and the batch normalization 2"]);
    let mut last = without(&["3", "5"]);
    assert_refused(load(&last), &["last module, 1,", "linear"]);
    let second: Vec<_> = last.iter().filter(|(name, _)| name.starts_with("1.")).collect();
    let second =
        second.into_iter().map(|(name, tensor)| (name.replace("1.", "2."), tensor.clone()));
    let second: Vec<_> = second.collect();
    last.extend(second);
    assert_refused(load(&last), &["2.running_mean", "after 1"]);
}

#[test]
fn hidden_layers_without_an_index_for_an_activation_ask_for_one() {
    let adjacent = renamed(&[("3", "2"), ("5", "3")]);
    assert_refused(load(&adjacent), &["2 follows 1", "`activation`", "identity"]);
    for known in [Activation::Gelu, Activation::Identity] {
        let loaded = load_with(&adjacent, &activation(known)).unwrap();
        assert_eq!(loaded.parameters, Parameters { activation: known, ..original() });
    }
    let mixed = renamed(&[("3", "2"), ("5", "4")]);
    for options in [LoadOptions::default(), activation(Activation::Relu)] {
        assert_refused(load_with(&mixed, &options), &["between 1 and 2", "the same"]);
    }
    load_with(&mixed, &activation(Activation::Identity)).unwrap();
}

#[test]
fn numbered_attributes_have_an_order_and_other_names_have_none() {
    let options = NetworkOptions { batch_norm: false, ..Default::default() };
    let plain = Parameters::initialize(&[3, 4, 4, 2], &options).unwrap();
    let own = tensors(&plain.to_bytes().unwrap());
    let named = |names: [&str; 3]| -> Tensors {
        let rename = |(name, tensor): (&String, &Tensor)| {
            let (module, leaf) = name.split_once('.').unwrap();
            (format!("{}.{leaf}", names[module.parse::<usize>().unwrap() / 2]), tensor.clone())
        };
        own.iter().map(rename).collect()
    };
    for names in [["fc1", "fc2", "fc10"], ["net.layer0", "net.layer1", "net.layer2"]] {
        assert_refused(load(&named(names)), &[&names[1][..3], "`activation`"]);
        let loaded = load_with(&named(names), &activation(Activation::Relu)).unwrap();
        assert_eq!(loaded.parameters, plain);
        assert_remarked(&loaded, &["order of their numbers"]);
    }
    for names in
        [["in", "hidden", "out"], ["fc1", "fc2", "head"], ["0", "1", "head"], ["0", "01", "2"]]
    {
        assert_refused(load(&named(names)), &["order of the layers"]);
    }
    let normalized = renamed(&[("0", "fc1"), ("1", "bn1"), ("3", "fc2"), ("5", "fc3")]);
    assert_refused(load(&normalized), &["bn1.weight", "Sequential"]);
}

#[test]
fn a_linear_alone_is_a_network() {
    let last = |prefix: &str| -> Tensors {
        let all = tensors(PYTORCH).into_iter().filter(|(name, _)| name.starts_with("5."));
        all.map(|(name, tensor)| (name.replace("5.", prefix), tensor)).collect()
    };
    for prefix in ["", "0.", "module.fc.", "4."] {
        let loaded = load(&last(prefix)).unwrap();
        assert_eq!(loaded.parameters.layers[..], original().layers[2..]);
        assert!(loaded.remarks.len() <= 1, "there is nothing to assume: {:?}", loaded.remarks);
    }
}

#[test]
fn modules_of_other_kinds_are_named() {
    let with = |name: &str, shape: &[usize]| {
        let mut all = tensors(PYTORCH);
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        all.insert(name.to_owned(), Tensor(Dtype::F32, shape.to_vec(), bytes));
        load(&all)
    };
    assert_refused(with("0.weight", &[4, 3, 1, 1]), &["0.weight", "[4, 3, 1, 1]", "matrix"]);
    assert_refused(with("0.weight_orig", &[4, 3]), &["0.weight_orig", "BatchNorm1d"]);
    assert_refused(
        with("5.weight", &[2, 7]),
        &["5.weight takes 7 inputs", "3.weight has 3 outputs"],
    );
    assert_refused(load(&Tensors::new()), &["no tensors"]);
    let zip = Parameters::from_bytes(b"PK\x03\x04 a file of torch.save").unwrap_err().to_string();
    assert!(zip.contains("torch.save") && zip.contains("safetensors.torch.save_file"), "{zip}");
}

/// State dictionaries with paths before the indices, and with gaps between them.
#[test]
fn errors_have_the_names_of_the_file() {
    let mut broken = renamed(&[("0", "net.0"), ("1", "net.1"), ("3", "net.4"), ("5", "net.9")]);
    broken.insert("net.9.bias".to_owned(), floats(&[1.0, f32::NAN]));
    assert_refused(load(&broken), &["value 1 of net.9.bias is NaN"]);
    broken.insert("net.9.bias".to_owned(), floats(&[1.0; 3]));
    assert_refused(load(&broken), &["net.9.bias has shape [3]", "[2]"]);
}

/// A restored training has the same bits, so its file is read only in the form that ztilde writes.
#[test]
fn snapshots_are_read_strictly() {
    let snapshot: &[u8] = include_bytes!("../../fuzz/corpus/snapshot/adamw");
    Snapshot::from_bytes(snapshot).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(snapshot).unwrap();
    let mut all = tensors(snapshot);
    all.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let bytes = serialize(&all, metadata.metadata().clone()).unwrap();
    let refused = Snapshot::from_bytes(&bytes).unwrap_err().to_string();
    assert!(refused.contains("num_batches_tracked is missing"), "{refused}");
    Parameters::from_bytes(&bytes).unwrap();
}
