//! Data sets, starting from tables of text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;

use ztilde_fuzz as _;

fuzz_target!(|bytes: &[u8]| {
    // Another target tests that format.
    if !bytes.starts_with(b"PAR1") {
        let _ = readers::data_set(bytes);
    }
});
