//! Which commits of a task are durable: appends counted out, acknowledgements counted in.
//!
//! Appends of one task are acknowledged in order, on any thread; [`Acks`] brings them to the task's
//! worker and wakes it. A commit is durable when it is closed and none of its appends, nor any of an
//! earlier commit, is outstanding. A failed append makes no commit durable, ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use egret_log::message::Wake;
use egret_schemas::Epoch;

/// An acknowledged append: where it ended, or why it failed.
pub(crate) type Ack<P> = Result<P, String>;

/// The way from storage threads back to a task.
pub(crate) struct Acks<P> {
    queue: Mutex<VecDeque<(Epoch, Ack<P>)>>,
    wake: Wake,
}

impl<P: Send + 'static> Acks<P> {
    pub(crate) fn new(wake: Wake) -> Arc<Acks<P>> {
        Arc::new(Acks { queue: Mutex::default(), wake })
    }

    /// Called by storage, once per append.
    pub(crate) fn push(&self, commit: Epoch, ack: Ack<P>) {
        self.queue.lock().expect("no panic while held").push_back((commit, ack));
        (self.wake)();
    }

    fn drain(&self) -> VecDeque<(Epoch, Ack<P>)> {
        std::mem::take(&mut *self.queue.lock().expect("no panic while held"))
    }
}

struct Pending<P> {
    commit: Epoch,
    outstanding: usize,
    last: Option<P>,
    closed: bool,
}

/// Counts a task's appends per commit.
pub(crate) struct Durable<P> {
    pending: VecDeque<Pending<P>>,
    acks: Arc<Acks<P>>,
}

impl<P: Send + 'static> Durable<P> {
    pub(crate) fn new(wake: Wake) -> Durable<P> {
        Durable { pending: VecDeque::new(), acks: Acks::new(wake) }
    }

    fn of(&mut self, commit: Epoch) -> &mut Pending<P> {
        if self.pending.back().is_none_or(|last| last.commit < commit) {
            self.pending.push_back(Pending { commit, outstanding: 0, last: None, closed: false });
        }
        let last = self.pending.back_mut().expect("pushed above if there was none");
        assert_eq!(last.commit, commit, "a task appends commit after commit");
        assert!(!last.closed, "nothing is appended to a closed commit");
        last
    }

    /// Counts one append of `commit`; its acknowledgement goes to the queue returned.
    pub(crate) fn append(&mut self, commit: Epoch) -> Arc<Acks<P>> {
        self.of(commit).outstanding += 1;
        Arc::clone(&self.acks)
    }

    /// No more appends of `commit`.
    pub(crate) fn close(&mut self, commit: Epoch) {
        self.of(commit).closed = true;
    }

    /// The commits that became durable, oldest first, with where their last append ended.
    pub(crate) fn poll(&mut self) -> Result<Vec<(Epoch, Option<P>)>, String> {
        for (commit, ack) in self.acks.drain() {
            let end = ack?;
            let found = self.pending.iter_mut().find(|p| p.commit == commit);
            let pending = found.expect("an acknowledgement belongs to an append counted before");
            pending.outstanding =
                pending.outstanding.checked_sub(1).expect("each append is acknowledged once");
            pending.last = Some(end);
        }
        let mut done = Vec::new();
        while self.pending.front().is_some_and(|p| p.closed && p.outstanding == 0) {
            let pending = self.pending.pop_front().expect("looked at above");
            done.push((pending.commit, pending.last));
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn commit(n: u32) -> Epoch {
        Epoch::new(Generation(1), n, 0)
    }

    #[test]
    fn a_commit_is_durable_when_closed_and_acknowledged_and_in_order() {
        let mut durable = Durable::<u64>::new(Arc::new(|| {}));
        let acks = durable.append(commit(0));
        durable.append(commit(0));
        durable.close(commit(0));
        durable.close(commit(1));
        assert!(durable.poll().unwrap().is_empty());
        acks.push(commit(0), Ok(4));
        assert!(durable.poll().unwrap().is_empty());
        acks.push(commit(0), Ok(5));
        assert_eq!(durable.poll().unwrap(), [(commit(0), Some(5)), (commit(1), None)]);
    }

    #[test]
    fn an_open_commit_is_not_durable_however_many_acknowledgements_it_has() {
        let mut durable = Durable::<u64>::new(Arc::new(|| {}));
        durable.append(commit(0)).push(commit(0), Ok(1));
        assert!(durable.poll().unwrap().is_empty());
    }

    #[test]
    fn a_failed_append_is_an_error_not_a_missing_acknowledgement() {
        let mut durable = Durable::<u64>::new(Arc::new(|| {}));
        durable.append(commit(0)).push(commit(0), Err("fenced".to_owned()));
        durable.close(commit(0));
        assert_eq!(durable.poll().unwrap_err(), "fenced");
    }
}
