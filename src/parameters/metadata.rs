//! The metadata of a file: `name=value` pairs with spaces between them, and after a line break the app's
//! notes. They are one entry of the safetensors metadata, because the order of several entries would differ
//! from file to file.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The name of the entry.
pub(super) const ENTRY: &str = "ztilde";

/// The name of the object in which safetensors keeps all such entries.
pub(super) const OBJECT: &str = "__metadata__";

/// The pairs of a file, by name.
#[derive(Debug)]
pub(crate) struct Metadata(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    value: String,
    /// Whether the value was read.
    is_read: Cell<bool>,
}

impl Metadata {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut pairs = BTreeMap::new();
        for pair in text.split_whitespace() {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::Model(format!(
                    "its metadata has {pair:?} instead of NAME=VALUE"
                )));
            };
            let entry = Entry { value: value.to_owned(), is_read: Cell::new(false) };
            if pairs.insert(name.to_owned(), entry).is_some() {
                return Err(Error::Model(format!("its metadata gives the {name} twice")));
            }
        }
        Ok(Self(pairs))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        let entry = self.0.get(name);
        let entry =
            entry.ok_or_else(|| Error::Model(format!("its metadata does not give the {name}")))?;
        entry.is_read.set(true);
        Ok(&entry.value)
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

    /// Fails if a pair was not read: an option that this version does not know may change the meaning of
    /// the file.
    pub(crate) fn expect_all_read(&self) -> Result<()> {
        match self.0.iter().find(|(_, entry)| !entry.is_read.get()) {
            None => Ok(()),
            Some((name, Entry { value, .. })) => Err(Error::Model(format!(
                "its metadata has {name}={value}, which this version of the library does not know, \
                 or which does not belong to its other options"
            ))),
        }
    }

    /// Fails unless the version of a format is the one that this library reads.
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
