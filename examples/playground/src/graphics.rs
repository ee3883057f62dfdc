//! The device that the playground draws and learns on.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{
    Adapter, Backend, Backends, Device, DeviceDescriptor, Features, Instance, InstanceDescriptor,
    Limits, Queue, TextureFormat,
};

use crate::surface::SurfacePipelines;

/// What the library, and the clock of the frame budget, use where an adapter has it.
const USEFUL_FEATURES: Features = Features::SUBGROUP.union(Features::TIMESTAMP_QUERY);

/// Handles to the device, and what is made once for it.
#[derive(Clone, Debug)]
pub(crate) struct Graphics {
    pub(crate) adapter: String,
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) pipelines: Arc<SurfacePipelines>,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Graphics {
    /// `format` is that of the texture which is drawn on.
    pub(crate) fn new(
        adapter: &Adapter,
        device: &Device,
        queue: &Queue,
        format: TextureFormat,
    ) -> Self {
        let complaint = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&complaint);
        // wgpu's own handler panics. The library's errors never come here: it returns them.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }));
        Self {
            adapter: adapter.get_info().name,
            pipelines: Arc::new(SurfacePipelines::new(device, format)),
            device: device.clone(),
            queue: queue.clone(),
            complaint,
        }
    }

    /// What wgpu complained about outside of the library's calls since the last time.
    pub(crate) fn take_complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// WebGPU's default limits, or what an old adapter has of them.
pub(crate) fn device_descriptor(adapter: &Adapter) -> DeviceDescriptor<'static> {
    let limits = Limits::default();
    DeviceDescriptor {
        label: Some("playground"),
        required_features: adapter.features() & USEFUL_FEATURES,
        required_limits: match adapter.get_info().backend {
            Backend::Gl => limits.or_worse_values_from(&adapter.limits()),
            _ => limits,
        },
        ..Default::default()
    }
}

/// A device without a window: a GPU's if there is one, and OpenGL's only where there is no other.
pub(crate) fn headless_device() -> Result<(Adapter, Device, Queue), String> {
    let modern = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let choices = Backends::from_env().map_or(vec![modern, Backends::GL], |chosen| vec![chosen]);
    let request = |backends| {
        let descriptor = InstanceDescriptor::new_without_display_handle_from_env();
        let instance = Instance::new(InstanceDescriptor { backends, ..descriptor });
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        pollster::block_on(instance.request_adapter(&options)).ok()
    };
    let adapter = choices.into_iter().find_map(request).ok_or(
        "no adapter found: install your GPU's driver, or put scripts/with-adapter before the command",
    )?;
    let device = pollster::block_on(adapter.request_device(&device_descriptor(&adapter)));
    let (device, queue) = device.map_err(|error| format!("the adapter gave no device: {error}"))?;
    Ok((adapter, device, queue))
}
