//! Waits for the device, on the thread that needs a result.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

#[cfg(not(target_arch = "wasm32"))]
use std::{
    cell::Cell,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

#[cfg(not(target_arch = "wasm32"))]
use wgpu::Device;
use wgpu::{PollType, SubmissionIndex};

#[cfg(not(target_arch = "wasm32"))]
use super::pause::Pause;
#[cfg(not(target_arch = "wasm32"))]
use super::watch;
use super::watch::Watch;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::Error;
use crate::error::Result;

thread_local! {
    /// The submission that this thread's last polled read waits for: `block_on` need not wait for later
    /// ones.
    static AWAITED: RefCell<Option<(Weak<Watch>, SubmissionIndex)>> = const { RefCell::new(None) };
}

/// Sets the submission that a future of this thread waits for.
pub(super) fn await_submission(watch: &Arc<Watch>, submission: &SubmissionIndex) {
    AWAITED.set(Some((Arc::downgrade(watch), submission.clone())));
}

/// Waits for a submission until `is_done`, or until the device is lost; natively no longer than
/// [`block_on_for`] allows. In a browser, which must not block, it only polls.
pub(super) fn wait(
    watch: &Watch,
    submission: Option<SubmissionIndex>,
    is_done: impl Fn() -> bool,
) -> Result<()> {
    if is_done() {
        return Ok(());
    }
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(deadline) = DEADLINE.get() {
        let mut pause = Pause::default();
        loop {
            watch.look()?;
            if is_done() {
                return Ok(());
            }
            deadline.sleep(&mut pause)?;
        }
    }
    watch.poll(PollType::Wait { submission_index: submission, timeout: None })
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// The time until which this thread may wait.
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
struct Deadline {
    start: Instant,
    limit: Duration,
}

#[cfg(not(target_arch = "wasm32"))]
impl Deadline {
    /// Sleeps, unless the time is up.
    fn sleep(self, pause: &mut Pause) -> Result<()> {
        let Self { start, limit } = self;
        let waited = start.elapsed();
        if waited >= limit {
            return Err(Error::Timeout { waited, limit });
        }
        thread::park_timeout((limit - waited).min(pause.next()));
        Ok(())
    }
}

/// Wakes a thread that is in [`block_on`] or [`block_on_for`].
#[cfg(not(target_arch = "wasm32"))]
struct Unpark(Thread);

#[cfg(not(target_arch = "wasm32"))]
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// The waker of this thread's [`block_on`] and [`block_on_for`].
    static WAKER: Waker = Arc::new(Unpark(thread::current())).into();
}

/// Whether the task of this waker polls again without being woken: in [`block_on`], or in an app that
/// polls once a frame.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn asks_by_itself(waker: &Waker) -> bool {
    waker.will_wake(Waker::noop()) || WAKER.with(|own| waker.will_wake(own))
}

/// Waits for one of this crate's futures, sleeping while the device works. The wait has no limit if the
/// device neither answers nor is lost; [`block_on_for`] has one.
///
/// These futures sleep in any executor ([what is promised](crate#what-is-promised)). `block_on` needs no
/// other thread for that, and returns as soon as the GPU is done. Browsers have no `block_on`: their
/// threads must not block.
///
/// An app's own `device.poll(PollType::Wait { timeout: Some(..), .. })` may panic inside wgpu 30 while
/// another thread submits to the device, or awaits a future of this crate. Waiting without a timeout is
/// safe.
///
/// ```
/// use ztilde::{Network, block_on};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[4, 16, 3], Default::default())?;
/// let parameters = block_on(&device, network.parameters())?;
/// # assert_eq!(parameters.layers.len(), 2);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<F: Future>(device: &Device, future: F) -> F::Output {
    let _outer = Outer::new(None);
    let mut pause = Pause::default();
    drive(device, future, |awaited| {
        match awaited {
            // If the device is lost, the future returns the error.
            Some((watch, submission)) => {
                let _ = watch
                    .poll(PollType::Wait { submission_index: Some(submission), timeout: None });
            }
            None => thread::park_timeout(pause.next()),
        }
        None
    })
}

/// Waits for one of this crate's futures, but no longer than `limit`.
///
/// No work is lost when the time is up: the GPU continues the submitted work, the trainer stays usable,
/// and a later call can read the result. To continue with the same future, pin it and pass
/// `future.as_mut()`. The limit also holds for waits within the future, such as
/// [`Trainer::train`](crate::Trainer::train) on streamed data, which then returns this error and can be
/// called again.
///
/// ```
/// use std::time::Duration;
/// use ztilde::{Error, Network, block_on_for};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[4, 16, 3], Default::default())?;
/// match block_on_for(&device, Duration::from_secs(10), network.parameters()) {
///     Ok(parameters) => assert_eq!(parameters.layers.len(), 2),
///     Err(Error::Timeout { waited, .. }) => println!("nothing after {waited:?}: ask again later"),
///     Err(other) => return Err(other),
/// }
/// # Ok::<(), ztilde::Error>(())
/// ```
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
    let _outer = Outer::new(Some(deadline));
    let mut pause = Pause::default();
    drive(device, future, |_| deadline.sleep(&mut pause).err().map(Err))
}

/// Polls a future until it is ready, or until `sleep` returns an output instead. `sleep` is called
/// between two polls, with the submission that the future waits for, if the future is this crate's.
#[cfg(not(target_arch = "wasm32"))]
fn drive<F: Future>(
    device: &Device,
    future: F,
    mut sleep: impl FnMut(Option<(Arc<Watch>, SubmissionIndex)>) -> Option<F::Output>,
) -> F::Output {
    let waker = WAKER.with(Waker::clone);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        // Another executor may have left a submission there.
        AWAITED.take();
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let awaited = AWAITED.take().and_then(|(watch, index)| Some((watch.upgrade()?, index)));
        if awaited.is_none() {
            // This crate's futures poll the device themselves; others may not.
            let _ = watch::poll(device, PollType::Poll);
        }
        if let Some(output) = sleep(awaited) {
            return output;
        }
    }
}

/// Restores a thread's former deadline when dropped.
#[cfg(not(target_arch = "wasm32"))]
struct Outer(Option<Deadline>);

#[cfg(not(target_arch = "wasm32"))]
impl Outer {
    fn new(deadline: Option<Deadline>) -> Self {
        Self(DEADLINE.replace(deadline))
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Outer {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit holds for waits inside the future, but neither after it nor in an inner `block_on`.
    #[test]
    fn a_limit_holds_inside() {
        let gpu = crate::gpu::testing::TestGpu::new().gpu;
        let wait_inside = async { wait(&gpu.watch, None, || false) };
        let answer = block_on_for(&gpu.device, Duration::ZERO, wait_inside);
        assert!(matches!(answer, Err(Error::Timeout { limit: Duration::ZERO, .. })), "{answer:?}");
        wait(&gpu.watch, None, || false).unwrap();
        let unlimited = async { block_on(&gpu.device, async { wait(&gpu.watch, None, || false) }) };
        block_on_for(&gpu.device, Duration::ZERO, unlimited).unwrap();
        assert!(DEADLINE.get().is_none());
    }

    /// A future that no device ever answers.
    #[test]
    fn a_future_without_an_end_ends_in_time() {
        let gpu = crate::gpu::testing::TestGpu::new().gpu;
        let limit = Duration::from_millis(3);
        let answer = block_on_for::<()>(&gpu.device, limit, std::future::pending());
        let Err(Error::Timeout { waited, limit: found }) = answer else { panic!("{answer:?}") };
        assert!(found == limit && waited >= limit, "{waited:?}");
    }
}
