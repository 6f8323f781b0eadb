//! The tables of a topology's stateful tasks, as those of a process that stands by: each at a commit that was
//! acknowledged, on its way to a newer one, or given up.
//!
//! A task is given up when its state does not fit, is not in memory anyway, or is damaged; it is read at the takeover
//! then, as after any start. Reading fails now and then, because whoever runs the topology lets go of ledgers
//! while they are read, or is gone: then a table stays at its commit, if nothing was done to it yet, or is
//! begun again.

use std::sync::Arc;

use bytes::Bytes;
use egret_log::client::{Ledgers, ReadError};
use egret_schemas::{EntryAddress, EntryId};
use egret_state::commit::CommitRecord;
use egret_state::keyed::replay::ReplayError;
use egret_state::view::{Mark, Stretch, Way};

use crate::builder::{BoltPart, Env, Part, Topology};
use crate::component::TaskId;
use crate::plan::Kind;
use crate::runtime::{Kept, MemoryShare};
use crate::task::{WarmTask, chain};

/// Bytes read before any of them is applied: what a look finds is less, so that a look that fails spoils nothing.
const AHEAD_BYTES: usize = 32 << 20;

/// Why tables are not where they were to go.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Something cannot be read now.
    Read(String),
    /// The state is none that this program reads.
    Refused(String),
}

impl From<crate::Error> for Stuck {
    fn from(error: crate::Error) -> Stuck {
        Stuck::Read(chain(&error))
    }
}

/// See the [module](self).
pub(crate) struct Tables {
    tasks: Vec<Followed>,
    mark: Option<Mark>,
    /// A defect on purpose.
    takes_what_lies: bool,
    /// Tasks given up and not told of.
    untold: Vec<(TaskId, String)>,
}

struct Followed {
    id: TaskId,
    /// How many tasks the component has here.
    tasks: u32,
    part: Arc<dyn BoltPart>,
    table: Option<Box<dyn WarmTask>>,
    share: MemoryShare,
    given_up: bool,
}

/// What came of bringing a task to a commit.
enum Brought {
    There { news: bool },
    GivenUp(String),
}

impl Tables {
    /// Those of a topology, which hold nothing yet, in the bounds of what the process may keep.
    pub(crate) fn new(topology: &Topology, kept: &Kept, takes_what_lies: bool) -> Tables {
        let mut tasks = Vec::new();
        for (component, part) in topology.plan.components.iter().zip(&topology.parts) {
            let (Part::Bolt(part), Kind::KeyedBolt) = (part, component.kind) else { continue };
            if !topology.plan.guarantee.commits() {
                continue;
            }
            for task in 0..component.parallelism {
                tasks.push(Followed {
                    id: TaskId { component: component.name.as_str().into(), task },
                    tasks: component.parallelism,
                    part: Arc::clone(part),
                    table: None,
                    share: kept.share(),
                    given_up: false,
                });
            }
        }
        Tables { tasks, mark: None, takes_what_lies, untold: Vec::new() }
    }

    /// The commit they are at, but for those that are not.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// How many are held, of how many, and the bytes they take.
    pub(crate) fn held(&self) -> ((usize, usize), usize) {
        let held = self.tasks.iter().filter_map(|task| task.table.as_ref());
        let bytes = held.clone().map(|table| table.memory_bytes()).sum();
        ((held.filter(|table| table.held().is_some()).count(), self.tasks.len()), bytes)
    }

    /// Tasks that were given up since the last call, and why.
    pub(crate) fn given_up(&mut self) -> Vec<(TaskId, String)> {
        std::mem::take(&mut self.untold)
    }

    /// Brings all to the commit of a record that is acknowledged; whether anything was new.
    ///
    /// # Errors
    /// When something cannot be read: to be tried again, with the newest commit then. When the state is none
    /// that this program reads.
    pub(crate) fn catch_up(&mut self, env: &Env, record: &CommitRecord) -> Result<bool, Stuck> {
        let mark = Mark::of(record);
        // Of a commit ledger that is written, each bookie knows its own end: an older commit is no news.
        if self.mark > Some(mark) {
            return Ok(false);
        }
        let mut any = false;
        for task in &mut self.tasks {
            match task.bring(env, record, (true, self.takes_what_lies))? {
                Brought::There { news } => any |= news,
                Brought::GivenUp(why) => self.untold.push((task.id.clone(), why)),
            }
        }
        self.mark = Some(mark);
        Ok(any)
    }

    /// Leaves to the tasks of a generation what is at the commit that it begins with, or nearly is. How many those
    /// are, of how many.
    pub(crate) fn hand_over(self, env: &Env, record: &CommitRecord, kept: &Kept) -> (usize, usize) {
        let (all, mut warm) = (self.tasks.len(), 0);
        for mut task in self.tasks {
            // What would be read anew is read by the tasks themselves, side by side.
            let brought = task.bring(env, record, (false, self.takes_what_lies));
            if let Err(Stuck::Read(why) | Stuck::Refused(why)) = &brought {
                tracing::warn!(task = %task.id, why, "its state is read again");
            }
            let Followed { id, tasks, table, share, .. } = task;
            // It counts as the task's from here on.
            drop(share);
            if let (Ok(Brought::There { .. }), Some(table)) = (brought, table)
                && let Some(table) = table.into_kept(tasks, record.last)
            {
                kept.put(id, table);
                warm += 1;
            }
        }
        (warm, all)
    }
}

impl Followed {
    fn give_up(&mut self, why: String) -> Brought {
        self.table = None;
        self.given_up = true;
        // Less is always right.
        self.share.set(0).unwrap_or_default();
        Brought::GivenUp(why)
    }

    /// Brings the task to a commit, anew only if it may be.
    fn bring(
        &mut self,
        env: &Env,
        record: &CommitRecord,
        (anew, takes_what_lies): (bool, bool),
    ) -> Result<Brought, Stuck> {
        if self.given_up {
            return Ok(Brought::There { news: false });
        }
        let set = record.state.get(&*self.id.component).cloned().unwrap_or_default();
        let slices = set.of_task(self.id.task, self.tasks, env.key_groups);
        let held = self.table.as_ref().and_then(|table| table.held());
        if held.is_some_and(|held| held.slices == slices) {
            return Ok(Brought::There { news: false });
        }
        let mut way = Way::between(held, &slices);
        let ledgers = env.log.ledgers();
        if takes_what_lies {
            way.stretches.iter_mut().for_each(|stretch| stretch.last = whole(ledgers, stretch));
        }
        if way.anew {
            self.table = None;
            self.share.set(0).unwrap_or_default();
            if !anew {
                return Ok(Brought::There { news: false });
            }
            self.table = self.part.follow(env, &self.id.component)?;
        }
        let Some(mut table) = self.table.take() else {
            return Ok(self.give_up("while it runs, it is not in memory".to_owned()));
        };
        let mut walk = Walk { table: &mut *table, share: &mut self.share, way: &way, begun: false };
        match walk.go(ledgers) {
            Ok(()) => {
                table.arrive(&slices);
                self.table = Some(table);
                Ok(Brought::There { news: true })
            }
            Err(Halt::Read(error)) => {
                // Nothing was done to it.
                if !walk.begun && !way.anew {
                    self.table = Some(table);
                }
                Err(Stuck::Read(chain(&error)))
            }
            Err(Halt::Replay(why @ (ReplayError::Schema { .. } | ReplayError::Value { .. }))) => {
                Err(Stuck::Refused(why.to_string()))
            }
            Err(Halt::Replay(why)) => Ok(self.give_up(why.to_string())),
            // No more is read than fits, so how much there is of it nobody knows.
            Err(Halt::Memory(why)) => {
                Ok(self.give_up(format!("{why} (as far as it was read: all of it takes more)")))
            }
        }
    }
}

/// A way that is gone by one table.
struct Walk<'a> {
    table: &'a mut dyn WarmTask,
    share: &'a mut MemoryShare,
    way: &'a Way,
    /// Whether anything was done to the table.
    begun: bool,
}

enum Halt {
    Read(Box<ReadError>),
    Replay(ReplayError),
    Memory(String),
}

/// What was read of a way.
enum Item<'a> {
    Entry(&'a Stretch, EntryAddress, Bytes),
    End(&'a Stretch),
}

impl Walk<'_> {
    fn go(&mut self, ledgers: &Ledgers) -> Result<(), Halt> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for stretch in &self.way.stretches {
            let mut scan = ledgers.scan(stretch.ledger);
            for entry in (stretch.from.0..=stretch.last.0).map(EntryId) {
                let read = scan.read(entry, stretch.last).or_else(|error| match error {
                    // Readers hear of an entry after its writer; of this one a commit said that it is there.
                    ReadError::Beyond { .. } => ledgers.read_unconfirmed(stretch.ledger, entry),
                    other => Err(other),
                });
                let read = read.map_err(|error| Halt::Read(Box::new(error)))?;
                bytes += read.len();
                items.push(Item::Entry(
                    stretch,
                    EntryAddress { ledger: stretch.ledger, entry },
                    read,
                ));
                if bytes >= AHEAD_BYTES {
                    self.apply(std::mem::take(&mut items))?;
                    bytes = 0;
                }
            }
            items.push(Item::End(stretch));
        }
        self.apply(items)
    }

    fn apply(&mut self, items: Vec<Item<'_>>) -> Result<(), Halt> {
        if !std::mem::replace(&mut self.begun, true) {
            self.table.begin(self.way);
        }
        for item in items {
            match item {
                Item::Entry(stretch, at, bytes) => {
                    self.table.entry(stretch, at, &bytes).map_err(Halt::Replay)?;
                    self.share.set(self.table.memory_bytes()).map_err(Halt::Memory)?;
                }
                Item::End(stretch) => self.table.end(stretch).map_err(Halt::Replay)?,
            }
        }
        Ok(())
    }
}

/// A defect on purpose: where a ledger ends, whatever the commit names.
fn whole(ledgers: &Ledgers, stretch: &Stretch) -> EntryId {
    let mut last = stretch.last;
    while ledgers.read_unconfirmed(stretch.ledger, last.next()).is_ok() {
        last = last.next();
    }
    last
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
