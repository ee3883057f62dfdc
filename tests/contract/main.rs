//! What the library promises an app on the app's own device: each promise with tests that fail where it
//! is broken.

mod app;
mod errors;
mod handlers;
mod labels;
mod limits;
mod objects;
mod sharing;
mod waiting;

#[path = "../journal/mod.rs"]
mod journal;
#[path = "../../src/gpu/test_device.rs"]
mod test_device;
