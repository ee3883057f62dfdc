//! A row of the table, and its object in the output of `--json`.

use serde::Serialize;

use super::times::Times;
use crate::wording::bytes;

/// One measurement. A value that does not apply, or that the device does not report, is `null`.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) tool: &'static str,
    pub(super) version: &'static str,
    pub(super) adapter: String,
    pub(super) workload: String,
    /// `train`, `infer`, `matmul` or `copy`.
    pub(super) mode: &'static str,
    pub(super) variant: &'static str,
    pub(super) opt: Option<String>,
    /// Milliseconds per step, over the repetitions.
    pub(super) ms_median: f64,
    pub(super) ms_min: f64,
    pub(super) ms_max: f64,
    pub(super) repetitions: usize,
    pub(super) steps_per_repetition: u32,
    pub(super) steps_s: f64,
    pub(super) samples_s: Option<f64>,
    pub(super) gflop_s: Option<f64>,
    /// `gflop_s` relative to the fastest product of the run.
    pub(super) limit_share: Option<f64>,
    /// Gigabytes per second, read and written.
    pub(super) gb_s: Option<f64>,
    pub(super) dispatches: usize,
    /// Milliseconds per step by the GPU's own clock.
    pub(super) gpu_ms: Option<f64>,
    /// Seconds from the start of the process to the end of its very first step, in the row of that step.
    pub(super) first_step_s: Option<f64>,
    /// The most bytes that wgpu's allocator had allocated on the device.
    pub(super) gpu_bytes: Option<u64>,
    pub(super) planned_bytes: Option<u64>,
}

impl Row {
    pub(super) fn new(adapter: &str, workload: String, mode: &'static str, times: &Times) -> Self {
        Self {
            tool: "ztilde",
            version: env!("CARGO_PKG_VERSION"),
            adapter: adapter.to_owned(),
            workload,
            mode,
            variant: "",
            opt: None,
            ms_median: times.median,
            ms_min: times.min,
            ms_max: times.max,
            repetitions: times.repetitions,
            steps_per_repetition: times.steps_per_repetition,
            steps_s: 1e3 / times.median,
            samples_s: None,
            gflop_s: None,
            limit_share: None,
            gb_s: None,
            dispatches: 1,
            gpu_ms: None,
            first_step_s: None,
            gpu_bytes: None,
            planned_bytes: None,
        }
    }

    /// Fills in the operations of a step.
    pub(super) fn set_operations(&mut self, operations: u64) {
        self.gflop_s = Some(operations as f64 / self.ms_median * 1e-6);
    }

    /// Fills in the speed of the fastest product of the run.
    pub(super) fn set_limit(&mut self, gflop_s: f64) {
        self.limit_share = self.gflop_s.map(|own| own / gflop_s);
    }

    /// The head of the table whose rows [`Row::line`] makes.
    pub(super) fn head() -> String {
        format!(
            "{:<14}  {:<6}  {:<16}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}  {:>8}  {:>8}  {:>10}  \
             {:>9}  {:>9}",
            "workload",
            "mode",
            "with",
            "ms/step",
            "min",
            "max",
            "steps/s",
            "samples/s",
            "GFLOP/s",
            "of limit",
            "dispatches",
            "GPU ms",
            "memory"
        )
    }

    pub(super) fn line(&self) -> String {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        format!(
            "{:<14}  {:<6}  {:<16}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}  {:>8}  {:>8}  {:>10}  \
             {:>9}  {:>9}",
            self.workload,
            self.mode,
            self.opt.as_deref().unwrap_or(self.variant),
            significant(self.ms_median),
            significant(self.ms_min),
            significant(self.ms_max),
            significant(self.steps_s),
            or_dash(self.samples_s.map(significant)),
            or_dash(self.gflop_s.map(significant)),
            or_dash(self.limit_share.map(|share| format!("{:.1} %", 100.0 * share))),
            self.dispatches,
            or_dash(self.gpu_ms.map(significant)),
            or_dash(self.gpu_bytes.map(bytes)),
        )
    }
}

/// Four significant digits, or all digits before the decimal point.
fn significant(value: f64) -> String {
    let before = if value >= 1.0 { value.log10() as usize + 1 } else { 1 };
    format!("{value:.*}", 4_usize.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let times =
            Times { median: 2.0, min: 1.0, max: 1e4, repetitions: 3, steps_per_repetition: 1 };
        let mut row = Row::new("one", "digits".to_owned(), "train", &times);
        row.opt = Some("gradient-descent".to_owned());
        row.gpu_bytes = Some(1023 << 20);
        row.set_operations(4_000_000);
        row.set_limit(8.0);
        row
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(Row::head().chars().count(), row().line().chars().count());
    }

    #[test]
    fn speeds_follow_from_the_median() {
        let row = row();
        assert_eq!(row.steps_s, 500.0);
        assert_eq!(row.gflop_s, Some(2.0));
        assert_eq!(row.limit_share, Some(0.25));
    }

    #[test]
    fn four_digits_count() {
        let cases = [(0.0123, "0.012"), (1.0, "1.000"), (12.345, "12.35"), (12345.6, "12346")];
        for (value, text) in cases {
            assert_eq!(significant(value), text);
        }
    }
}
