//! The built-in handwritten digits: see `data/digits/README.md`.

use std::io::Cursor;

use ndarray::Array2;
use ztilde::{Dataset, Targets};

use crate::{
    data::{
        formats::{array::Array, idx},
        rows::split::Split,
    },
    failure::Failure,
};

/// The value of a pixel that is all ink.
pub(crate) const INK: f64 = 16.0;

const IMAGES: &[u8] = include_bytes!("../../data/digits/digits-images.idx3-ubyte");
const LABELS: &[u8] = include_bytes!("../../data/digits/digits-labels.idx1-ubyte");

/// 1,797 rows of 64 pixels between 0 (paper) and 1 (ink), with the digit as the class.
pub(crate) fn load() -> Result<Dataset, Failure> {
    let [images, labels] = arrays()?;
    let pixels: Vec<f32> = values(&images)?.iter().map(|pixel| (pixel / INK) as f32).collect();
    let inputs = Array2::from_shape_vec((images.rows as usize, images.columns), pixels)
        .map_err(|error| Failure::input(format!("the digits: {error}")))?;
    let classes: Vec<u32> = values(&labels)?.iter().map(|&label| label as u32).collect();
    Ok(Dataset::new(inputs, Targets::from(classes))?)
}

/// The images, then the labels.
pub(crate) fn arrays() -> Result<[Array; 2], Failure> {
    let array = |bytes: &'static [u8]| {
        let storage = Box::new(Cursor::new(bytes));
        idx::parse("the digits", bytes, storage, bytes.len() as u64)
            .map_err(|error| Failure::input(format!("the digits: {error}")))
    };
    Ok([array(IMAGES)?, array(LABELS)?])
}

/// Holds out the rows that [`Dataset::split`] does.
pub(crate) fn split(share: f64, seed: u64) -> Result<Split, Failure> {
    let digits = load()?;
    let rows = digits.rows() as usize;
    // A data set of the row numbers, which are exact in 32 bits.
    let numbers = Array2::from_shape_fn((rows, 1), |(row, _)| row as f32);
    let (_, held_out) = Dataset::new(numbers, digits.targets().clone())?.split(share, seed)?;
    let mut groups = vec![0; rows];
    for &row in held_out.inputs() {
        groups[row as usize] = 1;
    }
    Ok(Split::Listed(groups))
}

fn values(array: &Array) -> Result<Vec<f64>, Failure> {
    let mut values = Vec::new();
    array
        .read(0, array.rows as usize, &mut values)
        .map_err(|error| Failure::input(format!("the digits: {error}")))?;
    Ok(values)
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
        let mut counts = [0; 10];
        for &class in classes.iter() {
            counts[class as usize] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_library_decides_what_is_held_out() {
        let (_, held_out) = load().unwrap().split(0.2, 3).unwrap();
        assert_eq!(split(0.2, 3).unwrap().rows(1), u64::from(held_out.rows()));
    }
}
