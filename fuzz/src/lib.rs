//! Code shared by the targets: a bound for the memory of a reader, and the signature of a format.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    process,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The most bytes that may be allocated at any moment. The fuzzed files have a few kilobytes, and
/// readers of text have buffers of a quarter of a megabyte.
const MOST_BYTES: usize = 64 << 20;

/// Counts the allocated bytes, and ends the process if they are too many, which the fuzzer notices.
/// Unlike a sanitizer, it also sees memory that is allocated but not written.
struct Bounded {
    taken: AtomicUsize,
}

impl Bounded {
    fn count(&self, bytes: usize) {
        if self.taken.fetch_add(bytes, Relaxed).saturating_add(bytes) > MOST_BYTES {
            let _ = std::io::stderr().write_all(b"more memory is taken than any reader may\n");
            process::abort();
        }
    }
}

// SAFETY: the system's allocator does the work; counting touches no memory of its own.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size);
        self.taken.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.taken.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded { taken: AtomicUsize::new(0) };

/// The bytes as a file of a format: its signature replaces their beginning.
pub fn beginning_with(signature: &[u8], bytes: &[u8]) -> Vec<u8> {
    let rest = bytes.get(signature.len()..).unwrap_or_default();
    [signature, rest].concat()
}
