//! Random numbers that are the same on every platform and for every version of the `rand` crates:
//! ChaCha8 is a fixed algorithm, and this file defines how its words are used.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// The purpose of the random numbers. Each purpose has its own stream, so that one seed serves all.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Weights = 1,
    Split = 2,
    Shuffle = 3,
}

/// The generator of a purpose, a seed and an epoch (0 where there are no epochs). The three are the
/// generator's key, so that it can be recreated without knowing earlier draws.
pub(crate) fn generator(purpose: Purpose, seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// A number above −1 and below 1, as likely as its negative: an odd multiple of 2⁻²³, which is
/// exact in f32.
pub(crate) fn symmetric(generator: &mut ChaCha8Rng) -> f32 {
    const HALF: i32 = 1 << 22;
    let number = (generator.next_u32() >> 9) as i32 - HALF;
    (2 * number + 1) as f32 / (2 * HALF) as f32
}

/// The numbers from 0 to `count` − 1 in random order, each order as likely as any other
/// (Fisher and Yates; Knuth, volume 2, algorithm P).
pub(crate) fn permutation(generator: &mut ChaCha8Rng, count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last as usize, at_most(generator, last) as usize);
    }
    order
}

/// A whole number from 0 to `largest`, which is below `u32::MAX`, each as likely as any other
/// (Lemire, arXiv 1805.10941, section 4).
pub(crate) fn at_most(generator: &mut ChaCha8Rng, largest: u32) -> u32 {
    let count = largest + 1;
    // The number of products that do not fill a whole round of the numbers.
    let surplus = count.wrapping_neg() % count;
    loop {
        let product = u64::from(generator.next_u32()) * u64::from(count);
        if product as u32 >= surplus {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers must never change: models and shuffles made with a seed depend on them.
    #[test]
    fn the_numbers_of_a_seed_are_pinned() {
        let mut weights = generator(Purpose::Weights, 7, 0);
        let numbers: Vec<f32> = (0..4).map(|_| symmetric(&mut weights)).collect();
        assert_eq!(numbers, [0.20485032, 0.2293905, -0.9526366, 0.5036963]);
        assert_eq!(
            permutation(&mut generator(Purpose::Shuffle, 7, 3), 10),
            [3, 7, 1, 6, 4, 8, 2, 0, 9, 5]
        );
    }

    #[test]
    fn the_extremes_are_symmetric() {
        let mut generator = generator(Purpose::Weights, 0, 0);
        let numbers: Vec<f32> = (0..100_000).map(|_| symmetric(&mut generator)).collect();
        let mean = numbers.iter().map(|&number| f64::from(number)).sum::<f64>() / 1e5;
        let square = numbers.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>() / 1e5;
        assert!(numbers.iter().all(|number| number.abs() < 1.0 && *number != 0.0));
        // Four standard errors: √(1/3 / 10⁵) = 0.0018 and √(4/45 / 10⁵) = 0.00094.
        assert!(mean.abs() < 0.0073, "the mean is {mean}");
        assert!((square - 1.0 / 3.0).abs() < 0.0038, "the mean square is {square}");
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut generator = generator(Purpose::Shuffle, 0, 0);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            *counts.entry(permutation(&mut generator, 4)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // Each count is expected to be 1,000; the standard deviation is 31.
        assert!(counts.values().all(|count| (870..1130).contains(count)), "{counts:?}");
    }
}
