//! Rows of numbers of any type, in a file or in memory. They are read in pieces, as f64.

use std::{
    cell::RefCell,
    io::{self, SeekFrom},
};

use crate::data::formats::source::Seekable;

/// The type of an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    pub(crate) bytes: usize,
    decode: fn(&[u8]) -> f64,
}

/// The decoder of a type in a byte order.
macro_rules! element {
    ($type:ty, $from_bytes:ident) => {
        element!($type, $from_bytes, |element| element as f64)
    };
    ($type:ty, $from_bytes:ident, $convert:expr) => {
        Element {
            bytes: size_of::<$type>(),
            decode: |bytes| {
                let mut element = [0; size_of::<$type>()];
                element.copy_from_slice(bytes);
                ($convert)(<$type>::$from_bytes(element))
            },
        }
    };
}

impl Element {
    /// Used for temporary files, which one run writes and reads.
    pub(crate) const NATIVE_F64: Self = element!(f64, from_ne_bytes);

    /// Looks a type up by NumPy's letter and its number of bytes.
    pub(crate) fn new(letter: u8, bytes: usize, is_big_endian: bool) -> Option<Self> {
        Some(match (letter, bytes, is_big_endian) {
            (b'b' | b'u', 1, _) => element!(u8, from_be_bytes),
            (b'i', 1, _) => element!(i8, from_be_bytes),
            (b'u', 2, true) => element!(u16, from_be_bytes),
            (b'u', 2, false) => element!(u16, from_le_bytes),
            (b'i', 2, true) => element!(i16, from_be_bytes),
            (b'i', 2, false) => element!(i16, from_le_bytes),
            (b'u', 4, true) => element!(u32, from_be_bytes),
            (b'u', 4, false) => element!(u32, from_le_bytes),
            (b'i', 4, true) => element!(i32, from_be_bytes),
            (b'i', 4, false) => element!(i32, from_le_bytes),
            (b'u', 8, true) => element!(u64, from_be_bytes),
            (b'u', 8, false) => element!(u64, from_le_bytes),
            (b'i', 8, true) => element!(i64, from_be_bytes),
            (b'i', 8, false) => element!(i64, from_le_bytes),
            (b'f', 2, true) => element!(half::f16, from_be_bytes, f64::from),
            (b'f', 2, false) => element!(half::f16, from_le_bytes, f64::from),
            (b'f', 4, true) => element!(f32, from_be_bytes),
            (b'f', 4, false) => element!(f32, from_le_bytes),
            (b'f', 8, true) => element!(f64, from_be_bytes),
            (b'f', 8, false) => element!(f64, from_le_bytes),
            _ => return None,
        })
    }
}

/// A matrix of numbers, a row per sample.
pub(crate) struct Array {
    /// For messages.
    pub(crate) name: String,
    storage: RefCell<Box<dyn Seekable>>,
    /// The offset of the first element.
    start: u64,
    pub(crate) element: Element,
    pub(crate) rows: u64,
    pub(crate) columns: usize,
    /// For Fortran order, which stores whole columns: the position of each column in storage.
    stored: Option<Vec<u64>>,
}

impl Array {
    /// Fails with a sentence unless `bytes` is exactly the size of the elements.
    pub(crate) fn new(
        name: String,
        storage: Box<dyn Seekable>,
        [start, bytes]: [u64; 2],
        element: Element,
        shape: &[u64],
        is_by_column: bool,
    ) -> Result<Self, String> {
        let (&rows, columns) = shape.split_first().ok_or("it is a single number, not rows")?;
        let count = |shape: &[u64]| shape.iter().copied().try_fold(1, u64::checked_mul);
        let needed = count(shape).and_then(|count| count.checked_mul(element.bytes as u64));
        if needed != Some(bytes) {
            let sizes: Vec<_> = shape.iter().map(u64::to_string).collect();
            return Err(format!(
                "not a whole file: its elements take {bytes} bytes, but {} elements of {} byte(s) \
                 should stand there",
                sizes.join(" x "),
                element.bytes
            ));
        }
        let columns = count(columns).and_then(|columns| usize::try_from(columns).ok()).unwrap_or(0);
        if rows == 0 || columns == 0 {
            return Err(format!(
                "there are {rows} rows of {columns} numbers: there are no training values"
            ));
        }
        let storage = RefCell::new(storage);
        let stored = (is_by_column && columns > 1).then(|| stored_columns(&shape[1..]));
        Ok(Self { name, storage, start, element, rows, columns, stored })
    }

    /// Decodes some rows, row-major.
    pub(crate) fn read(&self, first: u64, rows: usize, cells: &mut Vec<f64>) -> io::Result<()> {
        let Element { bytes: size, decode } = self.element;
        let storage = &mut *self.storage.borrow_mut();
        cells.clear();
        // At the end of the data, 0 rows are read.
        if rows == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; rows * self.columns * size];
        let Some(stored) = &self.stored else {
            let place = self.start + first * (self.columns * size) as u64;
            storage.seek(SeekFrom::Start(place))?;
            storage.read_exact(&mut bytes)?;
            cells.extend(bytes.chunks_exact(size).map(decode));
            return Ok(());
        };
        for (column, bytes) in stored.iter().zip(bytes.chunks_exact_mut(rows * size)) {
            let place = self.start + (column * self.rows + first) * size as u64;
            storage.seek(SeekFrom::Start(place))?;
            storage.read_exact(bytes)?;
        }
        for row in 0..rows {
            let element = |column| &bytes[(column * rows + row) * size..][..size];
            cells.extend((0..self.columns).map(|column| decode(element(column))));
        }
        Ok(())
    }
}

/// For each element of a row of this shape in C order (the last index changes fastest), its position in
/// Fortran order (the first index changes fastest).
fn stored_columns(sizes: &[u64]) -> Vec<u64> {
    let mut places = vec![0];
    let mut step = 1;
    for &size in sizes {
        places =
            places.iter().flat_map(|place| (0..size).map(move |at| place + at * step)).collect();
        step *= size;
    }
    places
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn array(
        bytes: &[u8],
        element: Element,
        shape: &[u64],
        by_column: bool,
    ) -> Result<Array, String> {
        let storage = Box::new(Cursor::new(bytes.to_vec()));
        let place = [2, bytes.len() as u64 - 2];
        Array::new("test".to_owned(), storage, place, element, shape, by_column)
    }

    fn read(array: &Array, first: u64, rows: usize) -> Vec<f64> {
        let mut cells = Vec::new();
        array.read(first, rows, &mut cells).unwrap();
        cells
    }

    #[test]
    fn every_type_is_decoded() {
        for (letter, bytes, expected) in [
            (b'b', &[1][..], 1.0),
            (b'u', &[255], 255.0),
            (b'i', &[255], -1.0),
            (b'u', &[1, 2], 258.0),
            (b'i', &[255, 254], -2.0),
            (b'u', &[0, 1, 0, 0], 65536.0),
            (b'i', &[255, 255, 255, 255], -1.0),
            (b'u', &[0, 0, 0, 1, 0, 0, 0, 0], 4294967296.0),
            (b'i', &[255; 8], -1.0),
            (b'f', &[0x3e, 0], 1.5),
            (b'f', &[0x3f, 0xc0, 0, 0], 1.5),
            (b'f', &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 1.5),
        ] {
            let mut bytes = bytes.to_vec();
            let big = Element::new(letter, bytes.len(), true).unwrap();
            assert_eq!((big.decode)(&bytes), expected);
            bytes.reverse();
            let little = Element::new(letter, bytes.len(), false).unwrap();
            assert_eq!((little.decode)(&bytes), expected);
        }
        assert!(Element::new(b'U', 4, false).is_none());
    }

    #[test]
    fn rows_are_read_in_either_order() {
        let bytes = Element::new(b'u', 1, false).unwrap();
        let by_row = array(&[9, 9, 1, 2, 3, 4, 5, 6], bytes, &[3, 2], false).unwrap();
        assert_eq!(read(&by_row, 1, 2), [3.0, 4.0, 5.0, 6.0]);
        let by_column = array(&[9, 9, 1, 3, 5, 2, 4, 6], bytes, &[3, 2], true).unwrap();
        assert_eq!(read(&by_column, 1, 2), [3.0, 4.0, 5.0, 6.0]);
        let images = array(&[9, 9, 1, 2, 3, 4], bytes, &[1, 2, 2], false).unwrap();
        assert_eq!((images.rows, images.columns), (1, 4));
        for array in [&by_row, &by_column] {
            assert_eq!(read(array, 3, 0), [0.0; 0], "no rows at the end");
        }
    }

    /// Element (i, j, k, l) is 1000 i + 100 j + 10 k + l.
    #[test]
    fn fortran_order_has_any_number_of_dimensions() {
        let element = Element::new(b'u', 2, false).unwrap();
        let mut bytes = vec![9, 9];
        for l in 0..4_u16 {
            for k in 0..3 {
                for j in 0..2 {
                    (0..2).for_each(|i| {
                        bytes.extend((1000 * i + 100 * j + 10 * k + l).to_le_bytes());
                    });
                }
            }
        }
        let array = array(&bytes, element, &[2, 2, 3, 4], true).unwrap();
        let row = (0..2).flat_map(|j| (0..3).flat_map(move |k| (0..4).map(move |l| (j, k, l))));
        let row: Vec<_> = row.map(|(j, k, l)| f64::from(1000 + 100 * j + 10 * k + l)).collect();
        assert_eq!(read(&array, 1, 1), row);
    }

    #[test]
    fn a_shape_that_is_not_there_is_refused() {
        let bytes = Element::new(b'u', 1, false).unwrap();
        let refused = |shape: &[u64], expected: &str| {
            let error = array(&[9, 9, 1, 2], bytes, shape, false).err().unwrap();
            assert!(error.contains(expected), "{error}");
        };
        refused(&[3], "2 bytes, but 3 elements of 1 byte(s)");
        refused(&[u64::MAX, u64::MAX], "18446744073709551615 x 18446744073709551615");
        refused(&[], "a single number");
        let empty = array(&[9, 9], bytes, &[0, 5], false).err().unwrap();
        assert!(empty.contains("0 rows"), "{empty}");
    }
}
