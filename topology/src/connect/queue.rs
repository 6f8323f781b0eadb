//! What a queue is to a topology: it hands messages out, and again whatever was not acknowledged.

use std::time::Duration;

use crate::component::{ComponentResult, Context};

/// What a [`Queue`] has when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<I, T> {
    /// A message: what it is called when it is acknowledged, and what is emitted.
    Message(I, T),
    /// Nothing now: ask again when the waker of the context fires.
    Idle,
    /// Nothing now: ask again after this long, or when the waker fires.
    After(Duration),
    /// Nothing ever again.
    Done,
}

/// Why messages are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// The generation failed that worked on them: a bolt, a sink, a process. What it made of them is taken back.
    Failed,
    /// The commit that has them was not made in [`message_timeout`](super::QueueSpout::message_timeout). It may be made
    /// yet; then they count twice.
    TimedOut,
}

/// A queue outside of Egret, as one task of a [`QueueSpout`](super::QueueSpout) speaks to it: RabbitMQ, SQS, a socket with
/// acknowledgements. It cannot be positioned; instead, it hands a message out again unless that was acknowledged.
///
/// One thread calls it, and waits for it: a client that takes its time belongs on a thread of its own, and wakes
/// the task by [`Context::waker`]. Whatever is returned as an error fails the generation.
pub trait Queue<T>: 'static {
    /// What the queue calls a message that it handed out: a delivery tag, a receipt handle.
    type Id: 'static;

    /// Connects. What an earlier connection was handed and did not acknowledge, the queue hands out again, when it notices
    /// that this connection is gone or when its own time for it is over: nobody tells it, if the process was killed.
    ///
    /// # Errors
    /// When there is no queue to be had.
    fn open(&mut self, cx: &Context) -> ComponentResult;

    /// The next message, without waiting for one.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    fn receive(&mut self, cx: &Context) -> ComponentResult<Received<Self::Id, T>>;

    /// Everything that came of these messages is committed, in the order in which they were received: the queue may
    /// forget them. Under at-most-once they are not worked on yet.
    ///
    /// # Errors
    /// When that cannot be told. The queue hands them out again, then.
    fn ack(&mut self, ids: Vec<Self::Id>, cx: &Context) -> ComponentResult;

    /// These messages are given up, and not acknowledged any more: the queue is to hand them out again, sooner than it would
    /// by itself. Not called when the process is killed: nothing may depend on it.
    ///
    /// # Errors
    /// When that cannot be told.
    fn fail(&mut self, ids: Vec<Self::Id>, why: GaveUp, cx: &Context) -> ComponentResult {
        let _ = (ids, why, cx);
        Ok(())
    }

    /// These messages are worked on still: the queue is not to hand them to anybody else yet. Called where
    /// [`hold_every`](super::QueueSpout::hold_every) says so.
    ///
    /// # Errors
    /// When that cannot be told.
    fn hold(&mut self, ids: Vec<&Self::Id>, cx: &Context) -> ComponentResult {
        let _ = (ids, cx);
        Ok(())
    }

    /// Called when the topology was deactivated, and every message received before is acknowledged: what is held of the
    /// outside may be let go of.
    ///
    /// # Errors
    /// When something is wrong with that.
    fn deactivate(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Called when it was activated again, after [`deactivate`](Queue::deactivate).
    ///
    /// # Errors
    /// When there is no queue to be had.
    fn activate(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Called once, when the topology ended in order, after everything was acknowledged. Not when a generation fails, nor
    /// when the process is killed: nothing may depend on it.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }
}
