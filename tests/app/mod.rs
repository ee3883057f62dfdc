//! An app that records the errors on its device.

#[path = "../../src/gpu/test_device.rs"]
mod test_device;

use std::sync::{Arc, Mutex, OnceLock};

use wgpu::{Device, PollType, Queue};
use ztilde::Error;

/// An app's device with WebGPU's default limits, whose handler records the errors. All tests share it,
/// as each test has the error scopes of its own thread.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    uncaptured: Arc<Mutex<Vec<String>>>,
}

impl App {
    pub(crate) fn get() -> Self {
        static APP: OnceLock<App> = OnceLock::new();
        let make = || {
            let (device, queue) = test_device::device();
            let uncaptured = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&uncaptured);
            device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
                kept.lock().unwrap().push(error.to_string());
            }));
            Self { device, queue, uncaptured }
        };
        APP.get_or_init(make).clone()
    }

    /// Waits for everything that was submitted.
    pub(crate) fn assert_silent(&self) {
        self.device.poll(PollType::wait_indefinitely()).unwrap();
        assert_eq!(*self.uncaptured.lock().unwrap(), [""; 0], "the app's handler was called");
    }
}

/// Checks that the result is an error whose message contains all of these texts.
#[track_caller]
pub(crate) fn assert_refused<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("accepted, without {parts:?}") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not hold {part:?}");
    }
}
