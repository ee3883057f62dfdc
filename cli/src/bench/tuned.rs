//! `ztilde bench --tune`: the ways to compute a network's layers, measured.

use std::time::Instant;

use serde::Serialize;
use ztilde::{TunedChoice, Tuning, block_on};

use super::{Run, subject::Case};
use crate::{adapter::Description, failure::Failure};

/// The object of a network in the output of `--json`.
#[derive(Serialize)]
struct Tuned<'a> {
    tool: &'static str,
    version: &'static str,
    adapter: &'a str,
    backend: &'a str,
    driver: &'a str,
    workload: &'static str,
    mode: &'static str,
    seconds: f64,
    /// The line that `TrainerOptions::tuning` takes.
    tuning: &'a str,
    choices: Vec<Choice<'a>>,
}

/// A way to compute a layer, and the way of the plan before it was measured.
#[derive(Serialize)]
struct Choice<'a> {
    layer: usize,
    way: &'a str,
    before: &'a str,
    /// `null` if it was dropped.
    microseconds: Option<f64>,
    microseconds_before: Option<f64>,
    taken: bool,
    error: Option<&'a str>,
}

impl<'a> From<&'a TunedChoice> for Choice<'a> {
    fn from(choice: &'a TunedChoice) -> Self {
        let microseconds = choice.microseconds();
        Self {
            layer: choice.layer(),
            way: choice.way(),
            before: choice.before(),
            microseconds: microseconds.map(|[own, _]| own),
            microseconds_before: microseconds.map(|[_, before]| before),
            taken: choice.is_taken(),
            error: choice.error(),
        }
    }
}

impl Choice<'_> {
    /// `  layer 2  64 × 32; weights with the layer: 12.3 µs instead of 15.0 µs, taken`
    fn line(&self) -> String {
        let Self { layer, way, microseconds, microseconds_before, taken, error, .. } = self;
        let result = match (microseconds, microseconds_before, error) {
            (_, _, Some(error)) => (*error).to_owned(),
            (Some(own), Some(before), None) => {
                let taken = if *taken { ", taken" } else { "" };
                format!("{own:.1} µs instead of {before:.1} µs{taken}")
            }
            _ => "not measured".to_owned(),
        };
        format!("  layer {layer}  {way}: {result}")
    }
}

impl Run {
    /// Measures how the network of a case that trains is computed fastest, unless that is known.
    pub(super) fn tune(&mut self, case: &Case) -> Result<(), Failure> {
        let name = case.workload.name;
        self.gpu.wait()?;
        let Some((network, options)) = case.training(&self.gpu, &self.tuning)? else {
            return Ok(());
        };
        if Tuning::is_known(&network, &options) {
            return Ok(());
        }
        self.table.begin(&format!("{name} tune"));
        let start = Instant::now();
        let tuning = block_on(&self.gpu.device, Tuning::measure(&network, &options))?;
        let seconds = start.elapsed().as_secs_f64();
        self.tuning = tuning.added_to(&self.tuning);
        let choices: Vec<Choice<'_>> = tuning.choices().iter().map(Choice::from).collect();
        let taken = choices.iter().filter(|choice| choice.taken).count();
        let all = choices.len();
        self.table
            .line(&format!("{name}: {taken} of {all} other ways are taken; {seconds:.1} s"))?;
        choices.iter().try_for_each(|choice| self.table.line(&choice.line()))?;
        let Description { name: adapter, backend, driver, .. } = &self.adapter;
        self.table.json(&Tuned {
            tool: "ztilde",
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            backend,
            driver,
            workload: name,
            mode: "tune",
            seconds,
            tuning: tuning.text(),
            choices,
        })
    }
}
