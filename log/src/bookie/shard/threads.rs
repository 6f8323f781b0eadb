//! The bookie's own threads: journal, reads, checkpoints, upkeep. Each ends when the shard is stopped.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::read_jobs::{Next, Took};
use super::{Shard, State};
use crate::clock;
use crate::message::{Reply, ReplyTo};

thread_local! {
    static BOOKIE_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of some shard of some bookie. Such a thread never waits for room in another
/// either: two would wait for each other.
pub(super) fn is_bookie_thread() -> bool {
    BOOKIE_THREAD.get()
}

impl Shard {
    /// Starts the threads.
    pub(crate) fn start(shard: &Arc<Shard>) -> std::io::Result<Vec<JoinHandle<()>>> {
        type Body = fn(&Shard);
        let mut bodies: Vec<(&str, Body)> = vec![
            ("egret-journal", Shard::run_journal),
            ("egret-checkpoint", Shard::run_checkpoints),
            ("egret-upkeep", Shard::run_upkeep),
        ];
        let reads: (&str, Body) = ("egret-reads", Shard::run_reads);
        bodies.extend(std::iter::repeat_n(reads, shard.config.read_threads.max(1)));
        let mut threads = Vec::new();
        for (name, body) in bodies {
            let own = Arc::clone(shard);
            let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                BOOKIE_THREAD.set(true);
                body(&own);
            });
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    shard.stop();
                    return Err(error);
                }
            }
        }
        Ok(threads)
    }

    /// Wakes the journal thread if it waits.
    pub(super) fn rouse_journal(&self, state: &mut State) {
        if state.journal_waits {
            state.journal_waits = false;
            self.work.notify_one();
        }
    }

    /// Has the journal thread look whether it is idle.
    pub(super) fn arm_timer(&self, state: &mut State) {
        if self.config.background && !state.timer_armed {
            state.timer_armed = true;
            state.idle_since = clock::now();
            self.rouse_journal(state);
        }
    }

    fn run_journal(&self) {
        let idle_mark = Duration::from_millis(self.config.idle_mark_ms);
        let mut state = self.lock();
        loop {
            if !state.replies.is_empty() {
                let replies = std::mem::take(&mut state.replies);
                drop(state);
                replies.into_iter().for_each(deliver);
                state = self.lock();
                continue;
            }
            if state.stopped {
                return;
            }
            if !state.queue.is_empty() && !state.writing {
                drop(state);
                self.lead_once();
                state = self.lock();
                continue;
            }
            let to_mark = state.unmarked || !state.lazy.is_empty();
            state.timer_armed &= to_mark && state.poisoned.is_none() && !state.stopped;
            if !state.timer_armed {
                state.journal_waits = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.journal_waits = false;
                continue;
            }
            let idle = clock::now().saturating_duration_since(state.idle_since);
            if idle >= idle_mark && !state.writing {
                state = self.mark_idle(state);
                continue;
            }
            let left = idle_mark.saturating_sub(idle).max(Duration::from_millis(1));
            state.journal_waits = true;
            let waited = self.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.journal_waits = false;
        }
    }

    fn run_reads(&self) {
        let threads = self.config.read_threads.max(1);
        let mut state = self.lock();
        while !state.stopped {
            state = match state.read_jobs.next(clock::now()) {
                Next::Job(job) => {
                    drop(state);
                    let (held, urgent, begun) = (job.bytes(), job.is_urgent(), clock::now());
                    let bytes = self.read_now(job);
                    let mut state = self.lock();
                    let took = (!urgent).then(|| Took { bytes, begun, now: clock::now() });
                    state.read_jobs.done(held, took, threads);
                    state
                }
                Next::Rest(rest) => {
                    let waited = self.reads.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Nothing => self.reads.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Gives an answer. One client's panic is not to take the journal from all others.
fn deliver((reply, answer): (ReplyTo, Reply)) {
    if catch_unwind(AssertUnwindSafe(|| reply(answer))).is_err() {
        tracing::error!("the receiver of an answer panicked");
    }
}
