//! Why the binary stops, and the exit code for scripts.

use std::{
    fmt::{self, Display, Formatter},
    process::ExitCode,
};

use ztilde::Error;

/// The kinds of failure that a script may want to distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A check failed.
    Check = 1,
    /// Wrong usage or bad input.
    Input = 2,
    /// There is no adapter, or none of the requested name.
    NoAdapter = 3,
    /// The device was lost, has no memory left, does not answer, or refuses a call.
    Device = 4,
    /// The loss is no longer finite.
    Diverged = 5,
    /// A signal such as Ctrl-C ended the run. If the run keeps a checkpoint, it was written first.
    Interrupted = 6,
}

/// Why the binary stops.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    pub(crate) fn check(message: impl Into<String>) -> Self {
        Self { kind: Kind::Check, message: message.into() }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { kind: Kind::Input, message: message.into() }
    }

    /// A temporary file that cannot be written or read.
    pub(crate) fn temporary_file(error: &std::io::Error) -> Self {
        Self::input(format!("a temporary file: {error}; TMPDIR names the folder for it"))
    }

    pub(crate) fn no_adapter(message: impl Into<String>) -> Self {
        Self { kind: Kind::NoAdapter, message: message.into() }
    }

    pub(crate) fn device(message: impl Into<String>) -> Self {
        Self { kind: Kind::Device, message: message.into() }
    }

    pub(crate) fn diverged(message: impl Into<String>) -> Self {
        Self { kind: Kind::Diverged, message: message.into() }
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: Kind::Interrupted, message: message.into() }
    }

    /// Adds a sentence if the failure is a divergence.
    pub(crate) fn if_diverged(self, advice: impl FnOnce() -> Option<String>) -> Self {
        let Self { kind, mut message } = self;
        if let (Kind::Diverged, Some(advice)) = (kind, advice()) {
            message = format!("{message}. {advice}");
        }
        Self { kind, message }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::OutOfMemory(_)
            | Error::DeviceLost(_)
            | Error::Timeout { .. }
            | Error::Wgpu(_) => Self::device(message),
            Error::Diverged(_) => Self::diverged(message),
            Error::BatchTooSmall { .. } => Self::input(format!(
                "{message}: choose another --batch-size, or --remainder drop, or --no-batch-norm"
            )),
            _ => Self::input(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_documented_codes() {
        let kind = |error| Failure::from(error).kind;
        assert_eq!(kind(Error::DeviceLost(String::new())), Kind::Device);
        assert_eq!(kind(Error::OutOfMemory(String::new())), Kind::Device);
        assert_eq!(kind(Error::Wgpu(String::new())), Kind::Device);
        let usage = Error::Usage { what: String::new(), missing: "STORAGE" };
        assert_eq!(kind(usage), Kind::Input);
        assert_eq!(kind(Error::BatchTooSmall { rows: 1 }), Kind::Input);
        assert_eq!(kind(Error::Model(String::new())), Kind::Input);
        assert_eq!(Kind::Check as u8, 1);
        assert_eq!(Kind::Input as u8, 2);
        assert_eq!(Kind::NoAdapter as u8, 3);
        assert_eq!(Kind::Device as u8, 4);
        assert_eq!(Kind::Diverged as u8, 5);
        assert_eq!(Kind::Interrupted as u8, 6);
    }
}
