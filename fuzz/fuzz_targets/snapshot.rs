//! The files of snapshots, as `Snapshot::load` reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde::Snapshot;
use ztilde_fuzz as _;

fuzz_target!(|bytes: &[u8]| {
    let _ = Snapshot::from_bytes(bytes);
});
