//! The GPU's history of the steps that it has taken, and how it is read.

use super::Trainer;
use super::count::{Count, Reading};
use crate::fused::record_step::{COUNTS, Counts, whole};
use crate::gpu::Source;
use crate::plan::HISTORY;
use crate::plan::RECORD;

/// The part of the history that is read.
#[derive(Debug)]
pub(super) struct Window {
    first_slot: u64,
    slots: u64,
    reading: Reading,
}

/// The part that was read.
#[derive(Debug)]
pub(super) struct History {
    first_slot: u64,
    records: Vec<[f32; RECORD as usize]>,
    /// Steps that were taken.
    pub(super) taken: u64,
    /// Steps that were encoded.
    pub(super) encoded: u64,
}

/// The GPU's record of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) loss: f32,
    pub(super) accuracy: f32,
    pub(super) rows: u32,
    number: u32,
}

impl Trainer {
    /// The part that covers the last `steps` steps, even if some encoded steps were not taken.
    pub(super) fn window(&self, steps: u64) -> Window {
        Window::new(&self.count, steps)
    }

    /// The part that will cover the next `steps` steps, once the library has submitted them.
    pub(super) fn window_after(&self, steps: u32) -> Window {
        let mut count = self.count.clone();
        (0..steps).for_each(|_| count.submit());
        Window::new(&count, steps.into())
    }

    /// The buffers to read for a window: the history, and the counts.
    pub(super) fn window_sources(&self, window: &Window) -> [Source<'_>; 2] {
        let values = |slots: u64| slots * u64::from(RECORD);
        let history = Source {
            buffer: self.memory.history.buffer(),
            first: self.memory.history.first() + values(window.first_slot),
            count: values(window.slots),
        };
        [history, Source::new(self.network.counts().buffer(), COUNTS.into())]
    }
}

impl Window {
    fn new(count: &Count, steps: u64) -> Self {
        let history = u64::from(HISTORY);
        let [first, end] = [count.at_least().saturating_sub(steps), count.at_most()];
        let first_slot = first % history;
        // The whole ring, if the steps wrap around its end.
        let (first_slot, slots) = match first_slot + (end - first) {
            end if end <= history => (first_slot, (end - first_slot).max(1)),
            _ => (0, history),
        };
        Self { first_slot, slots, reading: count.reading() }
    }

    /// The history, from the values that were read.
    pub(super) fn history(self, history: &[f32], counts: &[f32]) -> History {
        let counts = Counts::of(counts);
        let (records, _) = history.as_chunks();
        History {
            first_slot: self.first_slot,
            records: records.to_vec(),
            taken: self.reading.learn(counts.taken),
            encoded: self.reading.encoded(),
        }
    }
}

impl History {
    /// The record of a step of the window, counted from 0 in the order in which steps are taken.
    pub(super) fn record(&self, step: u64) -> Option<Record> {
        let is_kept = step < self.taken && step + u64::from(HISTORY) >= self.taken;
        let slot = (step % u64::from(HISTORY)).checked_sub(self.first_slot).filter(|_| is_kept)?;
        let &[loss, accuracy, rows, number] = self.records.get(slot as usize)?;
        Some(Record { loss, accuracy, rows: rows.to_bits(), number: number.to_bits() })
    }

    /// The number of that step, counted from 0 in the order in which steps were encoded.
    pub(super) fn number(&self, record: Record) -> u64 {
        whole(record.number, self.encoded)
    }
}
