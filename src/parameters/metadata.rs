//! The metadata of a file: a line of JSON, and after it the app's notes. They are one entry of the safetensors
//! metadata, because the order of several entries would differ from file to file.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::options::Activation;

/// The name of the entry.
pub(super) const ENTRY: &str = "ztilde";

/// The name of the object in which safetensors keeps all such entries.
pub(super) const OBJECT: &str = "__metadata__";

/// Raised when files of older versions can no longer be read with their original meaning.
pub(super) const VERSION: u32 = 2;

/// The values that a state dictionary lacks; in a snapshot also the state of the training. An unknown field
/// is an error: it may change the meaning of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata<S = IgnoredAny> {
    pub(super) version: u32,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
    pub(super) momentum: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<S>,
}

/// A version, beside fields that another version may not know.
#[derive(Deserialize)]
pub(crate) struct Version {
    version: u32,
}

impl Version {
    /// Fails unless it is the version that this library reads.
    pub(crate) fn expect(self, format: &str, known: u32) -> Result<()> {
        let found = self.version;
        if found != known {
            return Err(Error::Model(format!(
                "it is of format {format} {found}, but this library reads {format} {known}"
            )));
        }
        Ok(())
    }
}

impl<S: DeserializeOwned> Metadata<S> {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        // The first version was no JSON.
        let is_first = text.starts_with("version=");
        let version = if is_first { Version { version: 1 } } else { read(text)? };
        version.expect("version", VERSION)?;
        read(text)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let unreadable = |error| Error::Model(format!("its metadata cannot be read: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}
