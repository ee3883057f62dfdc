//! The pauses between polls.

use std::time::Duration;

/// Each is longer than the last. (wgpu's own waits with a limit sometimes panic if another thread uses the
/// device.)
pub(super) struct Pause(Duration);

impl Pause {
    const SHORTEST: Duration = Duration::from_micros(10);
    const LONGEST: Duration = Duration::from_millis(1);

    pub(super) fn next(&mut self) -> Duration {
        let longer = Self::LONGEST.min(2 * self.0);
        std::mem::replace(&mut self.0, longer)
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self(Self::SHORTEST)
    }
}
