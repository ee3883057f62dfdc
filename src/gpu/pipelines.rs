//! A pipeline is compiled once for a device: whoever asks for the same one again shares it.
//!
//! It lives as long as somebody has it. Nothing here keeps a pipeline or a device alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wgpu::{BufferDescriptor, BufferUsages, ComputePipeline, Device};

use super::guarded;
use crate::error::{Error, Result};

/// What a pipeline is compiled from. The same on the same device makes the same pipeline.
#[derive(Debug, PartialEq)]
pub(super) struct Source {
    pub(super) label: String,
    pub(super) entry_point: String,
    /// The overrides, each with the bits of its value: 0 and −0 are two.
    pub(super) constants: Vec<(String, u64)>,
    /// Whether the shader is compiled without the compiler's checks.
    pub(super) is_trusted: bool,
    pub(super) text: String,
}

/// A pipeline that others find as long as somebody has this.
#[derive(Debug)]
pub(super) struct SharedPipeline {
    device: Device,
    source: Source,
    /// Whoever compiles it holds the lock, so that all who want the same wait, and nobody else.
    pipeline: Mutex<Option<ComputePipeline>>,
}

impl SharedPipeline {
    /// The one that somebody has, or a new one.
    pub(super) fn find_or_insert(device: &Device, source: Source) -> Arc<Self> {
        // Declared first, so dropped last: a device that ends here tells its app, which may come back
        // for the lock.
        let living: Vec<Arc<Self>>;
        let mut pipelines = lock(pipelines());
        living = pipelines.iter().filter_map(Weak::upgrade).collect();
        let is_wanted =
            |found: &&Arc<Self>| found.source == source && is_same_device(&found.device, device);
        if let Some(found) = living.iter().find(is_wanted) {
            return Arc::clone(found);
        }
        let pipeline = Mutex::new(None);
        let new = Arc::new(Self { device: device.clone(), source, pipeline });
        // The dead ones leave.
        *pipelines = living.iter().chain([&new]).map(Arc::downgrade).collect();
        new
    }

    /// The pipeline, which `compile` makes if nobody has yet.
    pub(super) fn get_or_compile(
        &self,
        compile: impl FnOnce() -> Result<ComputePipeline>,
    ) -> Result<ComputePipeline> {
        let mut pipeline = lock(&self.pipeline);
        let compiled = match pipeline.take() {
            Some(compiled) => compiled,
            None => compile()?,
        };
        Ok(pipeline.insert(compiled).clone())
    }
}

type Pipelines = Mutex<Vec<Weak<SharedPipeline>>>;

/// Those of all devices.
#[cfg(not(target_arch = "wasm32"))]
fn pipelines() -> &'static Pipelines {
    static PIPELINES: Pipelines = Mutex::new(Vec::new());
    &PIPELINES
}

/// Those of all devices of this thread, which a browser's device never leaves.
#[cfg(target_arch = "wasm32")]
fn pipelines() -> &'static Pipelines {
    thread_local! {
        static PIPELINES: &'static Pipelines = Box::leak(Box::default());
    }
    PIPELINES.with(|pipelines| *pipelines)
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether two handles are of the same device.
///
/// wgpu 30 compares devices by a number that every `Instance` counts anew, so that devices of two
/// instances may look equal (gfx-rs/wgpu#8461). An error, though, is told to its own device's scope only.
fn is_same_device(one: &Device, other: &Device) -> bool {
    // A browser's devices have numbers of their own, and it tells errors too late.
    one == other && (cfg!(target_arch = "wasm32") || shares_error_scopes(one, other))
}

fn shares_error_scopes(one: &Device, other: &Device) -> bool {
    let refused = || {
        other.create_buffer(&BufferDescriptor {
            label: Some("ztilde/a buffer without usage, to be refused"),
            size: 4,
            usage: BufferUsages::empty(),
            mapped_at_creation: false,
        })
    };
    // If they are two, the outer scope keeps the error from the other one's handler.
    let told = guarded(other, || guarded(one, refused));
    matches!(told, Ok(Err(Error::Refused(_))))
}
