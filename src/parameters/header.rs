//! The header of a safetensors file, whose claims are all checked against the bytes of the file.

use std::collections::BTreeSet;
use std::fmt;

use safetensors::tensor::Metadata as Header;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::metadata;
use crate::error::{Error, Result};

/// The longest header that is read, which is also that of the safetensors crate.
const MOST_BYTES: u64 = 100_000_000;

/// The header, and what follows it.
///
/// [`safetensors::SafeTensors::deserialize`] does the same, but adds up the lengths that the header
/// claims without checking for overflow, and takes the last of several tensors of the same name.
pub(super) fn split(bytes: &[u8]) -> Result<(Header, &[u8])> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| {
        Error::Model(format!("{} bytes are too few for a safetensors file", bytes.len()))
    })?;
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(Error::Model(
            "it is a ZIP archive, as torch.save writes; Python's safetensors.torch.save_file(\
             torch.load(path, weights_only=True), new_path) makes a file that can be read"
                .to_owned(),
        ));
    }
    let length = u64::from_le_bytes(*length);
    if length > MOST_BYTES {
        return Err(Error::Model(format!(
            "it is not a safetensors file: its header should take {length} bytes, but {MOST_BYTES} is the \
             most"
        )));
    }
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(|| {
        Error::Model(format!(
            "its header should take {length} bytes, but {} are left: the file was cut off, or is \
             no safetensors file",
            rest.len()
        ))
    })?;
    let failed = |error| Error::Model(format!("its header cannot be read: {error}"));
    let Unique = serde_json::from_slice(header).map_err(failed)?;
    let header: Header = serde_json::from_slice(header).map_err(failed)?;
    let needed = header.data_len();
    if data.len() != needed {
        // If a file is too long, its rest was not read.
        let found = if data.len() > needed { "more".to_owned() } else { data.len().to_string() };
        return Err(Error::Model(format!(
            "its tensors should take {needed} bytes, but {found} follow the header"
        )));
    }
    Ok((header, data))
}

/// The number of bytes of a file to read, given its first bytes: 8, then the header, then the data and
/// one more byte, which reveals a file that is too long.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn claimed_length(bytes: &[u8]) -> u64 {
    let Some((length, rest)) = bytes.split_first_chunk() else { return 8 };
    let length = u64::from_le_bytes(*length);
    if length > MOST_BYTES {
        return 8;
    }
    let header = rest.get(..length as usize).map(serde_json::from_slice::<Header>);
    let data =
        header.and_then(std::result::Result::ok).map_or(0, |header| header.data_len() as u64);
    (8 + length).saturating_add(data).saturating_add(1)
}

/// A header without duplicate names.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)?;
        Ok(Self)
    }
}

/// Visits an object, and the object of the metadata in it.
struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with different names")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                return Err(M::Error::custom(format!("{name:?} occurs twice")));
            }
            if name == metadata::OBJECT {
                let Unique = map.next_value()?;
            } else {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            names.insert(name);
        }
        Ok(())
    }
}
