//! A fake device at any pace, and a fake clock.

use super::*;

/// Floating point operations of a unit, and units of a step.
#[derive(Clone, Copy, Debug)]
struct Work {
    unit: f64,
    units: usize,
}

/// From one dispatch of a small network to a product of 4096³ that is divided.
const WORKS: [Work; 5] = [
    Work { unit: 2e4, units: 6 },
    Work { unit: 1e6, units: 6 },
    Work { unit: 4e6, units: 20 },
    Work { unit: 2e6, units: 700 },
    Work { unit: 5e6, units: 2000 },
];

/// GFLOP/s.
const SPEEDS: [f64; 9] = [1.0, 3.0, 10.0, 50.0, 200.0, 700.0, 2_000.0, 5_000.0, 10_000.0];

/// How many times as long as it takes the work is predicted to take.
const PREDICTIONS: [f64; 5] = [0.01, 0.2, 1.0, 7.0, 100.0];

/// A device that runs its submissions one after the other.
struct Device<F> {
    /// GFLOP/s at a time.
    speed: F,
    ends: VecDeque<f64>,
    free: f64,
}

/// When a submission was made, how long the device takes for it, and whether more steps waited behind it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    at: f64,
    time: f64,
    is_last: bool,
}

impl<F: Fn(f64) -> f64> Device<F> {
    fn new(speed: F) -> Self {
        Self { speed, ends: VecDeque::new(), free: 0.0 }
    }

    /// Takes a submission. Returns the time that the device needs for it.
    fn submit(&mut self, operations: f64, at: f64) -> f64 {
        let begin = self.free.max(at);
        let time = operations / (1e3 * (self.speed)(begin));
        self.free = begin + time;
        self.ends.push_back(self.free);
        time
    }

    /// The submissions that are done at a time.
    fn done(&mut self, now: f64) -> usize {
        let count = self.ends.iter().take_while(|end| **end <= now).count();
        self.ends.drain(..count);
        count
    }
}

/// Trains as the trainer does, with a CPU that needs a tenth of a millisecond for a submission. `predicted` is
/// the predicted time of an operation. A late app looks at the device only now and then.
fn train(
    device: &mut Device<impl Fn(f64) -> f64>,
    pace: &mut Pace,
    work: Work,
    steps: u32,
    predicted: f64,
    [mut now, late]: [f64; 2],
) -> Vec<Taken> {
    let unit = work.unit * predicted;
    let step = unit * work.units as f64;
    let (mut left, mut units_left) = (steps, work.units);
    let (mut taken, mut looked) = (Vec::new(), now);
    while left > 0 {
        let begun = work.units - units_left;
        let wanted = f64::from(left) * step - begun as f64 * unit;
        let look = |pace: &mut Pace, device: &mut Device<_>, now: f64, since: f64| {
            pace.done(device.done(now), [since, now]);
        };
        look(pace, device, now, looked);
        looked = now;
        while pace.must_wait(wanted) {
            // A late app sees the end of the wait in its next frame.
            let end = device.ends[0].max(now) + late;
            let since = if late > 0.0 { looked } else { end };
            look(pace, device, end, since);
            (now, looked) = (end, end);
        }
        let whole = if begun == 0 { pace.steps(step, left) } else { 0 };
        let units = match whole {
            0 => pace.units(&vec![unit; units_left]),
            steps => steps as usize * work.units,
        };
        now += 100.0;
        pace.submit(units as f64 * unit, now);
        let time = device.submit(units as f64 * work.unit, now);
        left -= whole;
        if whole == 0 {
            units_left -= units;
            if units_left == 0 {
                (left, units_left) = (left - 1, work.units);
            }
        }
        taken.push(Taken { at: now, time, is_last: left == 0 });
        assert!(device.ends.iter().filter(|end| **end > now).count() <= MOST_IN_FLIGHT);
    }
    taken
}

/// The submissions until they are long enough, if the estimate is the worst.
const FIRST_FEW: usize = 9;

#[test]
fn submissions_are_neither_long_nor_short_at_any_pace() {
    for work in WORKS {
        for speed in SPEEDS {
            for prediction in PREDICTIONS {
                let what = format!("{work:?} at {speed} GFLOP/s, predicted to take {prediction}×");
                let step = work.unit * work.units as f64 / (1e3 * speed);
                let steps = (1e6 / step).clamp(3.0, 1e8) as u32;
                let mut device = Device::new(|_| speed);
                let predicted = prediction / (1e3 * speed);
                let mut pace = Pace::new(true);
                let taken = train(&mut device, &mut pace, work, steps, predicted, [0.0; 2]);
                let longest = taken.iter().map(|taken| taken.time).fold(0.0, f64::max);
                assert!(longest <= 25_000.0, "{what}: {longest} µs");
                let settled = taken.iter().skip(FIRST_FEW).filter(|taken| !taken.is_last);
                let shortest = settled.map(|taken| taken.time).fold(f64::INFINITY, f64::min);
                assert!(shortest >= 2_000.0, "{what}: {shortest} µs");
                assert!(taken.len() > FIRST_FEW + 10, "{what}: {} submissions", taken.len());
            }
        }
    }
}

/// Submissions in flight when the device changes were made for its old pace.
#[test]
fn a_device_may_change_its_pace() {
    for work in WORKS {
        for (speed, factor) in SPEEDS.into_iter().flat_map(|speed| [(speed, 10.0), (speed, 0.1)]) {
            let later = speed * factor;
            if work.unit / (1e3 * speed.min(later)) > 5_000.0 {
                continue; // A unit takes too long.
            }
            let what = format!("{work:?} at {speed}, then {later} GFLOP/s");
            let change = 1e6;
            let mut device = Device::new(|time| if time < change { speed } else { later });
            let step = work.unit * work.units as f64 / (1e3 * speed);
            let steps = (2e6 / step).clamp(3.0, 1e8) as u32;
            let mut pace = Pace::new(true);
            let predicted = 1.0 / (1e3 * speed);
            let taken = train(&mut device, &mut pace, work, steps, predicted, [0.0; 2]);
            let changed = taken.iter().position(|taken| taken.at > change).expect("a change");
            let (before, after) = taken.split_at(changed);
            let before = &before[..before.len() - MOST_IN_FLIGHT];
            let in_bounds = |time: f64| (2_000.0..=25_000.0).contains(&time);
            let of = |taken: &[Taken], from: usize| {
                let settled = taken.iter().skip(from).filter(|taken| !taken.is_last);
                settled.map(|taken| taken.time).find(|&time| !in_bounds(time))
            };
            assert_eq!(of(before, FIRST_FEW), None, "{what}: before");
            // The time of one submission after the change shows it.
            assert_eq!(of(after, MOST_IN_FLIGHT), None, "{what}: after");
        }
    }
}

/// An app that looks at the device once a frame sees longer times, and never too short ones.
#[test]
fn a_late_look_makes_no_submission_long() {
    for late in [1_000.0, 8_000.0, 16_000.0, 100_000.0] {
        for speed in SPEEDS {
            let work = WORKS[2];
            let mut device = Device::new(|_| speed);
            let mut pace = Pace::new(true);
            let predicted = 1.0 / (1e3 * speed);
            let taken = train(&mut device, &mut pace, work, 3000, predicted, [0.0, late]);
            let longest = taken.iter().map(|taken| taken.time).fold(0.0, f64::max);
            assert!(longest <= 25_000.0, "{late} µs late at {speed} GFLOP/s: {longest} µs");
        }
    }
}

/// A frame's few steps do not wait for each other, and a long training after them starts small.
#[test]
fn few_steps_wait_for_nothing() {
    let mut pace = Pace::new(true);
    for frame in 0..3 {
        assert!(!pace.must_wait(40.0), "frame {frame}");
        pace.submit(40.0, 0.0);
    }
    assert!(pace.must_wait(40.0), "three are in flight");
    pace.done(3, [120.0; 2]);
    assert_eq!(pace.steps(40.0, u32::MAX), 4);
    assert!(!pace.must_wait(1e9), "nothing is in flight");
    pace.submit(160.0, 200.0);
    assert!(pace.must_wait(1e9), "its time is not known");
}

/// The work of another program makes times long. Its pauses are not left to it alone.
#[test]
fn a_busy_device_gets_no_tiny_submissions() {
    let mut pace = Pace::new(true);
    let mut now = 0.0;
    for round in 0..20 {
        let work = 10.0 * f64::from(pace.steps(10.0, u32::MAX));
        assert!(round < 8 || work >= 2_000.0, "round {round}: {work}");
        pace.submit(work, now);
        let of_others = if round > 10 { 100_000.0 } else { 0.0 };
        now += work + of_others;
        pace.done(1, [now; 2]);
    }
}

/// The short submission at the end of an epoch says little of the next one.
#[test]
fn a_short_submission_changes_nothing() {
    let mut pace = Pace::new(true);
    for (round, work) in [150.0, 600.0, 2400.0, 9600.0, 15_000.0, 10.0].into_iter().enumerate() {
        pace.submit(work, 1e5 * round as f64);
        pace.done(1, [1e5 * round as f64 + work; 2]);
    }
    assert_eq!(pace.steps(10.0, u32::MAX), 1500);
}

/// In a browser, which has no clock, submissions are as long as assumed.
#[test]
fn without_a_clock_nothing_is_measured() {
    let mut pace = Pace::new(false);
    assert_eq!(pace.steps(75.0, u32::MAX), 10);
    pace.submit(750.0, 0.0);
    assert!(!pace.must_wait(1e9));
    pace.forget(1);
    assert_eq!(pace.steps(75.0, u32::MAX), 10);
    assert_eq!(pace.steps(7500.0, u32::MAX), 0, "a step is divided");
    assert_eq!(pace.units(&[400.0; 15]), 2);
}
