//! The files of snapshots, as `Snapshot::load` reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_fuzz as _;
use ztilde::Snapshot;

fuzz_target!(|bytes: &[u8]| {
    let _ = Snapshot::from_bytes(bytes);
});
