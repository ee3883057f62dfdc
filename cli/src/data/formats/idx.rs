//! IDX, the format of the MNIST files: two zero bytes, the type of the elements, the number of
//! dimensions, each dimension as a big-endian u32, then the elements, big-endian and row-major. Also the
//! usual names of such files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    data::formats::{
        array::{Array, Element},
        source::Seekable,
    },
    failure::Failure,
};

/// Reads the header of a file of this many bytes. Fails with a sentence about the file if it is not a whole
/// IDX file.
pub(crate) fn parse(
    name: &str,
    prefix: &[u8],
    storage: Box<dyn Seekable>,
    length: u64,
) -> Result<Array, String> {
    let &[0, 0, code, dimensions, ref rest @ ..] = prefix else {
        return Err("not an IDX file: it does not start with two zero bytes".to_owned());
    };
    let (letter, bytes) = match code {
        0x08 => (b'u', 1),
        0x09 => (b'i', 1),
        0x0B => (b'i', 2),
        0x0C => (b'i', 4),
        0x0D => (b'f', 4),
        0x0E => (b'f', 8),
        other => return Err(format!("not an IDX file: there is no element type {other:#04x}")),
    };
    let element = Element::new(letter, bytes, true).ok_or("not an IDX file")?;
    let header = usize::from(dimensions) * 4;
    let Some(sizes) = rest.get(..header) else {
        return Err(format!(
            "not a whole IDX file: {dimensions} dimensions need {header} bytes, but {} are left",
            rest.len()
        ));
    };
    let size = |bytes: &[u8]| bytes.iter().fold(0, |size, &byte| size << 8 | u64::from(byte));
    let shape: Vec<u64> = sizes.chunks_exact(4).map(size).collect();
    let start = 4 + header as u64;
    let place = [start, length.saturating_sub(start)];
    Array::new(name.to_owned(), storage, place, element, &shape, false)
}

/// The images of a folder, by their names in MNIST, Fashion-MNIST and EMNIST.
pub(crate) fn images_in(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::input(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = file_name(&path);
        if name.contains("train-images") && name.contains("idx3-ubyte") {
            found.push(path);
        }
    }
    found.sort();
    // The same file, plain and compressed.
    found.dedup_by(|later, earlier| {
        later.as_os_str().to_str().and_then(|later| later.strip_suffix(".gz")) == earlier.to_str()
    });
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|path| file_name(path)).collect();
        let folder = folder.display();
        return Err(Failure::input(format!(
            "{folder} has several sets of images: {}. Name the file of one",
            names.join(", ")
        )));
    }
    Ok(found.pop())
}

/// The labels of images, if they are in the usual location.
pub(crate) fn labels_of(images: &Path) -> Option<PathBuf> {
    beside(images, &[("images", "labels"), ("idx3", "idx1")])
}

/// The test images that belong to training images.
pub(crate) fn test_images_of(images: &Path) -> Option<PathBuf> {
    beside(images, &[("train-", "t10k-")]).or_else(|| beside(images, &[("train-", "test-")]))
}

/// The file beside this one with another name, compressed or not.
fn beside(path: &Path, replaced: &[(&str, &str)]) -> Option<PathBuf> {
    let name = file_name(path);
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let other = replaced.iter().fold(plain.to_owned(), |name, (from, to)| name.replace(from, to));
    if other == plain {
        return None;
    }
    [other.clone(), other + ".gz"]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Array, String> {
        parse("test", bytes, Box::new(Cursor::new(bytes.to_vec())), bytes.len() as u64)
    }

    fn values(bytes: &[u8]) -> Vec<f64> {
        let array = parsed(bytes).unwrap();
        let mut values = Vec::new();
        array.read(0, array.rows as usize, &mut values).unwrap();
        values
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
        let array = parsed(&[0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 1, 5, 6]).unwrap();
        assert_eq!((array.rows, array.columns), (2, 1));
    }

    #[test]
    fn refuses_what_is_no_whole_file() {
        let refused = |bytes: &[u8], expected: &str| {
            let error = parsed(bytes).err().unwrap();
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

    #[test]
    fn images_are_found_by_their_usual_names() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            path
        };
        assert_eq!(images_in(directory.path()).unwrap(), None);
        let images = make("train-images-idx3-ubyte.gz");
        assert_eq!(labels_of(&images), None);
        let labels = make("train-labels-idx1-ubyte");
        let test_images = make("t10k-images-idx3-ubyte.gz");
        assert_eq!(images_in(directory.path()).unwrap(), Some(images.clone()));
        assert_eq!(labels_of(&images), Some(labels));
        assert_eq!(test_images_of(&images), Some(test_images.clone()));
        assert_eq!(test_images_of(&test_images), None);
        let plain = make("train-images-idx3-ubyte");
        assert_eq!(images_in(directory.path()).unwrap(), Some(plain));

        let letters = make("emnist-letters-train-images-idx3-ubyte");
        let test_letters = make("emnist-letters-test-images-idx3-ubyte");
        assert_eq!(test_images_of(&letters), Some(test_letters));
        let error = images_in(directory.path()).unwrap_err().to_string();
        assert!(error.contains("emnist-letters-train-images-idx3-ubyte, train-images"), "{error}");
    }
}
