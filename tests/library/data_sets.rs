//! Data sets: their validity, and how they are split, shuffled and cut into batches.

use ndarray::{Array2, array};
use ztilde::{Dataset, Error, Remainder, Targets};
use ztilde::{batches, shuffled_order};

/// Row r has the features r and −r; its class is the first whose share r falls into.
fn classes(counts: &[u32]) -> Dataset {
    let classes: Vec<u32> =
        (0..).zip(counts).flat_map(|(class, &count)| vec![class; count as usize]).collect();
    let sign = [1.0, -1.0];
    let inputs = Array2::from_shape_fn([classes.len(), 2], |(r, c)| r as f32 * sign[c]);
    Dataset::new(inputs, classes).unwrap()
}

/// The rows of the data set above with these features.
fn rows(data: &Dataset) -> Vec<u32> {
    data.inputs().column(0).iter().map(|&row| row as u32).collect()
}

fn class_counts(data: &Dataset, classes: usize) -> Vec<u32> {
    let Targets::Classes(targets) = data.targets() else {
        panic!("the targets are classes");
    };
    let mut counts = vec![0; classes];
    for &class in targets.iter() {
        counts[class as usize] += 1;
    }
    counts
}

#[test]
fn inputs_and_targets_must_fit() {
    let message = |inputs: Array2<f32>, targets: Targets<'static>| {
        Dataset::new(inputs, targets).unwrap_err().to_string()
    };
    let found = message(Array2::zeros([0, 3]), Vec::<u32>::new().into());
    assert!(found.contains("0 rows × 3 features"), "{found}");
    let found = message(Array2::zeros([3, 0]), vec![0, 1, 2].into());
    assert!(found.contains("3 rows × 0 features"), "{found}");
    let found = message(Array2::zeros([3, 2]), vec![0, 1].into());
    assert!(found.contains("targets holds 2 values, but 3 are needed"), "{found}");
    let found = message(Array2::zeros([3, 2]), vec![0.0; 7].into());
    assert!(found.contains("7 values") && found.contains("3 rows × 3 in each"), "{found}");
    let found = message(Array2::zeros([3, 2]), Vec::<f32>::new().into());
    assert!(found.contains("0 values, but 3"), "{found}");
}

#[test]
fn numbers_that_are_not_finite_are_named_by_row_and_column() {
    let place = |inputs, targets: Vec<f32>| match Dataset::new(inputs, targets) {
        Err(Error::NotFinite { what, row, column, value }) => (what, row, column, value.is_nan()),
        found => panic!("{found:?}"),
    };
    let inputs = array![[0.0, 1.0, 2.0], [3.0, 4.0, f32::NAN]];
    assert_eq!(place(inputs.clone(), vec![0.0; 2]), ("inputs", 1, 2, true));
    // Column-major in memory: rows and columns are still those of the matrix.
    let transposed = inputs.reversed_axes().as_standard_layout().into_owned().reversed_axes();
    assert_eq!(place(transposed, vec![0.0; 2]), ("inputs", 1, 2, true));
    let targets = vec![0.0, 1.0, f32::NEG_INFINITY, 3.0];
    assert_eq!(place(Array2::zeros([2, 2]), targets), ("targets", 1, 0, false));
}

#[test]
fn inputs_become_row_major_from_any_order() {
    let inputs = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes();
    let data = Dataset::new(inputs.clone(), vec![0, 1, 2]).unwrap();
    assert_eq!(data.inputs(), &inputs);
    assert_eq!(data.inputs().as_slice().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!((data.rows(), data.features()), (3, 2));
}

#[test]
fn rows_can_be_selected() {
    let data = classes(&[2, 3]).select(&[4, 0, 4]).unwrap();
    assert_eq!(rows(&data), [4, 0, 4]);
    assert_eq!(*data.targets(), vec![1, 0, 1].into());

    let values =
        Dataset::new(array![[0.0], [1.0], [2.0]], vec![0., 1., 10., 11., 20., 21.]).unwrap();
    assert_eq!(*values.select(&[2, 0]).unwrap().targets(), vec![20., 21., 0., 1.].into());

    let message = values.select(&[0, 3]).unwrap_err().to_string();
    assert!(message.contains("3 of 3"), "{message}");
    assert!(values.select(&[]).is_err());
}

#[test]
fn a_split_is_a_partition_that_a_seed_decides() {
    let data = classes(&[13, 7, 80]);
    for (fraction, held_out) in [(0.2, 20), (0.5, 50), (0.004, 0), (0.005, 1), (0.99, 99)] {
        let Ok((train, held)) = data.split(fraction, 3) else {
            assert_eq!(held_out, 0, "{fraction} of 100 rows");
            continue;
        };
        assert_eq!(held.rows(), held_out);
        let (train, held) = (rows(&train), rows(&held));
        assert!(train.is_sorted() && held.is_sorted(), "the order is kept");
        let mut all = [train, held].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
    let held = |seed| rows(&data.split(0.2, seed).unwrap().1);
    assert_eq!(held(3), held(3));
    assert_ne!(held(3), held(4));
}

#[test]
fn a_split_holds_out_the_same_share_of_each_class() {
    let counts = [100, 1, 37, 50, 12];
    let data = classes(&counts);
    for seed in 0..20 {
        for fraction in [0.1, 0.2, 1.0 / 3.0, 0.5] {
            let (_, held) = data.split(fraction, seed).unwrap();
            for (held, count) in class_counts(&held, 5).into_iter().zip(counts) {
                let share = f64::from(count) * fraction;
                let found = f64::from(held);
                assert!((found - share).abs() <= 1.0, "{found} of {count} for {fraction}");
            }
        }
    }
}

/// Every row is held out about as often as any other.
#[test]
fn a_split_favors_no_row() {
    for data in [
        classes(&[30, 20]),
        Dataset::new(Array2::from_shape_fn([50, 1], |(row, _)| row as f32), vec![0.0; 50]).unwrap(),
    ] {
        let mut counts = [0_u32; 50];
        for seed in 0..2000 {
            for row in rows(&data.split(0.2, seed).unwrap().1) {
                counts[row as usize] += 1;
            }
        }
        // Each count is expected to be 400; the standard deviation is 18.
        assert!(counts.iter().all(|count| (310..490).contains(count)), "{counts:?}");
    }
}

/// On average over the seeds, each class holds out its share of rows, even if it has few: the only row
/// of a class is held out with some seeds, and trained on with the others.
#[test]
fn small_classes_are_held_out_under_some_seeds() {
    const SEEDS: u32 = 2000;
    let pairs = [2; 50];
    let mixed = [1, 1, 1, 2, 3, 17, 75];
    for (counts, fraction) in [(&pairs[..], 0.2), (&mixed, 0.2), (&mixed, 0.6)] {
        let data = classes(counts);
        let mut sums = vec![0_u32; counts.len()];
        for seed in 0..SEEDS {
            let (_, held) = data.split(fraction, seed.into()).unwrap();
            assert_eq!(f64::from(held.rows()), (fraction * f64::from(data.rows())).round());
            for (sum, held) in sums.iter_mut().zip(class_counts(&held, counts.len())) {
                *sum += held;
            }
        }
        for (sum, &count) in sums.iter().zip(counts) {
            let [mean, share] = [f64::from(*sum) / f64::from(SEEDS), fraction * f64::from(count)];
            // Six standard errors of a number that is rounded up or down at random.
            let error = 6.0 * (share.fract() * (1.0 - share.fract()) / f64::from(SEEDS)).sqrt();
            assert!((mean - share).abs() < error + 1e-9, "{mean} of {count} for {fraction}");
        }
    }
}

#[test]
fn a_split_with_an_empty_side_is_refused() {
    let data = classes(&[3, 2]);
    for fraction in [0.0, 0.05, 0.95, 1.0, 1.5, -0.2, f64::NAN, f64::INFINITY] {
        let message = data.split(fraction, 0).unwrap_err().to_string();
        assert!(message.contains(&format!("{fraction} of 5 row(s)")), "{message}");
    }
    assert!(classes(&[1]).split(0.5, 0).is_err());
    assert!(classes(&[2]).split(0.5, 0).is_ok());
}

#[test]
fn a_class_out_of_range_is_named() {
    let data = Dataset::new(Array2::zeros([3, 1]), vec![0, 4, 9]).unwrap();
    data.check_classes(10).unwrap();
    let message = data.check_classes(4).unwrap_err().to_string();
    assert!(message.contains("row 1 is class 4") && message.contains("4 classes"), "{message}");
    let values = Dataset::new(Array2::zeros([1, 1]), vec![9.0]).unwrap();
    values.check_classes(1).unwrap();
}

#[test]
fn an_epoch_visits_every_row_in_an_order_of_its_own() {
    for count in [0, 1, 2, 3, 1000] {
        let mut order = shuffled_order(count, 5, 0);
        order.sort_unstable();
        assert_eq!(order, (0..count).collect::<Vec<_>>());
    }
    assert_eq!(shuffled_order(1000, 5, 1), shuffled_order(1000, 5, 1));
    assert_ne!(shuffled_order(1000, 5, 0), shuffled_order(1000, 5, 1));
    assert_ne!(shuffled_order(1000, 5, 0), shuffled_order(1000, 6, 0));
    // A resumed run depends on this order; it must never change.
    assert_eq!(shuffled_order(10, 7, 3), [3, 7, 1, 6, 4, 8, 2, 0, 9, 5]);
}

#[test]
fn the_remainder_is_dropped_or_kept() {
    let count = |rows, size| [Remainder::Drop, Remainder::Keep].map(|r| batches(rows, size, r));
    assert_eq!(count(100, 10), [10, 10]);
    assert_eq!(count(101, 10), [10, 11]);
    assert_eq!(count(9, 10), [0, 1]);
    assert_eq!(count(9, 0), [0, 0]);
    assert_eq!(count(u32::MAX, 2), [u32::MAX / 2, u32::MAX / 2 + 1]);
}

#[test]
fn targets_come_from_slices_vectors_and_arrays() {
    let vector = vec![1_u32, 2];
    let classes = [Targets::from(&vector), (&vector[..]).into(), (&[1, 2]).into()];
    assert!(classes.iter().all(|targets| *targets == vector.clone().into() && targets.len() == 2));
    let vector = vec![1.0_f32, 2.0];
    let values = [Targets::from(&vector), (&vector[..]).into(), (&[1.0, 2.0]).into()];
    assert!(values.iter().all(|targets| *targets == vector.clone().into() && !targets.is_empty()));
}

/// Snapshots hold fingerprints, so these numbers must be the same in all versions and on all platforms.
#[test]
fn a_fingerprint_tells_data_sets_apart() {
    let inputs = array![[0.5, -1.0], [2.0, 0.0], [1e-20, 3.0]];
    let classes = || vec![2, 0, 1];
    let data = |inputs: &Array2<f32>, targets: Targets<'static>| {
        Dataset::new(inputs.clone(), targets).unwrap().fingerprint()
    };
    let same = data(&inputs, classes().into());
    assert_eq!(same, 0x06ae_d76c_276e_6745);
    assert_eq!(data(&inputs, vec![2.0, 0.0, 1.0].into()), 0x94aa_114a_0d99_02f4);
    // The fingerprint does not depend on the order in memory.
    let transposed = inputs.t().as_standard_layout().into_owned();
    assert_eq!(data(&transposed.reversed_axes(), classes().into()), same);

    let mut others = vec![data(&inputs, vec![2, 1, 0].into())];
    others.push(data(&inputs, vec![0, 0, 0].into()));
    for row in 0..3 {
        for column in 0..2 {
            for bit in 0..32 {
                let mut inputs = inputs.clone();
                let value = &mut inputs[[row, column]];
                *value = f32::from_bits(value.to_bits() ^ 1 << bit);
                if value.is_finite() {
                    others.push(data(&inputs, classes().into()));
                }
            }
        }
    }
    for order in [[0, 2, 1], [1, 0, 2], [2, 1, 0]] {
        let whole = Dataset::new(inputs.clone(), classes()).unwrap();
        others.push(whole.select(&order).unwrap().fingerprint());
    }
    // The same numbers, in rows of another length.
    let wider = Array2::from_shape_vec([2, 3], inputs.iter().copied().collect()).unwrap();
    others.push(data(&wider, vec![2, 0].into()));
    let count = others.len();
    others.push(same);
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), count + 1, "different data sets with the same fingerprint");
}
