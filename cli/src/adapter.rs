//! The adapter that the binary computes on, and its device.

use std::{borrow::Cow, cmp::Reverse, env, path::Path};

use pollster::block_on;
use serde::{Deserialize, Serialize};
use wgpu::{
    Adapter, AdapterInfo, Backend, Backends, Device, DeviceDescriptor, DeviceType, DownlevelFlags,
    Features, Instance, InstanceDescriptor, Limits, PowerPreference, Queue,
};

use crate::{failure::Failure, nvidia, output::note};

const SOFTWARE: &str = "\
Without a GPU, install Mesa's software driver: the package mesa-vulkan-drivers on Debian and Ubuntu, \
which scripts/with-adapter installs where it is missing";

/// NVIDIA's PCI vendor ID.
const NVIDIA: u32 = 0x10de;

/// The optional features that the library uses.
const USEFUL_FEATURES: Features = Features::SUBGROUP.union(Features::TIMESTAMP_QUERY);

/// The name of an adapter in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) backend: Cow<'static, str>,
    #[serde(rename = "type")]
    pub(crate) device_type: Cow<'static, str>,
    pub(crate) driver: String,
}

impl Description {
    pub(crate) fn new(info: &AdapterInfo) -> Self {
        Self {
            name: info.name.clone(),
            backend: match info.backend {
                Backend::Noop => "noop",
                Backend::Vulkan => "vulkan",
                Backend::Metal => "metal",
                Backend::Dx12 => "dx12",
                Backend::Gl => "gl",
                Backend::BrowserWebGpu => "webgpu",
            }
            .into(),
            device_type: match info.device_type {
                DeviceType::DiscreteGpu => "discrete",
                DeviceType::IntegratedGpu => "integrated",
                DeviceType::VirtualGpu => "virtual",
                DeviceType::Cpu => "cpu",
                DeviceType::Other => "other",
            }
            .into(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        }
    }
}

/// Every adapter that can compute, the preferred one first. OpenGL adapters are listed on request, or
/// if there are no others: they are the same GPUs with fewer features. Writes a note if an NVIDIA GPU
/// is visible, but not among the adapters.
pub(crate) fn list() -> Result<Vec<Adapter>, Failure> {
    let asked_for = backends(env::var("WGPU_BACKEND").ok().as_deref())?;
    let preference = power_preference(env::var("WGPU_POWER_PREF").ok().as_deref())?;
    let mut adapters = Vec::new();
    for backends in asked_for {
        if adapters.is_empty() {
            adapters = enumerate(backends);
        }
    }
    let vendors: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().vendor).collect();
    if !vendors.is_empty() && lacks_nvidia(&vendors, Path::new("/")) {
        note(&format!("note: {}", nvidia::ADVICE));
    }
    // The sort is stable: among equals the driver's order decides.
    adapters.sort_by_key(|adapter| Reverse(welcome(adapter.get_info().device_type, preference)));
    Ok(adapters)
}

/// Whether an NVIDIA GPU is visible below `root`, but no adapter has its vendor ID.
fn lacks_nvidia(vendors: &[u32], root: &Path) -> bool {
    !vendors.contains(&NVIDIA) && nvidia::is_visible(root)
}

/// The error message if there is no adapter.
fn no_adapter(root: &Path) -> String {
    if lacks_nvidia(&[], root) {
        return format!("no adapter found: {}. {SOFTWARE}", nvidia::ADVICE);
    }
    format!("no adapter found. Install your GPU's Vulkan driver. {SOFTWARE}")
}

fn enumerate(backends: Backends) -> Vec<Adapter> {
    let descriptor = InstanceDescriptor::new_without_display_handle_from_env();
    let instance = Instance::new(InstanceDescriptor { backends, ..descriptor });
    let mut adapters = block_on(instance.enumerate_adapters(backends));
    let computes = DownlevelFlags::COMPUTE_SHADERS;
    adapters.retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(computes));
    adapters
}

/// The adapter to use: the one that `WGPU_ADAPTER_NAME` names, or else the first.
pub(crate) fn choose(adapters: &[Adapter]) -> Result<usize, Failure> {
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    choose_name(&names, env::var("WGPU_ADAPTER_NAME").ok().as_deref())
}

/// The device to compute on, and its adapter. Prints the adapter's name on stderr.
pub(crate) fn open() -> Result<(Description, Device, Queue), Failure> {
    let adapter = find()?;
    let (device, queue) = device(&adapter)?;
    Ok((Description::new(&adapter.get_info()), device, queue))
}

/// The adapter to compute on. Prints its name on stderr.
pub(crate) fn find() -> Result<Adapter, Failure> {
    let mut adapters = list()?;
    let adapter = adapters.swap_remove(choose(&adapters)?);
    let info = adapter.get_info();
    let Description { name, backend, device_type, driver } = Description::new(&info);
    note(&format!("adapter: {name} ({backend}, {device_type}, {driver})"));
    if info.device_type == DeviceType::Cpu {
        note("this is a software adapter: it computes on the CPU");
    }
    Ok(adapter)
}

/// A device of the adapter, with the features and limits that networks can use.
pub(crate) fn device(adapter: &Adapter) -> Result<(Device, Queue), Failure> {
    let descriptor = DeviceDescriptor {
        label: Some("ztilde"),
        required_features: adapter.features() & USEFUL_FEATURES,
        required_limits: limits(&adapter.limits()),
        ..Default::default()
    };
    block_on(adapter.request_device(&descriptor)).map_err(|error| {
        Failure::device(format!("{} gave no device: {error}", adapter.get_info().name))
    })
}

/// WebGPU's default limits, raised to the adapter's where networks can use more.
fn limits(adapter: &Limits) -> Limits {
    Limits {
        max_buffer_size: adapter.max_buffer_size,
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        max_storage_buffers_per_shader_stage: adapter.max_storage_buffers_per_shader_stage,
        max_compute_workgroup_storage_size: adapter.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: adapter.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: adapter.max_compute_workgroup_size_x,
        max_compute_workgroup_size_y: adapter.max_compute_workgroup_size_y,
        max_compute_workgroup_size_z: adapter.max_compute_workgroup_size_z,
        max_compute_workgroups_per_dimension: adapter.max_compute_workgroups_per_dimension,
        // An old GPU may offer less than the defaults; the library returns an error if that matters.
        ..Limits::defaults().or_worse_values_from(adapter)
    }
}

/// The sets of backends to try, one after the other, until one has an adapter.
fn backends(names: Option<&str>) -> Result<Vec<Backends>, Failure> {
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        let modern = Backends::VULKAN | Backends::METAL | Backends::DX12;
        return Ok(vec![modern, Backends::GL]);
    };
    let backends = Backends::from_comma_list(names) - Backends::NOOP;
    if backends.is_empty() {
        return Err(Failure::input(format!(
            "WGPU_BACKEND is {names}, but must be among vulkan, metal, dx12 and gl"
        )));
    }
    Ok(vec![backends])
}

fn power_preference(name: Option<&str>) -> Result<PowerPreference, Failure> {
    match name.unwrap_or("").to_lowercase().as_str() {
        "" | "high" => Ok(PowerPreference::HighPerformance),
        "low" => Ok(PowerPreference::LowPower),
        "none" => Ok(PowerPreference::None),
        other => Err(Failure::input(format!(
            "WGPU_POWER_PREF is {other}, but must be high, low or none"
        ))),
    }
}

/// The preference for a type of device. A software adapter is the last choice.
fn welcome(device_type: DeviceType, preference: PowerPreference) -> u8 {
    match (device_type, preference) {
        (DeviceType::Cpu, _) => 0,
        (_, PowerPreference::None) => 1,
        (DeviceType::Other, _) => 1,
        (DeviceType::VirtualGpu, _) => 2,
        (DeviceType::IntegratedGpu, PowerPreference::HighPerformance) => 3,
        (DeviceType::IntegratedGpu, PowerPreference::LowPower) => 4,
        (DeviceType::DiscreteGpu, PowerPreference::LowPower) => 3,
        (DeviceType::DiscreteGpu, PowerPreference::HighPerformance) => 4,
    }
}

fn choose_name(names: &[String], wanted: Option<&str>) -> Result<usize, Failure> {
    if names.is_empty() {
        return Err(Failure::no_adapter(no_adapter(Path::new("/"))));
    }
    let wanted = wanted.unwrap_or("");
    let matches = |name: &String| name.to_lowercase().contains(&wanted.to_lowercase());
    names.iter().position(matches).ok_or_else(|| {
        Failure::no_adapter(format!(
            "WGPU_ADAPTER_NAME is {wanted}, but there is only: {}",
            names.join("; ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_comes_before_software() {
        use DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
        let order = |preference| {
            let mut types = [Cpu, Other, VirtualGpu, IntegratedGpu, DiscreteGpu];
            types.sort_by_key(|device_type| Reverse(welcome(*device_type, preference)));
            types
        };
        assert_eq!(
            order(PowerPreference::HighPerformance),
            [DiscreteGpu, IntegratedGpu, VirtualGpu, Other, Cpu]
        );
        assert_eq!(
            order(PowerPreference::LowPower),
            [IntegratedGpu, DiscreteGpu, VirtualGpu, Other, Cpu]
        );
        assert_eq!(
            order(PowerPreference::None),
            [Other, VirtualGpu, IntegratedGpu, DiscreteGpu, Cpu]
        );
    }

    #[test]
    fn a_name_is_matched_in_any_case() {
        let names = ["NVIDIA H200".to_owned(), "llvmpipe (LLVM 15)".to_owned()];
        assert_eq!(choose_name(&names, None).unwrap(), 0);
        assert_eq!(choose_name(&names, Some("LLVMpipe")).unwrap(), 1);
        let error = choose_name(&names, Some("radeon")).unwrap_err().to_string();
        assert!(error.contains("NVIDIA H200; llvmpipe (LLVM 15)"), "{error}");
        let error = choose_name(&[], None).unwrap_err().to_string();
        assert!(error.contains("mesa-vulkan-drivers"), "{error}");
    }

    #[test]
    fn an_nvidia_gpu_without_its_graphics_driver_is_named() {
        let root = tempfile::tempdir().unwrap();
        let software = 0x10005;
        assert!(!lacks_nvidia(&[software], root.path()));
        assert!(!no_adapter(root.path()).contains("NVIDIA"));
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/nvidia0"), "").unwrap();
        assert!(lacks_nvidia(&[software], root.path()), "beside a software adapter");
        assert!(!lacks_nvidia(&[software, NVIDIA], root.path()), "where it is an adapter");
        let message = no_adapter(root.path());
        for word in ["NVIDIA_DRIVER_CAPABILITIES=graphics", "libegl1", "mesa-vulkan-drivers"] {
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn the_noop_backend_is_never_enabled() {
        assert!(backends(None).unwrap().iter().all(|set| !set.contains(Backends::NOOP)));
        assert_eq!(backends(Some("vk,noop")).unwrap(), [Backends::VULKAN]);
        assert!(backends(Some("noop")).is_err());
        assert!(backends(Some("vulcan")).is_err());
    }
}
