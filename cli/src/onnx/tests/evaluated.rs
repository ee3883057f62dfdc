//! Runs exported graphs on cells: a row must become the same inputs as in `predict`, bit for bit.

use std::collections::HashMap;

use regex::Regex;

use super::super::message::{BOOL, DOUBLE, FLOAT, Graph as Message, INT64, Node, STRING, Tensor};
use super::super::{Graph, append_answer, append_preprocessing};
use crate::data::{Column, Form, Preprocessing, Target, TargetValues, Values};

/// A matrix. A single row or column is repeated to match larger matrices.
#[derive(Clone, Debug)]
struct Matrix {
    columns: usize,
    elements: Elements,
}

#[derive(Clone, Debug)]
enum Elements {
    Float(Vec<f32>),
    Double(Vec<f64>),
    Integer(Vec<i64>),
    Text(Vec<String>),
    Truth(Vec<bool>),
}
use Elements::{Double, Float, Integer, Text, Truth};

impl Elements {
    fn len(&self) -> usize {
        match self {
            Float(values) => values.len(),
            Double(values) => values.len(),
            Integer(values) => values.len(),
            Text(values) => values.len(),
            Truth(values) => values.len(),
        }
    }
}

impl Matrix {
    fn rows(&self) -> usize {
        self.elements.len() / self.columns
    }

    fn place(&self, row: usize, column: usize) -> usize {
        row % self.rows() * self.columns + column % self.columns
    }
}

/// The position of each element in the concatenated matrix.
fn places<const COUNT: usize>(of: [&Matrix; COUNT]) -> (usize, Vec<[usize; COUNT]>) {
    let most = |size: fn(&Matrix) -> usize| of.iter().map(|matrix| size(matrix)).max().unwrap();
    let (rows, columns) = (most(Matrix::rows), most(|matrix| matrix.columns));
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    (columns, all.map(|(row, column)| of.map(|matrix| matrix.place(row, column))).collect())
}

fn constant(tensor: &Tensor) -> Matrix {
    fn decode<const BYTES: usize, T>(tensor: &Tensor, from: fn([u8; BYTES]) -> T) -> Vec<T> {
        tensor.raw_data.as_chunks().0.iter().map(|&bytes| from(bytes)).collect()
    }
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let elements = match tensor.data_type {
        FLOAT => Float(decode(tensor, f32::from_le_bytes)),
        DOUBLE => Double(decode(tensor, f64::from_le_bytes)),
        INT64 => Integer(decode(tensor, i64::from_le_bytes)),
        BOOL => Truth(tensor.raw_data.iter().map(|&byte| byte == 1).collect()),
        STRING => Text(tensor.string_data.iter().map(text).collect()),
        other => panic!("a constant of type {other}"),
    };
    Matrix { columns: elements.len(), elements }
}

/// The output of the last node.
fn run(graph: &Message, inputs: HashMap<String, Matrix>) -> Matrix {
    let mut known = inputs;
    known.extend(graph.initializer.iter().map(|tensor| (tensor.name.clone(), constant(tensor))));
    for node in &graph.node {
        let inputs: Vec<&Matrix> = node.input.iter().map(|name| &known[name]).collect();
        let made = apply(node, &inputs);
        known.insert(node.output[0].clone(), made);
    }
    known[&graph.node.last().expect("a node").output[0]].clone()
}

fn apply(node: &Node, inputs: &[&Matrix]) -> Matrix {
    let first = inputs[0];
    let columns = first.columns;
    match (node.op_type.as_str(), &first.elements) {
        ("Cast", elements) => Matrix { columns, elements: cast(elements, node) },
        ("IsNaN", Double(values)) => {
            Matrix { columns, elements: Truth(values.iter().map(|value| value.is_nan()).collect()) }
        }
        ("RegexFullMatch", Text(cells)) => {
            let pattern = node.attribute[0].text.clone().map(String::from_utf8).unwrap().unwrap();
            let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            let matches = cells.iter().map(|cell| pattern.is_match(cell)).collect();
            Matrix { columns, elements: Truth(matches) }
        }
        ("Where", Truth(is_so)) => {
            let (columns, places) = places([first, inputs[1], inputs[2]]);
            fn choose<T: Clone>(
                places: &[[usize; 3]],
                [a, b]: [&[T]; 2],
                is_so: &[bool],
            ) -> Vec<T> {
                let one =
                    |&[at, left, right]: &[usize; 3]| if is_so[at] { &a[left] } else { &b[right] };
                places.iter().map(one).cloned().collect()
            }
            let elements = match (&inputs[1].elements, &inputs[2].elements) {
                (Float(a), Float(b)) => Float(choose(&places, [a, b], is_so)),
                (Double(a), Double(b)) => Double(choose(&places, [a, b], is_so)),
                (Text(a), Text(b)) => Text(choose(&places, [a, b], is_so)),
                other => panic!("Where of {other:?}"),
            };
            Matrix { columns, elements }
        }
        ("Equal", Double(left)) => {
            let (columns, places) = places([first, inputs[1]]);
            let Double(right) = &inputs[1].elements else { panic!("a double and another type") };
            let is_equal = places.iter().map(|&[a, b]| left[a] == right[b]).collect();
            Matrix { columns, elements: Truth(is_equal) }
        }
        ("ReduceMax", Float(values)) => {
            let most = |row: &[f32]| row.iter().copied().fold(f32::MIN, f32::max);
            Matrix { columns: 1, elements: Float(values.chunks(columns).map(most).collect()) }
        }
        ("Add" | "Sub" | "Mul" | "Div" | "Max", elements) => {
            let (columns, places) = places([first, inputs[1]]);
            let name = node.op_type.as_str();
            let in_double = |left: f64, right: f64| match name {
                "Add" => left + right,
                "Sub" => left - right,
                "Mul" => left * right,
                "Div" => left / right,
                _ => left.max(right),
            };
            let elements = match (elements, &inputs[1].elements) {
                (Double(a), Double(b)) => {
                    Double(places.iter().map(|&[l, r]| in_double(a[l], b[r])).collect())
                }
                (Float(a), Float(b)) => {
                    let one = |&[l, r]: &[usize; 2]| in_double(a[l].into(), b[r].into()) as f32;
                    Float(places.iter().map(one).collect())
                }
                other => panic!("{name} of {other:?}"),
            };
            Matrix { columns, elements }
        }
        ("Gather", elements) => {
            let Integer(index) = &inputs[1].elements else { panic!("no index") };
            let all = (0..first.rows())
                .flat_map(|row| index.iter().map(move |&column| row * columns + column as usize));
            let elements = match elements {
                Float(values) => Float(all.map(|place| values[place]).collect()),
                Text(values) => Text(all.map(|place| values[place].clone()).collect()),
                other => panic!("Gather of {other:?}"),
            };
            Matrix { columns: index.len(), elements }
        }
        ("Concat", elements) => {
            let total = inputs.iter().map(|input| input.columns).sum();
            let all = (0..first.rows()).flat_map(|row| {
                let places = inputs.iter().enumerate();
                places.flat_map(move |(at, input)| {
                    (0..input.columns).map(move |column| (at, row * input.columns + column))
                })
            });
            let elements = match elements {
                Float(_) => Float(all.map(|(at, place)| float(inputs[at])[place]).collect()),
                _ => Truth(all.map(|(at, place)| truth(inputs[at])[place]).collect()),
            };
            Matrix { columns: total, elements }
        }
        (other, elements) => panic!("{other} of {elements:?}"),
    }
}

fn float(matrix: &Matrix) -> &[f32] {
    let Float(values) = &matrix.elements else { panic!("no floats: {matrix:?}") };
    values
}

fn truth(matrix: &Matrix) -> &[bool] {
    let Truth(values) = &matrix.elements else { panic!("no truth values: {matrix:?}") };
    values
}

fn cast(elements: &Elements, node: &Node) -> Elements {
    let to = node.attribute[0].integer.unwrap() as i32;
    match (elements, to) {
        (Double(values), FLOAT) => Float(values.iter().map(|&value| value as f32).collect()),
        (Float(values), DOUBLE) => Double(values.iter().map(|&value| value.into()).collect()),
        (Truth(values), FLOAT) => Float(values.iter().map(|&is_so| f32::from(is_so)).collect()),
        (Text(values), DOUBLE) => {
            Double(values.iter().map(|text| text.trim().parse().expect("a number")).collect())
        }
        other => panic!("Cast of {other:?}"),
    }
}

fn table(columns: Vec<(Values, Vec<usize>)>, target: TargetValues) -> Preprocessing {
    let width = columns.len() + 1;
    let columns = (1..).zip(columns).map(|(number, (values, constant))| Column {
        constant,
        ..Column::new(number.to_string(), number, values)
    });
    Preprocessing {
        has_header: false,
        width,
        columns: columns.collect(),
        target: Target::new("target", Some(width), target),
        missing_words: Default::default(),
    }
}

/// Runs the graph on rows of cells, each as text, and compares.
#[track_caller]
fn assert_same(table: &Preprocessing, rows: &[Vec<&str>]) {
    let (mut numbers, mut words) = (Vec::new(), Vec::new());
    for row in rows {
        for (column, cell) in table.columns.iter().zip(row) {
            match column.values {
                Values::Number { .. } => numbers.push(column.encode(*cell).unwrap()),
                Values::Category(_) => words.push((*cell).to_owned()),
            }
        }
    }
    let columns = |count: usize| count / rows.len();
    let inputs = HashMap::from([
        (
            "numbers".to_owned(),
            Matrix { columns: columns(numbers.len()), elements: Double(numbers) },
        ),
        ("categories".to_owned(), Matrix { columns: columns(words.len()), elements: Text(words) }),
    ]);
    let mut graph = Graph::default();
    append_preprocessing(&mut graph, table);
    for input in &graph.0.input {
        let element = input.kind.as_ref().unwrap().tensor.as_ref().unwrap().element;
        assert_eq!(
            element,
            if input.name == "numbers" { DOUBLE } else { STRING },
            "{}",
            input.name
        );
    }
    let found = run(&graph.0, inputs);
    for (row, found) in rows.iter().zip(float(&found).chunks(table.inputs())) {
        let expected = table.record(row).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(found), bits(&expected), "{row:?}: {found:?}, but {expected:?}");
    }
}

const VALUE: TargetValues = TargetValues::Number { shift: 0.0, scale: 1.0 };

#[test]
fn numbers_far_from_0_keep_their_digits() {
    let number = |shift, scale, fill| (Values::Number { shift, scale, fill }, Vec::new());
    let columns = vec![
        number(1_700_000_000.0, 28.9, Some(1_700_000_001.5)),
        number(9_007_199_254_740_992.0, 3.0, None),
        number(1e300, 1e299, None),
        number(1e-300, 3e-301, Some(2e-300)),
        number(0.0, 1.0, None),
    ];
    let table = table(columns, VALUE);
    assert_same(
        &table,
        &[
            vec!["1700000049", "9007199254740993", "2e300", "1.5e-300", "0.1"],
            vec!["1700000049.25", "9007199254740994", "-1e300", "5e-324", "-1e-310"],
            vec!["", "?", "NA", "nan", "null"],
            vec!["1699999951", "0", "1.0000001e300", "0", "16777217"],
        ],
    );
}

/// The graph takes the number of a cell: for a point in time, the days since 1970, with a fraction.
#[test]
fn cells_of_another_form_are_their_numbers() {
    let forms = ["3%", "2024-02-29 06:00:01", "18:30:00", "($1,234.50)"].map(|cell| {
        let form = Form::fitting(cell).swap_remove(0);
        (form, Values::Number { shift: 19_782.0, scale: 0.25, fill: Some(19_782.1) })
    });
    let mut table =
        table(forms.iter().map(|(_, values)| (values.clone(), vec![])).collect(), VALUE);
    for (column, (form, _)) in table.columns.iter_mut().zip(forms) {
        column.reading.form = form;
    }
    assert_same(
        &table,
        &[
            vec!["12.5%", "2024-02-29 06:00:02", "06:30:00", "$7"],
            vec!["-1 %", "1970-01-01 00:00:00", "23:59:59", "($0.10)"],
            vec!["", "NA", "?", "null"],
        ],
    );
}

#[test]
fn texts_are_compared_as_the_reader_of_tables_does() {
    let words = |names: &[&str]| (Values::Category(super::names(names)), Vec::new());
    let columns = vec![
        words(&["a b", "a  b", "left, \"or\"\nright", "red", "ü.*", "ſ"]),
        words(&["False", "True"]),
        words(&["TRUE", "true"]),
        words(&["0.5", "01", "1", "1e1", "20", "x"]),
    ];
    let table = table(columns, VALUE);
    assert_same(
        &table,
        &[
            vec!["red", "True", "true", "20"],
            vec![" red", "TRUE", "TRUE", " 20 "],
            vec!["\tred\r\n", " true ", "True", "20.0"],
            vec!["\u{a0}red\u{3000}\u{85}", "fAlse", "tRUE", "\u{a0}20"],
            vec!["Red", "falſe", "yes", "+20."],
            vec!["a b", "false", "false", "2e1"],
            vec!["a  b", "", "", "01"],
            vec!["a   b", "?", "null", "1"],
            vec!["left, \"or\"\nright", "0", "1", "1.0"],
            vec!["ü.*", "tru", "truee", "10"],
            vec!["üxx", "t rue", "T", ".5"],
            vec!["s", "True\0", "true.", "0x1"],
            vec!["red\nred", "TrueFalse", "", "1e999"],
            vec!["", "NA", "NaN", "nan"],
        ],
    );
}

#[test]
fn constants_make_inputs_of_0() {
    let number =
        |constant| (Values::Number { shift: 2023.0, scale: 1.0, fill: Some(2023.0) }, constant);
    let words = |constant| (Values::Category(super::names(&["a", "b", "c"])), constant);
    let columns = vec![number(vec![0]), words(vec![0, 2]), number(vec![]), words(vec![0, 1, 2])];
    let table = table(columns, VALUE);
    assert_same(
        &table,
        &[
            vec!["2025", "a", "2025", "a"],
            vec!["1e300", "b", "2023", " b"],
            vec!["", "c", "", "?"],
            vec!["-7", "d", "-7", "d"],
        ],
    );
}

/// Near 1.7e9, floats are 128 apart.
#[test]
fn values_far_from_0_keep_their_digits() {
    let values = TargetValues::Number { shift: 1_700_000_000.0, scale: 50.0 };
    let table = table(Vec::new(), values);
    let mut graph = Graph::default();
    append_answer(&mut graph, &table.target, "outputs");
    let given = &graph.0.output[0].kind.as_ref().unwrap().tensor.as_ref().unwrap();
    assert_eq!(given.element, DOUBLE);
    let outputs = vec![0.25_f32, -1.0, 0.1, 3.0];
    let matrix = Matrix { columns: 1, elements: Float(outputs.clone()) };
    let found = run(&graph.0, HashMap::from([("outputs".to_owned(), matrix)]));
    let Double(found) = found.elements else { panic!("{found:?}") };
    let expected: Vec<f64> =
        outputs.iter().map(|&output| table.target.in_own_units(output.into())).collect();
    assert_eq!(found, expected);
}
