//! ONNX: a graph of operators that other runtimes run.
//!
//! Operators are those of ONNX's set 20, the first with GELU and with regular expressions.

mod categories;
mod message;
mod network;
mod preprocessing;
#[cfg(test)]
mod tests;

use message::{
    Attribute, BOOL, DOUBLE, Dimension, FLOAT, Graph as GraphMessage, INT64, Model, Node,
    OperatorSet, Property, STRING, Shape, Size, Tensor, TensorType, Type, Value,
};
use prost::Message;

pub(crate) use network::append_network;
pub(crate) use preprocessing::{append_answer, append_preprocessing};

/// The operator set, and the version of the format that introduced it.
const OPERATOR_SET: i64 = 20;
const FORMAT: i64 = 9;

/// A graph under construction. A value has the name of the node that computes it.
#[derive(Default)]
pub(crate) struct Graph(GraphMessage);

/// A setting of a node.
pub(crate) enum Setting<'a> {
    Float(f32),
    Integer(i64),
    Text(&'a str),
}

impl Graph {
    /// An input of the graph: a matrix of floats with any number of rows.
    pub(crate) fn input(&mut self, name: &str, columns: usize) -> String {
        self.0.input.push(value(name, FLOAT, Some(columns)));
        name.to_owned()
    }

    /// Makes a value an output of the graph: a matrix of floats with this many columns.
    pub(crate) fn output(&mut self, name: &str, columns: usize) {
        self.0.output.push(value(name, FLOAT, Some(columns)));
    }

    /// As [`input`](Self::input), of doubles.
    pub(crate) fn double_input(&mut self, name: &str, columns: usize) -> String {
        self.0.input.push(value(name, DOUBLE, Some(columns)));
        name.to_owned()
    }

    /// As [`output`](Self::output), of doubles.
    pub(crate) fn double_output(&mut self, name: &str, columns: usize) {
        self.0.output.push(value(name, DOUBLE, Some(columns)));
    }

    /// An input of the graph: a matrix of texts.
    pub(crate) fn text_input(&mut self, name: &str, columns: usize) -> String {
        self.0.input.push(value(name, STRING, Some(columns)));
        name.to_owned()
    }

    /// Makes a value an output of the graph under its own name: a text for each row.
    pub(crate) fn text_output(&mut self, name: &str) {
        self.0.output.push(value(name, STRING, None));
    }

    /// A constant of floats. Returns its name, as do all methods that add a node.
    pub(crate) fn floats(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = f32>,
    ) -> String {
        let raw_data = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.constant(name, shape, Tensor { data_type: FLOAT, raw_data, ..Default::default() })
    }

    /// A constant of doubles.
    pub(crate) fn doubles(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = f64>,
    ) -> String {
        let raw_data = values.into_iter().flat_map(f64::to_le_bytes).collect();
        self.constant(name, shape, Tensor { data_type: DOUBLE, raw_data, ..Default::default() })
    }

    /// A constant of integers.
    pub(crate) fn integers(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = i64>,
    ) -> String {
        let raw_data = values.into_iter().flat_map(i64::to_le_bytes).collect();
        self.constant(name, shape, Tensor { data_type: INT64, raw_data, ..Default::default() })
    }

    /// A constant of truth values.
    pub(crate) fn booleans(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = bool>,
    ) -> String {
        let raw_data = values.into_iter().map(u8::from).collect();
        self.constant(name, shape, Tensor { data_type: BOOL, raw_data, ..Default::default() })
    }

    /// A constant of texts.
    pub(crate) fn texts(&mut self, name: &str, texts: &[String]) -> String {
        let string_data = texts.iter().map(|text| text.clone().into_bytes()).collect();
        let tensor = Tensor { data_type: STRING, string_data, ..Default::default() };
        self.constant(name, &[texts.len()], tensor)
    }

    fn constant(&mut self, name: &str, shape: &[usize], tensor: Tensor) -> String {
        let dims = shape.iter().map(|&size| size as i64).collect();
        self.0.initializer.push(Tensor { dims, name: name.to_owned(), ..tensor });
        name.to_owned()
    }

    pub(crate) fn cast_to_double(&mut self, name: &str, input: &str) -> String {
        self.node(name, "Cast", &[input], &[("to", Setting::Integer(DOUBLE.into()))])
    }

    pub(crate) fn cast_to_float(&mut self, name: &str, input: &str) -> String {
        self.node(name, "Cast", &[input], &[("to", Setting::Integer(FLOAT.into()))])
    }

    /// A node of one output, which has the node's name. Returns that name.
    pub(crate) fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        settings: &[(&str, Setting<'_>)],
    ) -> String {
        self.0.node.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute: settings.iter().map(|(name, setting)| setting.attribute(name)).collect(),
        });
        name.to_owned()
    }

    /// The file, with remarks as its metadata.
    pub(crate) fn into_bytes(mut self, name: &str, remarks: &[(&str, String)]) -> Vec<u8> {
        name.clone_into(&mut self.0.name);
        let property = |(key, value): &(&str, String)| Property {
            key: (*key).to_owned(),
            value: value.clone(),
        };
        Model {
            ir_version: FORMAT,
            opset_import: vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }],
            producer_name: "ztilde".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.0),
            metadata_props: remarks.iter().map(property).collect(),
        }
        .encode_to_vec()
    }
}

impl Setting<'_> {
    fn attribute(&self, name: &str) -> Attribute {
        // The numbers of the kinds in `AttributeProto.AttributeType`.
        let attribute = match *self {
            Self::Float(value) => Attribute { float: Some(value), kind: 1, ..Default::default() },
            Self::Integer(value) => {
                Attribute { integer: Some(value), kind: 2, ..Default::default() }
            }
            Self::Text(text) => {
                Attribute { text: Some(text.as_bytes().to_vec()), kind: 3, ..Default::default() }
            }
        };
        Attribute { name: name.to_owned(), ..attribute }
    }
}

/// A value's type: this many columns, and any number of rows; without columns, one dimension.
fn value(name: &str, element: i32, columns: Option<usize>) -> Value {
    let rows = Dimension { size: Some(Size::Named("rows".to_owned())) };
    let columns = columns.map(|size| Dimension { size: Some(Size::Known(size as i64)) });
    let shape = Shape { dimension: std::iter::once(rows).chain(columns).collect() };
    let tensor = TensorType { element, shape: Some(shape) };
    Value { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}
