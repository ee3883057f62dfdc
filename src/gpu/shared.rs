//! Objects that all users of a device share. A registry finds an object while a user holds it. The registry
//! itself keeps neither the object nor the device alive.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wgpu::{BufferDescriptor, BufferUsages, Device};

use super::guarded;
use crate::error::Error;

/// An object that belongs to a device.
pub(super) trait OfDevice {
    /// Its device.
    fn device(&self) -> &Device;
}

/// A registry of the living objects of all devices.
pub(super) struct Registry<T>(Mutex<Vec<Listed<T>>>);

struct Listed<T> {
    /// Skips the objects of most other devices.
    device_hash: u64,
    thing: Weak<T>,
}

impl<T> Registry<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The living object of this device that `is_wanted`, or a new one.
    pub(super) fn find_or_insert(
        &self,
        device: &Device,
        is_wanted: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<T>
    where
        T: OfDevice,
    {
        // Declared first, so dropped after the lock is released: dropping the last handle of another
        // device may need the lock.
        let candidates: Vec<Arc<T>>;
        let device_hash = hash(device);
        let mut listed = lock(&self.0);
        candidates = living(&listed, device_hash).collect();
        let is_found = |found: &&Arc<T>| is_wanted(found) && is_same_device(found.device(), device);
        if let Some(found) = candidates.iter().find(is_found) {
            return Arc::clone(found);
        }
        list(&mut listed, device_hash, make())
    }

    /// Adds an object of this device to the list.
    pub(super) fn insert(&self, device: &Device, thing: T) -> Arc<T> {
        list(&mut lock(&self.0), hash(device), thing)
    }

    /// All living objects of this device.
    pub(super) fn of_device(&self, device: &Device) -> Vec<Arc<T>>
    where
        T: OfDevice,
    {
        let candidates: Vec<Arc<T>> = living(&lock(&self.0), hash(device)).collect();
        let is_of_device = |found: &Arc<T>| is_same_device(found.device(), device);
        candidates.into_iter().filter(is_of_device).collect()
    }

    /// The number of living objects of this device.
    #[cfg(test)]
    pub(super) fn count(&self, device: &Device) -> usize
    where
        T: OfDevice,
    {
        self.of_device(device).len()
    }

    /// Whether the list has an entry for this object, which may be dead.
    #[cfg(test)]
    pub(super) fn lists(&self, thing: &Weak<T>) -> bool {
        lock(&self.0).iter().any(|listed| listed.thing.ptr_eq(thing))
    }
}

fn list<T>(listed: &mut Vec<Listed<T>>, device_hash: u64, thing: T) -> Arc<T> {
    #[cfg_attr(
        target_arch = "wasm32",
        allow(clippy::arc_with_non_send_sync, reason = "a browser's device stays in its thread")
    )]
    let new = Arc::new(thing);
    listed.retain(|listed| listed.thing.strong_count() > 0);
    listed.push(Listed { device_hash, thing: Arc::downgrade(&new) });
    new
}

fn living<T>(listed: &[Listed<T>], device_hash: u64) -> impl Iterator<Item = Arc<T>> {
    listed
        .iter()
        .filter(move |listed| listed.device_hash == device_hash)
        .filter_map(|listed| listed.thing.upgrade())
}

fn hash(device: &Device) -> u64 {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    hasher.finish()
}

/// Ignores poisoning: code under these locks leaves consistent data even if it panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether two handles are of the same device.
///
/// wgpu 30 compares devices by a number that starts at 0 in every `Instance`, so that devices of two
/// instances may look equal (gfx-rs/wgpu#8461). But an error reaches only the error scopes of its device.
fn is_same_device(one: &Device, other: &Device) -> bool {
    // A browser's devices have numbers of their own, and it reports errors too late.
    one == other && (cfg!(target_arch = "wasm32") || shares_error_scopes(one, other))
}

fn shares_error_scopes(one: &Device, other: &Device) -> bool {
    // If the devices differ, the outer scope keeps the error from the other device's handler.
    let reported = guarded(other, || {
        guarded(one, || {
            other.create_buffer(&BufferDescriptor {
                label: Some("ztilde/a buffer without usage, to be refused"),
                size: 4,
                usage: BufferUsages::empty(),
                mapped_at_creation: false,
            })
        })
    });
    matches!(reported, Ok(Err(Error::Wgpu(_))))
}
