//! Data sets, starting from IDX files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz::beginning_with;

fuzz_target!(|bytes: &[u8]| {
    let _ = readers::data_set(&beginning_with(&[0, 0], bytes));
});
