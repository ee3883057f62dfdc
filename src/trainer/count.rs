//! How many steps the GPU has taken, according to the latest read.
//!
//! A step gets its number when it is encoded. The GPU takes a step when its encoder is submitted; an app
//! may drop an encoder instead, and the GPU may skip a step. So only the GPU's count shows how many
//! steps were taken, and each read includes that count.

use std::sync::{Arc, Mutex, PoisonError};

use crate::fused::record_step::whole;

/// Steps that may wait in encoders that were not submitted. A step that waits longer counts as dropped.
pub(super) const MOST_WAITING: u64 = 7168;

/// The steps of a trainer, all counted from the first step of the trainers that it was restored from.
#[derive(Clone, Debug)]
pub(super) struct Count {
    encoded: u64,
    /// Steps that the library submitted itself, which the GPU will certainly take.
    certain: u64,
    /// Whether the GPU may skip steps, so that none is certain.
    may_skip: bool,
    known: Arc<Mutex<Known>>,
}

/// The latest read: the steps encoded when it was submitted, and the steps taken by then.
#[derive(Clone, Copy, Debug)]
struct Known {
    encoded: u64,
    certain: u64,
    taken: u64,
}

/// A read of the GPU's count that was submitted.
#[derive(Debug)]
pub(super) struct Reading {
    encoded: u64,
    certain: u64,
    known: Arc<Mutex<Known>>,
}

impl Count {
    /// Starts after `steps` steps.
    pub(super) fn new(steps: u64, may_skip: bool) -> Self {
        let known = Known { encoded: steps, certain: 0, taken: steps };
        Self { encoded: steps, certain: 0, may_skip, known: Arc::new(Mutex::new(known)) }
    }

    /// The number of the step that is encoded next, counted from 0.
    pub(super) fn encoded(&self) -> u64 {
        self.encoded
    }

    /// A step was encoded into the app's encoder.
    pub(super) fn encode(&mut self) {
        self.encoded += 1;
    }

    /// A step was encoded, and the library submits it.
    pub(super) fn submit(&mut self) {
        self.encoded += 1;
        self.certain += u64::from(!self.may_skip);
    }

    /// The number of steps taken if all steps since the latest read are taken.
    pub(super) fn expected(&self) -> u64 {
        let known = self.known();
        known.taken + (self.encoded - known.encoded)
    }

    /// The least number of steps that the GPU will have taken after everything that was submitted so
    /// far.
    pub(super) fn at_least(&self) -> u64 {
        let known = self.known();
        known.taken + (self.certain - known.certain)
    }

    /// The largest number of steps that the GPU can reach with the steps encoded so far.
    pub(super) fn at_most(&self) -> u64 {
        let known = self.known();
        self.expected() + (known.encoded - known.taken).min(MOST_WAITING)
    }

    /// The steps encoded since the latest read that the GPU may not take.
    pub(super) fn unread(&self) -> u64 {
        let known = self.known();
        (self.encoded - known.encoded) - (self.certain - known.certain)
    }

    /// The state for a read that is submitted now.
    pub(super) fn reading(&self) -> Reading {
        let Self { encoded, certain, .. } = *self;
        Reading { encoded, certain, known: Arc::clone(&self.known) }
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Stores the GPU's count, which is modulo 2³². Returns the full count.
    pub(super) fn learn(&self, count: u32) -> u64 {
        let taken = whole(count, self.encoded);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.encoded >= known.encoded {
            *known = Known { encoded: self.encoded, certain: self.certain, taken };
        }
        taken
    }

    /// The steps that were encoded when the read was submitted.
    pub(super) fn encoded(&self) -> u64 {
        self.encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(count: &Count) -> [u64; 3] {
        [count.at_least(), count.expected(), count.at_most()]
    }

    #[test]
    fn what_the_library_submits_is_certain() {
        let mut count = Count::new(10, false);
        (0..5).for_each(|_| count.submit());
        assert_eq!(bounds(&count), [15; 3]);
        count.encode();
        assert_eq!(bounds(&count), [15, 16, 16]);
        let mut skipping = Count::new(10, true);
        (0..5).for_each(|_| skipping.submit());
        assert_eq!(bounds(&skipping), [10, 15, 15]);
    }

    #[test]
    fn a_reading_shows_what_was_dropped() {
        let mut count = Count::new(0, false);
        (0..100).for_each(|_| count.encode());
        let reading = count.reading();
        assert_eq!(reading.learn(97), 97);
        // Three steps may still be submitted.
        assert_eq!(bounds(&count), [97, 97, 100]);
        count.encode();
        assert_eq!(bounds(&count), [97, 98, 101]);
        count.submit();
        assert_eq!(bounds(&count), [98, 99, 102]);
    }

    #[test]
    fn what_waits_too_long_was_dropped() {
        let mut count = Count::new(0, false);
        (0..20_000).for_each(|_| count.encode());
        count.reading().learn(1000);
        assert_eq!(bounds(&count), [1000, 1000, 1000 + MOST_WAITING]);
    }

    #[test]
    fn what_is_certain_need_not_be_read() {
        let mut count = Count::new(3, false);
        (0..5).for_each(|_| count.submit());
        assert_eq!(count.unread(), 0);
        (0..5).for_each(|_| count.encode());
        assert_eq!(count.unread(), 5);
        count.reading().learn(9);
        count.submit();
        assert_eq!(count.unread(), 0);
    }

    #[test]
    fn an_older_reading_changes_nothing() {
        let mut count = Count::new(0, false);
        count.submit();
        let older = count.reading();
        count.encode();
        count.encode();
        count.reading().learn(2);
        assert_eq!(older.learn(1), 1);
        assert_eq!(bounds(&count), [2, 2, 3]);
    }

    #[test]
    fn counts_beyond_32_bits_are_whole() {
        let before = (1_u64 << 32) - 3;
        let mut count = Count::new(before, false);
        (0..5).for_each(|_| count.encode());
        assert_eq!(count.reading().learn(1), (1 << 32) + 1);
        let mut count = Count::new(before, false);
        (0..5).for_each(|_| count.encode());
        assert_eq!(count.reading().learn(u32::MAX - 1), (1 << 32) - 2);
    }
}
