//! How long an invocation's loops may be: Mesa's software adapters end them, silently, after 65,535 rounds
//! of all of them together.

use wgpu::{Device, DeviceType};

use crate::error::{Error, Result};

const MOST_ROUNDS: u64 = 65_535;

/// Whether the device is an adapter that computes on the CPU.
pub(crate) fn is_software(device: &Device) -> bool {
    device.adapter_info().device_type == DeviceType::Cpu
}

/// Whether an invocation may go through so many rounds of loops.
pub(crate) fn can_loop(device: &Device, rounds: u64) -> bool {
    !is_software(device) || rounds <= MOST_ROUNDS
}

/// Refuses what a software adapter would leave undone. `work` is what takes so many rounds.
pub(crate) fn check_rounds(
    device: &Device,
    kernel: &'static str,
    work: impl FnOnce() -> String,
    rounds: u64,
) -> Result<()> {
    if can_loop(device, rounds) {
        return Ok(());
    }
    let work = work();
    Err(Error::Refused(format!(
        "{kernel}: {work} would take {rounds} rounds of a loop, but a software adapter ends it after {MOST_ROUNDS}"
    )))
}
