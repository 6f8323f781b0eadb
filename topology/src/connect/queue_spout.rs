//! A spout over a queue that only acknowledges.
//!
//! ```text
//! receive ─▶ outstanding ── the commit it was emitted in is made ──▶ ack
//!                 │
//!                 └── the generation fails, or that commit is not made in time ──▶ fail
//! ```
//! A message is complete when the commit it was emitted in is made, for then everything that came of it is: nobody follows
//! tuples. The number of the last message emitted is the position of the task in the commit record, so the record says which
//! messages it has.

mod outstanding;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_log::clock;
use outstanding::Outstanding;

use super::queue::{GaveUp, Queue, Received};
use crate::Tuple;
use crate::builder::SpoutSource;
use crate::component::{
    ComponentError, ComponentResult, Context, Emitter, Next, Positions, Replay, Spout,
};
use crate::task::guard;

/// Messages that a task has outstanding, where the spout does not say: of the smallest ones some hundred thousand a second
/// at ten commits a second.
const OUTSTANDING_MAX: usize = 10_000;

/// Reads a [`Queue`]: a source outside that cannot be positioned, and hands out again what was not acknowledged. At least
/// once: a message is acknowledged when the commit it was emitted in is made, with everything that came of it.
///
/// ```
/// use std::collections::VecDeque;
/// use std::time::Duration;
/// use egret::connect::{GaveUp, Queue, QueueSpout, Received};
/// use egret::{ComponentResult, Context, Guarantee, StdoutSink, TopologyBuilder};
///
/// # struct Client(VecDeque<(u64, String)>);
/// # impl Client {
/// #     fn get(&mut self) -> std::io::Result<Option<(u64, String)>> { Ok(self.0.pop_front()) }
/// #     fn ack(&mut self, _: u64) -> std::io::Result<()> { Ok(()) }
/// #     fn nack(&mut self, _: u64) -> std::io::Result<()> { Ok(()) }
/// # }
/// # fn connect() -> std::io::Result<Client> { Ok(Client(VecDeque::new())) }
/// #[derive(Default)]
/// struct Orders(Option<Client>);
///
/// impl Queue<String> for Orders {
///     type Id = u64;
///
///     fn open(&mut self, _: &Context) -> ComponentResult {
///         self.0 = Some(connect()?);
///         Ok(())
///     }
///     fn receive(&mut self, _: &Context) -> ComponentResult<Received<u64, String>> {
///         let client = self.0.as_mut().ok_or("it is not connected")?;
///         Ok(match client.get()? {
///             Some((tag, order)) => Received::Message(tag, order),
///             None => Received::After(Duration::from_millis(20)),
///         })
///     }
///     fn ack(&mut self, tags: Vec<u64>, _: &Context) -> ComponentResult {
///         let client = self.0.as_mut().ok_or("it is not connected")?;
///         Ok(tags.into_iter().try_for_each(|tag| client.ack(tag))?)
///     }
///     fn fail(&mut self, tags: Vec<u64>, _: GaveUp, _: &Context) -> ComponentResult {
///         let client = self.0.as_mut().ok_or("it is not connected")?;
///         Ok(tags.into_iter().try_for_each(|tag| client.nack(tag))?)
///     }
/// }
///
/// # let mut t = TopologyBuilder::new("orders");
/// t.guarantee(Guarantee::AtLeastOnce);
/// let orders = t.spout("orders", 2, QueueSpout::new(Orders::default).outstanding_max(500))?;
/// orders.shuffle().sink("print", 1, StdoutSink::<String>::lines)?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// # What it keeps
///
/// | the topology is | a message is acknowledged | it counts |
/// |---|---|---|
/// | at-most-once | when it was received | once, or not at all when something fails |
/// | at-least-once | when its commit is made | once, and again when something fails before the queue heard of that |
/// | effectively-once | | this is refused when the topology is built |
///
/// A bolt that fails at a message fails its generation, and so all messages outstanding, unless
/// [`Stream::on_error`](crate::Stream::on_error) says that it is tried again or becomes a dead letter: a message no bolt can
/// take would come back for ever. There is no failing of single tuples.
///
/// # Messages that come twice
///
/// Where messages have ids of their own, which are the same when they are handed out again, a bolt tells the second from
/// the first. Its state is of the same commits as the acknowledgements, so what it lets through counts once in state
/// behind it:
///
/// ```
/// use std::time::Duration;
/// use egret::{ComponentResult, Context, Emitter, KeyedBolt, TimeToLive};
///
/// /// Lets the first of the messages of an id through; it has the ids of a day.
/// struct First;
///
/// impl KeyedBolt<str, (String, u64), (String, u64)> for First {
///     type State = bool;
///     fn execute(
///         &mut self, _: &str, seen: &mut bool, message: (String, u64), out: &mut Emitter<(String, u64)>, _: &Context,
///     ) -> ComponentResult {
///         if !std::mem::replace(seen, true) {
///             out.emit(message);
///         }
///         Ok(())
///     }
///     fn time_to_live(&self) -> Option<TimeToLive> {
///         Some(TimeToLive::processing(Duration::from_secs(24 * 3600)))
///     }
/// }
/// ```
/// What such a topology writes to a stream can be written twice all the same, when it fails after that and before its commit.
/// Where that must not be either, let one topology, at-least-once, do nothing but write the messages to a stream, and
/// another one, effectively-once, read it and tell repeated ones apart.
pub struct QueueSpout<F> {
    make: Arc<F>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    outstanding_max: usize,
    timeout: Option<Duration>,
    hold_every: Option<Duration>,
}

impl<F> std::fmt::Debug for QueueSpout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueSpout({})", self.limits)
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} messages outstanding", self.outstanding_max)?;
        if let Some(timeout) = self.timeout {
            write!(f, ", given up after {} ms", timeout.as_millis())?;
        }
        if let Some(every) = self.hold_every {
            write!(f, ", held every {} ms", every.as_millis())?;
        }
        Ok(())
    }
}

impl<F> QueueSpout<F> {
    /// Reads what `make` makes, one for each task; it is connected when it is opened, not when it is made.
    pub fn new(make: F) -> QueueSpout<F> {
        let limits = Limits { outstanding_max: OUTSTANDING_MAX, timeout: None, hold_every: None };
        QueueSpout { make: Arc::new(make), limits }
    }

    /// How many messages a task has received and not acknowledged at most; the queue is not asked for more while there are
    /// as many. 10,000 unless said, and at least one. Commits bound what can be read in this way: 1000 outstanding and ten
    /// commits a second are 10,000 messages a second for each task.
    #[must_use]
    pub fn outstanding_max(self, messages: usize) -> Self {
        QueueSpout { limits: Limits { outstanding_max: messages.max(1), ..self.limits }, ..self }
    }

    /// Gives messages up when the commit that has them ended so long ago and is not made, and none was made in the meantime.
    /// Never unless said: nothing gets lost on its way, so there is no other reason why a message takes long than
    /// that all of them do. Say it where others read the queue as well, who go on with them.
    ///
    /// Commits that are merely slow are not late by this: the time does not count while a commit is open, however long those
    /// are, and begins anew with each one that is made. If one is made after its messages were given up, this was too
    /// short, and is twice as long from then on. Until one is made nothing more is received, so whatever takes long
    /// repeats a message once. At least a millisecond.
    #[must_use]
    pub fn message_timeout(self, timeout: Duration) -> Self {
        // Twice nothing is nothing: it would never become long enough.
        let timeout = timeout.max(Duration::from_millis(1));
        QueueSpout { limits: Limits { timeout: Some(timeout), ..self.limits }, ..self }
    }

    /// Tells the queue of messages that they are worked on still, at least this often for each: for queues that
    /// otherwise hand a message to somebody else after a time, which should be two or three times as long. A worker thread
    /// that a component holds up for longer tells nobody.
    #[must_use]
    pub fn hold_every(self, every: Duration) -> Self {
        let every = every.max(Duration::from_millis(2));
        QueueSpout { limits: Limits { hold_every: Some(every), ..self.limits }, ..self }
    }
}

impl<T, Q, F> SpoutSource<T> for QueueSpout<F>
where
    T: Tuple,
    Q: Queue<T>,
    F: Fn() -> Q + Send + Sync + 'static,
{
    type Spout = QueueReader<T, Q>;

    fn make(&self) -> QueueReader<T, Q> {
        QueueReader {
            queue: (self.make)(),
            limits: self.limits,
            cx: None,
            outstanding: RefCell::new(Outstanding::new(self.limits.timeout)),
            held: None,
            rest: Rest::Reads,
            is_calling: false,
            of: PhantomData,
        }
    }

    fn detail(&self) -> String {
        format!("a queue, {}", self.limits)
    }
}

/// Whether the queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Reads,
    /// Once nothing is outstanding.
    Soon,
    Rests,
}

/// A task of a [`QueueSpout`].
pub struct QueueReader<T, Q: Queue<T>> {
    queue: Q,
    limits: Limits,
    /// There once it is open, until it is closed.
    cx: Option<Context>,
    /// Who asks for the position says that the commit ends.
    outstanding: RefCell<Outstanding<Q::Id>>,
    /// When the queue was told last of what is worked on.
    held: Option<Instant>,
    rest: Rest,
    /// Set while the queue is called, and for ever when that failed.
    is_calling: bool,
    of: PhantomData<fn() -> T>,
}

impl<T, Q: Queue<T>> std::fmt::Debug for QueueReader<T, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueReader({} outstanding)", self.outstanding.borrow().len())
    }
}

impl<T: Tuple, Q: Queue<T>> QueueReader<T, Q> {
    fn call<R>(&mut self, what: impl FnOnce(&mut Q) -> ComponentResult<R>) -> ComponentResult<R> {
        self.is_calling = true;
        let done = what(&mut self.queue)?;
        self.is_calling = false;
        Ok(done)
    }

    /// Whether messages are acknowledged when they are received.
    fn acks_at_once(cx: &Context) -> bool {
        !cx.commits
    }

    fn split(cx: &Context) -> Vec<u8> {
        cx.id().task.to_string().into_bytes()
    }

    fn rest_if_done(&mut self, cx: &Context) -> ComponentResult {
        if self.rest == Rest::Soon && self.outstanding.get_mut().len() == 0 {
            self.rest = Rest::Rests;
            self.call(|queue| queue.deactivate(cx))?;
        }
        Ok(())
    }

    /// Tells the queue of what is worked on, if it is time; in how long it is again.
    fn hold(&mut self, every: Duration, now: Instant, cx: &Context) -> ComponentResult<Duration> {
        // Twice as often, for what comes in between.
        let half = every / 2;
        let last = *self.held.get_or_insert(now);
        let wait = half.saturating_sub(now.saturating_duration_since(last));
        if !wait.is_zero() {
            return Ok(wait);
        }
        self.held = Some(now);
        let outstanding = self.outstanding.get_mut();
        let ids: Vec<&Q::Id> = outstanding.older_than(half, now).collect();
        if !ids.is_empty() {
            self.is_calling = true;
            self.queue.hold(ids, cx)?;
            self.is_calling = false;
        }
        Ok(half)
    }
}

fn number(position: &[u8]) -> Result<u64, ComponentError> {
    Ok(std::str::from_utf8(position)?.parse()?)
}

impl<T: Tuple, Q: Queue<T>> Spout<T> for QueueReader<T, Q> {
    fn replay(&self) -> Replay {
        Replay::Queue
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        if let Some(position) = committed.get(&Self::split(cx)) {
            self.outstanding.get_mut().begin(number(position)?);
        }
        self.call(|queue| queue.open(cx))?;
        self.cx = Some(cx.clone());
        Ok(())
    }

    fn next(&mut self, bytes: usize, out: &mut Emitter<T>, cx: &Context) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        let (mut acks, max) = (Vec::new(), self.limits.outstanding_max);
        let next = loop {
            if out.bytes() >= until || acks.len() >= max {
                break Next::More;
            }
            let outstanding = self.outstanding.get_mut();
            if outstanding.len() >= max || outstanding.is_late() {
                break Next::Idle;
            }
            match self.call(|queue| queue.receive(cx))? {
                Received::Message(id, tuple) if Self::acks_at_once(cx) => {
                    acks.push(id);
                    out.emit(tuple);
                }
                Received::Message(id, tuple) => {
                    self.outstanding.get_mut().add(id, clock::now());
                    out.emit(tuple);
                }
                Received::Idle => break Next::Idle,
                Received::After(wait) => break Next::After(wait),
                Received::Done => break Next::Done,
            }
        };
        // Nothing of what was emitted goes anywhere before this returns.
        if !acks.is_empty() {
            self.call(|queue| queue.ack(acks, cx))?;
        }
        Ok(next)
    }

    fn positions(&self) -> Positions {
        let Some(cx) = &self.cx else { return Positions::new() };
        let number = self.outstanding.borrow_mut().commit_ends(clock::now());
        Positions::from([(Self::split(cx), number.to_string().into_bytes())])
    }

    fn committed(&mut self, positions: &Positions) -> ComponentResult {
        let Some(cx) = self.cx.clone() else { return Ok(()) };
        let Some(position) = positions.get(&Self::split(&cx)) else { return Ok(()) };
        let ids = self.outstanding.get_mut().committed(number(position)?, clock::now());
        if !ids.is_empty() {
            self.call(|queue| queue.ack(ids, &cx))?;
        }
        self.rest_if_done(&cx)
    }

    fn tick(&mut self, cx: &Context) -> ComponentResult<Option<Duration>> {
        let now = clock::now();
        let (late, wait) = self.outstanding.get_mut().give_up(now);
        if !late.is_empty() {
            let (task, messages) = (cx.id().to_string(), late.len());
            tracing::warn!(task, messages, "a commit takes too long: messages are given up");
            self.call(|queue| queue.fail(late, GaveUp::TimedOut, cx))?;
        }
        let hold = self.limits.hold_every.map(|every| self.hold(every, now, cx)).transpose()?;
        Ok(wait.into_iter().chain(hold).min())
    }

    fn deactivate(&mut self, cx: &Context) -> ComponentResult {
        self.rest = Rest::Soon;
        self.rest_if_done(cx)
    }

    fn activate(&mut self, cx: &Context) -> ComponentResult {
        match std::mem::replace(&mut self.rest, Rest::Reads) {
            Rest::Rests => self.call(|queue| queue.activate(cx)),
            Rest::Soon | Rest::Reads => Ok(()),
        }
    }

    fn close(&mut self, cx: &Context) {
        self.cx = None;
        self.queue.close(cx);
    }
}

impl<T, Q: Queue<T>> Drop for QueueReader<T, Q> {
    /// The generation failed: the queue is told, if it can be.
    fn drop(&mut self) {
        let Some(cx) = self.cx.take() else { return };
        let ids = self.outstanding.get_mut().take();
        if ids.is_empty() || self.is_calling || std::thread::panicking() {
            return;
        }
        let failed = guard(cx.id(), || self.queue.fail(ids, GaveUp::Failed, &cx));
        if let Err(why) = failed {
            tracing::warn!(%why, "a queue could not be told that its messages are given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubled, nothing stays nothing: what takes longer would be given up for ever.
    #[test]
    fn no_time_at_all_is_a_timeout_that_can_grow() {
        let spout = QueueSpout::new(|| ()).message_timeout(Duration::ZERO);
        assert!(spout.limits.timeout.is_some_and(|timeout| !timeout.is_zero()));
    }
}
