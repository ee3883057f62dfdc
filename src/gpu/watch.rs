//! The library's state of a device: whether it is lost, and which futures wait for it.
//!
//! The only calls of `Device::poll` are here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use wgpu::{BufferAsyncError, Device, PollType};

#[cfg(not(target_arch = "wasm32"))]
use self::waking::{Thread, Waiting};
use super::shared::lock;
#[cfg(not(target_arch = "wasm32"))]
use super::shared::{OfDevice, Registry};
use crate::error::{Error, Result};

mod clock;
#[cfg(not(target_arch = "wasm32"))]
mod waking;

pub(super) use clock::Clock;

/// The state of a device. All of the library's objects on the device share one.
#[derive(Debug)]
pub(crate) struct Watch {
    device: Device,
    /// Why the device was lost. A lost device is not polled again, as wgpu may panic.
    loss: OnceLock<String>,
    clock: Arc<Clock>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) waiting: Mutex<Waiting>,
}

/// The result of mapping a buffer, and the task that waits for it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) result: Option<Result<(), BufferAsyncError>>,
    pub(super) waker: Option<Waker>,
    /// The thread that wakes the task, if the task has requested one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) thread: Option<Thread>,
}

impl Watch {
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn of(device: &Device) -> Arc<Self> {
        static WATCHES: Registry<Watch> = Registry::new();
        let new = || Self {
            device: device.clone(),
            loss: OnceLock::new(),
            clock: Arc::new(Clock::start()),
            waiting: Mutex::default(),
        };
        WATCHES.find_or_insert(device, |_| true, new)
    }

    /// In a browser no future needs a thread, and none is shared.
    #[cfg(target_arch = "wasm32")]
    #[allow(clippy::arc_with_non_send_sync, reason = "a browser's device stays in its thread")]
    pub(super) fn of(device: &Device) -> Arc<Self> {
        Arc::new(Self {
            device: device.clone(),
            loss: OnceLock::new(),
            clock: Arc::new(Clock::start()),
        })
    }

    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Polls the device without waiting, so that wgpu calls the callbacks that are due.
    pub(super) fn look(&self) -> Result<()> {
        self.poll(PollType::Poll)
    }

    /// `Device::poll`, unless the device is known to be lost.
    pub(super) fn poll(&self, poll_type: PollType) -> Result<()> {
        self.check()?;
        let waits = !matches!(poll_type, PollType::Poll);
        let polled = self.clock.during(waits, || poll(&self.device, poll_type));
        polled.map_err(|message| self.lose(message))
    }

    /// Fails if the device is known to be lost.
    pub(super) fn check(&self) -> Result<()> {
        match self.loss.get() {
            Some(message) => Err(Error::DeviceLost(message.clone())),
            None => Ok(()),
        }
    }

    /// Records that the device is lost, and returns the error. The first message is kept.
    pub(super) fn lose(&self, message: String) -> Error {
        Error::DeviceLost(self.loss.get_or_init(|| message).clone())
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl OfDevice for Watch {
    fn device(&self) -> &Device {
        &self.device
    }
}

impl Answer {
    /// Stores wgpu's answer, and wakes the task, or leaves that to its thread.
    pub(super) fn set(answer: &Mutex<Self>, result: Result<(), BufferAsyncError>) {
        let mut answer = lock(answer);
        answer.result = Some(result);
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(thread) = &answer.thread {
            return thread.unpark();
        }
        let waker = answer.waker.take();
        drop(answer);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// `Device::poll`, which panics if the driver reports that the device is lost. The error is wgpu's
/// message.
pub(super) fn poll(device: &Device, poll_type: PollType) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(poll_type))) {
        Ok(Ok(_)) => Ok(()),
        // Only submissions to a lost device fail.
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => match lost(&*panic) {
            Some(message) => Err(message.to_owned()),
            // A panic of the app: wgpu runs its callbacks here.
            None => resume_unwind(panic),
        },
    }
}

/// wgpu's message, if it panicked because the device is lost.
fn lost(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))?;
    message.starts_with("Error in Device::poll").then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// wgpu 30 panics if the driver reports the loss of a device during a wait.
    #[test]
    fn the_loss_of_a_device_is_distinguished_from_other_panics() {
        let panic_of = |call: fn()| catch_unwind(call).unwrap_err();
        let loss = panic_of(|| panic!("Error in Device::poll: {}", "Parent device is lost"));
        assert_eq!(lost(&*loss), Some("Error in Device::poll: Parent device is lost"));
        for other in [panic_of(|| panic!("of the app: {}", 1)), panic_of(|| panic!("of the app"))] {
            assert_eq!(lost(&*other), None);
        }
    }
}
