//! The submissions that the GPU has not finished, and what their times say about the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use wgpu::{CommandEncoder, SubmissionIndex};

use super::shared::lock;
use super::watch::{Clock, Watch};
use super::{Gpu, wait};
use crate::error::Result;
use crate::plan::Pace;

/// The submissions of one user of a device, in order.
#[derive(Debug)]
pub(crate) struct InFlight {
    watch: Arc<Watch>,
    pace: Pace,
    submitted: VecDeque<(SubmissionIndex, Arc<Landing>)>,
    /// The submissions that are known to be done.
    done: u64,
}

/// The end of a submission, once wgpu has called back.
#[derive(Debug, Default)]
struct Landing {
    is_done: AtomicBool,
    bracket: Mutex<[f64; 2]>,
}

/// A submission that is being recorded.
#[derive(Debug)]
pub(crate) struct Launch {
    work: f64,
    at: f64,
    clock: Arc<Clock>,
    landing: Arc<Landing>,
}

impl Launch {
    /// Asks wgpu to call back when the commands of this encoder are done.
    pub(crate) fn follow(&self, encoder: &CommandEncoder) {
        let (clock, landing) = (Arc::clone(&self.clock), Arc::clone(&self.landing));
        encoder.on_submitted_work_done(move || {
            *lock(&landing.bracket) = clock.bracket();
            landing.is_done.store(true, Ordering::Release);
        });
    }
}

impl InFlight {
    pub(crate) fn new(gpu: &Gpu) -> Self {
        Self {
            watch: Arc::clone(&gpu.watch),
            pace: Pace::new(cfg!(not(target_arch = "wasm32"))),
            submitted: VecDeque::new(),
            done: 0,
        }
    }

    /// The pace so far.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Makes submissions of this work, for tests.
    #[cfg(test)]
    pub(crate) fn force(&mut self, work: f64) {
        self.pace.force(work);
    }

    /// The number of submissions so far.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.done + self.submitted.len() as u64
    }

    /// Begins a submission of this work.
    pub(crate) fn launch(&self, work: f64) -> Launch {
        let clock = Arc::clone(self.watch.clock());
        Launch { work, at: clock.now(), clock, landing: Arc::default() }
    }

    /// The submission was made. Returns its number.
    pub(crate) fn submitted(&mut self, launch: Launch, submission: SubmissionIndex) -> u64 {
        let Launch { work, at, landing, .. } = launch;
        self.pace.submit(work, at);
        self.submitted.push_back((submission, landing));
        self.done + self.submitted.len() as u64
    }

    /// Looks which submissions are done. Does not wait.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.watch.look()?;
        self.take_landed();
        Ok(())
    }

    fn take_landed(&mut self) {
        let is_done = |landing: &Arc<Landing>| landing.is_done.load(Ordering::Acquire);
        let count = self.submitted.iter().take_while(|(_, landing)| is_done(landing)).count();
        let Some((_, last)) = self.submitted.drain(..count).next_back() else { return };
        self.pace.done(count, *lock(&last.bracket));
        self.done += count as u64;
    }

    /// Whether the oldest submission has to be done before the next. `wanted` is all the work that waits.
    pub(crate) fn must_wait(&self, wanted: f64) -> bool {
        self.pace.must_wait(wanted)
    }

    /// Waits until the next submission may be made; natively no longer than
    /// [`block_on_for`](super::block_on_for) allows. In a browser, which must not block, it does not wait.
    pub(crate) fn make_room(&mut self, wanted: f64) -> Result<()> {
        self.look()?;
        while self.must_wait(wanted) {
            let Some((submission, landing)) = self.submitted.front().cloned() else { break };
            let is_done = || landing.is_done.load(Ordering::Acquire);
            wait::wait(&self.watch, Some(submission), is_done)?;
            self.take_landed();
            if !is_done() {
                self.finish(self.done + 1);
            }
        }
        Ok(())
    }

    /// All submissions are done, as something that was read after them shows.
    pub(crate) fn finish_all(&mut self) {
        self.finish(self.done + self.submitted.len() as u64);
    }

    /// The submissions up to this number are done, as something that was read after them shows.
    pub(crate) fn finish(&mut self, number: u64) {
        self.take_landed();
        let count = number.saturating_sub(self.done).min(self.submitted.len() as u64);
        self.submitted.drain(..count as usize);
        self.pace.forget(count as usize);
        self.done += count;
    }
}
