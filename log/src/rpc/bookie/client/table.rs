//! Requests without an answer, their bytes and deadlines.
//!
//! A request is in the table from [`Table::send`] until whoever takes it out answers it: the reader of
//! the connection, the watcher of deadlines, or the end of the connection. Taking out is one step under
//! the lock, answering comes after it, so each is answered once and with no lock held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_schemas::bookie::{Ask, BookieReply, BookieRequest};
use egret_schemas::{EntryId, Incarnation, LedgerId};
use tokio::sync::Notify;

use super::super::convert;
use super::ClientConfig;
use crate::message::{Refusal, Reply, ReplyTo, Request, Unknown, Wake};
use crate::{caps, clock};

/// See the [module](self).
pub(super) struct Table {
    pub(super) config: ClientConfig,
    state: Mutex<State>,
    /// There is something to send, or the table was closed.
    pub(super) news: Notify,
    /// The next deadline is nearer than it was, or the table was closed.
    pub(super) nearer: Notify,
    /// The connection may have to be given up.
    broken: Notify,
}

struct State {
    last: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    deadlines: BTreeSet<(Instant, u64)>,
    bytes: usize,
    outbox: VecDeque<Out>,
    link: Link,
    /// When the bookie was last heard, while there is a connection.
    heard: Instant,
    /// Something waited in vain on a connection on which nothing came meanwhile.
    silent: bool,
    /// Until when the watcher of deadlines sleeps; `None` until news.
    sleeps: Option<Instant>,
    /// Watches that could not be asked for; woken after a pause, so that nobody turns in circles.
    delayed: VecDeque<(Instant, Wake)>,
}

/// The connection, as far as requests must know.
enum Link {
    /// There is one, or there will be when something is to be sent.
    Open,
    /// There is none until then, and why.
    Down { until: Instant, why: Unknown },
    /// There will be none.
    Closed,
}

struct Outstanding {
    then: Then,
    bytes: usize,
    sent: Instant,
    until: Instant,
    wait: Duration,
}

/// What an answer is for.
pub(super) enum Then {
    /// A request.
    Reply(ReplyTo),
    /// A question whether readers may see more.
    Watch {
        /// The ledger.
        ledger: LedgerId,
        /// What is known already.
        beyond: Option<EntryId>,
        /// Whom to wake.
        wake: Wake,
    },
}

/// A request on its way out.
pub(super) struct Out {
    pub(super) correlation: u64,
    pub(super) request: BookieRequest,
    pub(super) payload: Bytes,
}

/// What was taken out of the table, to be answered without the lock.
type Taken = Vec<(Then, Unknown)>;

impl Table {
    pub(super) fn new(config: ClientConfig) -> Table {
        let state = State {
            last: 0,
            outstanding: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            outbox: VecDeque::new(),
            link: Link::Open,
            heard: clock::now(),
            silent: false,
            sleeps: None,
            delayed: VecDeque::new(),
        };
        let state = Mutex::new(state);
        let (news, nearer, broken) = (Notify::new(), Notify::new(), Notify::new());
        Table { config, state, news, nearer, broken }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.state().outstanding.len()
    }

    /// Has a request sent, or answers why not.
    pub(super) fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        let (ask, payload) = convert::ask(request);
        let wait = self.config.request_wait;
        if let Some((Then::Reply(reply), why)) =
            self.enter(to, ask, payload, Then::Reply(reply), wait)
        {
            reply(why);
        }
    }

    /// Asks whether readers may see more, and wakes when they may.
    pub(super) fn watch(&self, watch: Then) {
        let Then::Watch { ledger, beyond, .. } = &watch else { return };
        let (to, ask) =
            (self.config.incarnation, Ask::WatchLac { ledger: *ledger, beyond: *beyond });
        let wait = Duration::from_millis(u64::from(caps::WATCH_WAIT_MS));
        if let Some((Then::Watch { wake, .. }, _)) = self.enter(to, ask, Bytes::new(), watch, wait)
        {
            self.wake_later(wake);
        }
    }

    /// Takes a request, or gives it back with its answer.
    fn enter(
        &self,
        to: Incarnation,
        ask: Ask,
        payload: Bytes,
        then: Then,
        wait: Duration,
    ) -> Option<(Then, Reply)> {
        let now = clock::now();
        let bytes = payload.len();
        let mut state = self.state();
        match &state.link {
            Link::Open => {}
            Link::Down { until, why } if now < *until => {
                let why = why.clone();
                return Some((then, Reply::Unknown(why)));
            }
            Link::Down { .. } => state.link = Link::Open,
            Link::Closed => return Some((then, Reply::Unknown(Unknown::Closing))),
        }
        let over = state.bytes > 0 && state.bytes + bytes > self.config.request_bytes_max;
        if over || state.outstanding.len() >= self.config.requests_max {
            let retry_after_ms = caps::RETRY_AFTER_MS;
            return Some((then, Reply::Refused(Refusal::Overloaded { retry_after_ms })));
        }
        state.last += 1;
        let correlation = state.last;
        // A long poll is answered when its own time is over; only then does the wait for it begin.
        let patience = match then {
            Then::Reply(_) => wait,
            Then::Watch { .. } => wait + self.config.request_wait,
        };
        let until = now + patience;
        state.bytes += bytes;
        state.deadlines.insert((until, correlation));
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = BookieRequest { to, wait_ms, ask };
        state.outbox.push_back(Out { correlation, request, payload });
        let waits = Outstanding { then, bytes, sent: now, until, wait: patience };
        state.outstanding.insert(correlation, waits);
        let nearer = state.sleeps.is_none_or(|sleeps| until < sleeps);
        if nearer {
            state.sleeps = Some(until);
        }
        drop(state);
        self.news.notify_one();
        if nearer {
            self.nearer.notify_one();
        }
        None
    }

    /// Takes what is to be sent; `None` when the table was closed.
    pub(super) fn take(&self, into: &mut VecDeque<Out>) -> Option<()> {
        let mut state = self.state();
        if matches!(state.link, Link::Closed) {
            return None;
        }
        std::mem::swap(&mut state.outbox, into);
        Some(())
    }

    /// Whether something is to be sent; `None` when the table was closed.
    pub(super) fn is_wanted(&self) -> Option<bool> {
        let state = self.state();
        (!matches!(state.link, Link::Closed)).then(|| !state.outbox.is_empty())
    }

    /// Whether this is still waited for; what is not need not be sent.
    pub(super) fn waits_for(&self, correlation: u64) -> bool {
        self.state().outstanding.contains_key(&correlation)
    }

    /// There is a connection.
    pub(super) fn connected(&self) {
        let mut state = self.state();
        state.heard = clock::now();
        state.silent = false;
    }

    /// Waits until the connection is to be given up.
    pub(super) async fn is_broken(&self) {
        loop {
            {
                let state = self.state();
                if state.silent || matches!(state.link, Link::Closed) {
                    return;
                }
            }
            self.broken.notified().await;
        }
    }

    /// Brings a reply; one that nobody waits for any more is forgotten.
    pub(super) fn bring(&self, correlation: u64, head: BookieReply, payload: Bytes) {
        let mut state = self.state();
        state.heard = clock::now();
        let Some(waits) = state.remove(correlation) else { return };
        drop(state);
        match waits.then {
            Then::Reply(reply) => {
                let odd = || {
                    let why = "it gave an answer of another kind: use the same release".to_owned();
                    Reply::Unknown(Unknown::TurnedAway { to: self.config.to(), why })
                };
                deliver(reply, convert::reply(head, payload).unwrap_or_else(odd));
            }
            Then::Watch { wake, .. } if matches!(head, BookieReply::Watched) => rouse(&wake),
            Then::Watch { wake, .. } => self.wake_later(wake),
        }
    }

    /// The connection is lost, or was not to be had: everything is answered, and for a while all that
    /// comes.
    pub(super) fn lose(&self, why: &Unknown, pause: Duration) {
        let mut state = self.state();
        if !matches!(state.link, Link::Closed) {
            state.link = Link::Down { until: clock::now() + pause, why: why.clone() };
        }
        let taken = state.take_all(why);
        drop(state);
        self.answer(taken);
    }

    /// Nothing is sent any more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.link = Link::Closed;
        let taken = state.take_all(&Unknown::Closing);
        let delayed = std::mem::take(&mut state.delayed);
        drop(state);
        self.answer(taken);
        delayed.iter().for_each(|(_, wake)| rouse(wake));
        self.news.notify_one();
        self.nearer.notify_one();
        self.broken.notify_one();
    }

    /// Answers those whose time is over; when to look again, `None` when the table was closed.
    pub(super) fn expire(&self, now: Instant) -> Option<Option<Instant>> {
        let mut taken = Taken::new();
        let mut silent = false;
        let mut state = self.state();
        while let Some((until, correlation)) = state.deadlines.first().copied()
            && until <= now
        {
            let Some(waits) = state.remove(correlation) else { break };
            // Nothing at all came since it was sent: nobody is there.
            silent |= state.heard < waits.sent;
            let ms = u64::try_from(waits.wait.as_millis()).unwrap_or(u64::MAX);
            taken.push((waits.then, Unknown::Deadline { ms }));
        }
        let mut wakes = Vec::new();
        while state.delayed.front().is_some_and(|(at, _)| *at <= now) {
            wakes.extend(state.delayed.pop_front().map(|(_, wake)| wake));
        }
        let next = state.deadlines.first().map(|(until, _)| *until);
        let next = next.into_iter().chain(state.delayed.front().map(|(at, _)| *at)).min();
        state.sleeps = next;
        let closed = matches!(state.link, Link::Closed);
        state.silent |= silent;
        drop(state);
        if silent {
            self.broken.notify_one();
        }
        self.answer(taken);
        wakes.iter().for_each(rouse);
        (!closed).then_some(next)
    }

    fn answer(&self, taken: Taken) {
        for (then, why) in taken {
            match then {
                Then::Reply(reply) => deliver(reply, Reply::Unknown(why)),
                Then::Watch { wake, .. } => self.wake_later(wake),
            }
        }
    }

    /// Who waits hears of it all the same, after a pause: it will ask, and find out why.
    fn wake_later(&self, wake: Wake) {
        let at = clock::now() + Duration::from_millis(caps::WATCH_RETRY_MS);
        let mut state = self.state();
        if matches!(state.link, Link::Closed) || state.delayed.len() >= self.config.requests_max {
            drop(state);
            return rouse(&wake);
        }
        state.delayed.push_back((at, wake));
        let nearer = state.sleeps.is_none_or(|sleeps| at < sleeps);
        if nearer {
            state.sleeps = Some(at);
        }
        drop(state);
        if nearer {
            self.nearer.notify_one();
        }
    }
}

impl State {
    fn remove(&mut self, correlation: u64) -> Option<Outstanding> {
        let waits = self.outstanding.remove(&correlation)?;
        self.deadlines.remove(&(waits.until, correlation));
        self.bytes -= waits.bytes;
        Some(waits)
    }

    fn take_all(&mut self, why: &Unknown) -> Taken {
        self.outbox.clear();
        self.deadlines.clear();
        self.bytes = 0;
        let all = std::mem::take(&mut self.outstanding);
        all.into_values().map(|waits| (waits.then, why.clone())).collect()
    }
}

/// Gives an answer. One caller's panic is not to take the connection from all others.
fn deliver(reply: ReplyTo, answer: Reply) {
    if catch_unwind(AssertUnwindSafe(|| reply(answer))).is_err() {
        tracing::error!("the receiver of an answer panicked");
    }
}

fn rouse(wake: &Wake) {
    let wake = Arc::clone(wake);
    if catch_unwind(AssertUnwindSafe(move || wake())).is_err() {
        tracing::error!("somebody who was woken panicked");
    }
}
