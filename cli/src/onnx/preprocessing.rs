//! A table's preprocessing as ONNX operators: from cells to the network's inputs, and from its outputs to
//! classes or values.

use super::{Graph, STRINGS_DOMAIN, Setting};
use crate::data::{Column, Preprocessing, Target, TargetValues, Values};

/// Appends what makes the network's inputs from the cells of rows. There is an input of the graph,
/// `numbers`, for the columns of numbers, in their order, and one, `categories`, for those of text, if the
/// table has such columns. Missing numbers are NaN, missing categories any text that is none.
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
    append_order(graph, &preprocessing.columns, numbers.len(), &joined)
}

/// `(number − shift) / scale`, in double precision, so that a large shift takes no digits.
fn append_numbers(graph: &mut Graph, columns: &[(f64, f64, Option<f64>)]) -> String {
    let numbers = graph.input("numbers", columns.len());
    let mut vector = |name: &str, value: fn(&(f64, f64, Option<f64>)) -> f64| {
        graph.doubles(name, &[columns.len()], columns.iter().map(value))
    };
    let shift = vector("numbers.shift", |&(shift, _, _)| shift);
    let scale = vector("numbers.scale", |&(_, scale, _)| scale);
    let fill = vector("numbers.fill", |&(shift, _, fill)| fill.unwrap_or(shift));
    let numbers = graph.cast_to_double("numbers.double", &numbers);
    let missing = graph.node("numbers.missing", "IsNaN", &[&numbers], &[]);
    let filled = graph.node("numbers.filled", "Where", &[&missing, &fill, &numbers], &[]);
    let shifted = graph.node("numbers.shifted", "Sub", &[&filled, &shift], &[]);
    let scaled = graph.node("numbers.scaled", "Div", &[&shifted, &scale], &[]);
    graph.cast_to_float("numbers.inputs", &scaled)
}

/// 1 for the category in the cell, 0 for all others.
fn append_categories(graph: &mut Graph, columns: &[&[String]]) -> Vec<String> {
    let categories = graph.text_input("categories", columns.len());
    let mut parts = Vec::with_capacity(columns.len());
    for (place, names) in columns.iter().enumerate() {
        let column = format!("categories.{place}");
        let index = graph.integers(&format!("{column}.index"), &[1], [place as i64]);
        let axis = [("axis", Setting::Integer(1))];
        let cells = graph.node(&format!("{column}.cells"), "Gather", &[&categories, &index], &axis);
        let settings = [
            ("cats_strings", Setting::Strings(names)),
            // A category that is not known is 0 throughout.
            ("zeros", Setting::Integer(1)),
        ];
        let name = format!("{column}.one_hot");
        let one_hot = graph.node_of(STRINGS_DOMAIN, &name, "OneHotEncoder", &[&cells], &settings);
        parts.push(graph.node(&format!("{column}.inputs"), "Flatten", &[&one_hot], &axis));
    }
    parts
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

/// Appends what makes an answer of the network's outputs, and gives it away: `class` and `probabilities`,
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
            let shifted = graph.node("values.shifted", "Add", &[&scaled, &shift], &[]);
            let values = graph.cast_to_float("values", &shifted);
            graph.output(&values, 1);
        }
    }
}
