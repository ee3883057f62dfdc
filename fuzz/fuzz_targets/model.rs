//! Model files, as `Parameters::load` reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde::Parameters;
use ztilde_fuzz as _;

fuzz_target!(|bytes: &[u8]| {
    let _ = Parameters::from_bytes(bytes);
});
