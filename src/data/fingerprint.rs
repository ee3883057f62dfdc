//! A hash by which data sets are compared.

use super::{Dataset, Targets};

/// FNV-1a with 64 bits, but with 32-bit numbers instead of bytes, and a rotation before each.
struct Fnv(u64);

impl Fnv {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn add(&mut self, numbers: impl Iterator<Item = u32>) {
        self.0 = numbers.fold(self.0, |hash, number| {
            // The product moves bits up only; the rotation moves the high bits down again.
            (hash.rotate_left(5) ^ u64::from(number)).wrapping_mul(Self::PRIME)
        });
    }
}

impl Dataset {
    /// A 64-bit hash of the shape, the inputs and the targets, in the order of the rows: data sets with
    /// different fingerprints are different. It is the same on every platform and in every version, and
    /// takes one pass over the data.
    ///
    /// It detects mistakes, such as rows in another order. It is not cryptographic: different data sets
    /// with the same fingerprint can be made on purpose.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv(Fnv::OFFSET_BASIS);
        let is_class = u32::from(matches!(self.targets, Targets::Classes(_)));
        hash.add([self.rows(), self.features(), is_class].into_iter());
        hash.add(self.inputs.iter().map(|value| value.to_bits()));
        match &self.targets {
            Targets::Classes(classes) => hash.add(classes.iter().copied()),
            Targets::Values(values) => hash.add(values.iter().map(|value| value.to_bits())),
        }
        hash.0
    }
}
