//! The ONNX standard's own tests of its operators, replayed through the public kernels.
//!
//! ```sh
//! scripts/check-onnx-nodes
//! ```
//!
//! The script fetches the files, which are part of the `onnx` package, and passes their folder to this
//! program: one folder per case, with a model of one operator, its inputs, and the expected outputs.
//! Each case of an operator that the library has is replayed, or listed with the reason why it does not
//! apply.

mod case;
mod gpu;
mod message;
mod replay;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use case::Case;
use gpu::Gpu;
use replay::{OPERATORS, Replay, replay};

/// The tolerance: this share of the value, plus this absolute error.
const RELATIVE: f64 = 1e-5;
const ABSOLUTE: f64 = 1e-6;

/// The results of an operator's cases.
#[derive(Default)]
struct Summary {
    passed: u32,
    failed: u32,
    does_not_apply: u32,
    worst: Difference,
}

#[derive(Clone, Copy, Default)]
struct Difference {
    absolute: f64,
    /// The largest error relative to the largest value of the same output.
    relative: f64,
    /// The largest error relative to the tolerance.
    share: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err("which folder? that of the package, onnx/backend/test/data/node".into());
    };
    let gpu = Gpu::new()?;
    println!("on {}\n", gpu.adapter);
    println!("{:<64}{:>10}{:>10}  result", "case", "absolute", "relative");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    folders.sort();
    let mut summaries = BTreeMap::<String, Summary>::new();
    let mut elsewhere = 0;
    for folder in folders.iter().filter(|folder| folder.join("model.onnx").exists()) {
        let nodes = case::nodes(folder)?;
        let is_ours = |operator: &str| OPERATORS.contains(&operator);
        if let [node] = &*nodes
            && is_ours(&node.op_type)
        {
            let summary = summaries.entry(node.op_type.clone()).or_default();
            check(&gpu, folder, node, summary)?;
        } else if let Some(operator) = expanded(folder)?.filter(|operator| is_ours(operator)) {
            let reason = format!("{operator} as {} other operators", nodes.len());
            println!("{:<64}{:>20}  does not apply: {reason}", name(folder), "");
            summaries.entry(operator).or_default().does_not_apply += 1;
        } else if nodes.iter().any(|node| is_ours(&node.op_type)) {
            elsewhere += 1;
        }
    }
    summarize(&summaries)?;
    println!("{elsewhere} more cases, of other operators, are made up of these among others.");
    Ok(())
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The operator that a case composes of other operators: ONNX has such a second case for some operators.
fn expanded(folder: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let name = name(folder);
    let Some((original, _)) = name.split_once("_expanded") else { return Ok(None) };
    let original = folder.with_file_name(original);
    if !original.join("model.onnx").exists() {
        return Ok(None);
    }
    Ok(case::nodes(&original)?.pop().map(|node| node.op_type))
}

/// Replays a case with each set of its data.
fn check(
    gpu: &Gpu,
    folder: &Path,
    node: &message::Node,
    summary: &mut Summary,
) -> Result<(), Box<dyn Error>> {
    let name = name(folder);
    let sets = (0..).map(|index| folder.join(format!("test_data_set_{index}")));
    let sets: Vec<PathBuf> = sets.take_while(|set| set.exists()).collect();
    if sets.is_empty() {
        return Err(format!("{name} has no data").into());
    }
    for data in sets {
        let case = Case::read(node.clone(), &data)?;
        let replays = match replay(gpu, &case).map_err(|error| format!("{name}: {error}"))? {
            Replay::Outputs(replays) => replays,
            Replay::DoesNotApply(reason) => {
                println!("{name:<64}{:>20}  does not apply: {reason}", "");
                summary.does_not_apply += 1;
                continue;
            }
        };
        let mut is_passed = true;
        for (way, outputs) in replays {
            let found = difference(&case, &outputs).map_err(|error| format!("{name}: {error}"))?;
            is_passed &= found.share <= 1.0;
            let title = if way.is_empty() { name.clone() } else { format!("{name}, {way}") };
            let Difference { absolute, relative, share } = found;
            let result = if share <= 1.0 { "passed" } else { "FAILED" };
            println!("{title:<64}{absolute:>10.1e}{relative:>10.1e}  {result}");
            summary.worst = summary.worst.max(found);
        }
        *(if is_passed { &mut summary.passed } else { &mut summary.failed }) += 1;
    }
    Ok(())
}

/// The largest of all outputs.
fn difference(case: &Case, outputs: &[Vec<f32>]) -> Result<Difference, String> {
    let [found, expected] = [outputs.len(), case.outputs.len()];
    if found != expected {
        return Err(format!("{found} outputs, but {expected} are to be compared"));
    }
    let mut worst = Difference::default();
    for (found, expected) in outputs.iter().zip(&case.outputs) {
        let expected = expected.floats();
        if found.len() != expected.len() || found.is_empty() {
            return Err(format!("{} values, but {} are expected", found.len(), expected.len()));
        }
        let size = |value: &f32| f64::from(value.abs());
        let largest = expected.iter().map(size).fold(f64::MIN_POSITIVE, f64::max);
        for (found, expected) in found.iter().zip(expected) {
            let absolute = (f64::from(*found) - f64::from(*expected)).abs();
            let share = absolute / (RELATIVE * size(expected) + ABSOLUTE);
            worst = worst.max(Difference { absolute, relative: absolute / largest, share });
        }
    }
    Ok(worst)
}

impl Difference {
    /// The maximum, where NaN is larger than any number.
    fn max(self, other: Self) -> Self {
        let worse = |one: f64, other: f64| if one.is_nan() || one >= other { one } else { other };
        Self {
            absolute: worse(self.absolute, other.absolute),
            relative: worse(self.relative, other.relative),
            share: worse(self.share, other.share),
        }
    }
}

/// The table, and an error if a case failed or no case of an operator applies.
fn summarize(summaries: &BTreeMap<String, Summary>) -> Result<(), Box<dyn Error>> {
    println!("\n| operator | cases | apply | passed | largest error | of the largest value |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut faults = Vec::new();
    for operator in OPERATORS {
        let Some(summary) = summaries.get(operator) else {
            faults.push(format!("there is no case of {operator}"));
            continue;
        };
        let Summary { passed, failed, does_not_apply, worst } = summary;
        let apply = passed + failed;
        let Difference { absolute, relative, .. } = worst;
        let cases = apply + does_not_apply;
        println!("| {operator} | {cases} | {apply} | {passed} | {absolute:.1e} | {relative:.1e} |");
        if *failed > 0 {
            faults.push(format!("{failed} of {operator}'s cases failed"));
        } else if apply == 0 {
            faults.push(format!("no case of {operator} applies"));
        }
    }
    println!("\nThe tolerance is {RELATIVE:.0e} of the value plus {ABSOLUTE:.0e}.");
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ").into()) }
}
