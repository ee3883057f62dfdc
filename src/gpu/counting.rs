//! How many values a kernel can index: its indices are `u32`.
//!
//! Most devices bind at most 2 GiB. Metal can bind all of the memory. Beyond 16 GiB an index would
//! silently wrap around to 0.

use wgpu::Limits;

use super::Matrix;
use crate::error::{Error, Result};

/// The most values of a matrix. An invocation advances by a whole dispatch, at most 65,535 workgroups of
/// 256, and must not wrap around to 0 past the end.
const MOST_VALUES: u64 = (1 << 32) - (1 << 24);

/// The most rows of a matrix: shaders use the highest bit of the number of rows as a 0 that no compiler
/// can know.
const MOST_ROWS: u32 = i32::MAX as u32;

/// The most bytes that a device can bind and whose values a kernel can index.
pub(crate) fn largest_binding(limits: &Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(4 * MOST_VALUES)
}

/// The number of rows of `columns` values that fit one buffer and one binding; at least 1.
pub(crate) fn rows_of_binding(limits: &Limits, columns: u32) -> u32 {
    let values = largest_binding(limits).min(limits.max_buffer_size) / 4;
    (values / u64::from(columns.max(1))).clamp(1, MOST_ROWS.into()) as u32
}

/// An error for a matrix whose rows or values a kernel cannot index.
pub(super) fn check_countable(kernel: &str, matrix: &Matrix) -> Result<()> {
    check(kernel, [matrix.rows(), matrix.columns()], matrix.values())
}

/// The same for `rows` × `values_of_row` values that a kernel indexes together.
pub(crate) fn check_count(kernel: &str, rows: u32, values_of_row: u64) -> Result<()> {
    let columns = u32::try_from(values_of_row).unwrap_or(u32::MAX);
    check(kernel, [rows, columns], u64::from(rows).saturating_mul(values_of_row))
}

fn check(kernel: &str, [rows, columns]: [u32; 2], values: u64) -> Result<()> {
    let (unit, needed, allowed) = if rows > MOST_ROWS {
        ("rows", u64::from(rows), u64::from(MOST_ROWS))
    } else {
        ("values", values, MOST_VALUES)
    };
    if needed <= allowed {
        return Ok(());
    }
    let what = format!("{kernel} of {rows} × {columns}");
    let (limit, cure) = ("a kernel's index", "divide the rows");
    Err(Error::TooMany { what, needed, unit, limit, allowed, cure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(binding: u64, buffer: u64) -> Limits {
        Limits {
            max_storage_buffer_binding_size: binding,
            max_buffer_size: buffer,
            ..Limits::default()
        }
    }

    /// A device like a Mac with a lot of memory, and other devices.
    #[test]
    fn parts_are_no_larger_than_a_kernel_can_count() {
        const GIB: u64 = 1 << 30;
        for (binding, buffer) in [(64 * GIB, 64 * GIB), (u64::MAX, u64::MAX), (2 * GIB, 1 << 40)] {
            let limits = limits(binding, buffer);
            for columns in [1, 3, 784, 1 << 20, u32::MAX] {
                let rows = u64::from(rows_of_binding(&limits, columns));
                let values = rows * u64::from(columns);
                let fits = values <= MOST_VALUES && 4 * values <= binding && rows <= 1 << 31;
                assert!(fits || rows == 1, "{binding}: {rows} × {columns}");
                // One row more cannot be indexed, or does not fit.
                let more = values + u64::from(columns);
                let is_full = 4 * more > largest_binding(&limits) || rows == u64::from(MOST_ROWS);
                assert!(is_full, "{binding}: only {rows} × {columns}");
            }
        }
        assert_eq!(rows_of_binding(&limits(1 << 10, 1 << 9), 4), 32, "the smaller limit");
        assert_eq!(rows_of_binding(&limits(1 << 10, 1 << 10), 0), 256, "nothing in a row");
    }

    /// Indices stay below 2³², even one dispatch past the end.
    #[test]
    fn what_cannot_be_counted_is_refused() {
        use crate::gpu::MAX_WORKGROUPS;
        assert!(MOST_VALUES + 256 * u64::from(MAX_WORKGROUPS) < 1 << 32);
        check_count("test", 1 << 16, (1 << 16) - (1 << 8)).unwrap();
        let refused = |rows, of_row| check_count("test", rows, of_row).unwrap_err().to_string();
        let found = refused(1 << 16, 1 << 16);
        let parts = ["test of 65536 × 65536 takes 4294967296 values", "ends at 4278190080"];
        assert!(parts.iter().all(|part| found.contains(part)), "{found}");
        let found = refused(1 << 31, 1);
        assert!(
            found.contains("2147483648 rows, but a kernel's index ends at 2147483647"),
            "{found}"
        );
    }
}
