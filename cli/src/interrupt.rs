//! Ctrl-C and termination signals: the first one asks a run to end, a second one ends the process.

use std::{
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{failure::Failure, output};

static IS_ASKED_FOR: AtomicBool = AtomicBool::new(false);

/// The exit code that shells report for a program that Ctrl-C ended: 128 plus the signal's number.
const AT_ONCE: i32 = 130;

/// From now on the first signal is only recorded.
pub(crate) fn listen() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if IS_ASKED_FOR.swap(true, Ordering::Relaxed) {
            process::exit(AT_ONCE);
        }
        output::note("ending after this step; once more ends at once");
    })
    .map_err(|error| Failure::input(format!("signals cannot be listened for: {error}")))
}

/// Whether the run should end.
pub(crate) fn is_asked_for() -> bool {
    IS_ASKED_FOR.load(Ordering::Relaxed)
}
