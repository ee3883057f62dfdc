//! Data sets, from files of npy on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_fuzz as _;
use ztilde_cli::readers;

fuzz_target!(|bytes: &[u8]| {
    let _ = readers::data_set(bytes);
});
