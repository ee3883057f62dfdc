//! Writing to the terminal, to files, and to pipes that may be closed.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde::Serialize;
use ztilde::AtomicFile;

use crate::failure::Failure;

/// One line on stderr. A closed stderr is ignored.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// One line on stdout. A closed pipe, such as one to `head`, is ignored: the other results, such as a
/// model file, are still written.
pub(crate) fn print(line: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::input(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// The destination of a JSON report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Stdout,
    File(PathBuf),
}

impl From<String> for Json {
    fn from(argument: String) -> Self {
        if argument == "-" { Self::Stdout } else { Self::File(argument.into()) }
    }
}

impl Json {
    /// Writes one object, with a newline after it.
    pub(crate) fn write(&self, report: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::input(format!("the report is no JSON: {error}")))?;
        match self {
            Self::Stdout => print(&text),
            Self::File(path) => replace(path, (text + "\n").as_bytes()),
        }
    }

    /// Starts a report of one object per line. The old contents of the file are removed.
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "it is read while it grows"))]
    pub(crate) fn lines(&self) -> Result<Lines, Failure> {
        match self {
            Self::Stdout => Ok(Lines::Stdout),
            Self::File(path) => match fs::File::create(path) {
                Ok(opened) => Ok(Lines::File(path.clone(), opened)),
                Err(error) => Err(file(path, &error)),
            },
        }
    }

    /// Fails before the work, rather than after it, if the file cannot be written.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => check_writable(path),
        }
    }
}

/// A report that grows line by line, so that earlier measurements survive a later failure.
pub(crate) enum Lines {
    Stdout,
    File(PathBuf, fs::File),
}

impl Lines {
    /// Writes one object, on one line.
    pub(crate) fn write(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(object)
            .map_err(|error| Failure::input(format!("the report is no JSON: {error}")))?;
        match self {
            Self::Stdout => print(&text),
            Self::File(path, opened) => {
                writeln!(opened, "{text}").map_err(|error| file(path, &error))
            }
        }
    }
}

/// Fails if `path` cannot be a file, because it is a directory or its directory does not exist.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(file(path, &ErrorKind::IsADirectory.into()));
    }
    let directory = folder_of(path);
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(file(directory, &ErrorKind::NotADirectory.into())),
        Err(error) => Err(file(directory, &error)),
    }
}

/// Writes bytes to a file, which at any moment holds all old bytes or all new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut replacement = Replacement::open(path)?;
    replacement.write(bytes)?;
    replacement.finish()
}

/// A new file that is written in pieces, and replaces the old one when it is complete.
pub(crate) struct Replacement {
    path: PathBuf,
    written: Written,
}

enum Written {
    Beside(Box<AtomicFile>),
    /// A pipe or a terminal has no old contents to protect, and must not be replaced by a file.
    Straight(fs::File),
}

impl Replacement {
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "here is output::replace"))]
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let written = if path.exists() && !path.is_file() {
            let opened = fs::File::options().write(true).open(path);
            Written::Straight(opened.map_err(|error| file(path, &error))?)
        } else {
            remove_leftovers(&fs::canonicalize(path).unwrap_or(path.to_owned()));
            Written::Beside(AtomicFile::create(path)?.into())
        };
        Ok(Self { path: path.to_owned(), written })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.written {
            Written::Beside(beside) => beside.write_all(bytes),
            Written::Straight(straight) => straight.write_all(bytes),
        };
        written.map_err(|error| file(&self.path, &error))
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.written {
            Written::Straight(_) => Ok(()),
            Written::Beside(beside) => Ok(beside.commit()?),
        }
    }
}

/// The output of a command: stdout, or a file that appears only when it is complete.
pub(crate) enum Stream {
    Stdout,
    File(Replacement),
}

impl Stream {
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, Failure> {
        path.map_or(Ok(Self::Stdout), |path| Replacement::open(path).map(Self::File))
    }

    /// Writes bytes. Breaks without an error if the pipe is closed, for example by `head`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<ControlFlow<()>, Failure> {
        match self {
            Self::File(replacement) => replacement.write(bytes).map(ControlFlow::Continue),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                    Ok(()) => Ok(ControlFlow::Continue(())),
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                        Ok(ControlFlow::Break(()))
                    }
                    Err(error) => Err(Failure::input(format!("stdout: {error}"))),
                }
            }
        }
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(replacement) => replacement.finish(),
        }
    }
}

/// Removes the temporary files, `.NAME.` and six letters, that a killed process left beside a file.
fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let is_leftover = |found: &str| {
        let letters =
            found.strip_prefix('.').and_then(|found| found.strip_prefix(name)?.strip_prefix('.'));
        letters.is_some_and(|letters| {
            letters.len() == 6 && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
        })
    };
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_leftover) {
            // A failure here has no consequences.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn file(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other name of the old file shows whether it was replaced or overwritten.
    #[test]
    fn a_report_replaces_the_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["report.json", "other"].map(|name| folder.path().join(name));
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, &other).unwrap();
        Json::File(path.clone()).write(&[1]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\n  1\n]\n");
        assert_eq!(fs::read_to_string(&other).unwrap(), "old");
    }

    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.checkpoint");
        replace(&path, b"old").unwrap();
        let others = [".run.checkpoint.short", ".run.checkpoint.a-b-cd", ".other.aB3dE6", "aB3dE6"];
        for name in others.into_iter().chain([".run.checkpoint.aB3dE6"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        replace(&path, b"new").unwrap();
        assert!(!folder.path().join(".run.checkpoint.aB3dE6").exists());
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
        assert_eq!(fs::read(path).unwrap(), b"new");
    }
}
