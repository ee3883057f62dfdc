//! A matrix: a part of a buffer, with its shape.

use wgpu::{BindingResource, Buffer, BufferBinding};

use crate::error::{Error, Result};

/// Rows of four-byte values in a part of a buffer, row-major: `f32`, or `u32` where a kernel says so.
///
/// A batch is a matrix in which a row is a sample and a column is a feature; a vector is a matrix of
/// one row.
#[derive(Clone, Debug)]
pub struct Matrix {
    buffer: Buffer,
    offset: u64,
    rows: u32,
    columns: u32,
    /// How many values apart rows start.
    stride: u32,
}

impl Matrix {
    /// The `rows` × `columns` values of `buffer` from `first` (counted in values) on.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the buffer ends before the matrix does, [`Error::Refused`] if the matrix
    /// is empty, or, when it is bound, if it does not start on a multiple of the device's
    /// `min_storage_buffer_offset_alignment`.
    pub fn new(buffer: &Buffer, first: u64, rows: u32, columns: u32) -> Result<Self> {
        Self::with_stride(buffer, first, [rows, columns], columns)
    }

    /// The same with rows that are whole vectors of four, filled up with values that are, and remain,
    /// zero: what the kernels that multiply matrices read and write.
    pub(crate) fn padded(buffer: &Buffer, first: u64, rows: u32, columns: u32) -> Result<Self> {
        Self::with_stride(buffer, first, [rows, columns], columns.next_multiple_of(4))
    }

    fn with_stride(
        buffer: &Buffer,
        first: u64,
        [rows, columns]: [u32; 2],
        stride: u32,
    ) -> Result<Self> {
        if rows == 0 || columns == 0 {
            // wgpu would bind the rest of the buffer.
            return Err(Error::Refused(format!("a matrix of {rows} × {columns} is empty")));
        }
        let needed = first.saturating_add(u64::from(rows) * u64::from(stride));
        let found = buffer.size() / 4;
        if found < needed {
            let why = format!("{first} before it, then {rows} × {columns}");
            return Err(Error::Length { what: "a buffer", found, needed, why });
        }
        Ok(Self { buffer: buffer.clone(), offset: 4 * first, rows, columns, stride })
    }

    /// The `length` values of `buffer` from `first` (counted in values) on, as one row.
    ///
    /// # Errors
    ///
    /// As [`Matrix::new`].
    pub fn vector(buffer: &Buffer, first: u64, length: u32) -> Result<Self> {
        Self::new(buffer, first, 1, length)
    }

    /// Samples.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Features.
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// How many values there are, with those that fill up the rows.
    pub fn values(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.stride)
    }

    /// How many values apart rows start.
    pub(crate) fn stride(&self) -> u32 {
        self.stride
    }

    /// How many vectors of four lie before it in its buffer.
    pub(crate) fn first_quad(&self) -> u32 {
        (self.offset / 16) as u32
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn binding(&self) -> BindingResource<'_> {
        BindingResource::Buffer(BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(4 * self.values()),
        })
    }

    /// `rows` of this matrix from `first` on.
    pub(crate) fn slice(&self, first: u32, rows: u32) -> Result<Self> {
        let first = self.offset / 4 + u64::from(first) * u64::from(self.stride);
        Self::with_stride(&self.buffer, first, [rows, self.columns], self.stride)
    }

    /// The same memory as a matrix of another shape, which is not larger.
    pub(crate) fn reshape(&self, rows: u32, columns: u32) -> Result<Self> {
        Self::new(&self.buffer, self.offset / 4, rows, columns)
    }

    /// The same with padded rows.
    pub(crate) fn reshape_padded(&self, rows: u32, columns: u32) -> Result<Self> {
        Self::padded(&self.buffer, self.offset / 4, rows, columns)
    }

    /// Checks the shape that `kernel` needs `what` to have.
    pub(crate) fn expect(
        &self,
        kernel: &'static str,
        what: &'static str,
        needed: [u32; 2],
    ) -> Result<()> {
        self.expect_shape(kernel, what, needed)?;
        self.expect_stride(kernel, what, self.columns)
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
            let place = format!("{what} starts at byte {}, no multiple of 16", self.offset);
            return Err(Error::Refused(format!("{kernel}: {place}")));
        }
        self.expect_stride(kernel, what, self.columns.next_multiple_of(4))
    }

    fn expect_stride(&self, kernel: &'static str, what: &'static str, needed: u32) -> Result<()> {
        let Self { columns, stride, .. } = *self;
        if stride != needed {
            let rows = format!("rows of {columns} values start {stride} apart, not {needed}");
            return Err(Error::Refused(format!("{kernel}: {what}'s {rows}")));
        }
        Ok(())
    }

    /// Checks the shape alone, for a kernel that takes any stride.
    pub(crate) fn expect_shape(
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
