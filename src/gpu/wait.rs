//! Waiting for the device: the only calls of `Device::poll`.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[cfg(not(target_arch = "wasm32"))]
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use wgpu::{Device, PollType, SubmissionIndex};

use crate::error::{Error, Result};

thread_local! {
    /// What the reading that this thread polled last waits for. More may have been submitted since,
    /// which `block_on` need not wait for.
    static AWAITED: Cell<Option<SubmissionIndex>> = const { Cell::new(None) };
}

/// Says what a future of this thread waits for.
pub(super) fn await_submission(submission: &SubmissionIndex) {
    AWAITED.set(Some(submission.clone()));
}

/// Lets wgpu look at what the device has done, and call whom it has told to call.
pub(super) fn look(device: &Device) -> Result<()> {
    poll(device, PollType::Poll)
}

/// Waits until it is done what a submission does, or until the device is lost; natively for no longer
/// than [`block_on_for`] allows. In a browser, where nothing may wait, it looks.
pub(super) fn wait(
    device: &Device,
    submission: Option<SubmissionIndex>,
    is_done: impl Fn() -> bool,
) -> Result<()> {
    if is_done() {
        return Ok(());
    }
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(deadline) = DEADLINE.get() {
        let mut pause = SHORTEST_PAUSE;
        loop {
            look(device)?;
            if is_done() {
                return Ok(());
            }
            deadline.sleep(&mut pause)?;
        }
    }
    poll(device, PollType::Wait { submission_index: submission, timeout: None })
}

/// `Device::poll`, which panics if it is the driver that says that the device is lost.
fn poll(device: &Device, poll_type: PollType) -> Result<()> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(poll_type))) {
        Ok(Ok(_)) => Ok(()),
        // The submission failed, which only a lost device's do.
        Ok(Err(error)) => Err(Error::DeviceLost(error.to_string())),
        Err(panic) => match lost(&*panic) {
            Some(message) => Err(Error::DeviceLost(message.to_owned())),
            // The app's own: wgpu calls back from here.
            None => resume_unwind(panic),
        },
    }
}

/// What wgpu said when it panicked over a lost device.
fn lost(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))?;
    message.starts_with("Error in Device::poll").then_some(message)
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// Until when this thread may wait.
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
struct Deadline {
    start: Instant,
    limit: Duration,
}

/// What [`block_on_for`] sleeps between two looks: a little more each time. (wgpu's own waits with a limit
/// panic now and then if another thread uses the device meanwhile.)
#[cfg(not(target_arch = "wasm32"))]
const SHORTEST_PAUSE: Duration = Duration::from_micros(10);
#[cfg(not(target_arch = "wasm32"))]
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

#[cfg(not(target_arch = "wasm32"))]
impl Deadline {
    /// Sleeps, unless the time is up.
    fn sleep(self, pause: &mut Duration) -> Result<()> {
        let Self { start, limit } = self;
        let waited = start.elapsed();
        if waited >= limit {
            return Err(Error::Timeout { waited, limit });
        }
        thread::sleep((limit - waited).min(*pause));
        *pause = LONGEST_PAUSE.min(2 * *pause);
        Ok(())
    }
}

/// Waits for one of this crate's futures, sleeping while the device works; for ever, if the device
/// neither answers nor is lost ([`block_on_for`] does not).
///
/// Any executor will do for these futures; this one does not spin while it waits for `device`. Not
/// for browsers, where nothing may block.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<F: Future>(device: &Device, future: F) -> F::Output {
    let _outer = Outer(DEADLINE.replace(None));
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A lost device ends the wait with an error, which the future then finds for itself.
        let submission_index = AWAITED.take();
        let _ = poll(device, PollType::Wait { submission_index, timeout: None });
    }
}

/// Waits for one of this crate's futures, but no longer than `limit`.
///
/// Nothing is lost when the time is up: what was submitted goes on, the trainer can be used, and asking
/// again, now or later, brings the answer. To go on with the same future, hand in `future.as_mut()` of
/// one that is pinned. The limit also holds for what waits within the future, such as
/// [`Trainer::train`](crate::Trainer::train) on streamed data, which then returns this error and can be
/// called again.
///
/// # Errors
///
/// [`Error::Timeout`] when the time is up, and those of the future.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on_for<T>(
    device: &Device,
    limit: Duration,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let deadline = Deadline { start: Instant::now(), limit };
    let _outer = Outer(DEADLINE.replace(Some(deadline)));
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        AWAITED.take();
        // This crate's futures look for themselves; others may not.
        let _ = look(device);
        deadline.sleep(&mut pause)?;
    }
}

/// Gives a thread back the deadline that it had before.
#[cfg(not(target_arch = "wasm32"))]
struct Outer(Option<Deadline>);

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Outer {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// wgpu 30 panics over this: a device that its driver gives up while somebody waits for it.
    #[test]
    fn the_loss_of_a_device_is_told_from_other_panics() {
        let panic_of = |call: fn()| catch_unwind(call).unwrap_err();
        let loss = panic_of(|| panic!("Error in Device::poll: {}", "Parent device is lost"));
        assert_eq!(lost(&*loss), Some("Error in Device::poll: Parent device is lost"));
        for other in [panic_of(|| panic!("of the app: {}", 1)), panic_of(|| panic!("of the app"))] {
            assert_eq!(lost(&*other), None);
        }
    }

    /// A limit holds for what waits inside, and for nothing that comes after it or is begun inside
    /// without one.
    #[test]
    fn a_limit_holds_inside() {
        let gpu = crate::gpu::testing::TestGpu::new().gpu;
        let wait_inside = async { wait(&gpu.device, None, || false) };
        let answer = block_on_for(&gpu.device, Duration::ZERO, wait_inside);
        assert!(matches!(answer, Err(Error::Timeout { limit: Duration::ZERO, .. })), "{answer:?}");
        wait(&gpu.device, None, || false).unwrap();
        let unlimited =
            async { block_on(&gpu.device, async { wait(&gpu.device, None, || false) }) };
        block_on_for(&gpu.device, Duration::ZERO, unlimited).unwrap();
        assert!(DEADLINE.get().is_none());
    }

    /// Nothing that a device tells ends this future.
    #[test]
    fn a_future_without_an_end_ends_in_time() {
        let gpu = crate::gpu::testing::TestGpu::new().gpu;
        let limit = Duration::from_millis(3);
        let answer = block_on_for::<()>(&gpu.device, limit, std::future::pending());
        let Err(Error::Timeout { waited, limit: told }) = answer else { panic!("{answer:?}") };
        assert!(told == limit && waited >= limit, "{waited:?}");
    }
}
