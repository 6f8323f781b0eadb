//! A stateful task's changelog: appends per commit, and what a restore would have to read.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use egret_log::client::{AppendError, LedgerWriter};
use egret_log::message::Wake;
use egret_schemas::{EntryId, Epoch};
use egret_state::commit::Slice;
use egret_state::keyed::chain::Chain;
use egret_state::keyed::changelog::Written;
use egret_state::keyed::replay::Replayed;

use super::chain;
use super::durable::Durable;

/// Makes the ledger a new image begins in: listed in the topology record, then created.
pub(crate) trait OpenStateLedger: Send + Sync {
    fn open(&self) -> Result<LedgerWriter, String>;
}

/// What the changelog of one task begins with.
pub(crate) struct StateStart {
    /// The key groups the task owns.
    pub(crate) groups: std::ops::Range<u32>,
    /// What it restores from.
    pub(crate) slices: Vec<Slice>,
    /// Whether another number of tasks wrote that.
    pub(crate) tasks_changed: bool,
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
}

impl StateLog {
    pub(crate) fn new(start: StateStart, opener: Arc<dyn OpenStateLedger>, wake: Wake) -> StateLog {
        let StateStart { groups, slices, tasks_changed, writer } = start;
        StateLog {
            start: Some((groups, slices, tasks_changed)),
            writer,
            chain: None,
            last: None,
            durable: Durable::new(wake),
            closed: VecDeque::new(),
            opener,
        }
    }

    /// Says that the task is restored; from here on changes follow in the new ledger.
    pub(crate) fn restored(&mut self, replayed: Replayed) {
        let (groups, slices, tasks_changed) = self.start.take().expect("a task is restored once");
        let mut chain = Chain::restored(groups, &slices, tasks_changed, replayed);
        chain.begin_ledger(self.writer.id(), false);
        self.chain = Some(chain);
    }

    fn chain(&mut self) -> &mut Chain {
        self.chain.as_mut().expect("the task is restored before it works")
    }

    /// Begins a new ledger if the next batch should be an image of `keys` keys; whether it should.
    pub(crate) fn begin_image_if_due(&mut self, keys: usize) -> Result<bool, String> {
        if !self.chain().image_due(keys) {
            return Ok(false);
        }
        self.writer = self.opener.open()?;
        self.last = None;
        let ledger = self.writer.id();
        self.chain().begin_ledger(ledger, true);
        Ok(true)
    }

    /// Appends one entry of `commit`.
    pub(crate) fn append(&mut self, commit: Epoch, entry: Vec<u8>) {
        let acks = self.durable.append(commit);
        let done = move |result: Result<EntryId, AppendError>| {
            acks.push(commit, result.map(|_| ()).map_err(|error| chain(&error)));
        };
        // None: the writer has ended, and `done` was told why.
        if let Some(entry) = self.writer.append(Bytes::from(entry), Box::new(done)) {
            self.last = Some(entry);
        }
    }

    /// Everything of `commit` is appended.
    pub(crate) fn close(&mut self, commit: Epoch, written: Written) {
        if let (Some(last), true) = (self.last, written.entries > 0) {
            self.chain().appended(last, written);
        }
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
