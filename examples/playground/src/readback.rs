//! Copies a few values from the GPU to the CPU, without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use wgpu::{Buffer, BufferUsages, CommandEncoder, Device, MapMode};
use ztilde::{Error, Result};

/// A buffer that is repeatedly copied into and mapped.
#[derive(Debug)]
pub(crate) struct Readback {
    buffer: Buffer,
    state: Arc<AtomicU8>,
}

const IDLE: u8 = 0;
const UNDER_WAY: u8 = 1;
const ARRIVED: u8 = 2;
const FAILED: u8 = 3;

impl Readback {
    pub(crate) fn new(device: &Device, label: &str, bytes: u64) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { buffer, state: Arc::new(AtomicU8::new(IDLE)) }
    }

    /// Whether no copy is pending, so that the next one may be encoded.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE
    }

    /// Copies these buffers, one after the other. The read begins when the encoder is submitted.
    pub(crate) fn encode<'a>(
        &self,
        encoder: &mut CommandEncoder,
        sources: impl IntoIterator<Item = &'a Buffer>,
    ) {
        let mut place = 0;
        for source in sources {
            encoder.copy_buffer_to_buffer(source, 0, &self.buffer, place, source.size());
            place += source.size();
        }
        self.state.store(UNDER_WAY, Ordering::Release);
        let state = Arc::clone(&self.state);
        encoder.map_buffer_on_submit(&self.buffer, MapMode::Read, .., move |result| {
            state.store(if result.is_ok() { ARRIVED } else { FAILED }, Ordering::Release);
        });
    }

    /// The values, once they have arrived; then the next copy may be encoded.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceLost`] if they never will arrive.
    pub(crate) fn take<T: bytemuck::Pod>(&self) -> Result<Option<Vec<T>>> {
        match self.state.load(Ordering::Acquire) {
            ARRIVED => {}
            FAILED => return Err(Error::DeviceLost("what was asked for never came".to_owned())),
            _ => return Ok(None),
        }
        let values = {
            let bytes = self.buffer.get_mapped_range(..);
            let bytes = bytes.map_err(|error| Error::DeviceLost(error.to_string()))?;
            bytemuck::pod_collect_to_vec(&bytes)
        };
        self.buffer.unmap();
        self.state.store(IDLE, Ordering::Release);
        Ok(Some(values))
    }
}
