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

    /// Called from time to time where [`Stream::tick_every`](crate::Stream::tick_every) says so: about as often, less
    /// so while the task is busy or held back, and not while it has no input left. What it emits is part of the commit
    /// under way, as what a tuple emits is; a commit that is repeated after a failure has other ticks.
    fn tick(&mut self, out: &mut Emitter<O>, cx: &Context) -> ComponentResult {
        let _ = (out, cx);
        Ok(())
    }

    /// Called once, when the topology ended in order, after its last commit: every spout came to its end, or a stop
    /// was asked for. Not when a generation fails, nor when the process is killed: nothing may depend on it.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }
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
