//! An allocator that counts what a thread holds, so that a decoder which takes memory for bytes it was
//! only promised is found out.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait; this one hands everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counting;

fn more(bytes: usize) {
    // A thread that ends allocates when its locals are gone already.
    let held = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(bytes));
        held.get()
    });
    if let Ok(held) = held {
        let _ = MOST.try_with(|most| most.set(most.get().max(held)));
    }
}

fn less(bytes: usize) {
    // What another thread allocated is more than this one ever held: the count may pass below zero.
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: `at` came from the system's allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        less(layout.size());
        more(bytes);
        // SAFETY: `at` came from the system's allocator, with this layout.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Does something, and tells how much more than before this thread held at most meanwhile. Zero where
/// [`Counting`] is not the process's allocator.
pub fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get() - before)
}
