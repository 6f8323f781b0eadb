//! Where tuples leave a topology for the outside world.
//!
//! For Egret's own streams use [`LogSink`](crate::LogSink), which takes part in the commit. A sink of
//! your own sees every tuple at least once: after a crash, what followed the last commit comes again.

use super::{ComponentResult, Context};

/// An external sink.
pub trait Sink<T>: 'static {
    /// Called once, before the first tuple.
    fn open(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Takes one tuple.
    fn write(&mut self, tuple: T, cx: &Context) -> ComponentResult;

    /// Called when a commit closes. When this returns, everything written must be as durable as the
    /// outside can make it: the commit that follows will not bring it again.
    fn flush(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Called once, when the topology ended in order, after its last commit: every spout came to its end, or a stop
    /// was asked for. Not when a generation fails, nor when the process is killed: nothing may depend on it.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }
}

impl<T, F> Sink<T> for F
where
    F: FnMut(T) + 'static,
{
    fn write(&mut self, tuple: T, _: &Context) -> ComponentResult {
        self(tuple);
        Ok(())
    }
}
