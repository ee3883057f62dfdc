//! The values that are written to the GPU before the steps: their numbers and learning rates, and the
//! schedule's factors.

use wgpu::CommandEncoder;

use super::Trainer;
use crate::error::Result;
use crate::fused::update;
use crate::gpu::{Glance, Matrix, Source};
use crate::plan::{HISTORY, RATES};

/// The number of steps whose values are written at once.
const BLOCK: usize = 1024;

/// After this many steps in the app's encoders without a read, the GPU's count is read, so that steps of
/// dropped encoders do not count as waiting forever.
const MOST_UNREAD: u64 = 4096;

/// The steps up to which values are written.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The end of the numbers and learning rates, in the order in which steps are encoded.
    numbers: u64,
    /// The end of the schedule's factors, in the order in which steps are taken.
    rates: u64,
    /// The values of a block. Kept, so that a step allocates no memory.
    number_block: Vec<[u32; 2]>,
    rate_block: Vec<[f32; 4]>,
}

impl Ahead {
    pub(super) fn new(steps: u64) -> Self {
        let (number_block, rate_block) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
        Self { numbers: steps, rates: steps, number_block, rate_block }
    }

    /// The learning rate of the steps from number `next` on has changed.
    pub(super) fn change_rate(&mut self, next: u64) {
        self.numbers = next;
    }
}

/// The first step of an encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    number: u64,
    numbers: &'a Matrix,
    counts: &'a Matrix,
}

impl Number<'_> {
    /// Copies the number and the learning rate to the GPU's counts (`Counts::number` and `Counts::rate`).
    pub(super) fn encode(self, encoder: &mut CommandEncoder) {
        const BYTES: u64 = 8;
        let place = BYTES * (self.number % u64::from(HISTORY));
        let [numbers, counts] = [self.numbers.buffer(), self.counts.buffer()];
        encoder.copy_buffer_to_buffer(numbers, place, counts, 4, BYTES);
    }
}

impl Trainer {
    /// Writes the values that the next `count` steps will read.
    pub(super) fn announce(&mut self, count: u64) -> Result<()> {
        self.glance()?;
        let gpu = self.network.gpu();
        let optimizer = &self.options.optimizer;
        let Ahead { numbers, rates, number_block, rate_block } = &mut self.ahead;
        let end = |first: u64| (first / BLOCK as u64 + 1) * BLOCK as u64;
        while *numbers < self.count.encoded() + count {
            let steps = *numbers..end(*numbers);
            let rate = (optimizer.learning_rate as f32).to_bits();
            number_block.clear();
            number_block.extend(steps.clone().map(|number| [number as u32, rate]));
            let place = 2 * (steps.start % u64::from(HISTORY));
            gpu.write(self.memory.numbers.buffer(), place, number_block)?;
            *numbers = steps.end;
        }
        while *rates < self.count.at_most() + count {
            let steps = *rates..end(*rates);
            rate_block.clear();
            rate_block.extend(steps.clone().map(|step| update::rates(optimizer, step + 1)));
            let slot = 4 * (steps.start % u64::from(RATES));
            let place = self.memory.rates.first() + slot;
            gpu.write(self.memory.rates.buffer(), place, rate_block)?;
            *rates = steps.end;
        }
        Ok(())
    }

    /// Keeps the known count close to the GPU's.
    fn glance(&mut self) -> Result<()> {
        if let Some((glance, reading)) = &self.glance {
            let Some(values) = glance.values() else { return Ok(()) };
            // Later calls report a lost device.
            if let Ok(values) = values {
                reading.learn(values[0]);
            }
            self.glance = None;
        }
        if self.count.unread() >= MOST_UNREAD {
            let taken = Source::new(self.network.counts().buffer(), 1);
            let glance = Glance::start(self.network.gpu(), taken)?;
            self.glance = Some((glance, self.count.reading()));
        }
        Ok(())
    }

    /// The number of the next step, for its encoder.
    pub(super) fn number(&self) -> Number<'_> {
        let (numbers, counts) = (&self.memory.numbers, self.network.counts());
        Number { number: self.count.encoded(), numbers, counts }
    }
}
