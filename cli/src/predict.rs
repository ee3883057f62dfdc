//! `ztilde predict`: the predictions of a saved model for rows.

use std::{
    fmt::{Debug, Write as _},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use csv::Writer;
use ndarray::{Array2, ArrayView1};
use ztilde::Network;

use crate::{
    adapter,
    data::{Preprocessing, Target, Unlabeled, UnlabeledOptions},
    failure::Failure,
    forward,
    model::{self, ModelOptions},
    output::{self, Stream},
};

/// The most numbers passed to the network at once, so that the memory does not depend on the file's
/// length.
const NUMBERS: usize = 1 << 20;

/// Predicts the target of rows with a saved model, as CSV
///
/// Each row gets a line, in the same order. For classes it contains the class and the probability of each
/// class, for numbers the value, in the units of the training rows. The rows are read and scaled as the
/// training rows were, which the model file describes. Notes on stderr count missing values and unknown
/// categories for each column; --strict makes them errors.
///
/// For a model that `train` did not write, each row has as many numbers as the network has inputs, and
/// each line contains the outputs of the linear output layer.
#[derive(Args)]
pub(crate) struct Predict {
    /// A model file that `train --model` or PyTorch wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    #[command(flatten)]
    data: UnlabeledOptions,

    #[command(flatten)]
    open: ModelOptions,

    /// Write to a file, which appears only when it is complete [default: stdout]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Results")]
    output: Option<PathBuf>,
}

impl Predict {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.data.data.is_none() && io::stdin().is_terminal() {
            return Err(Failure::input(
                "there are no rows: name a file after the model, or pipe rows to stdin",
            ));
        }
        self.output.as_deref().map_or(Ok(()), output::check_writable)?;
        let (parameters, preprocessing) = model::load(&self.model, &self.open)?;
        let inputs = parameters.layer_sizes()[0] as usize;
        let open = || Unlabeled::open(&self.data, preprocessing.as_ref(), inputs);
        let is_file = self.data.data.as_deref().is_some_and(Path::is_file);
        if self.data.strict && is_file && self.output.is_none() {
            // Errors must come before any output, because output on stdout cannot be withdrawn.
            open()?.check()?;
        }
        let mut unlabeled = open()?;
        unlabeled.tell_which();
        let (_, device, queue) = adapter::open()?;
        let network = Network::from_parameters(&device, &queue, &parameters)?;
        let answer = Answer::new(preprocessing.as_ref(), network.outputs());
        let at_once = (NUMBERS / inputs.max(network.outputs() as usize)).max(1);

        let mut stream = Stream::new(self.output.as_deref())?;
        let mut text = answer.header()?;
        let (mut rows, mut values) = (0, Vec::new());
        loop {
            values.clear();
            let count = unlabeled.read(at_once, &mut values)?;
            if count > 0 {
                let outputs = forward::outputs(&device, &network, &values)?;
                forward::check_finite(&outputs, rows)?;
                answer.lines(&outputs, &mut text)?;
                rows += count as u64;
            }
            if stream.write(&text)?.is_break() {
                return Ok(());
            }
            if count == 0 {
                break;
            }
            text.clear();
        }
        stream.finish()?;
        unlabeled.notes().iter().for_each(|note| output::note(&format!("note: {note}")));
        if let Some(path) = &self.output {
            output::note(&format!("{rows} predictions written to {}", path.display()));
        }
        Ok(())
    }
}

/// The form of the predictions, one per row.
enum Answer<'a> {
    /// The class, and the probability of each class.
    Class(&'a str, &'a [String]),
    /// The number, in its own units.
    Number(&'a Target),
    /// This many outputs, unchanged.
    Outputs(u32),
}

impl<'a> Answer<'a> {
    fn new(preprocessing: Option<&'a Preprocessing>, outputs: u32) -> Self {
        let Some(Preprocessing { target, .. }) = preprocessing else {
            return Self::Outputs(outputs);
        };
        target.classes().map_or(Self::Number(target), |names| Self::Class(&target.name, names))
    }

    /// The first line.
    fn header(&self) -> Result<Vec<u8>, Failure> {
        let names = match self {
            Self::Class(target, classes) => {
                let probabilities = classes.iter().map(|class| format!("probability of {class}"));
                std::iter::once((*target).to_owned()).chain(probabilities).collect()
            }
            Self::Number(target) => vec![target.name.clone()],
            Self::Outputs(count) => (1..=*count).map(|number| format!("output {number}")).collect(),
        };
        let mut text = Vec::new();
        let mut writer = Writer::from_writer(&mut text);
        writer.write_record(names).and_then(|()| Ok(writer.flush()?)).map_err(unwritten)?;
        drop(writer);
        Ok(text)
    }

    /// Adds a line for each row of outputs.
    fn lines(&self, outputs: &Array2<f32>, text: &mut Vec<u8>) -> Result<(), Failure> {
        let mut writer = Writer::from_writer(text);
        let mut cells = Cells { writer: &mut writer, text: String::new() };
        for outputs in outputs.rows() {
            match self {
                Self::Class(_, classes) => {
                    cells.text(&classes[forward::largest(outputs)])?;
                    softmax(outputs)
                        .try_for_each(|probability| cells.number(probability as f32))?;
                }
                Self::Number(target) => cells.number(in_own_units(target, outputs[0]))?,
                Self::Outputs(_) => outputs.iter().try_for_each(|&output| cells.number(output))?,
            }
            cells.end()?;
        }
        writer.flush().map_err(|error| unwritten(error.into()))
    }
}

/// The lines of the output.
struct Cells<'a, W: Write> {
    writer: &'a mut Writer<W>,
    text: String,
}

impl<W: Write> Cells<'_, W> {
    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.writer.write_field(text).map_err(unwritten)
    }

    /// A number, in the fewest digits that distinguish it from all others of its type.
    fn number(&mut self, number: impl Debug) -> Result<(), Failure> {
        self.text.clear();
        write!(self.text, "{number:?}").expect("a text takes what is written to it");
        self.writer.write_field(&self.text).map_err(unwritten)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.writer.write_record(None::<&[u8]>).map_err(unwritten)
    }
}

fn unwritten(error: csv::Error) -> Failure {
    Failure::input(format!("writing the predictions: {error}"))
}

/// exp(xᵢ) / Σ exp(xⱼ). The largest x is subtracted first, to avoid overflow.
fn softmax(outputs: ArrayView1<'_, f32>) -> impl Iterator<Item = f64> {
    let most = f64::from(outputs[forward::largest(outputs)]);
    let exponential = move |&output: &f32| (f64::from(output) - most).exp();
    let sum: f64 = outputs.iter().map(exponential).sum();
    outputs.into_iter().map(move |output| exponential(output) / sum)
}

/// A value in the units of the table: the one with the fewest digits that maps back to exactly this
/// output.
fn in_own_units(target: &Target, output: f32) -> f64 {
    let value = target.in_own_units(output.into());
    let short = |digits: usize| format!("{value:.digits$e}").parse().ok();
    (5..17).filter_map(short).find(|&short| target.apply(short) as f32 == output).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::TargetValues;

    #[test]
    fn probabilities_add_to_one() {
        let outputs = array![1e30_f32, -3.0, 1e30, f32::MIN];
        let found: Vec<f64> = softmax(outputs.view()).collect();
        assert_eq!(found, [0.5, 0.0, 0.5, 0.0]);
        let found: f64 = softmax(array![0.1_f32, -0.7, 2.5].view()).sum();
        assert!((found - 1.0).abs() < 1e-15, "{found}");
    }

    #[test]
    fn values_have_the_figures_that_their_outputs_have() {
        // A spread too small for single precision next to such a mean.
        for (shift, scale) in [(0.0, 1.0), (152.3, 77.1), (1.7e6, 3.0), (1e-9, 3e-12)] {
            let values = TargetValues::Number { shift, scale };
            let target = Target::new("", None, values);
            for output in [0.0, 1.0, -0.1, 1.0 / 3.0, 12345.678] {
                let value = in_own_units(&target, output);
                let error = (value - (shift + scale * f64::from(output))).abs();
                assert!(error <= 6e-8 * f64::from(output.abs()) * scale + 1e-15 * shift, "{value}");
                let text = format!("{value:?}");
                assert_eq!(target.apply(text.parse().unwrap()) as f32, output, "{shift} {text}");
            }
        }
        let values = TargetValues::Number { shift: 0.0, scale: 1.0 };
        let target = Target::new("", None, values);
        assert_eq!(format!("{:?}", in_own_units(&target, 0.1)), "0.1");
    }

    #[test]
    fn lines_are_csv() {
        let names = ["a \"b\", c".to_owned(), "d".to_owned()];
        let answer = Answer::Class("kind", &names);
        let mut text = answer.header().unwrap();
        answer.lines(&array![[2.0, 2.0], [f32::MIN, 0.0]], &mut text).unwrap();
        let expected = "kind,\"probability of a \"\"b\"\", c\",probability of d\n\
                        \"a \"\"b\"\", c\",0.5,0.5\nd,0.0,1.0\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);

        let mut text = Answer::Outputs(2).header().unwrap();
        let outputs: Array2<f32> = array![[0.1, -1e-20]];
        Answer::Outputs(2).lines(&outputs, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "output 1,output 2\n0.1,-1e-20\n");
    }
}
