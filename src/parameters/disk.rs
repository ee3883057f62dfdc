//! Model files on disk, written completely or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use super::{LoadOptions, Loaded, Parameters, header};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};

impl Parameters {
    /// Writes [`to_bytes`](Self::to_bytes) to a temporary file and renames it, so that the complete old
    /// file or the complete new one exists at any time, even if the power fails.
    ///
    /// ```
    /// use ztilde::Parameters;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("network.safetensors");
    /// let parameters = Parameters::initialize(&[4, 16, 3], &Default::default())?;
    /// parameters.save(&path)?;
    /// assert_eq!(Parameters::load(&path)?, parameters);
    /// # Ok::<(), ztilde::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check); [`Error::File`] if the file cannot be written. An older file
    /// then stays unchanged, unless only the last step failed, which makes the new file's name survive a
    /// power cut.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a file as [`from_bytes`](Self::from_bytes) does.
    ///
    /// See the example of [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read, and those of [`from_bytes`](Self::from_bytes).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&read_file(path.as_ref())?)
    }

    /// Reads a file as [`from_bytes_with`](Self::from_bytes_with) does.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read, and those of
    /// [`from_bytes_with`](Self::from_bytes_with).
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Loaded> {
        Self::from_bytes_with(&read_file(path.as_ref())?, options)
    }
}

/// The whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Reads a file up to the length that its header claims: it may be an endless device, or still be
/// growing.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    // A pipe has length 0.
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    loop {
        let read = bytes.len() as u64;
        let more = header::claimed_length(&bytes).saturating_sub(read);
        let room = more.min(length.saturating_sub(read));
        bytes.try_reserve_exact(usize::try_from(room).unwrap_or(usize::MAX))?;
        if more == 0 || (&mut file).take(more).read_to_end(&mut bytes)? == 0 {
            return Ok(bytes);
        }
    }
}

/// Writes a file completely or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| Error::File { path: path.to_owned(), source })?;
    file.commit()
}
