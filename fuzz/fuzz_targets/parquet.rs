//! Data sets, starting from Parquet files.

#![no_main]

use std::panic;

use libfuzzer_sys::fuzz_target;
use ztilde_cli::readers;
use ztilde_fuzz::beginning_with;

fuzz_target!(
    init: {
        // A panic that becomes an error is no finding. The fuzzer's hook would end the process.
        let finding = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !readers::is_guarded() {
                finding(panic);
            }
        }));
    },
    |bytes: &[u8]| {
        let _ = readers::data_set(&beginning_with(b"PAR1", bytes));
    }
);
