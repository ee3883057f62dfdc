//! The text of a tuning: a line of JSON for each shape of a step, on each device.

use serde::{Deserialize, Serialize};
use wgpu::Device;

use crate::plan::StepPlan;

/// A line of the text. It holds for steps of this shape, on this adapter, by this version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    ztilde: String,
    adapter: String,
    driver: String,
    step: String,
    /// How each layer is computed.
    layers: Vec<String>,
}

impl Line {
    fn new(device: &Device, plan: &StepPlan) -> Self {
        let info = device.adapter_info();
        Self {
            ztilde: env!("CARGO_PKG_VERSION").to_owned(),
            adapter: info.name,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            step: plan.shape(),
            layers: plan.choices(),
        }
    }

    fn is_for(&self, other: &Self) -> bool {
        let key = |line: &Self| {
            let Self { ztilde, adapter, driver, step, layers: _ } = line;
            [ztilde, adapter, driver, step].map(String::clone)
        };
        key(self) == key(other)
    }
}

/// The line for a plan, without the end of the line.
pub(super) fn line(device: &Device, plan: &StepPlan) -> String {
    serde_json::to_string(&Line::new(device, plan)).expect("words are JSON")
}

/// The plan that a text has for a step of this plan's shape on this device. Lines that are for other steps,
/// or that cannot be read, are ignored; of several lines for this step, the last one holds.
pub(super) fn known(device: &Device, plan: &StepPlan, text: &str) -> Option<StepPlan> {
    if text.is_empty() {
        return None;
    }
    let own = Line::new(device, plan);
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut known = lines.filter(|line| line.is_for(&own));
    known.find_map(|line| plan.with_choices(&line.layers))
}

/// The text with another line, which replaces the ones for the same step on the same device.
pub(super) fn with_line(text: &str, line: &str) -> String {
    let Ok(own) = serde_json::from_str::<Line>(line) else { return text.to_owned() };
    let others = text
        .lines()
        .filter(|other| serde_json::from_str::<Line>(other).is_ok_and(|other| !other.is_for(&own)));
    others.chain([line]).map(|line| format!("{line}\n")).collect()
}
