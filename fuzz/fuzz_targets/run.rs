//! The `run.json` of checkpoints, behind the checksum that an archive has of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz as _;

fuzz_target!(|bytes: &[u8]| {
    let _ = readers::run(bytes);
});
