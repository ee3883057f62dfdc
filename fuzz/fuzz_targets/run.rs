//! The `run.json` of checkpoints, without the archive, whose checksum would reject changed bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz as _;

fuzz_target!(|bytes: &[u8]| {
    let _ = readers::run(bytes);
});
