//! Chooses the held-out rows at random by a seed, with the same share of each class.

use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

/// The purpose of random numbers. Each purpose has its own stream, so that one seed serves all.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// The choice of the held-out rows.
    Split = 0x11,
    /// The choice of a row's block.
    Blocks = 0x12,
    /// The order of the blocks in an epoch, and of the rows in a block.
    Order = 0x13,
}

/// The generator of a purpose, a seed, and two more numbers. They are its key, so that it can be
/// recreated without knowing earlier draws.
pub(crate) fn generator(purpose: Purpose, seed: u64, [epoch, block]: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..24].copy_from_slice(&block.to_le_bytes());
    key[24] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// A whole number below `count`. The probabilities differ by less than `count` / 2⁶⁴.
pub(crate) fn below(generator: &mut ChaCha8Rng, count: u64) -> u64 {
    ((u128::from(generator.next_u64()) * u128::from(count)) >> 64) as u64
}

/// The numbers below `count` in random order.
pub(crate) fn permutation(generator: &mut ChaCha8Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(generator, last as u64 + 1) as usize);
    }
    order
}

/// Divides rows into groups of given sizes.
#[derive(Clone, Debug)]
pub(crate) enum Split {
    /// The number of rows that each group gets of each class, and the seed.
    Dealt(Vec<Vec<u64>>, u64),
    /// The group of each row.
    Listed(Vec<u8>),
}

impl Split {
    /// Group 0 has all rows.
    pub(crate) fn whole(of_class: &[u64]) -> Self {
        Self::Dealt(of_class.iter().map(|&rows| vec![rows]).collect(), 0)
    }

    /// Group 1 has this share of all rows, rounded, and the same share of each class, rounded up or down at
    /// random: on average over the seeds it is exactly the share.
    pub(crate) fn held_out(of_class: &[u64], share: f64, seed: u64) -> Self {
        let rows: u64 = of_class.iter().sum();
        let held_out = (rows as f64 * share).round() as u64;
        // Systematic sampling: evenly spaced rows, from a random phase on.
        let before = |row: u64, phase: u64| {
            let exact = u128::from(row) * u128::from(held_out) + u128::from(phase);
            (exact / u128::from(rows.max(1))) as u64
        };
        Self::lined_up(of_class, seed, rows, |first, end, phase| {
            let held_out = before(end, phase) - before(first, phase);
            vec![end - first - held_out, held_out]
        })
    }

    /// As many groups as `folds`. Their sizes differ by at most one row, in total and in each class; the seed
    /// decides which groups are larger.
    pub(crate) fn folds(of_class: &[u64], folds: u32, seed: u64) -> Self {
        let folds = u64::from(folds);
        // Rows are dealt to the groups in rotation, starting at a random group.
        let before = |row: u64, group: u64| (row + folds - 1 - group) / folds;
        Self::lined_up(of_class, seed, folds, |first, end, phase| {
            let quota = |group| before(end + phase, group) - before(first + phase, group);
            (0..folds).map(quota).collect()
        })
    }

    /// Lines up the classes in random order. `quotas` computes how many rows of a class each group gets,
    /// from the first row and the end of the class in the line, and a random phase below `phases`.
    fn lined_up(
        of_class: &[u64],
        seed: u64,
        phases: u64,
        quotas: impl Fn(u64, u64, u64) -> Vec<u64>,
    ) -> Self {
        // A different stream from that for the rows of a class.
        let mut generator = generator(Purpose::Split, seed, [1, 0]);
        let phase = below(&mut generator, phases);
        let mut of_groups = vec![Vec::new(); of_class.len()];
        let mut first = 0;
        for class in permutation(&mut generator, of_class.len()) {
            let end = first + of_class[class];
            of_groups[class] = quotas(first, end, phase);
            first = end;
        }
        Self::Dealt(of_groups, seed)
    }

    /// The number of rows in a group.
    pub(crate) fn rows(&self, group: usize) -> u64 {
        match self {
            Self::Dealt(quotas, _) => quotas.iter().filter_map(|quotas| quotas.get(group)).sum(),
            Self::Listed(groups) => {
                groups.iter().filter(|&&other| usize::from(other) == group).count() as u64
            }
        }
    }

    /// Returns the group of one row after the other, the same each time.
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

/// Returns the group of one row after the other.
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

/// Draws one of the free slots of some groups, each with the same probability, and takes it.
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

    /// The number of rows that each group gets of each class.
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
        for seed in 0..20 {
            let split = Split::folds(&of_class, 10, seed);
            for group in 0..10 {
                assert!([17, 18].contains(&split.rows(group)), "{}", split.rows(group));
            }
            let Split::Dealt(quotas, _) = split else { unreachable!() };
            for (quotas, rows) in quotas.iter().zip(of_class) {
                assert_eq!(quotas.iter().sum::<u64>(), rows);
                assert!(quotas.iter().max().unwrap() - quotas.iter().min().unwrap() <= 1);
            }
        }
    }

    /// The number of rows of each class in a group, summed over the seeds. Checks that each split has
    /// the share of each class, rounded up or down.
    fn sums(of_class: &[u64], group: usize, share: f64, split: impl Fn(u64) -> Split) -> Vec<f64> {
        let mut sums = vec![0.0; of_class.len()];
        for seed in 0..SEEDS {
            let split = split(seed);
            let Split::Dealt(quotas, _) = split else { unreachable!() };
            for ((sum, quotas), &rows) in sums.iter_mut().zip(&quotas).zip(of_class) {
                assert_eq!(quotas.iter().sum::<u64>(), rows, "{seed}");
                let held_out = quotas[group] as f64;
                assert!((held_out - share * rows as f64).abs() < 1.0, "{seed}: {quotas:?}");
                *sum += held_out;
            }
        }
        sums
    }

    const SEEDS: u64 = 4000;

    /// Checks that a group has its share of each class on average, within six standard errors.
    fn check_shares(of_class: &[u64], share: f64, sums: &[f64]) {
        for (sum, &rows) in sums.iter().zip(of_class) {
            let expected = share * rows as f64;
            let part = expected.fract();
            let error = 6.0 * (part * (1.0 - part) / SEEDS as f64).sqrt() + 1e-9;
            let mean = sum / SEEDS as f64;
            assert!((mean - expected).abs() < error, "{mean} of {rows}, but {expected}");
        }
    }

    /// Classes of one row, of two, and larger ones.
    #[test]
    fn small_classes_are_held_out_in_proportion() {
        let pairs = [2; 50];
        let mixed = [1, 1, 1, 2, 3, 17, 75];
        for (of_class, share) in [(&pairs[..], 0.2), (&mixed, 0.2), (&mixed, 0.25), (&mixed, 0.6)] {
            let held_out = |seed| Split::held_out(of_class, share, seed);
            let rows: u64 = of_class.iter().sum();
            for seed in 0..100 {
                assert_eq!(held_out(seed).rows(1), (share * rows as f64).round() as u64, "{seed}");
            }
            check_shares(of_class, share, &sums(of_class, 1, share, held_out));
        }
        for folds in [3, 10] {
            let share = 1.0 / f64::from(folds);
            let sums = sums(&mixed, 2, share, |seed| Split::folds(&mixed, folds, seed));
            check_shares(&mixed, share, &sums);
        }
    }

    /// Two classes of one row each are held out together as often as by chance.
    #[test]
    fn which_classes_are_held_out_together_is_random() {
        let mut together = 0;
        for seed in 0..SEEDS {
            let Split::Dealt(quotas, _) = Split::held_out(&[1; 20], 0.5, seed) else { panic!() };
            together += quotas[0][1] * quotas[1][1];
        }
        // Of the 19 other rows, 10 are not in the half of a class and 9 are: expected 947, deviation 27.
        assert!((780..1110).contains(&together), "{together}");
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
        // Each count is expected to be 500; the standard deviation is 19.
        assert!(counts.iter().all(|count| (410..590).contains(count)), "{counts:?}");
    }
}
