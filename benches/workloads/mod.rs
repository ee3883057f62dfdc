//! Shared by both benches: the six networks, and the device.

#[path = "../../cli/src/bench/workloads.rs"]
mod table;

use criterion::Criterion;
pub(crate) use table::{WORKLOADS, Workload};

use crate::test_device;

/// Prints the adapter with its driver, and runs the benches that the arguments select.
pub(crate) fn run(benches: impl FnOnce(&mut Criterion)) {
    let adapter = test_device::adapter().get_info();
    let driver = format!("{} {}", adapter.driver, adapter.driver_info);
    println!(
        "{}, {:?}, {:?}, driver {}",
        adapter.name,
        adapter.backend,
        adapter.device_type,
        driver.trim()
    );
    // A software adapter needs seconds for one step of the largest network.
    let criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1));
    let mut criterion = criterion.configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
