//! Files that are written completely or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A new file that replaces an older one when it is complete, as a saved model does.
///
/// What is written goes to a temporary file in the same folder, whose name is `.NAME.` and six letters.
/// [`commit`](Self::commit) renames it, so that the complete old file or the complete new one exists at any
/// time, even if the power fails. Dropping it without a commit removes the temporary file; a kill leaves it.
///
/// An app uses it for files of its own, such as a checkpoint that holds [`Snapshot::to_bytes`] and more.
///
/// [`Snapshot::to_bytes`]: crate::Snapshot::to_bytes
///
/// ```
/// use std::io::Write;
/// use ztilde::AtomicFile;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("checkpoint");
/// std::fs::write(&path, "old")?;
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"new")?;
/// assert_eq!(std::fs::read(&path)?, b"old");
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    written: NamedTempFile,
    /// The file to replace.
    path: PathBuf,
    /// The same as the app named it, for errors.
    named: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file, with the permissions of the older file if there is one. If `path` is a
    /// link, the file that it names will be replaced, and the link stays.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder does not accept a new file, or if `path` is a folder, a device or a
    /// pipe, which a file must not replace.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let named = path.as_ref().to_owned();
        let path = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
        match temporary(&path) {
            Ok(written) => Ok(Self { written, path, named }),
            Err(source) => Err(Error::File { path: named, source }),
        }
    }

    /// Gives the file its name, when all of it is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; an older file then stays unchanged, unless only the last step failed, which makes
    /// the new file's name survive a power cut.
    pub fn commit(self) -> Result<()> {
        let Self { written, path, named } = self;
        persist(written, &path).map_err(|source| Error::File { path: named, source })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written.flush()
    }
}

fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let permissions = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        // Renaming would replace /dev/null by a file.
        Ok(_) => return Err(io::Error::other("it exists, and is not a regular file")),
        Err(_) => None,
    };
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The usual request for a new file. The user's umask restricts it.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder_of(path))?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    Ok(file)
}

fn persist(written: NamedTempFile, path: &Path) -> io::Result<()> {
    written.as_file().sync_all()?;
    written.persist(path)?;
    // The new name is part of the folder, which has to reach the disk, too.
    #[cfg(unix)]
    fs::File::open(folder_of(path))?.sync_all()?;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
