//! What one connection waits for, and the answers its client has not taken yet.
//!
//! Its lock is held for a few lines at a time, by the connection and by whoever brings an answer; the
//! bookie's journal thread only puts an answer down here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use egret_schemas::LedgerId;
use egret_schemas::bookie::BookieReply;
use tokio::sync::Notify;

use super::super::convert;
use super::Shared;
use crate::caps;
use crate::message::{Refusal, Reply, Unknown};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// There is something to write, or nothing more to wait for.
    pub(super) news: Notify,
    /// The client took some answers.
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Requests without a reply, by correlation.
    waiting: BTreeMap<u64, Waiting>,
    /// Their bytes.
    bytes: usize,
    outbox: VecDeque<Answer>,
    outbox_bytes: usize,
    /// Nothing more is read from the client.
    finishing: bool,
    /// The connection is gone: answers go nowhere.
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    until: Instant,
    wait_ms: u32,
    /// It was answered for being late; its bytes are held until the bookie is done with them.
    late: bool,
    watch: Option<(LedgerId, u64)>,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) correlation: u64,
    pub(super) head: BookieReply,
    pub(super) payload: Bytes,
}

/// Whether a request may come in.
#[derive(Debug)]
pub(super) enum Admitted<'a> {
    /// It waits for its reply from now on.
    Yes(Ticket<'a>),
    /// Too much waits.
    Overloaded,
    /// Its correlation is in use, or is none.
    Repeated,
}

/// A request that was counted in and is not handed on yet; counted out when dropped before.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    line: &'a Line,
    correlation: Option<u64>,
}

impl Ticket<'_> {
    /// Somebody will answer it.
    pub(super) fn hand_on(mut self) {
        self.correlation = None;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(correlation) = self.correlation else { return };
        let mut state = self.line.state();
        if let Some(waiting) = state.waiting.remove(&correlation) {
            state.bytes -= waiting.bytes;
            self.line.shared.request_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        }
    }
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>) -> Line {
        Line { shared, state: Mutex::default(), news: Notify::new(), taken: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request in.
    pub(super) fn admit(
        &self,
        correlation: u64,
        bytes: usize,
        now: Instant,
        wait_ms: u32,
    ) -> Admitted<'_> {
        let limits = &self.shared.config.limits;
        let total = &self.shared.request_bytes;
        let mut state = self.state();
        if correlation == 0 || state.waiting.contains_key(&correlation) {
            return Admitted::Repeated;
        }
        // One that is larger than the limit must get through all the same, alone.
        let over = state.bytes > 0 && state.bytes + bytes > limits.request_bytes_max;
        if state.waiting.len() >= limits.requests_max || over {
            return Admitted::Overloaded;
        }
        let before = total.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && bytes > 0 && before + bytes > limits.request_bytes_total_max {
            total.fetch_sub(bytes, Ordering::Relaxed);
            return Admitted::Overloaded;
        }
        state.bytes += bytes;
        let wait_ms = wait_ms.min(caps::REQUEST_WAIT_MS_MAX);
        let until = now + std::time::Duration::from_millis(u64::from(wait_ms));
        let waiting = Waiting { bytes, until, wait_ms, late: false, watch: None };
        state.waiting.insert(correlation, waiting);
        if state.waiting.len() == 1 {
            // Whoever writes answers sleeps without a timer while nothing waits.
            self.news.notify_one();
        }
        Admitted::Yes(Ticket { line: self, correlation: Some(correlation) })
    }

    /// Notes that a request waits for a ledger's LAC; `false` when it was answered already.
    pub(super) fn watches(&self, correlation: u64, ledger: LedgerId, watch: u64) -> bool {
        let mut state = self.state();
        let ended = state.ended;
        match state.waiting.get_mut(&correlation) {
            Some(waiting) if !ended => {
                waiting.watch = Some((ledger, watch));
                true
            }
            _ => false,
        }
    }

    /// Brings the bookie's answer to a request that was admitted. Called once for each, on any thread.
    pub(super) fn answer(&self, correlation: u64, reply: Reply) {
        let (head, payload) = convert::head(reply);
        self.answer_with(correlation, head, payload);
    }

    pub(super) fn answer_with(&self, correlation: u64, head: BookieReply, payload: Bytes) {
        let mut state = self.state();
        let Some(waiting) = state.waiting.remove(&correlation) else { return };
        state.bytes -= waiting.bytes;
        self.shared.request_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        if waiting.late || state.ended {
            if state.finishing {
                self.news.notify_one();
            }
            return;
        }
        // A read can be asked again; what the client does not take is not held for it.
        let over = state.outbox_bytes > self.shared.config.limits.reply_bytes_max;
        let (head, payload) = if over && !payload.is_empty() {
            let retry_after_ms = caps::RETRY_AFTER_MS;
            convert::head(Reply::Refused(Refusal::Overloaded { retry_after_ms }))
        } else {
            (head, payload)
        };
        state.push(Answer { correlation, head, payload });
        drop(state);
        self.news.notify_one();
    }

    /// Answers a request that was not admitted, or says something about the connection.
    pub(super) fn say(&self, correlation: u64, head: BookieReply) {
        let mut state = self.state();
        if !state.ended {
            state.push(Answer { correlation, head, payload: Bytes::new() });
            drop(state);
            self.news.notify_one();
        }
    }

    /// Waits until the client has taken enough of its answers for more to be made.
    pub(super) async fn room(&self) {
        let limits = &self.shared.config.limits;
        loop {
            let taken = self.taken.notified();
            {
                let state = self.state();
                let few = state.outbox.len() < limits.requests_max;
                if few && state.outbox_bytes <= limits.reply_bytes_max {
                    return;
                }
            }
            taken.await;
        }
    }

    /// Takes the answers there are; `None` when there will be none any more.
    pub(super) fn take(&self, into: &mut VecDeque<Answer>) -> Option<()> {
        let mut state = self.state();
        if state.outbox.is_empty() && state.finishing && state.waiting.is_empty() {
            return None;
        }
        std::mem::swap(&mut state.outbox, into);
        Some(())
    }

    /// Counts out what was written.
    pub(super) fn written(&self, bytes: usize) {
        self.state().outbox_bytes -= bytes;
        self.taken.notify_one();
    }

    /// Whether any request waits for its reply.
    pub(super) fn is_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Answers those that have waited as long as they wanted.
    pub(super) fn expire(&self, now: Instant) {
        let mut watches = Vec::new();
        let mut state = self.state();
        let due: Vec<u64> = state
            .waiting
            .iter()
            .filter(|(_, waiting)| !waiting.late && waiting.until <= now)
            .map(|(correlation, _)| *correlation)
            .collect();
        for correlation in due {
            let Some(waiting) = state.waiting.get_mut(&correlation) else { continue };
            let (watch, ms) = (waiting.watch, u64::from(waiting.wait_ms));
            let head = match watch {
                Some(watch) => {
                    watches.push(watch);
                    state.waiting.remove(&correlation);
                    BookieReply::Watched
                }
                None => {
                    waiting.late = true;
                    convert::head(Reply::Unknown(Unknown::Deadline { ms })).0
                }
            };
            state.push(Answer { correlation, head, payload: Bytes::new() });
        }
        drop(state);
        self.forget(watches);
    }

    /// Nothing more is read: what waits for the bookie is answered, and then nothing is left to do.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        state.finishing = true;
        let watches = state.take_watches();
        for (correlation, _) in &watches {
            let (head, payload) = (BookieReply::Watched, Bytes::new());
            state.push(Answer { correlation: *correlation, head, payload });
        }
        drop(state);
        self.forget(watches.into_iter().map(|(_, watch)| watch).collect());
        self.news.notify_one();
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.outbox.clear();
        state.outbox_bytes = 0;
        let watches = state.take_watches();
        drop(state);
        self.forget(watches.into_iter().map(|(_, watch)| watch).collect());
    }

    fn forget(&self, watches: Vec<(LedgerId, u64)>) {
        for (ledger, watch) in watches {
            self.shared.watches.forget(ledger, watch);
        }
    }
}

impl State {
    fn take_watches(&mut self) -> Vec<(u64, (LedgerId, u64))> {
        let watching = |(at, waiting): (&u64, &Waiting)| Some((*at, waiting.watch?));
        let watches: Vec<_> = self.waiting.iter().filter_map(watching).collect();
        for (correlation, _) in &watches {
            self.waiting.remove(correlation);
        }
        watches
    }

    fn push(&mut self, answer: Answer) {
        self.outbox_bytes += answer.payload.len();
        self.outbox.push_back(answer);
    }
}
