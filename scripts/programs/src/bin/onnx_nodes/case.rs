//! A case: one operator, its inputs, and the expected outputs.

use std::error::Error;
use std::fs;
use std::path::Path;

use prost::Message;

use crate::message::{self, FLOAT, INT64, Model, Node};

/// One node, and one set of its inputs and outputs.
pub(crate) struct Case {
    node: Node,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

pub(crate) struct Tensor {
    pub(crate) shape: Vec<u32>,
    pub(crate) values: Values,
}

pub(crate) enum Values {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    /// The number of a type that no kernel supports.
    Others(i32),
}

/// The nodes of a case's model.
pub(crate) fn nodes(folder: &Path) -> Result<Vec<Node>, Box<dyn Error>> {
    let model = Model::decode(&*fs::read(folder.join("model.onnx"))?)?;
    Ok(model.graph.map(|graph| graph.node).unwrap_or_default())
}

impl Case {
    pub(crate) fn read(node: Node, data: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self { node, inputs: read_all(data, "input")?, outputs: read_all(data, "output")? })
    }

    pub(crate) fn operator(&self) -> &str {
        &self.node.op_type
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.float)
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|attribute| attribute.integer)
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        let text = |attribute: &message::Attribute| String::from_utf8_lossy(&attribute.text).into();
        self.attribute(name).map_or(default.to_owned(), text)
    }

    fn attribute(&self, name: &str) -> Option<&message::Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// The reason why no kernel supports the type of an input or an output.
    pub(crate) fn foreign_type(&self) -> Option<String> {
        self.inputs.iter().chain(&self.outputs).find_map(|tensor| match tensor.values {
            Values::Others(number) => {
                Some(format!("elements of ONNX's type {number}, not float32"))
            }
            Values::Floats(_) | Values::Integers(_) => None,
        })
    }
}

impl Tensor {
    /// Empty if the values are integers.
    pub(crate) fn floats(&self) -> &[f32] {
        match &self.values {
            Values::Floats(values) => values,
            Values::Integers(_) | Values::Others(_) => &[],
        }
    }

    /// Empty if the values are floats.
    pub(crate) fn integers(&self) -> &[i64] {
        match &self.values {
            Values::Integers(values) => values,
            Values::Floats(_) | Values::Others(_) => &[],
        }
    }
}

/// `input_0.pb`, `input_1.pb`, …
fn read_all(data: &Path, kind: &str) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let paths = (0..).map(|index| data.join(format!("{kind}_{index}.pb")));
    paths.take_while(|path| path.exists()).map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Result<Tensor, Box<dyn Error>> {
    let tensor = message::Tensor::decode(&*fs::read(path)?)?;
    let message::Tensor { dims, data_type, float_data, int64_data, raw_data } = tensor;
    let shape: Vec<u32> = dims.into_iter().map(u32::try_from).collect::<Result<_, _>>()?;
    let values = match data_type {
        FLOAT if raw_data.is_empty() => Values::Floats(float_data),
        FLOAT => Values::Floats(numbers(&raw_data, f32::from_le_bytes)),
        INT64 if raw_data.is_empty() => Values::Integers(int64_data),
        INT64 => Values::Integers(numbers(&raw_data, i64::from_le_bytes)),
        other => Values::Others(other),
    };
    let count = shape.iter().product::<u32>() as usize;
    let tensor = Tensor { shape, values };
    match tensor.values {
        Values::Others(_) => Ok(tensor),
        _ if tensor.floats().len() + tensor.integers().len() == count => Ok(tensor),
        _ => Err(format!("{}: not the {count} values of its shape", path.display()).into()),
    }
}

fn numbers<const SIZE: usize, T>(bytes: &[u8], number: fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
}
