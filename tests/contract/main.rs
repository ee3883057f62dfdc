//! The library's promises to an app on the app's own device, each with tests that fail if it is broken.

mod app;
mod errors;
mod handlers;
mod labels;
mod limits;
mod objects;
mod sharing;
mod waiting;

#[path = "../objects/mod.rs"]
mod counted;
#[path = "../journal/mod.rs"]
mod journal;
#[path = "../../src/gpu/test_device.rs"]
mod test_device;
