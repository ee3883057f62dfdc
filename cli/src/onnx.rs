//! ONNX: a graph of operators that other runtimes run.
//!
//! Operators are those of ONNX's set 20, which names GELU.

mod message;
mod network;

use message::{
    Attribute, Dimension, FLOAT, Graph as GraphMessage, INT64, Model, Node, OperatorSet, Property,
    Shape, Size, Tensor, TensorType, Type, Value,
};
use prost::Message;

pub(crate) use network::append_network;

/// The operator set, and the version of the format that brought it.
const OPERATOR_SET: i64 = 20;
const FORMAT: i64 = 9;

/// A graph that is being written. A value has the name of the node that makes it.
#[derive(Default)]
pub(crate) struct Graph(GraphMessage);

/// A setting of a node.
pub(crate) enum Setting {
    Float(f32),
    Integer(i64),
}

impl Graph {
    /// A matrix of floats that whoever runs the graph brings: any number of rows.
    pub(crate) fn input(&mut self, name: &str, columns: usize) -> String {
        self.0.input.push(value(name, FLOAT, Some(columns)));
        name.to_owned()
    }

    /// Gives a value away under its own name: a matrix of floats with so many columns.
    pub(crate) fn output(&mut self, name: &str, columns: usize) {
        self.0.output.push(value(name, FLOAT, Some(columns)));
    }

    /// Gives a value away under its own name: an index for each row.
    pub(crate) fn index_output(&mut self, name: &str) {
        self.0.output.push(value(name, INT64, None));
    }

    /// A constant of floats. Returns its name.
    pub(crate) fn floats(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = f32>,
    ) -> String {
        self.0.initializer.push(Tensor {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data: values.into_iter().flat_map(f32::to_le_bytes).collect(),
        });
        name.to_owned()
    }

    /// A node of one output, which has the node's name. Returns that.
    pub(crate) fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        settings: &[(&str, Setting)],
    ) -> String {
        self.0.node.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute: settings.iter().map(|(name, setting)| setting.attribute(name)).collect(),
            domain: String::new(),
        });
        name.to_owned()
    }

    /// The file, with remarks for whoever reads it.
    pub(crate) fn to_bytes(mut self, name: &str, remarks: &[(&str, String)]) -> Vec<u8> {
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

impl Setting {
    fn attribute(&self, name: &str) -> Attribute {
        // The numbers that `AttributeProto.AttributeType` gives the kinds.
        let (float, integer, kind) = match *self {
            Self::Float(value) => (Some(value), None, 1),
            Self::Integer(value) => (None, Some(value), 2),
        };
        Attribute { name: name.to_owned(), float, integer, kind, ..Default::default() }
    }
}

/// A value's type: so many columns, and as many rows as each run has; without columns, one dimension.
fn value(name: &str, element: i32, columns: Option<usize>) -> Value {
    let rows = Dimension { size: Some(Size::Named("rows".to_owned())) };
    let columns = columns.map(|size| Dimension { size: Some(Size::Known(size as i64)) });
    let shape = Shape { dimension: std::iter::once(rows).chain(columns).collect() };
    let tensor = TensorType { element, shape: Some(shape) };
    Value { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}
