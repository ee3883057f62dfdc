//! The device on which the playground draws and trains.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Adapter, Backend, Device, DeviceDescriptor, Features, Limits, Queue, TextureFormat};

use crate::surface::SurfacePipelines;

/// The optional features that the library and the clock of the frame budget use.
const USEFUL_FEATURES: Features = Features::SUBGROUP.union(Features::TIMESTAMP_QUERY);

/// Handles to the device, and objects that are made once for it.
#[derive(Clone, Debug)]
pub(crate) struct Graphics {
    pub(crate) adapter: String,
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) pipelines: Arc<SurfacePipelines>,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Graphics {
    /// `format` is the format of the texture that is drawn on.
    pub(crate) fn new(
        adapter: &Adapter,
        device: &Device,
        queue: &Queue,
        format: TextureFormat,
    ) -> Self {
        let complaint = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&complaint);
        // wgpu's own handler panics. The library returns its errors, so they never reach this handler.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }));
        Self {
            // A browser does not report it.
            adapter: Some(adapter.get_info().name)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "the browser's adapter".to_owned()),
            pipelines: Arc::new(SurfacePipelines::new(device, format)),
            device: device.clone(),
            queue: queue.clone(),
            complaint,
        }
    }

    /// The last error of wgpu outside of the library's calls, since the previous call.
    pub(crate) fn take_complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// WebGPU's default limits, lowered to an old adapter's.
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
