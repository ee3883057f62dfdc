//! A table's preprocessing as ONNX operators: from cells to the network's inputs, and from its outputs to
//! classes or values.

use super::{Graph, Setting, categories::append_categories};
use crate::data::{Column, Preprocessing, Target, TargetValues, Values};

/// Appends the operators that compute the network's inputs from the cells of rows. The graph's input
/// `numbers` takes the columns of numbers, in their order; its input `categories` takes the columns of
/// text. Each exists if the table has such columns. A missing number is NaN; a missing category is any
/// other text, such as an empty one.
pub(crate) fn append_preprocessing(graph: &mut Graph, preprocessing: &Preprocessing) -> String {
    let (mut numbers, mut categories) = (Vec::new(), Vec::new());
    for column in &preprocessing.columns {
        match &column.values {
            &Values::Number { shift, scale, fill } => numbers.push((shift, scale, fill)),
            Values::Category(names) => categories.push(names.as_slice()),
        }
    }
    let mut parts = Vec::new();
    if !numbers.is_empty() {
        parts.push(append_numbers(graph, &numbers));
    }
    if !categories.is_empty() {
        parts.extend(append_categories(graph, &categories));
    }
    let joined = match parts.as_slice() {
        [part] => part.clone(),
        parts => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            graph.node("joined", "Concat", &parts, &[("axis", Setting::Integer(1))])
        }
    };
    let ordered = append_order(graph, &preprocessing.columns, numbers.len(), &joined);
    append_constants(graph, preprocessing, &ordered)
}

/// `(number − shift) / scale`, in double precision like the cells: single precision does not have enough
/// digits for Unix seconds.
fn append_numbers(graph: &mut Graph, columns: &[(f64, f64, Option<f64>)]) -> String {
    let numbers = graph.double_input("numbers", columns.len());
    let mut vector = |name: &str, value: fn(&(f64, f64, Option<f64>)) -> f64| {
        graph.doubles(name, &[columns.len()], columns.iter().map(value))
    };
    let shift = vector("numbers.shift", |&(shift, _, _)| shift);
    let scale = vector("numbers.scale", |&(_, scale, _)| scale);
    let fill = vector("numbers.fill", |&(shift, _, fill)| fill.unwrap_or(shift));
    let missing = graph.node("numbers.missing", "IsNaN", &[&numbers], &[]);
    let filled = graph.node("numbers.filled", "Where", &[&missing, &fill, &numbers], &[]);
    let shifted = graph.node("numbers.shifted", "Sub", &[&filled, &shift], &[]);
    let scaled = graph.node("numbers.scaled", "Div", &[&shifted, &scale], &[]);
    graph.cast_to_float("numbers.inputs", &scaled)
}

/// Puts the inputs into the order of the columns, where numbers and categories alternate.
fn append_order(graph: &mut Graph, columns: &[Column], numbers: usize, joined: &str) -> String {
    let (mut next_number, mut next_category) = (0, numbers);
    let mut order = Vec::new();
    for column in columns {
        let (next, count) = match &column.values {
            Values::Number { .. } => (&mut next_number, 1),
            Values::Category(names) => (&mut next_category, names.len()),
        };
        order.extend(*next as i64..(*next + count) as i64);
        *next += count;
    }
    if order.is_sorted() {
        return joined.to_owned();
    }
    let order = graph.integers("order", &[order.len()], order);
    graph.node("ordered", "Gather", &[joined, &order], &[("axis", Setting::Integer(1))])
}

/// Sets inputs that never varied in the training rows to 0.
fn append_constants(graph: &mut Graph, preprocessing: &Preprocessing, inputs: &str) -> String {
    let constant = preprocessing.constant_inputs();
    if constant.is_empty() {
        return inputs.to_owned();
    }
    let count = preprocessing.inputs();
    let is_constant = (0..count).map(|input| constant.contains(&input));
    let is_constant = graph.booleans("constant", &[count], is_constant);
    let zero = graph.floats("constant.input", &[1], [0.0]);
    graph.node("varying", "Where", &[&is_constant, &zero, inputs], &[])
}

/// Appends the outputs of the graph, computed from the network's outputs: `class` and `probabilities`,
/// or `values`.
pub(crate) fn append_answer(graph: &mut Graph, target: &Target, outputs: &str) {
    match &target.values {
        TargetValues::Classes(names) => {
            let axis = [("axis", Setting::Integer(1))];
            let probabilities = graph.node("probabilities", "Softmax", &[outputs], &axis);
            let classes = names.len();
            let settings = [("axis", Setting::Integer(1)), ("keepdims", Setting::Integer(0))];
            let index = graph.node("class.index", "ArgMax", &[outputs], &settings);
            let names = graph.texts("class.names", names);
            let class = graph.node("class", "Gather", &[&names, &index], &[]);
            graph.text_output(&class);
            graph.output(&probabilities, classes);
        }
        &TargetValues::Number { shift, scale } => {
            let scale = graph.doubles("values.scale", &[1], [scale]);
            let shift = graph.doubles("values.shift", &[1], [shift]);
            let outputs = graph.cast_to_double("values.outputs", outputs);
            let scaled = graph.node("values.scaled", "Mul", &[&outputs, &scale], &[]);
            let values = graph.node("values", "Add", &[&scaled, &shift], &[]);
            graph.double_output(&values, 1);
        }
    }
}
