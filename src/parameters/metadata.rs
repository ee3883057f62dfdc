//! What a file says besides its tensors: `name=value` pairs with spaces between them, in one entry of
//! the safetensors metadata, and after a line break the app's notes. One entry rather than many: the order
//! of several would differ from file to file.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The name of the entry.
pub(super) const ENTRY: &str = "ztilde";

/// The name that safetensors has for all such entries.
pub(super) const OBJECT: &str = "__metadata__";

/// The pairs of a file, by name.
#[derive(Debug)]
pub(crate) struct Metadata(BTreeMap<String, String>);

impl Metadata {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut pairs = BTreeMap::new();
        for (name, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(Error::Model(format!("its metadata gives the {name} twice")));
            }
        }
        Ok(Self(pairs))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        let value = self.0.get(name);
        value
            .map(String::as_str)
            .ok_or_else(|| Error::Model(format!("its metadata does not give the {name}")))
    }

    /// A value that is one of several.
    pub(crate) fn choice<T>(&self, name: &str, of: impl Fn(&str) -> Option<T>) -> Result<T> {
        let value = self.get(name)?;
        of(value).ok_or_else(|| Error::Model(format!("its {name} is {value:?}")))
    }

    /// A number, or `true` or `false`.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<T> {
        self.choice(name, |value| value.parse().ok())
    }

    /// The version of a format, which is the one that this library reads.
    pub(crate) fn expect_version(&self, name: &str, known: &str) -> Result<()> {
        let version = self.get(name)?;
        if version != known {
            return Err(Error::Model(format!(
                "it is of format {name} {version}, but this library reads {name} {known}"
            )));
        }
        Ok(())
    }
}
