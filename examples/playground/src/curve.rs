//! A curve over the steps, with as many values as a plot can show.

/// Buckets of a curve; when it has more, pairs of them are joined.
const MOST_BUCKETS: usize = 256;

/// The mean of what happened in every so many steps.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    steps_per_bucket: u64,
    buckets: Vec<Bucket>,
    last: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    sum: f64,
    count: u32,
}

impl Curve {
    /// A curve whose values are means of at least so many steps.
    pub(crate) fn new(steps_per_bucket: u64) -> Self {
        Self { steps_per_bucket, buckets: Vec::new(), last: None }
    }

    /// Adds the value of a step, counted from 1. A value that is no number leaves a gap.
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
            self.buckets[place].sum += value;
            self.buckets[place].count += 1;
        }
    }

    /// The value that was added last.
    pub(crate) fn last(&self) -> Option<f64> {
        self.last
    }

    /// Steps and values.
    pub(crate) fn points(&self) -> Vec<[f64; 2]> {
        let middle = |place: usize| (place as f64 + 0.5) * self.steps_per_bucket as f64;
        let seen = self.buckets.iter().enumerate().filter(|(_, bucket)| bucket.count > 0);
        seen.map(|(place, bucket)| [middle(place), bucket.sum / f64::from(bucket.count)]).collect()
    }
}

impl Bucket {
    fn join(pair: &[Self]) -> Self {
        let add = |sum: Self, next: &Self| Self {
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
        // On a straight line the mean of a bucket is the value in its middle, but for the half step
        // by which steps are counted from 1 at the ends.
        for [step, value] in points {
            assert!((step - value).abs() <= 16.0, "{value} at {step}");
        }
        assert!(curve.last().is_some_and(f64::is_nan));
    }
}
