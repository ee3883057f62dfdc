//! A matrix: a part of a buffer, with its shape.

use wgpu::{BindingResource, Buffer, BufferBinding, Device};

use super::uniform;
use crate::error::{Error, Result};

/// Rows of four-byte values in a part of a buffer: `f32`, or `u32` where a kernel says so.
///
/// A batch is a matrix in which a row is a sample and a column is a feature; a vector is a matrix of
/// one row. Rows are contiguous ([`Matrix::new`]), or start some distance apart
/// ([`Matrix::strided`]). In [images](Matrix::images) a column is a channel, and a row is a pixel of a
/// sample.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # let (device, _) = gpu::device();
/// use ztilde::kernels::Matrix;
/// use ztilde::wgpu::{BufferDescriptor, BufferUsages};
///
/// let buffer = device.create_buffer(&BufferDescriptor {
///     label: None,
///     size: 12 * 4, // bytes
///     usage: BufferUsages::STORAGE,
///     mapped_at_creation: false,
/// });
/// // All 12 values as three samples of four features, then without the last two features.
/// let batch = Matrix::new(&buffer, 0, 3, 4)?;
/// let part = Matrix::strided(&buffer, 0, 3, 2, 4)?;
/// assert_eq!([batch.columns(), part.columns()], [4, 2]);
/// // Two images of three channels and two pixels: each pixel is a row.
/// let images = Matrix::images(&buffer, 0, 2, 3, 2)?;
/// assert_eq!([images.rows(), images.columns()], [4, 3]);
///
/// let error = Matrix::new(&buffer, 1, 3, 4).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "a buffer holds 12 values, but 13 are needed (1 before it, then 3 × 4)"
/// );
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Matrix {
    buffer: Buffer,
    /// Bytes before what is bound.
    offset: u64,
    rows: u32,
    columns: u32,
    layout: Layout,
    /// How many values are bound.
    values: u64,
}

uniform! {
    /// Where the values of a matrix lie, as `shaders/shared/layout.wgsl` has it: that of a row and a column
    /// at `first + row / plane · sample_stride + column · column_stride + row % plane`.
    #[derive(PartialEq, Eq)]
    struct Layout {
        /// Values before the matrix in what is bound.
        first: u32,
        /// Rows of a sample: the pixels of an image, or 1.
        plane: u32,
        sample_stride: u32,
        column_stride: u32,
    }
}

impl Matrix {
    /// The `rows` × `columns` values of `buffer` from `first` (counted in values) on, row-major.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the buffer ends before the matrix does, [`Error::Placement`] if the matrix is
    /// empty. When it is bound, [`Error::Usage`] if its buffer lacks `BufferUsages::STORAGE`, and
    /// [`Error::Wgpu`] if it does not start on a multiple of the device's
    /// `min_storage_buffer_offset_alignment` and the kernel does not say that it may.
    pub fn new(buffer: &Buffer, first: u64, rows: u32, columns: u32) -> Result<Self> {
        Self::strided(buffer, first, rows, columns, columns)
    }

    /// The same with rows that start `stride` values apart, which is at least `columns`. Kernels leave the
    /// values between the rows alone.
    ///
    /// # Errors
    ///
    /// As [`Matrix::new`]; [`Error::Placement`] also if rows would overlap. When it is bound,
    /// [`Error::Placement`] if the kernel does not say that it takes strides.
    pub fn strided(
        buffer: &Buffer,
        first: u64,
        rows: u32,
        columns: u32,
        stride: u32,
    ) -> Result<Self> {
        if stride < columns {
            let what = format!("a matrix of {rows} × {columns}");
            let reason = format!("rows of {columns} values that start {stride} apart overlap");
            return Err(Error::Placement { what, reason });
        }
        // The buffer may end with the last row, so that row has no stride.
        let values = u64::from(rows.saturating_sub(1)) * u64::from(stride) + u64::from(columns);
        let layout = Layout { first: 0, plane: 1, sample_stride: stride, column_stride: 1 };
        Self::with_layout(buffer, first, [rows, columns], layout, values)
    }

    /// Images of `samples` × `channels` × `pixels` values (N, C, H·W) from `first` (counted in values)
    /// on: a matrix of `samples · pixels` rows, whose columns are the channels. Row `r` is pixel
    /// `r % pixels` of sample `r / pixels`.
    ///
    /// # Errors
    ///
    /// As [`Matrix::new`]; [`Error::TooMany`] if there are more than 2³² − 1 rows, or values of a sample.
    /// When it is bound, [`Error::Placement`] if the kernel does not say that it takes images.
    pub fn images(
        buffer: &Buffer,
        first: u64,
        samples: u32,
        channels: u32,
        pixels: u32,
    ) -> Result<Self> {
        let count = |unit, planes: u32| {
            planes.checked_mul(pixels).ok_or_else(|| Error::TooMany {
                what: format!("a matrix of {samples} × {channels} × {pixels}"),
                needed: u64::from(planes) * u64::from(pixels),
                unit,
                limit: "a kernel's index",
                allowed: u32::MAX.into(),
                cure: "divide the images",
            })
        };
        let (rows, sample_stride) =
            (count("rows", samples)?, count("values of a sample", channels)?);
        let values = u64::from(rows) * u64::from(channels);
        let layout = Layout { first: 0, plane: pixels, sample_stride, column_stride: pixels };
        Self::with_layout(buffer, first, [rows, channels], layout, values)
    }

    /// Rows that are whole vectors of four, filled up with values that are, and remain, zero: what the
    /// kernels that multiply matrices read and write.
    pub(crate) fn padded(buffer: &Buffer, first: u64, rows: u32, columns: u32) -> Result<Self> {
        let stride = columns.next_multiple_of(4);
        let layout = Layout { first: 0, plane: 1, sample_stride: stride, column_stride: 1 };
        let values = u64::from(rows) * u64::from(stride);
        Self::with_layout(buffer, first, [rows, columns], layout, values)
    }

    fn with_layout(
        buffer: &Buffer,
        first: u64,
        [rows, columns]: [u32; 2],
        layout: Layout,
        values: u64,
    ) -> Result<Self> {
        if rows == 0 || columns == 0 {
            // wgpu would bind the rest of the buffer.
            let what = format!("a matrix of {rows} × {columns}");
            return Err(Error::Placement { what, reason: "it is empty".to_owned() });
        }
        let needed = first.saturating_add(values);
        let found = buffer.size() / 4;
        if found < needed {
            let why = format!("{first} before it, then {rows} × {columns}");
            return Err(Error::Length { what: "a buffer", found, needed, why });
        }
        Ok(Self { buffer: buffer.clone(), offset: 4 * first, rows, columns, layout, values })
    }

    /// The `length` values of `buffer` from `first` (counted in values) on, as one row.
    ///
    /// # Errors
    ///
    /// As [`Matrix::new`].
    pub fn vector(buffer: &Buffer, first: u64, length: u32) -> Result<Self> {
        Self::new(buffer, first, 1, length)
    }

    /// The number of rows: samples, or the pixels of all samples.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The number of columns: features, or channels.
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// The number of values, including the padding of the rows and the values between them.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// How many values apart rows, or the samples of images, start.
    pub(crate) fn stride(&self) -> u32 {
        self.layout.sample_stride
    }

    /// Whether a row is a pixel, with its features a plane apart.
    pub(crate) fn is_images(&self) -> bool {
        self.layout.plane > 1
    }

    /// How many values lie before it in its buffer.
    pub(crate) fn first(&self) -> u64 {
        self.offset / 4 + u64::from(self.layout.first)
    }

    /// How many vectors of four lie before it in its buffer.
    pub(crate) fn first_quad(&self) -> u32 {
        (self.offset / 16) as u32
    }

    /// The buffer that holds the matrix.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn binding(&self) -> BindingResource<'_> {
        BindingResource::Buffer(BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(4 * self.values),
        })
    }

    /// Whether the two matrices share values, or may share some: if their ranges of the buffer overlap,
    /// only matrices with the same stride can be shown to interleave without sharing a value.
    pub(crate) fn may_overlap(&self, other: &Self) -> bool {
        let [begin, other_begin] = [self, other].map(Self::first);
        let [end, other_end] = [self, other].map(|matrix| matrix.first() + matrix.values);
        if self.buffer != other.buffer || end <= other_begin || other_end <= begin {
            return false;
        }
        let stride = u64::from(self.stride());
        // How many values after the start of this one's row the other's row starts.
        let offset = (other_begin % stride + stride - begin % stride) % stride;
        let is_between =
            u64::from(self.columns) <= offset && offset + u64::from(other.columns) <= stride;
        self.stride() != other.stride() || !is_between
    }

    /// Whether kernels without offsets and strides can read it: its rows are contiguous, and a binding
    /// may start at its first value.
    pub(crate) fn is_plain(&self, device: &Device) -> bool {
        let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
        self.stride() == self.columns && self.offset.is_multiple_of(alignment)
    }

    /// The same matrix bound from a place on that the device allows: for kernels that know by
    /// [`Matrix::layout`] what lies before it then.
    pub(crate) fn aligned(&self, device: &Device) -> Self {
        let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
        let before = self.offset % alignment / 4;
        let layout = Layout { first: self.layout.first + before as u32, ..self.layout };
        let (offset, values) = (self.offset - 4 * before, self.values + before);
        Self { buffer: self.buffer.clone(), offset, layout, values, ..*self }
    }

    /// Where the values are, for kernels that end in `shaders/shared/layout.wgsl`.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// `rows` of this matrix from `first` on; not of images, nor of what was [aligned](Self::aligned).
    pub(crate) fn slice(&self, first: u32, rows: u32) -> Result<Self> {
        let Self { buffer, offset, columns, layout, .. } = self;
        let stride = u64::from(layout.sample_stride);
        let behind_last = self.values - (u64::from(self.rows) - 1) * stride;
        let first = offset / 4 + u64::from(first) * stride;
        let values = u64::from(rows.saturating_sub(1)) * stride + behind_last;
        Self::with_layout(buffer, first, [rows, *columns], *layout, values)
    }

    /// The same memory as a matrix of another shape, which is not larger.
    pub(crate) fn reshape(&self, rows: u32, columns: u32) -> Result<Self> {
        Self::new(&self.buffer, self.offset / 4, rows, columns)
    }

    /// The same memory as one row, in the order in which the values lie there: if nothing is between them.
    pub(crate) fn as_row(&self) -> Option<Self> {
        let values = u64::from(self.rows) * u64::from(self.columns);
        let length = u32::try_from(values).ok().filter(|_| values == self.values)?;
        self.reshape(1, length).ok()
    }

    /// The same with padded rows.
    pub(crate) fn reshape_padded(&self, rows: u32, columns: u32) -> Result<Self> {
        Self::padded(&self.buffer, self.offset / 4, rows, columns)
    }

    /// Checks that it has the shape that `kernel` needs `what` to have, and that its values are
    /// contiguous.
    pub(crate) fn expect(
        &self,
        kernel: &'static str,
        what: &'static str,
        needed: [u32; 2],
    ) -> Result<()> {
        // How far apart rows start says nothing about a single one.
        let stride = if self.rows == 1 { self.stride() } else { self.columns };
        self.expect_shape(kernel, what, needed)?;
        self.expect_stride(kernel, what, stride)
    }

    /// Checks the shape, and that rows are whole vectors of four.
    pub(crate) fn expect_padded(
        &self,
        kernel: &'static str,
        what: &'static str,
        needed: [u32; 2],
    ) -> Result<()> {
        self.expect_shape(kernel, what, needed)?;
        if !self.offset.is_multiple_of(16) {
            let reason = format!("{what} starts at byte {}, no multiple of 16", self.offset);
            return misplaced(kernel, reason);
        }
        self.expect_stride(kernel, what, self.columns.next_multiple_of(4))
    }

    /// Checks the shape, and that it is no images; rows may be any distance apart.
    pub(crate) fn expect_rows(
        &self,
        kernel: &'static str,
        what: &'static str,
        needed: [u32; 2],
    ) -> Result<()> {
        self.expect_shape(kernel, what, needed)?;
        if self.is_images() {
            let apart = self.layout.column_stride;
            return misplaced(kernel, format!("{what}'s features are {apart} values apart, not 1"));
        }
        Ok(())
    }

    /// Checks the shape, and that it is images with as many pixels as `other`, if that is images.
    pub(crate) fn expect_like(
        &self,
        kernel: &'static str,
        what: &'static str,
        other: &Self,
    ) -> Result<()> {
        self.expect_shape(kernel, what, [other.rows, other.columns])?;
        let [found, needed] = [self.layout.plane, other.layout.plane];
        if found != needed {
            let reason = format!("{what}'s samples have {found} pixels, not {needed}");
            return misplaced(kernel, reason);
        }
        Ok(())
    }

    fn expect_stride(&self, kernel: &'static str, what: &'static str, needed: u32) -> Result<()> {
        self.expect_rows(kernel, what, [self.rows, self.columns])?;
        let Self { columns, layout: Layout { sample_stride, .. }, .. } = self;
        if *sample_stride != needed {
            let rows =
                format!("rows of {columns} values start {sample_stride} apart, not {needed}");
            return misplaced(kernel, format!("{what}'s {rows}"));
        }
        Ok(())
    }

    fn expect_shape(
        &self,
        kernel: &'static str,
        what: &'static str,
        needed: [u32; 2],
    ) -> Result<()> {
        let found = [self.rows, self.columns];
        if found != needed {
            return Err(Error::Shape { kernel, what, found, needed });
        }
        Ok(())
    }
}

fn misplaced(kernel: &str, reason: String) -> Result<()> {
    Err(Error::Placement { what: kernel.to_owned(), reason })
}
