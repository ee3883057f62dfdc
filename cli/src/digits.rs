//! The handwritten digits that the binary carries: see `data/digits/README.md`.

use ndarray::Array2;
use ztilde::{Dataset, Targets};

use crate::{failure::Failure, idx::Idx};

/// How many classes there are: the digits 0 to 9.
pub(crate) const CLASSES: u32 = 10;

/// The value of a pixel that is all ink.
const INK: f32 = 16.0;

/// 1,797 rows of 64 pixels between 0 (paper) and 1 (ink), with the digit as the class.
pub(crate) fn load() -> Result<Dataset, Failure> {
    let images = parse(include_bytes!("../../data/digits/digits-images.idx3-ubyte"))?;
    let labels = parse(include_bytes!("../../data/digits/digits-labels.idx1-ubyte"))?;
    let rows = images.shape[0] as usize;
    let pixels: Vec<f32> = images.values().map(|pixel| pixel / INK).collect();
    let inputs = Array2::from_shape_vec((rows, pixels.len() / rows), pixels)
        .map_err(|error| Failure::input(format!("the digits: {error}")))?;
    let classes: Vec<u32> = labels.values().map(|label| label as u32).collect();
    Ok(Dataset::new(inputs, Targets::Classes(classes.into()))?)
}

fn parse(bytes: &[u8]) -> Result<Idx<'_>, Failure> {
    Idx::parse(bytes).map_err(|error| Failure::input(format!("the digits: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_whole() {
        let digits = load().unwrap();
        assert_eq!((digits.rows(), digits.features()), (1797, 64));
        assert!(digits.inputs().iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        assert_eq!(digits.inputs()[[0, 2]], 5.0 / 16.0);
        let Targets::Classes(classes) = digits.targets() else {
            panic!("the targets are classes");
        };
        // The counts that data/digits/README.md gives.
        let mut counts = [0; CLASSES as usize];
        for &class in classes.iter() {
            counts[class as usize] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }
}
