//! A stateful task's changelog: appends per commit, and what a restore would have to read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use egret_log::client::{AppendError, LedgerWriter};
use egret_log::clock;
use egret_log::message::Wake;
use egret_schemas::{EntryId, Epoch};
use egret_state::commit::Slice;
use egret_state::keyed::chain::{Chain, Pace};
use egret_state::keyed::changelog::Written;
use egret_state::keyed::replay::Replayed;
use egret_state::keyed::table::Swept;

use super::chain;
use super::durable::Durable;

/// Makes the ledger a task goes on in: listed in the topology record, then created.
pub(crate) trait OpenStateLedger: Send + Sync {
    fn open(&self) -> Result<LedgerWriter, String>;
}

/// What the changelog of one task begins with.
pub(crate) struct StateStart {
    /// The key groups the task owns.
    pub(crate) groups: std::ops::Range<u32>,
    /// What it restores from.
    pub(crate) slices: Vec<Slice>,
    /// Whether others need that, too, or keep it for this: another number of tasks wrote it, or another topology.
    pub(crate) shared: bool,
    /// Its new ledger.
    pub(crate) writer: LedgerWriter,
}

/// See the [module](self).
pub(crate) struct StateLog {
    start: Option<(std::ops::Range<u32>, Vec<Slice>, bool)>,
    writer: LedgerWriter,
    chain: Option<Chain>,
    last: Option<EntryId>,
    durable: Durable<()>,
    closed: VecDeque<(Epoch, Vec<Slice>)>,
    opener: Arc<dyn OpenStateLedger>,
    /// The next ledger, being made or made.
    next: Option<Next>,
    /// The writer has ended: the task hears of it when it asks what is durable.
    ended: bool,
    /// When the last commit was.
    closed_at: Instant,
}

/// A ledger that is made meanwhile.
enum Next {
    OnThread(JoinHandle<Result<LedgerWriter, String>>),
    /// Where a simulation has no other threads.
    Made(Result<LedgerWriter, String>),
}

impl Next {
    fn make(opener: Arc<dyn OpenStateLedger>) -> Result<Next, String> {
        if egret_log::simulation::is_entered() {
            return Ok(Next::Made(opener.open()));
        }
        let named = std::thread::Builder::new().name("egret-next-ledger".into());
        let spawned = named.spawn(move || opener.open());
        spawned.map(Next::OnThread).map_err(|why| format!("a thread: {why}"))
    }

    fn is_there(&self) -> bool {
        match self {
            Next::OnThread(thread) => thread.is_finished(),
            Next::Made(_) => true,
        }
    }

    fn get(self) -> Result<LedgerWriter, String> {
        match self {
            Next::OnThread(thread) => {
                thread.join().unwrap_or_else(|_| Err("making a ledger panicked".to_owned()))
            }
            Next::Made(made) => made,
        }
    }
}

impl StateLog {
    pub(crate) fn new(start: StateStart, opener: Arc<dyn OpenStateLedger>, wake: Wake) -> StateLog {
        let StateStart { groups, slices, shared, writer } = start;
        StateLog {
            start: Some((groups, slices, shared)),
            writer,
            chain: None,
            last: None,
            durable: Durable::new(wake),
            closed: VecDeque::new(),
            opener,
            next: None,
            ended: false,
            closed_at: clock::now(),
        }
    }

    /// Says that the task is restored; from here on changes follow in the new ledger.
    pub(crate) fn restored(&mut self, replayed: Replayed, swept: Swept) {
        let (groups, slices, shared) = self.start.take().expect("a task is restored once");
        let mut chain = Chain::restored(groups, &slices, shared, replayed);
        chain.begin_ledger(self.writer.id(), swept);
        self.chain = Some(chain);
    }

    fn chain(&mut self) -> &mut Chain {
        self.chain.as_mut().expect("the task is restored before it works")
    }

    /// Bytes a restore would read.
    pub(crate) fn bytes(&self) -> u64 {
        self.chain.as_ref().map_or(0, Chain::bytes)
    }

    /// Goes on in a new ledger if it is time to. That one was made meanwhile, on a thread of its own: listing
    /// and creating takes several syncs, and commits are not to wait for them.
    pub(crate) fn begin_ledger_if_due(
        &mut self,
        live_bytes: u64,
        swept: Swept,
    ) -> Result<(), String> {
        if self.next.is_none() && self.chain().ledger_due_soon(live_bytes) {
            self.next = Some(Next::make(Arc::clone(&self.opener))?);
        }
        // One that is not there yet is waited for only when the current one is twice what it should be.
        let due = self.chain().ledger_due(live_bytes);
        let late = self.chain().ledger_late(live_bytes);
        if let Some(next) = self.next.take_if(|next| due && (next.is_there() || late)) {
            self.writer = next.get()?;
            self.last = None;
            let ledger = self.writer.id();
            self.chain().begin_ledger(ledger, swept);
        }
        Ok(())
    }

    /// How much to rewrite beside the next commit.
    pub(crate) fn pace(&self, live_bytes: u64) -> Pace {
        let chain = self.chain.as_ref().expect("the task is restored before it works");
        chain.pace(live_bytes, clock::now() - self.closed_at)
    }

    /// Appends one entry of `commit`.
    pub(crate) fn append(&mut self, commit: Epoch, entry: Vec<u8>) {
        let acks = self.durable.append(commit);
        let done = move |result: Result<EntryId, AppendError>| {
            acks.push(commit, result.map(|_| ()).map_err(|error| chain(&error)));
        };
        // None: the writer has ended, and `done` was told why.
        match self.writer.append(Bytes::from(entry), Box::new(done)) {
            Some(entry) => self.last = Some(entry),
            None => self.ended = true,
        }
    }

    /// Everything of `commit` is appended.
    pub(crate) fn close(&mut self, commit: Epoch, written: Written, swept: Swept) {
        if let (Some(last), true, false) = (self.last, written.entries > 0, self.ended) {
            self.chain().appended(last, written);
        }
        self.chain().swept(swept);
        self.closed_at = clock::now();
        self.durable.close(commit);
        let slices = self.chain().slices();
        self.closed.push_back((commit, slices));
    }

    /// Commits that became durable, with what a restore of each would read.
    pub(crate) fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, String> {
        let mut done = Vec::new();
        for (commit, _) in self.durable.poll()? {
            let (closed, slices) = self.closed.pop_front().expect("closed before it was durable");
            assert_eq!(closed, commit, "commits become durable in order");
            done.push((commit, slices));
        }
        Ok(done)
    }
}

impl Drop for StateLog {
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            // The next generation deletes what nobody wrote.
            drop(next.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::ledger::{CloseAt, LedgerKind};
    use egret_log::{Log, LogConfig};
    use egret_schemas::{Generation, Term};

    struct Never;

    impl OpenStateLedger for Never {
        fn open(&self) -> Result<LedgerWriter, String> {
            Err("it is not time for another".to_owned())
        }
    }

    /// Found by the simulation of topologies: a task that closed two commits before it asked what was durable
    /// panicked when its ledger had ended meanwhile.
    #[test]
    fn commits_after_the_ledger_ended_are_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let ledgers = log.ledgers();
        let id = ledgers.reserve().unwrap();
        let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
        let start = StateStart { groups: 0..64, slices: Vec::new(), shared: false, writer };
        let mut state = StateLog::new(start, Arc::new(Never), Arc::new(|| {}));
        state.restored(Replayed::default(), Swept::default());
        let mut commit = Epoch::first(Generation(1));
        let mut write = |state: &mut StateLog| {
            state.append(commit, b"changes".to_vec());
            let written = Written { entries: 1, records: 1, bytes: 7 };
            state.close(commit, written, Swept::default());
            commit = commit.next_commit().unwrap();
        };
        write(&mut state);
        ledgers.recover(id, Term(2), CloseAt::End).unwrap();
        while state.writer.failure().is_none() {
            write(&mut state);
        }
        write(&mut state);
        write(&mut state);
        let error = state.durable().unwrap_err();
        assert!(error.contains("fenced"), "{error}");
        drop(state);
        log.close().unwrap();
    }
}
