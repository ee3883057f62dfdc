//! The devices of tests that also run in a browser, where nothing may block:
//!
//!     #[wasm_bindgen_test(unsupported = pollster::test)]
//!     async fn what_is_promised() {

use wgpu::{Device, Queue};

#[cfg(not(target_arch = "wasm32"))]
#[path = "../../src/gpu/test_device.rs"]
mod test_device;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// A device with WebGPU's default limits and no features, and one that also has subgroups.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn devices() -> Vec<(Device, Queue)> {
    vec![test_device::device(), test_device::device_with_subgroups()]
}

/// The browser's, with WebGPU's default limits and no features: one for all tests of a program.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn devices() -> Vec<(Device, Queue)> {
    use std::cell::OnceCell;

    thread_local! {
        static DEVICE: OnceCell<(Device, Queue)> = const { OnceCell::new() };
    }
    if let Some(device) = DEVICE.with(|device| device.get().cloned()) {
        return vec![device];
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter =
        instance.request_adapter(&Default::default()).await.expect("the browser's adapter");
    let device = adapter.request_device(&Default::default()).await.expect("the adapter's device");
    DEVICE.with(|kept| vec![kept.get_or_init(|| device).clone()])
}
