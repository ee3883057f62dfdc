//! The library's promises to an app on the app's own device, each with tests that fail if it is broken.

mod app;
mod errors;
mod handlers;
mod labels;
mod limits;
mod objects;
mod sharing;
mod waiting;
