//! Profiles a step: each dispatch runs in its own pass, between two timestamps.

use ztilde::kernels::Dispatch;

use super::{gpu::Gpu, times::median};
use crate::failure::Failure;

/// The number of profiled steps, if the seconds of the row allow: at least one.
const STEPS: usize = 20;

/// The time of a dispatch, or of all dispatches of a kernel.
struct Part {
    name: String,
    /// The position of the dispatch in the step, counted from 1; or the number of dispatches.
    number: usize,
    microseconds: f64,
}

/// The tables, line by line: the dispatches by their share, then the kernels. `None` on a device
/// without timestamps.
pub(super) fn profile(
    gpu: &Gpu,
    seconds: f64,
    dispatches: &[Dispatch],
) -> Result<Option<Vec<String>>, Failure> {
    let passes: Vec<&[Dispatch]> = dispatches.chunks(1).collect();
    // Also warms up.
    let Some(first) = gpu.time_passes(&passes)? else { return Ok(None) };
    let step = first.iter().sum::<f64>() * 1e-3;
    let count = ((seconds / step.max(1e-9)) as usize).clamp(1, STEPS);
    let mut steps = Vec::new();
    while steps.len() < count {
        steps.extend(gpu.time_passes(&passes)?);
    }
    let parts = dispatches
        .iter()
        .enumerate()
        .map(|(index, dispatch)| {
            let mut times: Vec<f64> = steps.iter().map(|step| 1e3 * step[index]).collect();
            times.sort_by(f64::total_cmp);
            let microseconds = median(&times);
            Part { name: dispatch.name().to_owned(), number: index + 1, microseconds }
        })
        .collect();
    Ok(Some(describe(parts, steps.len())))
}

fn describe(mut parts: Vec<Part>, steps: usize) -> Vec<String> {
    let total: f64 = parts.iter().map(|part| part.microseconds).sum();
    let mut lines = vec![format!(
        "{} dispatches, {total:.1} µs together; medians of {steps} steps, each dispatch in a pass \
         of its own",
        parts.len()
    )];
    let mut kernels = kernels(&parts);
    for (head, number, parts) in
        [("dispatch", "number", &mut parts), ("kernel", "dispatches", &mut kernels)]
    {
        // The sort is stable: equals stay in the step's order.
        parts.sort_by(|one, other| other.microseconds.total_cmp(&one.microseconds));
        lines.push(String::new());
        lines.push(format!("  {head:<32}  {number:>10}  {:>10}  {:>7}", "µs", "share"));
        lines.extend(parts.iter().map(|Part { name, number, microseconds }| {
            let percent = 100.0 * microseconds / total.max(f64::MIN_POSITIVE);
            format!("  {name:<32}  {number:>10}  {microseconds:>10.1}  {percent:>5.1} %")
        }));
    }
    lines
}

/// The same times, summed by kernel. The kernel is the last part of a dispatch's name.
fn kernels(parts: &[Part]) -> Vec<Part> {
    let mut kernels: Vec<Part> = Vec::new();
    for part in parts {
        let name = part.name.rsplit('/').next().unwrap_or_default();
        if let Some(kernel) = kernels.iter_mut().find(|kernel| kernel.name == name) {
            kernel.number += 1;
            kernel.microseconds += part.microseconds;
        } else {
            let microseconds = part.microseconds;
            kernels.push(Part { name: name.to_owned(), number: 1, microseconds });
        }
    }
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_sorted_and_summed_by_kernel() {
        let part =
            |name: &str, number, microseconds| Part { name: name.to_owned(), number, microseconds };
        let parts = vec![
            part("layer 1/matmul", 1, 20.0),
            part("loss/loss", 2, 45.0),
            part("layer 2/matmul", 3, 35.0),
        ];
        let lines = describe(parts, 20);
        let words: Vec<_> = lines
            .iter()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            words,
            [
                "",
                "dispatch number µs share",
                "loss/loss 2 45.0 45.0 %",
                "layer 2/matmul 3 35.0 35.0 %",
                "layer 1/matmul 1 20.0 20.0 %",
                "",
                "kernel dispatches µs share",
                "matmul 2 55.0 55.0 %",
                "loss 1 45.0 45.0 %",
            ]
        );
        assert!(lines[0].starts_with("3 dispatches, 100.0 µs together"), "{}", lines[0]);
    }
}
