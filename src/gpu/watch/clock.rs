//! When the GPU's work was seen to be done. A browser has no clock: there all times are 0.

use std::sync::Mutex;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use crate::gpu::shared::lock;

/// Microseconds since the library first saw a device, and when it last looked at it.
#[derive(Debug)]
pub(in crate::gpu) struct Clock {
    #[cfg(not(target_arch = "wasm32"))]
    start: Instant,
    looks: Mutex<Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    /// When the last look began: work that was not done then had not called back after it.
    last: f64,
    /// The calls in progress that return when work is done. Work that calls back meanwhile has just ended.
    waits: u32,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            start: Instant::now(),
            looks: Mutex::default(),
        }
    }

    pub(in crate::gpu) fn now(&self) -> f64 {
        #[cfg(not(target_arch = "wasm32"))]
        let seconds = self.start.elapsed().as_secs_f64();
        #[cfg(target_arch = "wasm32")]
        let seconds = 0.0;
        1e6 * seconds
    }

    /// Calls wgpu, which calls back for work that is done. `waits` says whether the call waits for work.
    pub(in crate::gpu) fn during<T>(&self, waits: bool, call: impl FnOnce() -> T) -> T {
        let begin = self.now();
        lock(&self.looks).waits += u32::from(waits);
        let value = call();
        let mut looks = lock(&self.looks);
        looks.waits -= u32::from(waits);
        looks.last = looks.last.max(begin);
        value
    }

    /// For a callback: a time at which the work was not done, and one at which it was.
    pub(in crate::gpu) fn bracket(&self) -> [f64; 2] {
        let now = self.now();
        let looks = lock(&self.looks);
        if looks.waits > 0 { [now; 2] } else { [looks.last, now] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_late_and_a_wait_is_not() {
        let clock = Clock::start();
        clock.during(false, || ());
        let [since, until] = clock.during(false, || clock.bracket());
        assert!(since < until, "{since} to {until}: the time of the last look, and of this one");
        let before = clock.now();
        let [since, until] = clock.during(true, || clock.bracket());
        assert_eq!(since, until);
        let [since, _] = clock.bracket();
        assert!(since >= before, "the wait was a look, too");
    }
}
