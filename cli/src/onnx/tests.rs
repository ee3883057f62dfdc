//! Exported files keep the rules of ONNX's own checker. The tests read the files back and follow the
//! type and the shape of every value from the inputs to the outputs.

use std::collections::{HashMap, HashSet};

use prost::Message;
use ztilde::{Activation, NetworkOptions, Parameters};

use super::message::{BOOL, DOUBLE, FLOAT, Graph, INT64, Model, Node, STRING, Size, Tensor, Value};
use crate::{
    data::{Column, Preprocessing, Target, TargetValues, Values},
    export::onnx,
};

mod evaluated;

/// The number of rows in a shape, which each run decides.
const ROWS: i64 = -1;

/// Kinds of attributes, as `AttributeProto.AttributeType` numbers them.
const NUMBER: i32 = 1;
const INTEGER: i32 = 2;
const TEXT: i32 = 3;

/// Name, least and most inputs, and attributes of the operators that are exported, by ONNX's documentation
/// of set 20.
type Operator = (&'static str, usize, usize, &'static [(&'static str, i32)]);
const AXIS: &[(&str, i32)] = &[("axis", INTEGER)];
const OPERATORS: &[Operator] = &[
    ("Add", 2, 2, &[]),
    ("ArgMax", 1, 1, &[("axis", INTEGER), ("keepdims", INTEGER)]),
    ("BatchNormalization", 5, 5, &[("epsilon", NUMBER), ("momentum", NUMBER)]),
    ("Cast", 1, 1, &[("to", INTEGER)]),
    ("Concat", 1, usize::MAX, AXIS),
    ("Div", 2, 2, &[]),
    ("Elu", 1, 1, &[("alpha", NUMBER)]),
    ("Equal", 2, 2, &[]),
    ("Gather", 2, 2, AXIS),
    ("Gelu", 1, 1, &[("approximate", TEXT)]),
    ("Gemm", 2, 3, &[("transB", INTEGER)]),
    ("Identity", 1, 1, &[]),
    ("IsNaN", 1, 1, &[]),
    ("LeakyRelu", 1, 1, &[("alpha", NUMBER)]),
    ("Max", 1, usize::MAX, &[]),
    ("Mish", 1, 1, &[]),
    ("Mul", 2, 2, &[]),
    ("ReduceMax", 2, 2, &[("keepdims", INTEGER)]),
    ("RegexFullMatch", 1, 1, &[("pattern", TEXT)]),
    ("Relu", 1, 1, &[]),
    ("Sigmoid", 1, 1, &[]),
    ("Softmax", 1, 1, AXIS),
    ("Softplus", 1, 1, &[]),
    ("Sub", 2, 2, &[]),
    ("Tanh", 1, 1, &[]),
    ("Where", 3, 3, &[]),
];

type Checked<T> = Result<T, String>;

fn ensure(is_so: bool, fault: impl FnOnce() -> String) -> Checked<()> {
    if is_so { Ok(()) } else { Err(fault()) }
}

/// The type of a value's elements, and its shape.
type Kind = (i32, Vec<i64>);

/// Checks a file. Returns its error.
fn check(bytes: &[u8]) -> Checked<()> {
    let model = Model::decode(bytes).map_err(|error| error.to_string())?;
    // Set 20 was introduced with version 9 of the format.
    ensure(model.ir_version == 9, || format!("version {}", model.ir_version))?;
    let sets: HashMap<_, _> =
        model.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect();
    ensure(sets.len() == model.opset_import.len(), || "a domain is there twice".to_owned())?;
    ensure(sets.get("") == Some(&20), || format!("sets {sets:?}"))?;
    let graph = model.graph.ok_or("there is no graph")?;
    ensure(!graph.name.is_empty(), || "the graph has no name".to_owned())?;
    let mut known: HashMap<String, Kind> = HashMap::new();
    for input in &graph.input {
        define(&mut known, &input.name, declared(input)?)?;
    }
    for tensor in &graph.initializer {
        check_data(tensor)?;
        define(&mut known, &tensor.name, (tensor.data_type, tensor.dims.clone()))?;
    }
    let mut used: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        check_node(node)?;
        used.extend(node.input.iter().map(String::as_str));
        let inputs = node.input.iter().map(|name| {
            let kind = known.get(name).cloned();
            kind.ok_or_else(|| format!("{} takes {name}, which nothing made before", node.name))
        });
        let inputs = inputs.collect::<Checked<Vec<_>>>()?;
        let kind =
            infer(node, &inputs).ok_or_else(|| format!("{} cannot take {inputs:?}", node.name))?;
        let [output] = node.output.as_slice() else {
            return Err(format!("{} has outputs {:?}", node.name, node.output));
        };
        define(&mut known, output, kind)?;
    }
    ensure(!graph.output.is_empty(), || "there are no outputs".to_owned())?;
    for output in &graph.output {
        let (found, declared) = (known.get(&output.name), declared(output)?);
        ensure(found == Some(&declared), || {
            format!("{} is declared as {declared:?}, but is {found:?}", output.name)
        })?;
        used.insert(&output.name);
    }
    let unused = known.keys().find(|name| !used.contains(name.as_str()));
    ensure(unused.is_none(), || format!("nothing uses {unused:?}"))
}

fn define(known: &mut HashMap<String, Kind>, name: &str, kind: Kind) -> Checked<()> {
    ensure(!name.is_empty(), || "a value has no name".to_owned())?;
    let before = known.insert(name.to_owned(), kind);
    ensure(before.is_none(), || format!("{name} is defined twice"))
}

/// Whether a constant's bytes are those of its elements.
fn check_data(tensor: &Tensor) -> Checked<()> {
    let elements = tensor.dims.iter().product::<i64>() as usize;
    let needed = match tensor.data_type {
        FLOAT => (4 * elements, 0),
        DOUBLE | INT64 => (8 * elements, 0),
        BOOL => (elements, 0),
        STRING => (0, elements),
        other => return Err(format!("{} has elements of type {other}", tensor.name)),
    };
    let found = (tensor.raw_data.len(), tensor.string_data.len());
    ensure(elements > 0 && found == needed, || {
        format!("{} holds {found:?} bytes and texts, but {needed:?} are needed", tensor.name)
    })
}

/// Whether a node agrees with its operator's documentation.
fn check_node(node: &Node) -> Checked<()> {
    let name = node.op_type.as_str();
    let operator = OPERATORS.iter().find(|operator| operator.0 == name);
    let (_, least, most, attributes) =
        operator.ok_or_else(|| format!("ONNX has no operator {name}"))?;
    let count = node.input.len();
    ensure((*least..=*most).contains(&count), || format!("{name} has {count} inputs"))?;
    let mut names = HashSet::new();
    for attribute in &node.attribute {
        let (name, kind) = (attribute.name.as_str(), attribute.kind);
        let is_known = attributes.contains(&(name, kind)) && names.insert(name);
        ensure(is_known, || format!("{} has {name} of kind {kind}", node.name))?;
        let found = [
            (attribute.float.is_some(), NUMBER),
            (attribute.integer.is_some(), INTEGER),
            (attribute.text.is_some(), TEXT),
        ];
        let is_alone = found.iter().all(|&(is_there, its)| is_there == (its == kind));
        ensure(is_alone, || format!("{name} of {} holds {attribute:?}", node.name))?;
    }
    Ok(())
}

fn declared(value: &Value) -> Checked<Kind> {
    let tensor = value.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let tensor = tensor.ok_or_else(|| format!("{} has no type", value.name))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| format!("{} has no shape", value.name))?;
    let sizes = shape.dimension.iter().map(|dimension| match &dimension.size {
        Some(Size::Known(size)) if *size > 0 => Ok(*size),
        Some(Size::Named(name)) if name == "rows" => Ok(ROWS),
        other => Err(format!("{} has a dimension {other:?}", value.name)),
    });
    Ok((tensor.element, sizes.collect::<Checked<_>>()?))
}

/// The type and shape of a node's output, if the node accepts its inputs.
fn infer(node: &Node, inputs: &[Kind]) -> Option<Kind> {
    let integer = |name: &str| {
        let mut attributes = node.attribute.iter();
        attributes.find(|attribute| attribute.name == name).and_then(|found| found.integer)
    };
    let (element, shape) = inputs[0].clone();
    let columns = shape.get(1).copied();
    let is_matrix = shape.len() == 2 && shape[0] == ROWS;
    match node.op_type.as_str() {
        "Cast" => {
            let to = integer("to")? as i32;
            let is_from_number = [FLOAT, DOUBLE].contains(&element);
            let is_possible = match to {
                FLOAT => is_from_number || element == BOOL,
                DOUBLE => is_from_number || element == STRING,
                _ => false,
            };
            is_possible.then_some((to, shape))
        }
        "RegexFullMatch" => (element == STRING).then_some((BOOL, shape)),
        "Equal" => {
            let fits = element == DOUBLE && inputs[1].0 == DOUBLE;
            fits.then_some((BOOL, broadcast(&shape, &inputs[1].1)?))
        }
        "ReduceMax" => {
            let (axes, count) = &inputs[1];
            let fits = element == FLOAT && is_matrix && *axes == INT64 && *count == [1];
            (fits && integer("keepdims").unwrap_or(1) == 1).then(|| (element, vec![shape[0], 1]))
        }
        "Max" => inputs
            .iter()
            .all(|input| *input == inputs[0] && element == FLOAT)
            .then_some((element, shape)),
        "IsNaN" => [FLOAT, DOUBLE].contains(&element).then_some((BOOL, shape)),
        "Where" => {
            let [_, then, otherwise] = inputs else { return None };
            let whole = broadcast(&broadcast(&shape, &then.1)?, &otherwise.1)?;
            (element == BOOL && then.0 == otherwise.0).then_some((then.0, whole))
        }
        "Add" | "Sub" | "Mul" | "Div" => ([FLOAT, DOUBLE].contains(&element)
            && inputs[1].0 == element)
            .then_some((element, broadcast(&shape, &inputs[1].1)?)),
        "Concat" => {
            let fits = |(other, shape): &Kind| *other == element && shape.len() == 2;
            (integer("axis")? == 1 && is_matrix && inputs.iter().all(fits))
                .then(|| (element, vec![ROWS, inputs.iter().map(|(_, shape)| shape[1]).sum()]))
        }
        "Gather" => {
            let (index, index_shape) = &inputs[1];
            let whole = match integer("axis").unwrap_or(0) {
                0 => [index_shape.as_slice(), &shape[1..]].concat(),
                _ => [&shape[..1], index_shape].concat(),
            };
            (*index == INT64).then_some((element, whole))
        }
        "Gemm" => {
            let [outputs, inputs_of_each] = inputs[1].1[..] else { return None };
            let has_biases = inputs.get(2).is_none_or(|biases| *biases == (FLOAT, vec![outputs]));
            let fits = is_matrix && columns == Some(inputs_of_each) && has_biases;
            (fits && element == FLOAT && inputs[1].0 == FLOAT && integer("transB")? == 1)
                .then_some((FLOAT, vec![ROWS, outputs]))
        }
        "BatchNormalization" => {
            let vector = (element, vec![columns?]);
            (element == FLOAT && inputs[1..].iter().all(|input| *input == vector))
                .then_some((element, shape))
        }
        "ArgMax" => (integer("axis")? == 1 && integer("keepdims")? == 0 && is_matrix)
            .then_some((INT64, vec![ROWS])),
        // All other operators compute one number from each number.
        _ => (element == FLOAT && is_matrix).then_some((element, shape)),
    }
}

/// The shape of an elementwise result: a single row is repeated.
fn broadcast(left: &[i64], right: &[i64]) -> Option<Vec<i64>> {
    let (long, short) = if left.len() >= right.len() { (left, right) } else { (right, left) };
    let mut whole = long.to_vec();
    for (size, &other) in whole.iter_mut().rev().zip(short.iter().rev()) {
        if *size == 1 {
            *size = other;
        } else if ![1, *size].contains(&other) {
            return None;
        }
    }
    Some(whole)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Tables of numbers, of words, and of both in an order that the graph has to restore. One has constant
/// columns.
fn tables() -> [Preprocessing; 7] {
    let number = || Values::Number { shift: 2.5, scale: 0.1, fill: None };
    let words = |count: usize| Values::Category(names(&["a", "b", "c"][..count]));
    let classes = || TargetValues::Classes(names(&["x", "y", "z"]));
    let value = || TargetValues::Number { shift: 1e6, scale: 3.0 };
    let table = |values: Vec<Values>, target: TargetValues| Preprocessing {
        has_header: false,
        width: values.len() + 1,
        target: Target::new("t", Some(values.len() + 1), target),
        missing_words: Default::default(),
        columns: (1..)
            .zip(values)
            .map(|(number, values)| Column::new(format!("c{number}"), number, values))
            .collect(),
    };
    let mixed = || vec![words(2), number(), words(3), number()];
    let codes = Values::Category(names(&["01", "1", "5", "True", "left, or\nright"]));
    let mut constants = table(vec![codes, number(), number(), words(3)], value());
    constants.columns[1].constant = vec![0];
    constants.columns[3].constant = vec![0, 2];
    [
        constants,
        table(vec![number()], value()),
        table(vec![number(), number()], classes()),
        table(vec![words(1)], classes()),
        table(vec![words(3), words(2)], value()),
        table(mixed(), classes()),
        table(mixed(), value()),
    ]
}

/// A network for a table, or for plain numbers.
fn network(table: Option<&Preprocessing>, activation: Activation, batch_norm: bool) -> Parameters {
    let ends = table.map_or((3, 2), |table| (table.inputs() as u32, table.outputs() as u32));
    let options = NetworkOptions { activation, batch_norm, ..Default::default() };
    Parameters::initialize(&[ends.0, 5, 4, ends.1], &options).unwrap()
}

#[test]
fn exported_files_keep_the_rules() {
    let tables = tables();
    for table in tables.iter().map(Some).chain([None]) {
        for activation in Activation::ALL {
            for batch_norm in [true, false] {
                let network = network(table, activation, batch_norm);
                for network in [network.folded(), network] {
                    let found = check(&onnx(&network, table));
                    assert_eq!(found, Ok(()), "{activation:?}, batch norm {batch_norm}, {table:?}");
                }
            }
        }
    }
}

/// Breaks a good file, and checks that the fault is found.
#[track_caller]
fn refused(expected: &str, breaking: impl FnOnce(&mut Model)) {
    let tables = tables();
    let network = network(Some(&tables[5]), Activation::LeakyRelu, true);
    let mut model = Model::decode(&onnx(&network, Some(&tables[5]))[..]).unwrap();
    breaking(&mut model);
    let found = check(&model.encode_to_vec()).expect_err("it is broken");
    assert!(found.contains(expected), "no {expected:?} in: {found}");
}

fn graph(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().unwrap()
}

fn node<'a>(model: &'a mut Model, operator: &str) -> &'a mut Node {
    graph(model).node.iter_mut().find(|node| node.op_type == operator).unwrap()
}

#[test]
fn what_breaks_the_rules_is_found() {
    refused("version 8", |model| model.ir_version = 8);
    refused("sets {", |model| model.opset_import[0].version = 19);
    refused("the graph has no name", |model| graph(model).name.clear());
    refused("which nothing made before", |model| graph(model).node.reverse());
    refused("numbers is defined twice", |model| {
        graph(model).node[0].output = vec!["numbers".to_owned()];
    });
    refused("holds (", |model| graph(model).initializer[0].raw_data.truncate(3));
    refused("holds (", |model| graph(model).initializer[0].dims[0] += 1);
    refused("has no operator Gleu", |model| node(model, "LeakyRelu").op_type = "Gleu".to_owned());
    refused("Gemm has 1 inputs", |model| node(model, "Gemm").input.truncate(1));
    refused("has alfa of kind 1", |model| {
        node(model, "LeakyRelu").attribute[0].name = "alfa".to_owned();
    });
    refused("has alpha of kind 2", |model| node(model, "LeakyRelu").attribute[0].kind = 2);
    refused("alpha of", |model| node(model, "LeakyRelu").attribute[0].float = None);
    refused("cannot take", |model| node(model, "Gemm").input.swap(0, 1));
    refused("cannot take", |model| node(model, "BatchNormalization").input.swap(0, 1));
    refused("cannot take", |model| {
        node(model, "Cast").attribute[0].integer = Some(DOUBLE.into());
    });
    refused("cannot take", |model| node(model, "Concat").attribute[0].integer = Some(0));
    refused("is declared as", |model| {
        let [left, right] = &mut graph(model).output[..] else { panic!("two outputs") };
        std::mem::swap(&mut left.kind, &mut right.kind);
    });
    refused("nothing uses", |model| {
        let unused = Tensor { name: "unused".to_owned(), ..graph(model).initializer[0].clone() };
        graph(model).initializer.push(unused);
    });
}
