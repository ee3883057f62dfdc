//! Rows in an app's buffer, copied to or from the library's matrices.

use wgpu::{Buffer, BufferUsages};

use super::{Matrix, check_usage};
use crate::error::{Error, Result};

/// Where rows of four-byte values are in an app's buffer, in bytes, as in the layouts of vertex buffers.
///
/// A buffer alone means contiguous rows that start at its beginning. Vertices of a position, a normal
/// and a color, three `f32`s each, are two batches in the same buffer:
///
/// ```
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// # let usage = wgpu::BufferUsages::STORAGE;
/// # let descriptor =
/// #     wgpu::BufferDescriptor { label: None, size: 10 * 36, usage, mapped_at_creation: false };
/// # let vertices = device.create_buffer(&descriptor);
/// use ztilde::Rows;
///
/// let positions = Rows { buffer: &vertices, offset: 0, stride: Some(36) };
/// let colors = Rows { buffer: &vertices, offset: 24, stride: Some(36) };
/// # let network = ztilde::Network::new(&device, &queue, &[3, 4, 3], Default::default())?;
/// # let options = ztilde::TrainerOptions {
/// #     batch_size: 10,
/// #     loss: ztilde::Loss::MeanSquaredError,
/// #     ..Default::default()
/// # };
/// let trainer = ztilde::Trainer::new(network, options)?;
/// let batch = trainer.bind_batch(positions, colors)?;
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where the first row starts: a multiple of 4.
    pub offset: u64,
    /// From the start of one row to the start of the next: a multiple of 4, and at least as long as a
    /// row. Values between the rows stay unchanged. `None`: contiguous rows.
    pub stride: Option<u64>,
}

impl<'a> From<&'a Buffer> for Rows<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self { buffer, offset: 0, stride: None }
    }
}

impl Rows<'_> {
    /// The rows as a matrix, if the buffer has enough of them and the usage.
    pub(crate) fn matrix(
        &self,
        what: &'static str,
        usage: BufferUsages,
        rows: u32,
        columns: u32,
    ) -> Result<Matrix> {
        let Self { buffer, offset, .. } = *self;
        check_usage(|| what.to_owned(), buffer, usage)?;
        let misplaced = |reason| Err(Error::Placement { what: what.to_owned(), reason });
        let length = 4 * u64::from(columns);
        let stride = self.stride.unwrap_or(length);
        for (name, bytes) in [("offset", offset), ("stride", stride)] {
            if !bytes.is_multiple_of(4) {
                return misplaced(format!("its {name} of {bytes} bytes is not a multiple of 4"));
            }
        }
        let strides = length..=4 * u64::from(u32::MAX);
        if !strides.contains(&stride) {
            let allowed = format!("{} to {}", strides.start(), strides.end());
            return misplaced(format!("rows start {stride} bytes apart, not {allowed}"));
        }
        let first = offset / 4;
        let before_last = u64::from(rows.saturating_sub(1)) * (stride / 4);
        let needed = first.saturating_add(before_last).saturating_add(columns.into());
        let found = buffer.size() / 4;
        if found < needed {
            let mut why = format!("{rows} × {columns}");
            if stride != length {
                why = format!("{why}, {} apart", stride / 4);
            }
            if offset > 0 {
                why = format!("{first} before them, then {why}");
            }
            return Err(Error::Length { what, found, needed, why });
        }
        Matrix::strided(buffer, first, rows, columns, (stride / 4) as u32)
    }
}
