//! The tensors of a file, read one by one, as 32-bit floats.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::check_value;
use crate::error::{Error, Result};

/// The tensors of a file that have not been read yet.
pub(crate) struct Tensors<'a> {
    unread: BTreeMap<String, TensorInfo>,
    data: &'a [u8],
    /// The number of tensors that were converted to F32, by their type.
    converted: BTreeMap<&'static str, usize>,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(unread: BTreeMap<String, TensorInfo>, data: &'a [u8]) -> Self {
        Self { unread, data, converted: BTreeMap::new() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.unread.keys().map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.unread.contains_key(name)
    }

    /// The shape of a tensor that has not been read yet.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize]> {
        let missing = || Error::Model(format!("{name} is missing"));
        self.unread.get(name).map(|info| info.shape.as_slice()).ok_or_else(missing)
    }

    pub(super) fn matrix(&mut self, name: &str) -> Result<Array2<f32>> {
        let (shape, values) = self.take_floats(name)?;
        let [rows, columns] = shape[..] else {
            return Err(Error::Model(format!("{name} has shape {shape:?}, but must be a matrix")));
        };
        Array2::from_shape_vec([rows, columns], values)
            .map_err(|error| Error::Model(format!("{name}: {error}")))
    }

    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Array1<f32>> {
        Ok(self.floats(name, &[length])?.into())
    }

    /// The values of a tensor, which must have this shape.
    pub(crate) fn floats(&mut self, name: &str, needed: &[usize]) -> Result<Vec<f32>> {
        Err(Error::Model(match self.unread.get(name) {
            Some(info) if info.shape == needed => return Ok(self.take_floats(name)?.1),
            Some(info) => format!("{name} has shape {:?}, but must have {needed:?}", info.shape),
            None => format!("{name} is missing: a tensor of shape {needed:?} is needed"),
        }))
    }

    /// Fails if a tensor was not read.
    pub(crate) fn expect_none_left(&self) -> Result<()> {
        match self.unread.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::Model(format!("{name} belongs to nothing in the file"))),
        }
    }

    pub(super) fn count(&mut self, name: &str) -> Result<u64> {
        let (TensorInfo { dtype, shape, .. }, bytes) = self.take(name)?;
        if dtype != Dtype::I64 {
            return Err(Error::Model(format!("{name} is of type {dtype}, but must be I64")));
        }
        let number = bytes.try_into().ok().filter(|_| shape.is_empty()).map(i64::from_le_bytes);
        let Some(number) = number else {
            return Err(Error::Model(format!("{name} has shape {shape:?}, but must have []")));
        };
        u64::try_from(number)
            .map_err(|_| Error::Model(format!("{name} is {number}, but must be at least 0")))
    }

    /// One sentence for each type of floats other than F32.
    pub(super) fn conversions(&self) -> impl Iterator<Item = String> {
        self.converted.iter().map(|(dtype, count)| {
            let rounded = if *dtype == "F64" { ", rounded" } else { "" };
            format!("{count} tensor(s) of type {dtype} were converted to F32{rounded}")
        })
    }

    fn take_floats(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (TensorInfo { dtype, shape, .. }, bytes) = self.take(name)?;
        let (values, converted_from) = match dtype {
            Dtype::F32 => (decode(bytes, f32::from_le_bytes), None),
            Dtype::F16 => (decode(bytes, |half| from_half(u16::from_le_bytes(half))), Some("F16")),
            Dtype::BF16 => {
                let from_bfloat =
                    |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
                (decode(bytes, from_bfloat), Some("BF16"))
            }
            Dtype::F64 => {
                check_range(name, bytes)?;
                (decode(bytes, |bytes| f64::from_le_bytes(bytes) as f32), Some("F64"))
            }
            other => {
                return Err(Error::Model(format!(
                    "{name} is of type {other}, but must be F32, F16, BF16 or F64"
                )));
            }
        };
        for (index, &value) in values.iter().enumerate() {
            check_value(name, index, value)?;
        }
        if let Some(dtype) = converted_from {
            *self.converted.entry(dtype).or_default() += 1;
        }
        Ok((shape, values))
    }

    fn take(&mut self, name: &str) -> Result<(TensorInfo, &'a [u8])> {
        let info = self.unread.remove(name);
        let info = info.ok_or_else(|| Error::Model(format!("{name} is missing")))?;
        let (start, end) = info.data_offsets;
        let bytes = self.data.get(start..end);
        let bytes =
            bytes.ok_or_else(|| Error::Model(format!("{name} ends after the end of the file")))?;
        Ok((info, bytes))
    }
}

fn decode<const BYTES: usize>(bytes: &[u8], value: impl Fn([u8; BYTES]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect()
}

/// A finite F64 must not become infinite.
fn check_range(name: &str, bytes: &[u8]) -> Result<()> {
    let values = bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
    match values.enumerate().find(|(_, value)| value.is_finite() && (*value as f32).is_infinite()) {
        None => Ok(()),
        Some((index, value)) => Err(Error::Model(format!(
            "value {index} of {name} is {value:e}, but F32 ends at {:e}",
            f32::MAX
        ))),
    }
}

/// IEEE 754's binary16: a sign, 5 bits of exponent, 10 of fraction.
fn from_half(bits: u16) -> f32 {
    let [sign, exponent, fraction] = [bits >> 15, bits >> 10 & 0x1f, bits & 0x3ff].map(u32::from);
    let magnitude = match exponent {
        0 => fraction as f32 / 16_777_216.0, // 2²⁴
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from_bits((exponent + 127 - 15) << 23 | fraction << 13),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::from_half;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0, 0.0),
            (1, 2_f32.powi(-24)),
            (0x03ff, 1023.0 * 2_f32.powi(-24)),
            (0x0400, 2_f32.powi(-14)),
            (0x3555, 1365.0 / 4096.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_half(bits), value, "{bits:#06x}");
        }
        assert!(from_half(0x8000).is_sign_negative());
        assert!(from_half(0x7e01).is_nan());
    }
}
