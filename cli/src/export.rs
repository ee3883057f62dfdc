//! `ztilde export`: a trained network as an ONNX model.

use std::path::PathBuf;

use clap::Args;
use ztilde::Parameters;

use crate::{
    failure::Failure,
    onnx::{Graph, append_network},
    output,
};

/// Writes a trained network as an ONNX model
///
/// The model takes `inputs`, rows of the network's features, and gives `outputs`, those of its linear
/// output layer. Batch normalization uses the running statistics.
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
}

impl Export {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        output::check_writable(&self.onnx)?;
        let parameters = Parameters::load(&self.model)?;
        let parameters = if self.fold { parameters.folded() } else { parameters };
        let sizes = parameters.layer_sizes();
        let [Some(&inputs), Some(&outputs)] = [sizes.first(), sizes.last()] else {
            return Err(Failure::input("the model has no layers"));
        };
        let mut graph = Graph::default();
        let values = graph.input("inputs", inputs as usize);
        let values = append_network(&mut graph, &parameters, &values)?;
        let outputs_name = graph.node("outputs", "Identity", &[&values], &[]);
        graph.output(&outputs_name, outputs as usize);
        output::replace(&self.onnx, &graph.to_bytes("ztilde", &[]))?;
        output::note(&format!("ONNX model written to {}", self.onnx.display()));
        Ok(())
    }
}
