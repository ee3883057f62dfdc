//! The results of the checks: a row for each, and the text for a report.

use std::{env::consts, time::Duration};

use serde::Serialize;
use wgpu::{Adapter, Features};
use ztilde::check::{Check, Comparison, Outcome};

use crate::{adapter::Description, failure::Failure};

/// A longer message is cut off in the table; JSON has it whole.
const LONGEST: usize = 400;

/// The most failures of a check that the table shows.
const SHOWN: usize = 3;

/// All results, as `--json` writes them.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    /// The operating system and the processor.
    system: String,
    adapter: Description,
    /// The smallest and the largest number of invocations in a subgroup.
    subgroup_sizes: [u32; 2],
    /// The optional features that the adapter has.
    features: Vec<&'static str>,
    passed: bool,
    seconds: f64,
    checks: Vec<Row>,
}

/// The result of one check.
#[derive(Serialize)]
pub(super) struct Row {
    subject: &'static str,
    property: &'static str,
    /// Rows and columns of a workgroup's block, for kernels that have several.
    tiling: Option<String>,
    passed: bool,
    /// How many results were compared.
    values: usize,
    /// The largest error relative to its bound; none without a finite error.
    error_of_bound: Option<f64>,
    worst: Option<Worst>,
    failures: Vec<String>,
    seconds: f64,
}

/// The comparison with the largest error relative to its bound. JSON has no NaN: a value that is not finite is
/// `null`.
#[derive(Serialize)]
struct Worst {
    what: String,
    index: usize,
    found: f64,
    expected: f64,
    error: f64,
    bound: f64,
}

impl Report {
    pub(super) fn new(adapter: &Adapter, checks: Vec<Row>, took: Duration) -> Self {
        let info = adapter.get_info();
        let names = [
            (Features::SUBGROUP, "subgroups"),
            (Features::TIMESTAMP_QUERY, "timestamps"),
            (Features::SHADER_F16, "f16"),
        ];
        let features = adapter.features();
        let features = names.into_iter().filter(|&(feature, _)| features.contains(feature));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", consts::OS, consts::ARCH),
            adapter: Description::new(&info),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            features: features.map(|(_, name)| name).collect(),
            passed: checks.iter().all(|row| row.passed),
            seconds: took.as_secs_f64(),
            checks,
        }
    }

    /// An error if a check failed.
    pub(super) fn result(&self) -> Result<(), Failure> {
        if self.passed {
            return Ok(());
        }
        let names: Vec<_> = self.failed().map(Row::name).collect();
        let count = self.checks.len();
        Err(Failure::check(format!(
            "{} of {count} checks failed: {}",
            names.len(),
            names.join("; ")
        )))
    }

    fn failed(&self) -> impl Iterator<Item = &Row> {
        self.checks.iter().filter(|row| !row.passed)
    }

    /// What to report, and where.
    pub(super) fn lines(&self) -> Vec<String> {
        let Description { name, backend, device_type, driver } = &self.adapter;
        let failed = self.failed().count();
        let (count, seconds) = (self.checks.len(), self.seconds);
        let result = match failed {
            0 => format!("{count} checks passed in {seconds:.0} s"),
            _ => format!("{failed} of {count} checks failed in {seconds:.0} s"),
        };
        let why = match failed {
            0 => "All checks passed. Reports of adapters that pass help, too.",
            _ => "Please report the failure.",
        };
        let [least, most] = self.subgroup_sizes;
        let mut features: Vec<_> = self.features.iter().map(|name| (*name).to_owned()).collect();
        if self.features.contains(&"subgroups") {
            features.push(format!("subgroups of {least} to {most}"));
        }
        let mut lines = vec![
            String::new(),
            why.to_owned(),
            "Paste these lines into the project's issue tracker, and attach the file of --json:"
                .to_owned(),
            String::new(),
            format!("  ztilde    {}, {}", self.version, self.system),
            format!("  adapter   {name} ({backend}, {device_type})"),
            format!("  driver    {driver}"),
            format!("  features  {}", features.join(", ")),
            format!("  result    {result}"),
        ];
        for row in self.failed() {
            let worst = row.failures.first().map_or("", |failure| failure.as_str());
            lines.push(format!("  failed    {}: {}", row.name(), shortened(worst)));
        }
        lines
    }
}

impl Row {
    pub(super) fn new(check: &Check, outcome: &Outcome, took: Duration) -> Self {
        let worst = outcome.worst();
        Self {
            subject: check.subject(),
            property: check.property(),
            tiling: check.tiling(),
            passed: outcome.passed(),
            values: outcome.comparisons.iter().map(|comparison| comparison.values).sum(),
            error_of_bound: worst.map(Comparison::of_bound),
            worst: worst.map(Worst::new),
            failures: outcome.failures(),
            seconds: took.as_secs_f64(),
        }
    }

    /// The head of the table whose rows [`Row::lines`] makes.
    pub(super) fn head() -> String {
        format!(
            "{:<20}  {:<21}  {:<9}  {:>9}  {:>8}  {:>7}  result",
            "subject", "property", "tiling", "values", "error", "seconds"
        )
    }

    /// The row of the table, and under it what is wrong.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<20}  {:<21}  {:<9}  {:>9}  {:>8}  {:>7.2}  {}",
            self.subject,
            self.property,
            self.tiling.as_deref().unwrap_or("-"),
            self.values,
            self.error_of_bound.map_or_else(|| "-".to_owned(), share),
            self.seconds,
            if self.passed { "passed" } else { "FAILED" },
        )];
        lines.extend(self.failures.iter().take(SHOWN).map(|why| format!("  {}", shortened(why))));
        let rest = self.failures.len().saturating_sub(SHOWN);
        lines.extend((rest > 0).then(|| format!("  and {rest} more, which --json lists")));
        lines
    }

    /// The check, in words.
    fn name(&self) -> String {
        let tiling = self.tiling.as_ref().map_or_else(String::new, |tiling| format!(", {tiling}"));
        format!("{} ({}{tiling})", self.subject, self.property)
    }
}

impl Worst {
    fn new(comparison: &Comparison) -> Self {
        let Comparison { what, index, found, expected, bound, .. } = comparison.clone();
        Self { what, index, found, expected, error: comparison.error(), bound }
    }
}

/// An error relative to its bound, in few characters.
fn share(of_bound: f64) -> String {
    match of_bound {
        large if large >= 1e4 => format!("{large:.0e}"),
        other => format!("{other:.2}"),
    }
}

/// A message on one line of the table.
fn shortened(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(passed: bool) -> Row {
        let what = "33 × 31 × 10: outputs".to_owned();
        let worst = Worst { what, index: 7, found: 1.5, expected: 1.0, error: 0.5, bound: 1e-3 };
        let failure = format!("{}: 1 of 9 values are off {}", worst.what, "x".repeat(600));
        Row {
            subject: "layer_forward",
            property: "formula in f64",
            tiling: Some("32 × 32".to_owned()),
            passed,
            values: 9,
            error_of_bound: Some(if passed { 0.5 } else { 500.0 }),
            worst: Some(worst),
            failures: if passed { Vec::new() } else { vec![failure; 5] },
            seconds: 0.5,
        }
    }

    fn report(rows: [bool; 2]) -> Report {
        Report {
            version: "0.1.0",
            system: "linux x86_64".to_owned(),
            adapter: Description { name: "a GPU".to_owned(), ..Default::default() },
            subgroup_sizes: [8, 8],
            features: vec!["subgroups"],
            passed: rows == [true; 2],
            seconds: 1.2,
            checks: rows.map(row).into(),
        }
    }

    #[test]
    fn a_failed_check_is_named_with_its_kernel_tiling_shape_and_error() {
        let failed = report([true, false]);
        let failure = failed.result().unwrap_err();
        assert_eq!(
            failure.to_string(),
            "1 of 2 checks failed: layer_forward (formula in f64, 32 × 32)"
        );
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(1));
        let lines = failed.lines();
        let named = lines.iter().any(|line| {
            line.starts_with("  failed    layer_forward (formula in f64, 32 × 32): 33 × 31 × 10")
        });
        assert!(named, "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() < LONGEST + 100), "{lines:#?}");
    }

    #[test]
    fn a_report_of_passed_checks_is_no_failure() {
        let passed = report([true, true]);
        passed.result().unwrap();
        assert!(passed.lines().contains(&"  result    2 checks passed in 1 s".to_owned()));
    }

    #[test]
    fn the_table_is_aligned_and_shows_few_failures() {
        let place = |line: &str, word| line.split(word).next().map(|before| before.chars().count());
        let lines = row(false).lines();
        assert_eq!(place(&Row::head(), "result"), place(&lines[0], "FAILED"));
        assert_eq!(lines.len(), 1 + SHOWN + 1);
        assert_eq!(lines[4], "  and 2 more, which --json lists");
        assert_eq!(row(true).lines().len(), 1);
    }

    #[test]
    fn an_error_without_end_is_null_in_json() {
        let row = Row { error_of_bound: Some(f64::INFINITY), ..row(false) };
        let json = serde_json::to_value(&row).unwrap();
        assert!(json["error_of_bound"].is_null() && json["passed"] == false, "{json}");
    }
}
