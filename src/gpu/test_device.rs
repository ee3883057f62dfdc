//! The device of the tests and benches: the one that an app without special needs would make.

use std::sync::{Mutex, OnceLock, PoisonError};

use wgpu::{Adapter, Backends, Device, Features, Instance, InstanceDescriptor, Queue};

use super::KernelCache;

/// An adapter: hardware if possible, and OpenGL only if there is no other.
pub(crate) fn adapter() -> Adapter {
    let modern = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let choices = Backends::from_env().map_or(vec![modern, Backends::GL], |chosen| vec![chosen]);
    let request = |backends| {
        let descriptor = InstanceDescriptor::new_without_display_handle();
        let instance = Instance::new(InstanceDescriptor { backends, ..descriptor });
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        pollster::block_on(instance.request_adapter(&options)).ok()
    };
    choices.into_iter().find_map(request).expect(
        "no GPU adapter: run the tests with `scripts/with-adapter cargo test`, \
         which installs a software one where there is none",
    )
}

/// A device with WebGPU's default limits and no features. The library must not need more.
#[allow(dead_code, reason = "not every test that includes this file needs it")]
pub(crate) fn device() -> (Device, Queue) {
    static DEVICES: Devices = [const { OnceLock::new() }; MOST];
    kept(&DEVICES, Features::empty())
}

/// A device with subgroups and all workgroup memory, which the library uses if they are available.
#[allow(dead_code, reason = "not every test that includes this file needs it")]
pub(crate) fn device_with_subgroups() -> (Device, Queue) {
    static DEVICES: Devices = [const { OnceLock::new() }; MOST];
    kept(&DEVICES, Features::SUBGROUP)
}

/// A device, and its kernels: tests that follow each other compile each of them once.
type Kept = (Device, Queue, KernelCache);

/// One device for each test that runs at the same time, as a software adapter compiles and computes all work of
/// a device in one thread.
type Devices = [OnceLock<Kept>; MOST];

/// The most devices of a kind. More tests than that share them.
const MOST: usize = 4;

/// How many threads use each device.
static USERS: Mutex<[u32; MOST]> = Mutex::new([0; MOST]);

/// The device of a thread: always the same one, which had the fewest users.
struct Place(usize);

thread_local! {
    static PLACE: Place = Place::new();
}

impl Place {
    fn new() -> Self {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let fewest = (0..cores.min(MOST)).min_by_key(|&place| users[place]).unwrap_or(0);
        users[fewest] += 1;
        Self(fewest)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        USERS.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

/// The thread's device, which is made with those of these features that the adapter has.
fn kept(devices: &Devices, features: Features) -> (Device, Queue) {
    let make = || {
        let adapter = adapter();
        let required_features = adapter.features() & features;
        let mut required_limits = wgpu::Limits::default();
        if !features.is_empty() {
            required_limits.max_compute_workgroup_storage_size =
                adapter.limits().max_compute_workgroup_storage_size;
        }
        let descriptor =
            wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .expect("an adapter makes a device with the features that it has");
        let kernels = KernelCache::new(&device);
        (device, queue, kernels)
    };
    let (device, queue, _) = PLACE.with(|place| devices[place.0].get_or_init(make));
    (device.clone(), queue.clone())
}
