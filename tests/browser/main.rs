//! The tests that run in a browser, in one program: three modules that also run natively, in tests/library, and
//! the test of the browser's own compiler. docs/browsers.md has the command.
#![cfg(target_arch = "wasm32")]

mod fixtures;
#[path = "../library/inference.rs"]
mod inference;
mod shaders;
#[path = "../library/streaming.rs"]
mod streaming;
#[allow(dead_code, reason = "only the native tests of the shaders need the rest")]
#[path = "../library/shaders/texts.rs"]
mod texts;
#[path = "../library/training.rs"]
mod training;
