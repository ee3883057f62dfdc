//! A curve over the steps, with at most as many values as a plot can show.

/// The most buckets of a curve; beyond it, pairs of buckets are merged.
const MOST_BUCKETS: usize = 256;

/// A metric over steps, as means over buckets of steps.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    steps_per_bucket: u64,
    buckets: Vec<Bucket>,
    last: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The sum of the numbers of the steps.
    steps: f64,
    /// The sum of the values.
    sum: f64,
    count: u32,
}

impl Curve {
    /// A curve whose values are means of at least this many steps.
    pub(crate) fn new(steps_per_bucket: u64) -> Self {
        Self { steps_per_bucket, buckets: Vec::new(), last: None }
    }

    /// Adds the value of a step, counted from 1. A value that is not a number leaves a gap.
    pub(crate) fn push(&mut self, step: u64, value: f64) {
        self.last = Some(value);
        while step / self.steps_per_bucket >= MOST_BUCKETS as u64 {
            self.steps_per_bucket *= 2;
            self.buckets = self.buckets.chunks(2).map(Bucket::join).collect();
        }
        let place = (step / self.steps_per_bucket) as usize;
        if place >= self.buckets.len() {
            self.buckets.resize(place + 1, Bucket::default());
        }
        if value.is_finite() {
            let added = Bucket { steps: step as f64, sum: value, count: 1 };
            self.buckets[place] = Bucket::join(&[self.buckets[place], added]);
        }
    }

    /// The latest value.
    pub(crate) fn last(&self) -> Option<f64> {
        self.last
    }

    /// Steps and values, each the mean of a bucket.
    pub(crate) fn points(&self) -> Vec<[f64; 2]> {
        let seen = self.buckets.iter().filter(|bucket| bucket.count > 0);
        let mean =
            |bucket: &Bucket| [bucket.steps, bucket.sum].map(|sum| sum / f64::from(bucket.count));
        seen.map(mean).collect()
    }
}

impl Bucket {
    fn join(pair: &[Self]) -> Self {
        let add = |sum: Self, next: &Self| Self {
            steps: sum.steps + next.steps,
            sum: sum.sum + next.sum,
            count: sum.count + next.count,
        };
        pair.iter().fold(Self::default(), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_means() {
        let mut curve = Curve::new(1);
        for step in 1..=10_000 {
            curve.push(step, step as f64);
        }
        curve.push(10_001, f64::NAN);
        let points = curve.points();
        assert!((MOST_BUCKETS / 2..=MOST_BUCKETS).contains(&points.len()), "{}", points.len());
        assert!(points.is_sorted_by(|[step, _], [next, _]| step < next), "{points:?}");
        // A mean of a straight line is on that line.
        for [step, value] in points {
            assert_eq!(step, value);
        }
        assert!(curve.last().is_some_and(f64::is_nan));
    }
}
