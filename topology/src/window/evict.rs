//! Which tuples of a window a function is shown, where all are kept.

use std::time::Duration;

use super::span::{Window, length_ms};

/// Leaves out the first tuples of a window, by the order of time, whenever the window is told of. Tuples are kept for
/// as long as a window has them: what is left out is decided anew each time. Of the window that never ends, they
/// are gone.
pub trait Evictor<T>: Send + Sync + 'static {
    /// How many of the tuples, which have these times and are in this order, are left out.
    fn evict(&self, window: Window, times_ms: &[i64], tuples: &[T]) -> usize;
}

/// Keeps this many of the latest tuples.
#[derive(Debug, Clone, Copy)]
pub struct Latest(pub usize);

impl<T> Evictor<T> for Latest {
    fn evict(&self, _: Window, _: &[i64], tuples: &[T]) -> usize {
        tuples.len().saturating_sub(self.0)
    }
}

/// Keeps what is less than so much older than the latest tuple.
#[derive(Debug, Clone, Copy)]
pub struct Within(pub Duration);

impl<T> Evictor<T> for Within {
    fn evict(&self, _: Window, times_ms: &[i64], _: &[T]) -> usize {
        let Some(latest) = times_ms.last() else { return 0 };
        let from = latest.saturating_sub(length_ms(self.0));
        times_ms.partition_point(|ms| *ms <= from)
    }
}
