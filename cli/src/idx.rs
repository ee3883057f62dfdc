//! IDX, the format of the MNIST files: two zero bytes, the type of the elements, the number of
//! dimensions, each dimension as a big-endian u32, then the elements, big-endian and row-major.

/// A file that was read; the elements stay where they are until they are asked for.
#[derive(Debug)]
pub(crate) struct Idx<'a> {
    /// The dimensions, rows first.
    pub(crate) shape: Vec<u32>,
    decode: fn(&[u8]) -> f32,
    bytes_per_element: usize,
    elements: &'a [u8],
}

impl<'a> Idx<'a> {
    /// Fails with a sentence about the file when it is no IDX file, or not a whole one.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let &[0, 0, code, dimensions, ref rest @ ..] = bytes else {
            return Err("not an IDX file: it does not start with two zero bytes".to_owned());
        };
        let (bytes_per_element, decode): (usize, fn(&[u8]) -> f32) = match code {
            0x08 => (1, |bytes| big_endian(bytes, u8::from_be_bytes).into()),
            0x09 => (1, |bytes| big_endian(bytes, i8::from_be_bytes).into()),
            0x0B => (2, |bytes| big_endian(bytes, i16::from_be_bytes).into()),
            0x0C => (4, |bytes| big_endian(bytes, i32::from_be_bytes) as f32),
            0x0D => (4, |bytes| big_endian(bytes, f32::from_be_bytes)),
            0x0E => (8, |bytes| big_endian(bytes, f64::from_be_bytes) as f32),
            other => {
                return Err(format!("not an IDX file: there is no element type {other:#04x}"));
            }
        };
        let header = usize::from(dimensions) * 4;
        let Some((sizes, elements)) = rest.split_at_checked(header) else {
            return Err(format!(
                "not a whole IDX file: {dimensions} dimensions need {header} bytes, but {} are left",
                rest.len()
            ));
        };
        let shape: Vec<_> =
            sizes.chunks_exact(4).map(|size| big_endian(size, u32::from_be_bytes)).collect();
        let needed = shape
            .iter()
            .map(|&size| u64::from(size))
            .try_fold(bytes_per_element as u64, u64::checked_mul);
        if needed != Some(elements.len() as u64) {
            let sizes: Vec<_> = shape.iter().map(u32::to_string).collect();
            return Err(format!(
                "not a whole IDX file: its elements take {} bytes, but {} elements of {} byte(s) \
                 should stand there",
                elements.len(),
                sizes.join(" x "),
                bytes_per_element
            ));
        }
        Ok(Self { shape, decode, bytes_per_element, elements })
    }

    /// The elements, row-major.
    pub(crate) fn values(&self) -> impl Iterator<Item = f32> {
        self.elements.chunks_exact(self.bytes_per_element).map(self.decode)
    }
}

fn big_endian<const N: usize, T>(bytes: &[u8], from_be_bytes: fn([u8; N]) -> T) -> T {
    let mut element = [0; N];
    element.copy_from_slice(bytes);
    from_be_bytes(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<f32> {
        Idx::parse(bytes).unwrap().values().collect()
    }

    #[test]
    fn reads_every_element_type() {
        assert_eq!(values(&[0, 0, 0x08, 1, 0, 0, 0, 2, 7, 255]), [7.0, 255.0]);
        assert_eq!(values(&[0, 0, 0x09, 1, 0, 0, 0, 2, 7, 255]), [7.0, -1.0]);
        assert_eq!(values(&[0, 0, 0x0B, 1, 0, 0, 0, 1, 255, 254]), [-2.0]);
        assert_eq!(values(&[0, 0, 0x0C, 1, 0, 0, 0, 1, 0, 1, 0, 0]), [65536.0]);
        assert_eq!(values(&[0, 0, 0x0D, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0]), [1.5]);
        assert_eq!(values(&[0, 0, 0x0E, 1, 0, 0, 0, 1, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), [1.5]);
    }

    #[test]
    fn reads_the_shape() {
        let idx = Idx::parse(&[0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 1, 5, 6]).unwrap();
        assert_eq!(idx.shape, [2, 1]);
    }

    #[test]
    fn refuses_what_is_no_whole_file() {
        let refused = |bytes: &[u8], expected: &str| {
            let error = Idx::parse(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused(b"", "two zero bytes");
        refused(b"PK\x03\x04", "two zero bytes");
        refused(&[0, 0, 0x0A, 1, 0, 0, 0, 0], "0x0a");
        refused(&[0, 0, 0x08, 2, 0, 0, 0, 1], "need 8 bytes, but 4 are left");
        refused(&[0, 0, 0x08, 1, 0, 0, 0, 3, 1, 2], "2 bytes, but 3 elements of 1 byte(s)");
        refused(&[0, 0, 0x08, 1, 0, 0, 0, 1, 1, 2], "2 bytes, but 1 elements");
        // Three dimensions whose product does not fit into 64 bits.
        let mut huge = vec![0, 0, 0x0E, 3];
        huge.extend([255; 12]);
        refused(&huge, "0 bytes, but 4294967295 x 4294967295 x 4294967295");
    }
}
