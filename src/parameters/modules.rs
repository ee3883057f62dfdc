//! The modules of a state dictionary, in the order of the network.

use std::collections::BTreeMap;

use super::tensors::Tensors;
use crate::error::{Error, Result};

/// The tensors that only `BatchNorm1d` has. `Linear` has the tensors of `LEARNED`, too.
const STATISTICS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];
const LEARNED: [&str; 2] = ["weight", "bias"];

/// A module that has tensors.
pub(super) struct Module {
    /// The path as written in the file; empty for a single module that was saved alone.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Its index in the `Sequential`, preceded by the indices of the blocks around it.
    place: Vec<u64>,
}

pub(super) enum Kind {
    Linear,
    BatchNorm,
}

impl Module {
    /// The full name of one of its tensors.
    pub(super) fn tensor(&self, leaf: &str) -> String {
        join(&self.name, leaf)
    }
}

fn join(module: &str, leaf: &str) -> String {
    if module.is_empty() { leaf.to_owned() } else { format!("{module}.{leaf}") }
}

/// The number of modules without tensors between two modules of the same block.
pub(super) fn between(left: &Module, right: &Module) -> Option<u64> {
    let (left, left_block) = left.place.split_last()?;
    let (right, right_block) = right.place.split_last()?;
    (left_block == right_block).then(|| right - left - 1)
}

/// All modules, sorted by their indices.
pub(super) fn modules(tensors: &Tensors<'_>, remarks: &mut Vec<String>) -> Result<Vec<Module>> {
    let mut leaves: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for tensor in tensors.names() {
        let (module, leaf) = tensor.rsplit_once('.').unwrap_or(("", tensor));
        if !STATISTICS.iter().chain(&LEARNED).any(|known| *known == leaf) {
            return Err(Error::Model(format!(
                "{tensor} belongs to no Linear and no BatchNorm1d, whose tensors are called {} and {}",
                LEARNED.join(", "),
                STATISTICS.join(", ")
            )));
        }
        leaves.entry(module).or_default().push(leaf);
    }
    let names: Vec<&str> = leaves.keys().copied().collect();
    let places = places(&names, remarks)?;
    let mut modules = Vec::with_capacity(names.len());
    for ((name, leaves), place) in leaves.iter().zip(places) {
        let kind = kind(tensors, name, leaves)?;
        modules.push(Module { name: (*name).to_owned(), kind, place });
    }
    modules.sort_by(|left, right| left.place.cmp(&right.place));
    for pair in modules.windows(2) {
        if pair[1].place.starts_with(&pair[0].place) {
            return Err(Error::Model(format!(
                "{} has tensors, and so has {} inside it: it is no Sequential",
                pair[0].name, pair[1].name
            )));
        }
    }
    match modules.first().map(|first| (&first.name, first.place.as_slice())) {
        None => return Err(Error::Model("the file holds no tensors".to_owned())),
        Some((name, &[index])) if index > 0 && modules.len() > 1 => remarks.push(format!(
            "{index} module(s) without tensors stand before {name}: they must leave the inputs as they \
             are, as Flatten does"
        )),
        Some(_) => {}
    }
    Ok(modules)
}

fn kind(tensors: &Tensors<'_>, name: &str, leaves: &[&str]) -> Result<Kind> {
    if STATISTICS.iter().any(|known| leaves.contains(known)) {
        return Ok(Kind::BatchNorm);
    }
    let weight = join(name, "weight");
    let shape = tensors.shape(&weight)?;
    if shape.len() == 2 {
        return Ok(Kind::Linear);
    }
    let advice = if shape.len() == 1 {
        format!(
            ". If it is that of a BatchNorm1d(track_running_stats=False), {} and {} must be measured \
             first: set track_running_stats=True, and run the training rows through the model in training \
             mode. A LayerNorm cannot be loaded",
            join(name, "running_mean"),
            join(name, "running_var")
        )
    } else {
        String::new()
    };
    Err(Error::Model(format!(
        "{weight} has shape {shape:?}, but the weights of a Linear must be a matrix{advice}"
    )))
}

/// The position of each module. The common prefix of all names is the path to the `Sequential`.
fn places(names: &[&str], remarks: &mut Vec<String>) -> Result<Vec<Vec<u64>>> {
    let paths: Vec<Vec<&str>> = names.iter().map(|name| name.split('.').collect()).collect();
    let [first, others @ ..] = paths.as_slice() else { return Ok(Vec::new()) };
    let mut common = first.len() - 1;
    for path in others {
        let equal = first.iter().zip(path).take_while(|(left, right)| left == right).count();
        common = common.min(equal).min(path.len() - 1);
    }
    if common > 0 {
        let prefix = first[..common].join(".");
        remarks.push(format!("all names begin with \"{prefix}.\", the path to the layers"));
    }
    if others.is_empty() {
        return Ok(vec![vec![0]]);
    }
    let parts: Vec<&str> = paths.iter().flat_map(|path| &path[common..]).copied().collect();
    if let Some(ranks) = ranks(&parts).filter(|_| parts.len() == names.len()) {
        remarks.push(format!("{} are taken in the order of their numbers", parts.join(", ")));
        return Ok(ranks.into_iter().map(|rank| vec![rank]).collect());
    }
    let place = |(path, name): (&Vec<&str>, &&str)| {
        let indices = path[common..].iter().map(|part| index(part));
        indices.collect::<Option<_>>().ok_or_else(|| unnumbered(name))
    };
    paths.iter().zip(names).map(place).collect()
}

/// The order of modules such as `fc1`, `fc2`, `fc3`: the same name, followed by a number. The numbers
/// leave no index for activations, so the app must name the activation.
fn ranks(parts: &[&str]) -> Option<Vec<u64>> {
    let stem = |part: &str| part.trim_end_matches(|digit: char| digit.is_ascii_digit()).len();
    let (stem, _) = parts.first()?.split_at(stem(parts[0]));
    let numbers = parts.iter().map(|part| index(part.strip_prefix(stem)?));
    let numbers: Vec<u64> = numbers.collect::<Option<_>>().filter(|_| !stem.is_empty())?;
    let rank = |number: &u64| numbers.iter().filter(|other| *other < number).count() as u64;
    Some(numbers.iter().map(rank).collect())
}

/// A part of a name as an index, if it is written as Python writes integers.
fn index(part: &str) -> Option<u64> {
    // One more than the largest index must be representable, too.
    part.parse().ok().filter(|&index: &u64| index < u64::MAX && index.to_string() == part)
}

fn unnumbered(name: &str) -> Error {
    let tensors = if name.is_empty() { "weight".to_owned() } else { format!("{name}.weight") };
    Error::Model(format!(
        "{tensors} is not numbered as the modules of a Sequential are, so that the order of the layers \
         is unknown: save the state dictionary of a torch.nn.Sequential of the modules"
    ))
}
