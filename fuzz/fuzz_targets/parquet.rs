//! Data sets, starting from Parquet files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz::beginning_with;

fuzz_target!(
    // A panic that becomes an error is no finding. The fuzzer's own hook would end the process.
    init: readers::silence_guarded_panics(),
    |bytes: &[u8]| {
        let _ = readers::data_set(&beginning_with(b"PAR1", bytes));
    }
);
