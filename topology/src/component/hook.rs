//! What hears of everything that a topology's tasks do.

use std::time::Duration;

use super::Context;

/// Hears what one task does, batch by batch, whatever its component is; given to a topology with
/// [`TopologyBuilder::hook`](crate::TopologyBuilder::hook). It sees no tuple and changes nothing.
///
/// Calls come on the task's worker thread, between its batches: what takes long here holds the worker up. One that
/// panics is told to the log, and not called any more.
pub trait TaskHook: 'static {
    /// A generation of the task begins: its component is opened next.
    fn opened(&mut self, cx: &Context) {
        let _ = cx;
    }

    /// It worked on a batch of so many tuples for so long. A spout takes none, and is not told of.
    fn executed(&mut self, tuples: usize, time: Duration) {
        let _ = (tuples, time);
    }

    /// It emitted so many tuples since it was told of last, in whatever calls.
    fn emitted(&mut self, tuples: u64) {
        let _ = tuples;
    }

    /// So many of its calls failed since it was told of last, with an error or a panic: those that were taken back, or the
    /// one with which its generation ends.
    fn failed(&mut self, calls: u64) {
        let _ = calls;
    }

    /// The topology ended in order.
    fn closed(&mut self) {}
}
