//! The comparison of a kernel's results with its twin's values.

use std::fmt;

/// Some results of the GPU beside the expected values: how many are off, and the one that is nearest to its
/// bound or farthest beyond it.
///
/// See the example of [`Check`](crate::check::Check).
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The results that are compared, with the shape and the way through the kernel.
    pub what: String,
    /// How many results there are.
    pub values: usize,
    /// How many of them are beyond their bounds.
    pub off: usize,
    /// The worst result's place among them.
    pub index: usize,
    /// The worst result.
    pub found: f64,
    /// The value that it should have.
    pub expected: f64,
    /// The error that is allowed there.
    pub bound: f64,
}

impl Comparison {
    /// Compares each value with its own bound.
    ///
    /// # Panics
    ///
    /// If there are not as many expected values or bounds as values.
    #[track_caller]
    pub(crate) fn new(what: &str, found: &[f64], expected: &[f64], bounds: &[f64]) -> Self {
        let lengths = [expected.len(), bounds.len()];
        assert_eq!(lengths, [found.len(); 2], "{what}: how many values there are");
        let what = what.to_owned();
        let mut worst = Self {
            what,
            values: found.len(),
            off: 0,
            index: 0,
            found: 0.0,
            expected: 0.0,
            bound: 0.0,
        };
        for (index, &found) in found.iter().enumerate() {
            let (expected, bound) = (expected[index], bounds[index]);
            let is_off = share(found, expected, bound) > 1.0;
            if index == 0 || share(found, expected, bound) > worst.of_bound() {
                worst = Self { index, found, expected, bound, ..worst };
            }
            worst.off += usize::from(is_off);
        }
        worst
    }

    /// Compares each value, within `absolute` plus `relative` times the magnitude of what is expected.
    #[track_caller]
    pub(crate) fn scaled<'a>(
        what: &str,
        found: &[f32],
        expected: impl IntoIterator<Item = &'a f64>,
        absolute: f64,
        relative: f64,
    ) -> Self {
        let expected: Vec<f64> = expected.into_iter().copied().collect();
        let bound = |expected: &f64| absolute + relative * expected.abs();
        let bounds: Vec<f64> = expected.iter().map(bound).collect();
        Self::new(what, &doubles(found), &expected, &bounds)
    }

    /// How far the worst result is from the expected value.
    pub fn error(&self) -> f64 {
        (self.found - self.expected).abs()
    }

    /// The worst result's error, relative to its bound: above 1 if a result is off.
    pub fn of_bound(&self) -> f64 {
        share(self.found, self.expected, self.bound)
    }
}

/// The same values in double precision.
pub(super) fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// An error relative to its bound. A NaN, expected or not, is off.
fn share(found: f64, expected: f64, bound: f64) -> f64 {
    match (found - expected).abs() {
        error if error.is_nan() || bound.is_nan() => f64::INFINITY,
        error if error <= 0.0 => 0.0,
        error => error / bound,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, values, off, index, found, expected, bound } = self;
        let error = self.error();
        write!(
            formatter,
            "{what}: {off} of {values} values are off; the worst is value {index}: {found:.8e}, not \
             {expected:.8e} ± {bound:.1e}: {error:.1e} off"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_value_is_the_farthest_beyond_its_own_bound() {
        let found = [1.0, 2.5, 3.1, 4.0];
        let comparison =
            Comparison::new("values", &found, &[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 0.01, 0.0]);
        assert_eq!((comparison.off, comparison.index, comparison.values), (1, 2, 4));
        assert!((comparison.of_bound() - 10.0).abs() < 1e-4, "{comparison}");
        let text = comparison.to_string();
        assert!(text.starts_with("values: 1 of 4 values are off; the worst is value 2"), "{text}");
    }

    #[test]
    fn nan_is_off_and_equal_values_are_not() {
        for (found, expected) in [(f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, f64::INFINITY)]
        {
            let comparison = Comparison::new("one", &[found], &[expected], &[1e9]);
            assert_eq!((comparison.off, comparison.of_bound()), (1, f64::INFINITY), "{found}");
        }
        let comparison = Comparison::new("one", &[0.5, -0.0], &[0.5, 0.0], &[0.0; 2]);
        assert_eq!((comparison.off, comparison.of_bound()), (0, 0.0));
        assert_eq!(Comparison::new("none", &[], &[], &[]).off, 0);
    }
}
