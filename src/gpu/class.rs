//! The class of a device: the only place that asks what adapter it is.

use wgpu::{Backend, Device, DeviceType, Features};

use crate::error::{Error, Result};
use crate::plan::{DeviceClass, Facts};

impl From<&Device> for DeviceClass {
    /// The class of the device's adapter, with the features of the device.
    fn from(device: &Device) -> Self {
        let info = device.adapter_info();
        let sizes = [info.subgroup_min_size, info.subgroup_max_size];
        let has_subgroups = device.features().contains(Features::SUBGROUP);
        DeviceClass::of(&Facts {
            name: &info.name,
            driver: &info.driver,
            driver_info: &info.driver_info,
            vendor: info.vendor,
            is_software: info.device_type == DeviceType::Cpu,
            is_discrete: info.device_type == DeviceType::DiscreteGpu,
            is_browser: info.backend == Backend::BrowserWebGpu,
            workgroup_memory: device.limits().max_compute_workgroup_storage_size,
            lanes: (has_subgroups && sizes[0] == sizes[1]).then_some(sizes[0]),
        })
    }
}

/// Whether several threads may compile for a device at once.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn compiles_in_threads(device: &Device) -> bool {
    // All OpenGL devices share a context. wgpu panics in a thread that waits some seconds for it.
    device.adapter_info().backend != Backend::Gl
}

/// Whether an invocation may run this many rounds of loops.
pub(crate) fn can_loop(device: &Device, rounds: u64) -> bool {
    DeviceClass::from(device).can_loop(rounds)
}

/// An error for loops that Mesa's software adapter would not finish. `work` describes what takes the rounds.
pub(crate) fn check_rounds(
    device: &Device,
    kernel: &'static str,
    work: impl FnOnce() -> String,
    rounds: u64,
) -> Result<()> {
    match DeviceClass::from(device).most_rounds() {
        Some(most) if rounds > most => Err(Error::TooMany {
            what: format!("{kernel} of {}", work()),
            needed: rounds,
            unit: "rounds of a loop",
            limit: "Mesa's software adapter",
            allowed: most,
            cure: "divide the rows, or use another adapter",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For the adapter of these tests, if it is Mesa's.
    #[test]
    fn long_loops_are_refused_on_mesa_alone() {
        let device = crate::gpu::testing::TestGpu::new().gpu.device;
        let is_mesa = DeviceClass::from(&device).most_rounds().is_some();
        let refused = |rounds| check_rounds(&device, "test", || "work".to_owned(), rounds).is_err();
        assert_eq!([65_535, 65_536].map(refused), [false, is_mesa]);
    }
}
