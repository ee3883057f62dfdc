//! Data sets, from files of Parquet on.

#![no_main]

use std::panic;

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz as _;

fuzz_target!(
    // The crate that decodes panics over some broken files, and the reader catches it. Where a hook would
    // end the process, nothing could be caught; what nobody catches ends it still.
    init: panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let _ = readers::data_set(bytes);
    }
);
