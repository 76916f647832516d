//! What a typed pod costs in memory, counted by the allocator.
//!
//! The promise (ARCHITECTURE.md, "One declaration per type") is at most twice the wire size. The
//! pod is one that runs: owner, managed fields, token volume, probe, conditions, one container.

use api_types::codec::{json, protobuf};
use api_types::core::v1::Pod;
use std::cell::Cell;

/// Counts what this thread allocates and passes everything on.
#[allow(unsafe_code, reason = "a global allocator is an unsafe trait")]
mod counting {
    use super::Cell;
    use std::alloc::{GlobalAlloc, Layout, System};

    thread_local! {
        pub static HELD: Cell<isize> = const { Cell::new(0) };
    }

    pub struct Counting;

    fn count(bytes: usize, sign: isize) {
        // A thread that is ending has no counter any more; nobody asks for it then.
        let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes.cast_signed()));
    }

    // SAFETY: every call is handed to the system's allocator unchanged; counting touches a
    // thread-local cell that needs no allocation and no destructor.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size(), 1);
            unsafe { System.alloc(layout) }
        }
        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            count(layout.size(), -1);
            unsafe { System.dealloc(place, layout) }
        }
    }
}

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Bytes that what `make` returns holds, its own size included.
fn held<T>(make: impl FnOnce() -> T) -> usize {
    let before = counting::HELD.get();
    let made = make();
    let held = counting::HELD.get() - before;
    drop(made);
    held.cast_unsigned() + size_of::<T>()
}

#[test]
fn a_typed_pod_costs_at_most_twice_its_wire_size() {
    let text = json::compact(include_bytes!("fixtures/running_pod.json"));
    // Once beforehand: the tables' indexes are built at first use and stay.
    let pod: Pod = json::from_slice(&text).expect("the fixture is a pod");
    assert_eq!(json::to_vec(&pod), text);
    let message = protobuf::to_vec(&pod);

    let read = held(|| json::from_slice::<Pod>(&text).expect("read before"));
    assert!(read <= 2 * text.len(), "{read} bytes for {} on the wire", text.len());
    // Protobuf does not say how long lists are, so they may keep room for growth.
    let read = held(|| protobuf::from_slice::<Pod>(&message).expect("written by us"));
    assert!(read <= 2 * text.len() + text.len() / 4, "{read} bytes for {} in JSON", text.len());
}
