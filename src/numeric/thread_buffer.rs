//! Working memory that each thread keeps from call to call.

use std::cell::RefCell;

/// Lends `f` the calling thread's buffer. What is in it is left over from before.
pub(super) fn with_thread_buffer(f: impl FnOnce(&mut Vec<f32>)) {
    thread_local! {
        static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out while in use: a task that rayon steals meanwhile on the same thread gets its own.
    let mut buffer = BUFFER.take();
    f(&mut buffer);
    BUFFER.set(buffer);
}

/// The first `size` floats of a buffer that grows as needed.
pub(super) fn at_least(buffer: &mut Vec<f32>, size: usize) -> &mut [f32] {
    if buffer.len() < size {
        buffer.resize(size, 0.0);
    }
    &mut buffer[..size]
}
