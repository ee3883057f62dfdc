//! `ztilde export`: a trained network as an ONNX model.

use std::path::PathBuf;

use clap::Args;
use ztilde::Parameters;

use crate::{
    data::{Preprocessing, Values},
    failure::Failure,
    model::{self, ModelOptions},
    onnx::{Graph, append_answer, append_network, append_preprocessing},
    output,
};

/// Writes a trained network as an ONNX model
///
/// If `train` wrote the model, the ONNX model takes the cells of a table's rows: `numbers`, a matrix of
/// doubles (NaN for a missing one), and `categories`, a matrix of strings, each if the table has such
/// columns. Cells are passed as numbers: 3 for 3%, 1234.5 for 1,234.50, the days since 1970-01-01 for a date
/// (with a fraction for the time of day), the seconds since midnight for a time of day. The outputs are
/// `class` and `probabilities`, or `values`, which are doubles. The names of the columns are in the metadata
/// of the ONNX model.
///
/// Of another model it takes `inputs` and gives `outputs`, those of the linear output layer. Batch
/// normalization uses the running statistics.
#[derive(Args)]
pub(crate) struct Export {
    /// A model file that `train --model` or PyTorch wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,

    /// Batch normalization folded into weights and biases, rather than as operators of its own
    #[arg(long)]
    fold: bool,

    #[command(flatten)]
    open: ModelOptions,
}

impl Export {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        output::check_writable(&self.onnx)?;
        let (parameters, preprocessing) = model::load(&self.model, &self.open)?;
        let parameters = if self.fold { parameters.folded() } else { parameters };
        output::replace(&self.onnx, &onnx(&parameters, preprocessing.as_ref()))?;
        output::note(&format!("ONNX model written to {}", self.onnx.display()));
        Ok(())
    }
}

/// A network as an ONNX file, with the preprocessing and the postprocessing if they are known.
pub(crate) fn onnx(parameters: &Parameters, preprocessing: Option<&Preprocessing>) -> Vec<u8> {
    let mut graph = Graph::default();
    let Some(preprocessing) = preprocessing else {
        let sizes = parameters.layer_sizes();
        let [inputs, outputs] = [0, sizes.len() - 1].map(|place| sizes[place] as usize);
        let values = graph.input("inputs", inputs);
        let values = append_network(&mut graph, parameters, &values);
        let values = graph.node("outputs", "Identity", &[&values], &[]);
        graph.output(&values, outputs);
        return graph.into_bytes("ztilde", &[]);
    };
    let inputs = append_preprocessing(&mut graph, preprocessing);
    let outputs = append_network(&mut graph, parameters, &inputs);
    append_answer(&mut graph, &preprocessing.target, &outputs);
    graph.into_bytes("ztilde", &columns(preprocessing))
}

/// The names of the graph's input columns and of its target column, as JSON.
fn columns(preprocessing: &Preprocessing) -> Vec<(&'static str, String)> {
    let names = |of_numbers: bool| {
        let columns = preprocessing.columns.iter();
        let columns = columns
            .filter(|column| matches!(column.values, Values::Number { .. }) == of_numbers)
            .map(|column| serde_json::Value::from(column.name.as_str()));
        serde_json::Value::Array(columns.collect()).to_string()
    };
    vec![
        ("numbers", names(true)),
        ("categories", names(false)),
        ("target", preprocessing.target.name.clone()),
    ]
}
