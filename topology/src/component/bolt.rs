//! What turns tuples into tuples, without keyed state.

use super::{ComponentResult, Context, Emitter};

/// A stateless bolt. A closure `FnMut(I, &mut Emitter<O>)` is one too.
pub trait Bolt<I, O>: 'static {
    /// Called once, before the first tuple.
    fn open(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Takes one tuple. An error or a panic fails the generation: nothing of its commit is kept, and
    /// the topology goes on from the last one; unless [`OnError`](crate::OnError) says otherwise.
    fn execute(&mut self, tuple: I, out: &mut Emitter<O>, cx: &Context) -> ComponentResult;
}

impl<I, O, F> Bolt<I, O> for F
where
    F: FnMut(I, &mut Emitter<O>) + 'static,
{
    fn execute(&mut self, tuple: I, out: &mut Emitter<O>, _: &Context) -> ComponentResult {
        self(tuple, out);
        Ok(())
    }
}
