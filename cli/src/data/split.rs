//! Which rows are learned from and which are tested on: at random by a seed, alike in each class.

use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

/// What random numbers are for. Each purpose has its own stream, so that one seed may serve all.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Which rows are held out.
    Split = 0x11,
    /// In which block a row is.
    Blocks = 0x12,
    /// The order of the blocks in an epoch, and of the rows in a block.
    Order = 0x13,
}

/// The generator of a purpose, a seed, and two numbers more. They are its key, so that it can be made
/// again without knowing what was drawn before.
pub(crate) fn generator(purpose: Purpose, seed: u64, [epoch, block]: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..24].copy_from_slice(&block.to_le_bytes());
    key[24] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// A whole number below `count`. None is more likely than another by more than `count` / 2⁶⁴.
pub(crate) fn below(generator: &mut ChaCha8Rng, count: u64) -> u64 {
    ((u128::from(generator.next_u64()) * u128::from(count)) >> 64) as u64
}

/// Divides rows into groups of given sizes.
#[derive(Clone, Debug)]
pub(crate) enum Split {
    /// For each class, how many rows each group gets, and the seed.
    Dealt(Vec<Vec<u64>>, u64),
    /// The group of each row.
    Listed(Vec<u8>),
}

impl Split {
    /// Group 0 has everything.
    pub(crate) fn whole(of_class: &[u64]) -> Self {
        Self::Dealt(of_class.iter().map(|&rows| vec![rows]).collect(), 0)
    }

    /// Group 1 has this share of all rows, rounded, and of each class as nearly as whole rows can.
    pub(crate) fn held_out(of_class: &[u64], share: f64, seed: u64) -> Self {
        let rows: u64 = of_class.iter().sum();
        let held_out = (rows as f64 * share).round() as u64;
        // Evenly spaced rows, if the classes stood one behind the other.
        let held_out_before = |row: u64| {
            let exact = u128::from(row) * u128::from(held_out) + u128::from(rows / 2);
            (exact / u128::from(rows.max(1))) as u64
        };
        let mut first = 0;
        let quota = |&rows: &u64| {
            let held_out = held_out_before(first + rows) - held_out_before(first);
            first += rows;
            vec![rows - held_out, held_out]
        };
        Self::Dealt(of_class.iter().map(quota).collect(), seed)
    }

    /// As many groups, all of the same size, or one row less, in total and in each class.
    pub(crate) fn folds(of_class: &[u64], folds: u32, seed: u64) -> Self {
        let folds = u64::from(folds);
        let mut first = 0;
        let quota = |&rows: &u64| {
            // How many of the rows from `first` on are the next ones of a group's turn.
            let before = |row: u64, group: u64| (row + folds - 1 - group) / folds;
            let quotas = (0..folds).map(|group| before(first + rows, group) - before(first, group));
            let quotas = quotas.collect();
            first += rows;
            quotas
        };
        Self::Dealt(of_class.iter().map(quota).collect(), seed)
    }

    /// How many rows a group has.
    pub(crate) fn rows(&self, group: usize) -> u64 {
        match self {
            Self::Dealt(quotas, _) => quotas.iter().filter_map(|quotas| quotas.get(group)).sum(),
            Self::Listed(groups) => {
                groups.iter().filter(|&&other| usize::from(other) == group).count() as u64
            }
        }
    }

    /// Tells the group of one row after the other, the same each time.
    pub(crate) fn dealer(&self) -> Dealer<'_> {
        match self {
            Self::Dealt(quotas, seed) => Dealer::Random {
                left: quotas.clone(),
                generator: Box::new(generator(Purpose::Split, *seed, [0, 0])),
            },
            Self::Listed(groups) => Dealer::Listed(groups.iter()),
        }
    }
}

/// Tells the group of one row after the other.
pub(crate) enum Dealer<'a> {
    Random { left: Vec<Vec<u64>>, generator: Box<ChaCha8Rng> },
    Listed(std::slice::Iter<'a, u8>),
}

impl Dealer<'_> {
    /// The group of the next row, which is of this class.
    pub(crate) fn deal(&mut self, class: usize) -> usize {
        match self {
            Self::Listed(groups) => groups.next().copied().unwrap_or(0).into(),
            Self::Random { left, generator } => draw(&mut left[class], generator),
        }
    }
}

/// Draws one of the places that are left in some groups, each as likely as any other, and takes it.
pub(crate) fn draw(left: &mut [u64], generator: &mut ChaCha8Rng) -> usize {
    if left.len() == 1 {
        return 0;
    }
    let mut place = below(generator, left.iter().sum());
    let group = left.iter().position(|&places| {
        let is_here = place < places;
        place = place.wrapping_sub(places);
        is_here
    });
    let group = group.unwrap_or(0);
    left[group] = left[group].saturating_sub(1);
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows of each class each group gets.
    fn dealt(split: &Split, classes: &[usize], groups: usize) -> Vec<Vec<u64>> {
        let most = classes.iter().max().unwrap() + 1;
        let mut counts = vec![vec![0; groups]; most];
        let mut dealer = split.dealer();
        for &class in classes {
            counts[class][dealer.deal(class)] += 1;
        }
        counts
    }

    #[test]
    fn every_class_is_held_out_alike() {
        let classes: Vec<usize> = (0..150).map(|row| row % 3).collect();
        let split = Split::held_out(&[50, 50, 50], 0.2, 7);
        assert_eq!(dealt(&split, &classes, 2), [[40, 10], [40, 10], [40, 10]]);
        assert_eq!((split.rows(0), split.rows(1)), (120, 30));

        // 7 of 35 rows, where the classes have 1, 4 and 30.
        let split = Split::held_out(&[1, 4, 30], 0.2, 7);
        assert_eq!(split.rows(1), 7);
        let Split::Dealt(quotas, _) = split else { unreachable!() };
        for (quotas, rows) in quotas.iter().zip([1.0, 4.0, 30.0]) {
            assert!((quotas[1] as f64 - 0.2 * rows).abs() < 1.0, "{quotas:?}");
        }
        assert_eq!(Split::held_out(&[2], 0.2, 0).rows(1), 0);
    }

    #[test]
    fn folds_have_the_same_size() {
        let of_class = [59, 71, 48];
        let split = Split::folds(&of_class, 10, 0);
        for group in 0..10 {
            assert!([17, 18].contains(&split.rows(group)), "{}", split.rows(group));
        }
        let Split::Dealt(quotas, _) = split else { unreachable!() };
        for (quotas, rows) in quotas.iter().zip(of_class) {
            assert_eq!(quotas.iter().sum::<u64>(), rows);
            assert!(quotas.iter().max().unwrap() - quotas.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn the_seed_decides_and_rows_are_equally_likely() {
        let groups = |seed| {
            let split = Split::held_out(&[40], 0.25, seed);
            let mut dealer = split.dealer();
            (0..40).map(|_| dealer.deal(0)).collect::<Vec<_>>()
        };
        assert_eq!(groups(1), groups(1));
        assert_ne!(groups(1), groups(2));
        let mut counts = [0; 40];
        for seed in 0..2000 {
            for (count, group) in counts.iter_mut().zip(groups(seed)) {
                *count += group;
            }
        }
        // 500 expected of each; the standard deviation is 19.
        assert!(counts.iter().all(|count| (410..590).contains(count)), "{counts:?}");
    }
}
