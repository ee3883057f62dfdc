//! Model files on disk, written completely or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use super::{LoadOptions, Loaded, Parameters, header};
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

/// Writes a temporary file beside the file, then renames it, so that a complete file exists at any time.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link is resolved, so that its target is replaced and the link stays.
    let existing = fs::canonicalize(path).ok();
    let path = existing.as_deref().unwrap_or(path);
    let permissions = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        // Renaming would replace /dev/null by a file.
        Ok(_) => return Err(io::Error::other("it exists, and is not a regular file")),
        Err(_) => None,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ztilde-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The usual request for a new file. The user's umask restricts it.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(directory)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name is part of the directory, which has to reach the disk, too.
    #[cfg(unix)]
    fs::File::open(directory)?.sync_all()?;
    Ok(())
}
