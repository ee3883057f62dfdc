//! The layers of a state dictionary, as PyTorch saves one for a `Sequential`.
//!
//! A file that can be interpreted in exactly one way is read, with a remark on each difference from what
//! [`Parameters::to_bytes`](super::Parameters::to_bytes) writes. Anything else is an error that names the
//! tensor.

use ndarray::{Array1, Array2};

use super::modules::{Kind, Module, between, modules};
use super::tensors::Tensors;
use super::{BatchNorm, Layer};
use crate::error::{Error, Result};
use crate::options::Activation;

/// Reads all tensors. The activation is known if the file or the app names it.
pub(super) fn read_layers(
    tensors: &mut Tensors<'_>,
    known: Option<Activation>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Layer>> {
    let modules = modules(tensors, remarks)?;
    let mut layers = Vec::new();
    let mut adjacent = Vec::new();
    let mut rest = modules.as_slice();
    let mut before: Option<(&Module, usize)> = None;
    while let [module, after @ ..] = rest {
        if let Kind::BatchNorm = module.kind {
            return Err(misplaced(module, before.map(|(before, _)| before)));
        }
        let weights = tensors.matrix(&module.tensor("weight"))?;
        let [outputs, inputs] = weights.dim().into();
        if let Some((before, found)) = before.filter(|&(_, found)| found != inputs) {
            return Err(Error::Architecture(format!(
                "{} takes {inputs} inputs, but {} has {found} outputs",
                module.tensor("weight"),
                before.tensor("weight")
            )));
        }
        let normalization = after.first().filter(|next| matches!(next.kind, Kind::BatchNorm));
        layers.push(match normalization {
            None => linear(tensors, module, weights, remarks)?,
            Some(next) => normalized(tensors, module, next, weights, remarks)?,
        });
        let last = normalization.unwrap_or(module);
        rest = &after[usize::from(normalization.is_some())..];
        if let Some(next) = rest.first() {
            match between(last, next) {
                Some(0) => adjacent.push([&last.name, &next.name]),
                Some(1) | None => {}
                Some(count) => remarks.push(format!(
                    "{count} modules without tensors stand between {} and {}: an activation, and \
                     others that inference leaves out, such as Dropout",
                    last.name, next.name
                )),
            }
        }
        before = Some((last, outputs));
    }
    if let (Some(Layer::Normalized { .. }), Some((last, _))) = (layers.last(), before) {
        return Err(Error::Architecture(format!(
            "the last module, {}, is a batch normalization, but the output layer must be linear",
            last.name
        )));
    }
    check_activations(&adjacent, layers.len() - 1, known)?;
    Ok(layers)
}

/// A batch normalization that follows no `Linear`.
fn misplaced(module: &Module, before: Option<&Module>) -> Error {
    let before = before.map_or("nothing".to_owned(), |before| before.name.clone());
    Error::Model(format!(
        "{} belongs to a batch normalization after {before}, but each must follow a Linear: fold it \
         into the weights of the next Linear, or apply it to the inputs",
        module.tensor("running_mean")
    ))
}

/// Hidden layers all have the same activation.
fn check_activations(
    adjacent: &[[&String; 2]],
    hidden: usize,
    known: Option<Activation>,
) -> Result<()> {
    let Some([left, right]) = adjacent.first() else { return Ok(()) };
    if known == Some(Activation::Identity) || adjacent.len() == hidden && known.is_some() {
        return Ok(());
    }
    Err(Error::Model(if adjacent.len() == hidden {
        format!(
            "{right} follows {left} without an index for an activation. The option `activation` of the \
             load names the one that the model applies between them, or identity for none"
        )
    } else {
        format!(
            "no activation stands between {left} and {right}, but between other layers: the hidden layers \
             of a network must have the same"
        )
    }))
}

fn linear(
    tensors: &mut Tensors<'_>,
    module: &Module,
    weights: Array2<f32>,
    remarks: &mut Vec<String>,
) -> Result<Layer> {
    let outputs = weights.nrows();
    let name = module.tensor("bias");
    let biases = if tensors.has(&name) {
        tensors.vector(&name, outputs)?
    } else {
        remarks.push(format!("{name} is missing, as bias=False leaves it out: it is 0"));
        Array1::zeros(outputs)
    };
    Ok(Layer::Linear { weights, biases })
}

fn normalized(
    tensors: &mut Tensors<'_>,
    linear: &Module,
    module: &Module,
    weights: Array2<f32>,
    remarks: &mut Vec<String>,
) -> Result<Layer> {
    match between(linear, module) {
        Some(0) => {}
        Some(_) => {
            return Err(Error::Model(format!(
                "a module without tensors stands between {} and the batch normalization {}, which must \
                 follow its Linear immediately: an activation comes after it",
                linear.name, module.name
            )));
        }
        None => {
            return Err(Error::Model(format!(
                "{} and the batch normalization {} are in different blocks: an activation may stand \
                 between them",
                linear.name, module.name
            )));
        }
    }
    let outputs = weights.nrows();
    let mut vector = |leaf| tensors.vector(&module.tensor(leaf), outputs);
    let mut running_mean = vector("running_mean")?;
    let running_var = vector("running_var")?;
    let [gamma, beta] = ["weight", "bias"].map(|leaf| module.tensor(leaf));
    let (gamma, beta) = if tensors.has(&gamma) || tensors.has(&beta) {
        (tensors.vector(&gamma, outputs)?, tensors.vector(&beta, outputs)?)
    } else {
        remarks.push(format!(
            "{gamma} and {beta} are missing, as affine=False leaves them out: they are 1 and 0"
        ));
        (Array1::ones(outputs), Array1::zeros(outputs))
    };
    let count = module.tensor("num_batches_tracked");
    let batches = if tensors.has(&count) {
        tensors.count(&count)?
    } else {
        remarks.push(format!("{count} is missing: it is 0"));
        0
    };
    let bias = linear.tensor("bias");
    if tensors.has(&bias) {
        let bias_values = tensors.vector(&bias, outputs)?;
        running_mean.zip_mut_with(&bias_values, |mean, bias| *mean -= bias);
        remarks.push(format!(
            "{bias} was subtracted from {}: normalization cancels it",
            module.tensor("running_mean")
        ));
    }
    let batch_norm = BatchNorm { gamma, beta, running_mean, running_var, batches };
    Ok(Layer::Normalized { weights, batch_norm })
}
