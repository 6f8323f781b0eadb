//! Where tuples enter a topology.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ComponentResult, Context, Emitter};

/// Where each split (a partition, a file, a queue) of a spout goes on: split → position, both opaque
/// to the engine. Kept in every commit, given back to every task of the spout at a restart.
pub type Positions = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whether a spout can produce again what it produced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// From any position it reported: fit for every guarantee.
    Positional,
    /// Whatever was not acknowledged is handed out again by where it comes from: fit for at-least-once.
    Queue,
    /// Not at all: fit for at-most-once only.
    None,
}

/// What a spout has after a call of [`Spout::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Call again as soon as the epoch has room.
    More,
    /// Nothing now: call again when the waker of the context fires.
    Idle,
    /// Nothing now: call again after this long, or when the waker fires.
    After(Duration),
    /// Nothing ever again. When every task of every spout says so, the topology finishes.
    Done,
}

/// A source of tuples.
pub trait Spout<T>: 'static {
    /// Whether it can replay; [`Replay::Queue`] and [`Replay::None`] are refused where the guarantee needs more.
    fn replay(&self) -> Replay;

    /// Called once, before anything else, with the positions of all splits of this spout as of the
    /// commit being restored (empty at the very first start). The task takes those it owns.
    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult;

    /// Emits a handful of tuples, at most about `bytes` of them, and returns without waiting.
    fn next(&mut self, bytes: usize, out: &mut Emitter<T>, cx: &Context) -> ComponentResult<Next>;

    /// How many splits this task reads, once it is open: what
    /// [`Emitter::from_split`](super::Emitter::from_split) and
    /// [`Emitter::quiet`](super::Emitter::quiet) count. Only asked where the topology says the event time
    /// of the tuples; a task with none is idle.
    fn splits(&self) -> usize {
        1
    }

    /// Where this task's splits go on after everything it emitted so far. One with an empty position is left out
    /// of commits from then on: it is gone, and nothing is to be read of it any more.
    fn positions(&self) -> Positions;

    /// Everything up to these positions is committed: an external queue may be told. Called once for
    /// each commit record, with the positions in it.
    fn committed(&mut self, positions: &Positions) -> ComponentResult {
        let _ = positions;
        Ok(())
    }

    /// Called between the other calls, also while the spout may emit nothing, because it is deactivated or held back by
    /// what it feeds; and again when this long has passed, at the latest, if it says so.
    fn tick(&mut self, cx: &Context) -> ComponentResult<Option<Duration>> {
        let _ = cx;
        Ok(None)
    }

    /// Called when the topology was [deactivated](crate::runtime::topologies::deactivate), also before it began: nothing
    /// is asked of the spout until it is activated again, but its positions. What the spout holds of the outside may be
    /// let go of.
    fn deactivate(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Called when the topology was activated again.
    fn activate(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Called once, when the topology ended in order, after its last commit: every spout came to its end, or a stop
    /// was asked for. Not when a generation fails, nor when the process is killed: nothing may depend on it.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }
}
