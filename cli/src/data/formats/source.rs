//! Opens a file, plain or gzip, and finds its format by its first bytes.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Seek},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::failure::Failure;

/// The number of bytes that decide on the format.
const PREFIX: u64 = 64 << 10;

/// The most bytes of a decompressed file in memory. A larger file is stored in a temporary file.
const IN_MEMORY: usize = 64 << 20;

/// The format of a file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Idx,
    Npy,
    Npz,
    Parquet,
}

/// A seekable source: a file, a decompressed file, or bytes in memory.
pub(crate) trait Seekable: Read + Seek + Send {}

impl<T: Read + Seek + Send> Seekable for T {}

/// A file that was opened.
pub(crate) struct Source {
    /// The path as it was typed, for messages.
    pub(crate) name: String,
    pub(crate) format: Format,
    /// The first bytes, decompressed.
    pub(crate) prefix: Vec<u8>,
    /// The bytes after the prefix.
    rest: Box<dyn Read + Send>,
    /// The file itself if it is seekable and not compressed.
    plain: Option<File>,
}

impl Source {
    /// Opens a file; `-` is stdin.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Self::read("stdin".to_owned(), io::stdin(), None);
        }
        let name = path.display().to_string();
        // Checked first: on Windows a folder cannot be opened.
        if path.is_dir() {
            return Err(Failure::input(format!(
                "{name} is a folder without the files of an image data set, which are called \
                 train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz. Name a file"
            )));
        }
        let failed = |error: io::Error| Failure::input(format!("{name}: {error}"));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let plain = if metadata.is_file() { Some(File::open(path).map_err(failed)?) } else { None };
        Self::read(name, file, plain)
    }

    /// The same for bytes in memory.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        Self::read("bytes".to_owned(), Cursor::new(bytes.to_vec()), None)
    }

    fn read(
        name: String,
        mut file: impl Read + Send + 'static,
        plain: Option<File>,
    ) -> Result<Self, Failure> {
        let prefix =
            read_prefix(&mut file).map_err(|error| Failure::input(format!("{name}: {error}")))?;
        if !prefix.starts_with(&[0x1f, 0x8b]) {
            return Self::sniff(name, prefix, Box::new(file), plain);
        }
        let mut unpacked = MultiGzDecoder::new(Cursor::new(prefix).chain(file));
        let prefix = read_prefix(&mut unpacked)
            .map_err(|error| Failure::input(format!("{name}: the gzip data is broken: {error}")))?;
        Self::sniff(name, prefix, Box::new(unpacked), None)
    }

    fn sniff(
        name: String,
        prefix: Vec<u8>,
        rest: Box<dyn Read + Send>,
        plain: Option<File>,
    ) -> Result<Self, Failure> {
        let format = format(&prefix).map_err(|why| Failure::input(format!("{name}: {why}")))?;
        Ok(Self { name, format, prefix, rest, plain })
    }

    /// The whole file, from the beginning.
    pub(crate) fn into_reader(self) -> impl Read + Send {
        Cursor::new(self.prefix).chain(self.rest)
    }

    /// The file and its length, decompressed if necessary.
    pub(crate) fn into_seekable(self) -> Result<(Box<dyn Seekable>, u64), Failure> {
        let name = self.name.clone();
        match self.plain {
            Some(file) => {
                let length = file.metadata().map(|metadata| metadata.len());
                let length = length.map_err(|error| Failure::input(format!("{name}: {error}")))?;
                Ok((Box::new(file), length))
            }
            None => unpack(&name, self.into_reader()),
        }
    }

    /// The file, or a temporary file with its decompressed contents.
    pub(crate) fn into_file(self) -> Result<File, Failure> {
        let name = self.name.clone();
        let failed = |error: io::Error| Failure::input(format!("{name}: unpacking it: {error}"));
        if let Some(file) = self.plain {
            return Ok(file);
        }
        let mut unpacked = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut self.into_reader(), &mut unpacked).map_err(failed)?;
        Ok(unpacked)
    }
}

/// Copies a stream to memory or to a temporary file, so that it can be read several times.
pub(crate) fn unpack(
    name: &str,
    mut reader: impl Read,
) -> Result<(Box<dyn Seekable>, u64), Failure> {
    let mut unpacked = tempfile::spooled_tempfile(IN_MEMORY);
    let length = io::copy(&mut reader, &mut unpacked)
        .and_then(|length| unpacked.rewind().map(|()| length))
        .map_err(|error| Failure::input(format!("{name}: unpacking it: {error}")))?;
    Ok((Box::new(unpacked), length))
}

fn read_prefix(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut prefix = Vec::new();
    reader.take(PREFIX).read_to_end(&mut prefix)?;
    Ok(prefix)
}

fn format(prefix: &[u8]) -> Result<Format, &'static str> {
    match prefix {
        [] => Err("the file is empty"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Format::Npy),
        [b'P', b'K', 3, 4, ..] => Ok(Format::Npz),
        [0, 0, 0x08..=0x0E, dimensions, ..] if *dimensions > 0 => Ok(Format::Idx),
        [b'P', b'A', b'R', b'1', ..] => Ok(Format::Parquet),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
            Err("Arrow's own format is not read here; save the table as Parquet or CSV")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err("the text is UTF-16; save it as UTF-8"),
        _ if prefix.contains(&0) => Err(
            "the format of this binary file is unknown: a table is CSV, TSV or Parquet, images are \
             IDX, arrays are .npy or .npz; text and IDX may be gzip",
        ),
        _ => Ok(Format::Text),
    }
}

/// Whether a path names a folder.
pub(crate) fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        assert_eq!(format(b"a,b\n1,2\n"), Ok(Format::Text));
        assert_eq!(format(&[0, 0, 8, 3, 0, 0]), Ok(Format::Idx));
        assert_eq!(format(b"\x93NUMPY\x01\x00"), Ok(Format::Npy));
        assert_eq!(format(b"PK\x03\x04"), Ok(Format::Npz));
        assert_eq!(format(b"PAR1"), Ok(Format::Parquet));
        for (prefix, expected) in [
            (&b""[..], "empty"),
            (b"\xff\xfea\0", "UTF-16"),
            (b"ARROW1\0\0", "Arrow"),
            (b"\x7fELF\0\0", "binary"),
        ] {
            let error = format(prefix).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_packed_file_reads_as_the_plain_one() {
        let directory = tempfile::tempdir().unwrap();
        let text = "x,y\n".repeat(50_000);
        let packed = directory.path().join("packed");
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();

        let source = Source::open(&packed).unwrap();
        assert_eq!(source.format, Format::Text);
        let mut found = String::new();
        source.into_reader().read_to_string(&mut found).unwrap();
        assert!(found == text);
        let (_, length) = Source::open(&packed).unwrap().into_seekable().unwrap();
        assert_eq!(length, text.len() as u64);

        // A truncated file is an error rather than a shorter file.
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let opened = Source::open(&packed).and_then(Source::into_seekable);
        assert!(opened.is_err());
    }
}
