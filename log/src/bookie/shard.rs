//! The state of a bookie and the group commit over it.
//!
//! A request is judged under the lock ([`accept`]) and, if it changes anything durable, queued. Whoever
//! finds the journal idle leads: takes what is queued, writes and syncs it *without the lock*, then, under
//! the lock again, makes it readable and answers. A batch is therefore what arrived during the sync
//! before it, and a lone caller syncs on its own thread.
//!
//! * The queue's order is the journal's order is the order of effects.
//! * `writing` is set exactly while one thread leads or has been told to.
//! * Answers and wakes run with no lock held; those of queued sends run in order, on the journal thread.
//! * After the first failed write nothing is written again; what is durable stays readable.

pub(crate) mod accept;
pub(crate) mod checkpoint;
pub(crate) mod compact;
pub(crate) mod lead;
pub(crate) mod lookup;
mod read_jobs;
pub(crate) mod space;
pub(crate) mod threads;
pub(crate) mod upkeep;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use egret_schemas::{EntryAddress, EntryId, Incarnation, LedgerId};

use super::cache::WriteCache;
use super::config::BookieConfig;
use super::damage::Damage;
use super::damaged::{DamagedPlace, DamagedPlaces};
use super::extent::{ExtentId, TableCache};
use super::index::ExtentIndex;
use super::journal::files::Spares;
use super::journal::writer::JournalWriter;
use super::journal::{Lsn, Record};
use super::manifest::Manifest;
use super::pace::Pace;
use super::scrub::ScrubPlace;
use super::stats::BookieStats;
use super::term_table::TermTable;
use crate::disk::Disk;
use crate::message::{Reply, ReplyTo, Unknown, Wake};
use lookup::{ReadCount, ReadJob, SentJob};
use read_jobs::ReadJobs;
use space::Room;

/// Everything behind a [`Bookie`](super::Bookie).
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) config: BookieConfig,
    pub(crate) own: Incarnation,
    state: Mutex<State>,
    /// Held by the one that leads.
    writer: Mutex<JournalWriter>,
    spares: Arc<Spares>,
    /// As last stored; held by the one checkpoint or scrub under way.
    manifest: Mutex<Manifest>,
    tables: Arc<TableCache>,
    damaged: Mutex<DamagedPlaces>,
    /// Entries and bytes read from memory, and from the medium.
    tail_reads: ReadCount,
    catch_up_reads: ReadCount,
    /// Held by the one compaction under way.
    compacting: Mutex<()>,
    /// The journal thread has something to do.
    work: Condvar,
    /// There may be room for callers that wait, or a checkpoint ended.
    room: Condvar,
    /// The checkpoint thread has something to do.
    chores: Condvar,
    /// The read thread has something to do.
    reads: Condvar,
    /// The upkeep thread has something to do, or the shard stops.
    upkeep: Condvar,
}

/// What the lock guards.
pub(crate) struct State {
    table: TermTable,
    cache: WriteCache,
    index: Arc<ExtentIndex>,
    /// The number of the next extent.
    next_extent: ExtentId,
    queue: VecDeque<Queued>,
    /// Calls in the queue: each of their threads may be told to lead.
    queued_calls: usize,
    /// Bytes accepted and not yet durable, with the batch being written.
    queued_bytes: usize,
    /// Accepted and not yet durable entries.
    pending: HashMap<EntryAddress, u32>,
    writing: bool,
    durable_lsn: Lsn,
    checkpoint_lsn: Lsn,
    /// Whether the last batch has records and no later batch says that it was durable.
    unmarked: bool,
    /// Ledgers whose LAC the journal does not have yet.
    lazy: BTreeSet<LedgerId>,
    /// When the last batch was written, or the first thing to mark came up.
    idle_since: Instant,
    /// Whether the journal thread will look at the clock by itself.
    timer_armed: bool,
    journal_waits: bool,
    callers_wait: usize,
    /// Answers due, in the order of the journal.
    replies: VecDeque<(ReplyTo, Reply)>,
    read_jobs: ReadJobs,
    watches: HashMap<LedgerId, Vec<(Option<EntryId>, Wake)>>,
    poisoned: Option<String>,
    room_left: Room,
    /// Closing: what is queued is finished, nothing is accepted.
    closing: bool,
    /// Stopped: nothing more happens.
    stopped: bool,
    batches: u64,
    records: u64,
    checkpoints: u64,
    compactions: u64,
    compacted_bytes: u64,
    scrub: ScrubPlace,
    scrubbed_bytes: u64,
    scrub_turns: u64,
    /// Whether extents may have become mostly dead since they were last looked at.
    compaction_wanted: bool,
    /// The space the last checkpoint wanted and did not get.
    checkpoint_stuck: Option<u64>,
    journal_files: usize,
    /// Whether the journal went on in another file since a spare was made ready.
    spare_wanted: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("durable_lsn", &self.durable_lsn)
            .field("queued", &self.queue.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// A request that waits for the journal.
struct Queued {
    /// What is to be written; `None` waits for what is queued before it.
    record: Option<Record>,
    bytes: usize,
    then: Then,
    to: Waiter,
}

/// What is answered once it is durable.
#[derive(Debug, Clone, Copy)]
enum Then {
    Done,
    Fenced(LedgerId),
    Read(EntryAddress),
}

/// Who waits for an answer.
enum Waiter {
    Call(Arc<Slot>),
    Send(ReplyTo),
}

/// Where a waiting thread finds its answer, or the order to lead.
#[derive(Debug, Default)]
struct Slot {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum Told {
    #[default]
    Nothing,
    Lead,
    Answer(Answer),
}

/// An answer, or where on the medium it is.
#[derive(Debug)]
enum Answer {
    Reply(Reply),
    Read(ReadJob),
}

impl Slot {
    fn tell(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        self.changed.notify_one();
    }

    fn wait(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::take(&mut *told) {
                Told::Nothing => {
                    told = self.changed.wait(told).unwrap_or_else(PoisonError::into_inner);
                }
                something => return something,
            }
        }
    }

    fn take(&self) -> Told {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a start found.
pub(crate) struct Found {
    pub(crate) table: TermTable,
    pub(crate) cache: WriteCache,
    pub(crate) index: ExtentIndex,
    pub(crate) writer: JournalWriter,
    pub(crate) spares: Arc<Spares>,
    pub(crate) manifest: Manifest,
    pub(crate) tables: Arc<TableCache>,
}

impl Shard {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: BookieConfig,
        own: Incarnation,
        found: Found,
    ) -> Shard {
        // Without threads of its own nothing may depend on the time.
        let percent = if config.background { config.catch_up_percent } else { 100 };
        let state = State {
            table: found.table,
            cache: found.cache,
            index: Arc::new(found.index),
            next_extent: found.manifest.next_extent,
            queue: VecDeque::new(),
            queued_calls: 0,
            queued_bytes: 0,
            pending: HashMap::new(),
            writing: false,
            durable_lsn: found.writer.durable_lsn(),
            checkpoint_lsn: found.manifest.checkpoint_lsn.saturating_sub(1),
            unmarked: false,
            lazy: BTreeSet::new(),
            idle_since: crate::clock::now(),
            timer_armed: false,
            journal_waits: false,
            callers_wait: 0,
            replies: VecDeque::new(),
            read_jobs: ReadJobs::new(Pace::new(percent)),
            watches: HashMap::new(),
            poisoned: None,
            room_left: Room::default(),
            closing: false,
            stopped: false,
            batches: 0,
            records: 0,
            checkpoints: 0,
            compactions: 0,
            compacted_bytes: 0,
            scrub: ScrubPlace::load(&*disk, &dir),
            scrubbed_bytes: 0,
            scrub_turns: 0,
            compaction_wanted: true,
            checkpoint_stuck: None,
            spare_wanted: false,
            journal_files: found.writer.files(),
        };
        Shard {
            disk,
            dir,
            config,
            own,
            state: Mutex::new(state),
            writer: Mutex::new(found.writer),
            spares: found.spares,
            manifest: Mutex::new(found.manifest),
            tables: found.tables,
            damaged: Mutex::default(),
            tail_reads: ReadCount::default(),
            catch_up_reads: ReadCount::default(),
            compacting: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            chores: Condvar::new(),
            reads: Condvar::new(),
            upkeep: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Figures of this moment.
    pub(crate) fn stats(&self) -> BookieStats {
        let damaged = self.damaged_places().count();
        let state = self.lock();
        BookieStats {
            ledgers: state.table.existing(),
            limbo: state.table.limbo().count(),
            limbo_below: state.table.limbo_below().0,
            cached_entries: state.cache.len(),
            cached_bytes: state.cache.bytes(),
            queued_bytes: state.queued_bytes,
            extents: state.index.extents().len(),
            journal_files: state.journal_files,
            durable_lsn: state.durable_lsn,
            checkpoint_lsn: state.checkpoint_lsn,
            batches: state.batches,
            records: state.records,
            checkpoints: state.checkpoints,
            extent_bytes: state.index.extents().iter().map(|extent| extent.data_bytes()).sum(),
            live_bytes: state.live_bytes(),
            compactions: state.compactions,
            compacted_bytes: state.compacted_bytes,
            damaged,
            scrubbed_bytes: state.scrubbed_bytes,
            scrub_turns: state.scrub_turns,
            read_only: state.room_left.read_only,
            space: state.room_left.space,
            tail_reads: self.tail_reads.get(),
            catch_up_reads: self.catch_up_reads.get(),
            poisoned_shards: usize::from(state.poisoned.is_some()),
            poisoned: state.poisoned.clone(),
        }
    }

    /// Takes note of a place where the medium does not hold what was written.
    pub(crate) fn note_damage(&self, damage: Damage, entry: Option<EntryAddress>) {
        self.damaged_places().note(damage, entry);
    }

    /// The extents of this moment.
    pub(crate) fn extent_index(&self) -> Arc<ExtentIndex> {
        Arc::clone(&self.lock().index)
    }

    /// The damaged places that matter to `index`.
    pub(super) fn damaged_in(&self, index: &ExtentIndex) -> Vec<DamagedPlace> {
        self.damaged_places().still(index)
    }

    /// The damaged places that were found and still matter.
    pub(crate) fn damaged(&self) -> Vec<DamagedPlace> {
        self.damaged_in(&self.extent_index())
    }

    fn damaged_places(&self) -> MutexGuard<'_, DamagedPlaces> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledgers in limbo.
    pub(crate) fn limbo(&self) -> Vec<LedgerId> {
        self.lock().table.limbo().collect()
    }

    /// Stops as a crash would: what is queued is not written, nothing is waited for.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.closing = true;
        let refused = state.empty_queue(&Reply::Unknown(Unknown::Closing));
        let jobs: Vec<SentJob> = state.read_jobs.drain();
        let watches = std::mem::take(&mut state.watches);
        self.work.notify_all();
        self.room.notify_all();
        self.chores.notify_all();
        self.reads.notify_all();
        self.upkeep.notify_all();
        drop(state);
        for (reply, answer) in refused {
            reply(answer);
        }
        watches.into_values().flatten().for_each(|(_, wake)| wake());
        for job in jobs {
            job.refuse(Reply::Unknown(Unknown::Closing));
        }
    }
}

impl State {
    /// Takes everything out of the queue; calls are told `answer` here, the sends are returned with it.
    fn empty_queue(&mut self, answer: &Reply) -> Vec<(ReplyTo, Reply)> {
        let mut replies: Vec<(ReplyTo, Reply)> = self.replies.drain(..).collect();
        while let Some(queued) = self.queue.pop_front() {
            self.queued_bytes -= queued.bytes;
            if let Some(Record::Add { ledger, entry, .. }) = queued.record {
                self.pending.remove(&EntryAddress { ledger, entry });
            }
            match queued.to {
                Waiter::Call(slot) => slot.tell(Told::Answer(Answer::Reply(answer.clone()))),
                Waiter::Send(reply) => replies.push((reply, answer.clone())),
            }
        }
        self.queued_calls = 0;
        replies
    }

    /// Bytes in extents of ledgers that are not deleted.
    fn live_bytes(&self) -> u64 {
        let runs = self.index.extents().iter().flat_map(|extent| extent.runs());
        let live = runs.filter(|run| !self.table.is_gone(run.ledger));
        live.map(|run| run.data_len).sum()
    }

    /// Watches of `ledger` that are due: `all` of them, or those whose bound its LAC has passed.
    fn due(&mut self, ledger: LedgerId, all: bool) -> Vec<Wake> {
        let Some(watches) = self.watches.get_mut(&ledger) else { return Vec::new() };
        let lac = self.table.get(ledger).and_then(|found| found.lac);
        let mut due = Vec::new();
        watches.retain(|(beyond, wake)| {
            let stays = !all && lac <= *beyond;
            if !stays {
                due.push(Arc::clone(wake));
            }
            stays
        });
        if watches.is_empty() {
            self.watches.remove(&ledger);
        }
        due
    }
}
