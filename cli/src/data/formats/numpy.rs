//! NumPy's `.npy`, and `.npz`, which is a zip file of `.npy` files.
//!
//! The header of an array is a Python dictionary of three entries, which NumPy always writes in the same
//! form. Existing crates evaluate any Python literal, for which they need a parser generator and big
//! integers. This module reads only NumPy's form.

use std::io::{Read, Seek};

use zip::{ZipArchive, result::ZipError};

use crate::{
    data::formats::{
        array::{Array, Element},
        source::{Seekable, unpack},
    },
    failure::Failure,
};

/// The longest header that is read. NumPy's take 128 bytes, unless a type has many fields.
const HEADER_BYTES: usize = 1 << 16;

/// The usual names of inputs in an `.npz` file, and of their targets.
const NAMES: [(&str, &[&str]); 4] = [
    ("inputs", &["x_train", "X_train", "x", "X", "inputs", "data", "features", "images"]),
    ("targets", &["y_train", "Y_train", "y", "Y", "targets", "target", "labels", "label"]),
    ("test inputs", &["x_test", "X_test"]),
    ("test targets", &["y_test", "Y_test"]),
];

/// The names that `numpy.savez(file, X, y)` gives inputs and targets. More than two arrays have no usual
/// order.
const UNNAMED: [&str; 2] = ["arr_0", "arr_1"];

/// Reads the header of an array in a file of this many bytes.
pub(crate) fn parse(
    name: &str,
    prefix: &[u8],
    storage: Box<dyn Seekable>,
    length: u64,
) -> Result<Array, String> {
    let header = header(prefix).ok_or("the header of the array is not whole")?;
    let text = String::from_utf8_lossy(header);
    let descr = entry(&text, "descr")?;
    let is_by_column = entry(&text, "fortran_order")?.starts_with("True");
    let shape = entry(&text, "shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|shape| shape.split_once(')'))
        .and_then(|(sizes, _)| {
            let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
            sizes.map(|size| size.parse().ok()).collect::<Option<Vec<u64>>>()
        })
        .ok_or("the header of the array has no shape")?;
    let descr = descr.strip_prefix('\'').and_then(|descr| descr.split_once('\''));
    let Some((descr, _)) = descr else {
        return Err("the array has fields of several types: save each one by itself".to_owned());
    };
    let element = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), letter, size @ ..] => std::str::from_utf8(size)
            .ok()
            .and_then(|size| size.parse().ok())
            .and_then(|size| Element::new(*letter, size, *order == b'>')),
        _ => None,
    };
    let element = element.ok_or_else(|| {
        let cure = match descr.as_bytes().get(1) {
            Some(b'U' | b'S') => {
                "text: numpy.unique(y, return_inverse=True)[1] makes a number for each class, and \
                 .astype('float32') makes numbers of text such as '1.5'"
            }
            Some(b'O') => {
                "Python objects: .astype('float32') makes numbers of numbers, and \
                 numpy.unique(y.astype(str), return_inverse=True)[1] makes a number for each class"
            }
            Some(b'M') => "points in time: .astype('datetime64[s]').astype('int64') makes seconds",
            Some(b'm') => "durations: .astype('timedelta64[s]').astype('int64') makes seconds",
            Some(b'c') => "complex numbers: .real and .imag are arrays of numbers",
            Some(b'f' | b'g') => "of a wider type: .astype('float64') makes doubles",
            _ => "of an unknown type: .astype('float32') or .astype('int64') makes numbers",
        };
        format!("the array is '{descr}', {cure}")
    })?;
    let start = (header.as_ptr() as usize - prefix.as_ptr() as usize + header.len()) as u64;
    let place = [start, length.saturating_sub(start)];
    Array::new(name.to_owned(), storage, place, element, &shape, is_by_column)
}

/// The dictionary that precedes the elements.
fn header(prefix: &[u8]) -> Option<&[u8]> {
    let (version, rest) = prefix.strip_prefix(b"\x93NUMPY")?.split_at_checked(2)?;
    let (length, rest) = rest.split_at_checked(if version[0] == 1 { 2 } else { 4 })?;
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    rest.get(..length.min(HEADER_BYTES))
}

/// The text after a key of the dictionary.
fn entry<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let key = format!("'{key}':");
    header
        .split_once(&key)
        .map(|(_, value)| value.trim_start())
        .ok_or_else(|| format!("the header of the array has no {key} entry"))
}

/// The arrays of an `.npz` file.
pub(crate) struct Arrays {
    pub(crate) inputs: Array,
    pub(crate) targets: Array,
    pub(crate) test: Option<(Array, Array)>,
}

/// Reads the inputs and the targets of an `.npz` file.
pub(crate) fn unzip(name: &str, file: Box<dyn Seekable>) -> Result<Arrays, Failure> {
    let mut archive = Archive::open(name, file)?;
    let (inputs, targets) = (archive.needed(0)?, archive.needed(1)?);
    let test = archive.find(2).zip(archive.find(3));
    Ok(Arrays {
        inputs: archive.array(&inputs)?,
        targets: archive.array(&targets)?,
        test: match test {
            Some((inputs, targets)) => Some((archive.array(&inputs)?, archive.array(&targets)?)),
            None => None,
        },
    })
}

/// Reads the inputs of an `.npz` file, which need no targets: the test inputs, or else the training
/// inputs.
pub(crate) fn unzip_inputs(name: &str, file: Box<dyn Seekable>) -> Result<Array, Failure> {
    let mut archive = Archive::open(name, file)?;
    let inputs = archive.find(2).or_else(|| archive.find(0));
    let inputs = inputs.map_or_else(|| archive.needed(0), Ok)?;
    archive.array(&inputs)
}

/// An `.npz` file that was opened.
struct Archive<'a> {
    name: &'a str,
    zip: ZipArchive<Box<dyn Seekable>>,
    /// The names of the arrays.
    members: Vec<String>,
}

impl<'a> Archive<'a> {
    fn open(name: &'a str, file: Box<dyn Seekable>) -> Result<Self, Failure> {
        let zip = ZipArchive::new(file).map_err(|error| broken(name, &error))?;
        let members: Vec<String> = zip
            .file_names()
            .filter_map(|name| name.ok()?.strip_suffix(".npy").map(str::to_owned))
            .collect();
        if members.is_empty() {
            return Err(Failure::input(format!(
                "{name} is a zip file without NumPy's arrays: save a spreadsheet as CSV, unpack a \
                 packed table"
            )));
        }
        Ok(Self { name, zip, members })
    }

    /// The member with one of the [`NAMES`], in their order; or with one of [`UNNAMED`], if the archive
    /// has no others.
    fn find(&self, what: usize) -> Option<String> {
        let mut known = NAMES[what].1.iter();
        let named = known.find_map(|known| self.members.iter().find(|member| member == known));
        let is_unnamed = self.members.len() <= UNNAMED.len()
            && self.members.iter().all(|member| UNNAMED.contains(&member.as_str()));
        let unnamed = UNNAMED.get(what).filter(|_| is_unnamed);
        let unnamed = unnamed.and_then(|name| self.members.iter().find(|member| member == name));
        named.or(unnamed).cloned()
    }

    fn needed(&self, what: usize) -> Result<String, Failure> {
        self.find(what).ok_or_else(|| {
            let (what, known) = NAMES[what];
            Failure::input(format!(
                "{} has the arrays {}, but none for the {what}: name it {}; numpy.savez(file, X=X, y=y) \
                 saves arrays with their names",
                self.name,
                self.members.join(", "),
                known.join(", ")
            ))
        })
    }

    fn array(&mut self, member: &str) -> Result<Array, Failure> {
        let label = format!("{}, {member}", self.name);
        let member = self.zip.by_name(&format!("{member}.npy"));
        let member = member.map_err(|error| broken(self.name, &error))?;
        let (mut storage, length) = unpack(&label, member)?;
        let mut prefix = Vec::new();
        let read = (&mut storage).take(2 * HEADER_BYTES as u64).read_to_end(&mut prefix);
        read.and_then(|_| storage.rewind())
            .map_err(|error| Failure::input(format!("{label}: {error}")))?;
        parse(&label, &prefix, storage, length)
            .map_err(|error| Failure::input(format!("{label}: {error}")))
    }
}

fn broken(name: &str, error: &ZipError) -> Failure {
    Failure::input(format!("{name}: the zip file is broken or not whole: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    /// As `numpy.save` writes it.
    fn npy(descr: &str, order: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(elements);
        bytes
    }

    fn parsed(bytes: &[u8]) -> Result<Array, String> {
        parse("test", bytes, Box::new(Cursor::new(bytes.to_vec())), bytes.len() as u64)
    }

    fn values(array: &Array) -> Vec<f64> {
        let mut values = Vec::new();
        array.read(0, array.rows as usize, &mut values).unwrap();
        values
    }

    #[test]
    fn arrays_are_read_in_either_order() {
        let elements: Vec<u8> =
            [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = parsed(&npy("'<f4'", "False", "(2, 2)", &elements)).unwrap();
        assert_eq!(values(&rows), [1.0, 2.0, 3.0, 4.0]);
        let columns = parsed(&npy("'<f4'", "True", "(2, 2)", &elements)).unwrap();
        assert_eq!(values(&columns), [1.0, 3.0, 2.0, 4.0]);
        let bytes = parsed(&npy("'|u1'", "False", "(3,)", &[1, 2, 3])).unwrap();
        assert_eq!((bytes.rows, bytes.columns), (3, 1));
    }

    #[test]
    fn unreadable_files_are_refused_with_the_reason() {
        let refused = |bytes: &[u8], expected: &str| {
            let error = parsed(bytes).err().unwrap();
            assert!(error.contains(expected), "{error}");
        };
        refused(&npy("'<U10'", "False", "(1,)", &[0; 40]), "'<U10', text: numpy.unique(y, ");
        refused(&npy("'|O'", "False", "(1,)", &[0; 8]), "Python objects: .astype(");
        refused(&npy("'<M8[ns]'", "False", "(1,)", &[0; 8]), "time: .astype('datetime64[s]')");
        refused(&npy("'<f16'", "False", "(1,)", &[0; 16]), "wider type: .astype('float64')");
        refused(&npy("'<c8'", "False", "(1,)", &[0; 8]), "complex");
        refused(&npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]), "several types");
        refused(&npy("'<f4'", "False", "(5,)", &[0; 4]), "4 bytes, but 5 elements");
        refused(&npy("'<f4'", "False", "()", &[0; 4]), "a single number");
        refused(&npy("'<f4'", "False", "(99999999999999999999,)", &[0; 4]), "no shape");
        refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "not whole");
        refused(b"\x93NUMPY", "not whole");
        refused(b"\x93NUMPY\x01\x00\x02\x00{}", "no 'descr':");
    }

    fn npz(members: &[(&str, Vec<u8>)]) -> Box<Cursor<Vec<u8>>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        Box::new(writer.finish().unwrap())
    }

    #[test]
    fn arrays_of_a_zip_file_go_by_name() {
        let bytes =
            |elements: &[u8]| npy("'|u1'", "False", &format!("({},)", elements.len()), elements);
        let file = npz(&[
            ("y.npy", bytes(&[1, 2])),
            ("other.npy", bytes(&[9])),
            ("X.npy", bytes(&[3, 4])),
        ]);
        let arrays = unzip("test", file).unwrap();
        assert_eq!(values(&arrays.inputs), [3.0, 4.0]);
        assert_eq!(values(&arrays.targets), [1.0, 2.0]);
        assert!(arrays.test.is_none());

        let unnamed = [("arr_1.npy", bytes(&[1, 2])), ("arr_0.npy", bytes(&[3, 4]))];
        let arrays = unzip("test", npz(&unnamed)).unwrap();
        assert_eq!(
            (values(&arrays.inputs), values(&arrays.targets)),
            (vec![3.0, 4.0], vec![1.0, 2.0])
        );
        assert_eq!(values(&unzip_inputs("test", npz(&unnamed[1..])).unwrap()), [3.0, 4.0]);
        // The second one of four may have targets or test inputs.
        let four = ["arr_0.npy", "arr_1.npy", "arr_2.npy", "arr_3.npy"];
        let error =
            unzip("test", npz(&four.map(|name| (name, bytes(&[1]))))).err().unwrap().to_string();
        assert!(error.contains("numpy.savez(file, X=X, y=y)"), "{error}");

        let error = unzip("test", npz(&[("a.npy", bytes(&[1]))])).err().unwrap().to_string();
        assert!(error.contains("has the arrays a, but none for the inputs"), "{error}");
        let error = unzip("test", npz(&[("sheet.xml", vec![1])])).err().unwrap().to_string();
        assert!(error.contains("spreadsheet"), "{error}");
        let broken = Box::new(Cursor::new(b"PK\x03\x04 and no more".to_vec()));
        assert!(unzip("test", broken).is_err());
    }
}
