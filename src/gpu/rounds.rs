//! Requirements of Mesa's software adapters: short loops, and no uniforms (`declaration.rs`).
//!
//! They silently end the loops of an invocation after 65,535 rounds in total. Other adapters that compute
//! on the CPU, such as WARP on Windows, do not.

use wgpu::{AdapterInfo, Backend, Device, DeviceType};

use crate::error::{Error, Result};

const MOST_ROUNDS: u64 = 65_535;

/// Whether the device is an adapter that computes on the CPU.
pub(crate) fn is_software(device: &Device) -> bool {
    device.adapter_info().device_type == DeviceType::Cpu
}

/// Whether the driver is Mesa's for the CPU: lavapipe and llvmpipe, which share a compiler, or softpipe.
pub(crate) fn is_mesa_software(info: &AdapterInfo) -> bool {
    let AdapterInfo { name, driver, driver_info, .. } = info;
    let is_named = ["llvmpipe", "lavapipe", "softpipe"]
        .iter()
        .any(|mesa| [name, driver].iter().any(|text| text.to_lowercase().contains(mesa)));
    // Browsers do not name the driver, and an error is better than wrong results.
    let may_be =
        info.backend == Backend::BrowserWebGpu && driver.is_empty() && driver_info.is_empty();
    info.device_type == DeviceType::Cpu && (is_named || may_be)
}

/// Whether an invocation may run this many rounds of loops.
pub(crate) fn can_loop(device: &Device, rounds: u64) -> bool {
    rounds <= MOST_ROUNDS || !is_mesa_software(&device.adapter_info())
}

/// An error for loops that Mesa's software adapter would not finish. `work` describes what takes the rounds.
pub(crate) fn check_rounds(
    device: &Device,
    kernel: &'static str,
    work: impl FnOnce() -> String,
    rounds: u64,
) -> Result<()> {
    if can_loop(device, rounds) {
        return Ok(());
    }
    Err(Error::TooMany {
        what: format!("{kernel} of {}", work()),
        needed: rounds,
        unit: "rounds of a loop",
        limit: "Mesa's software adapter",
        allowed: MOST_ROUNDS,
        cure: "divide the rows, or use another adapter",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesa_is_distinguished_from_other_software_adapters() {
        let info = |device_type, backend, [name, driver, driver_info]: [&str; 3]| AdapterInfo {
            name: name.to_owned(),
            driver: driver.to_owned(),
            driver_info: driver_info.to_owned(),
            ..AdapterInfo::new(device_type, backend)
        };
        let lavapipe =
            ["llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe", "Mesa 22.3.6 (LLVM 15.0.6)"];
        for (backend, text) in [
            (Backend::Vulkan, lavapipe),
            (Backend::Gl, [lavapipe[0], "", "4.5 (Core Profile) Mesa 22.3.6"]),
            (Backend::Gl, ["softpipe", "", "3.3 (Core Profile) Mesa 22.3.6"]),
            (Backend::BrowserWebGpu, [""; 3]),
        ] {
            assert!(is_mesa_software(&info(DeviceType::Cpu, backend, text)), "{text:?}");
        }
        for (backend, text) in [
            (Backend::Dx12, ["Microsoft Basic Render Driver", "10.0.26100.1", ""]),
            (Backend::Vulkan, ["SwiftShader Device (LLVM 10.0.0)", "SwiftShader driver", ""]),
            (Backend::Vulkan, ["SwiftShader Device (Subzero)", "SwiftShader driver", "1.0"]),
        ] {
            assert!(!is_mesa_software(&info(DeviceType::Cpu, backend, text)), "{text:?}");
        }
        // Mesa drives GPUs as well.
        let radv = ["AMD Radeon RX 7900 (RADV NAVI31)", "radv", "Mesa 25.0.7 (LLVM 19.1.7)"];
        assert!(!is_mesa_software(&info(DeviceType::DiscreteGpu, Backend::Vulkan, radv)));
        assert!(!is_mesa_software(&info(DeviceType::Other, Backend::BrowserWebGpu, [""; 3])));
    }

    /// For the adapter of these tests, if it is Mesa's.
    #[test]
    fn long_loops_are_refused_on_mesa_alone() {
        let device = crate::gpu::testing::TestGpu::new().gpu.device;
        let is_mesa = is_mesa_software(&device.adapter_info());
        let refused = |rounds| check_rounds(&device, "test", || "work".to_owned(), rounds).is_err();
        assert_eq!([65_535, 65_536].map(refused), [false, is_mesa]);
    }
}
