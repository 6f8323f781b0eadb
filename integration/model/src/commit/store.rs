//! What is durable, and what must hold of it.

use std::collections::BTreeMap;

use egret_schemas::{EntryId, Generation, LedgerId, SegmentId};
use egret_state::commit::{CommitRecord, RecordKind, SinkPosition, TopologyRecord};

use super::scope::Scope;

/// Workers, splits, key groups, partitions.
pub const WORKERS: usize = 2;

/// The output stream.
pub const STREAM: &str = "out";

/// The only segment of a partition.
const SEGMENT: SegmentId = SegmentId(1);

/// A number of a split.
pub type Tuple = (usize, u64);

/// Which worker a number goes to.
pub fn worker_of((split, number): Tuple) -> usize {
    (split + usize::from(number % 2 == 1)) % WORKERS
}

/// How many of the first numbers of a split go to a worker.
fn share(split: usize, position: u64, worker: usize) -> u64 {
    (0..position).filter(|number| worker_of((split, *number)) == worker).count() as u64
}

/// A ledger of `T`s.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger<T> {
    /// What it holds.
    pub entries: Vec<T>,
    /// Whether it takes no more.
    pub closed: bool,
}

impl<T> Default for Ledger<T> {
    fn default() -> Ledger<T> {
        Ledger { entries: Vec::new(), closed: false }
    }
}

/// A partition of the output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Generations below this one write no more.
    pub fence: Generation,
    /// What is durable.
    pub entries: Vec<Tuple>,
    /// How many of them readers see.
    pub visible: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The topology's record, and its revision.
    pub topology: Option<(TopologyRecord, u64)>,
    /// Ledgers up to here were given numbers.
    pub ledgers: u64,
    /// Commit ledgers.
    pub commits: BTreeMap<LedgerId, Ledger<CommitRecord>>,
    /// State ledgers: of each entry, how many numbers were counted.
    pub states: BTreeMap<LedgerId, Ledger<u64>>,
    /// The output.
    pub partitions: [Partition; WORKERS],
    /// The record that became durable last.
    pub newest: Option<CommitRecord>,
    /// The last generation that has read what was committed before it.
    pub read_by: Generation,
}

/// What was committed of a partition.
pub fn end_of(record: &CommitRecord, partition: usize) -> u64 {
    let partition = u32::try_from(partition).expect("two");
    let end = record.sinks.get("out").and_then(|ends| ends.get(&partition));
    end.map_or(0, |(_, last)| EntryId::after(*last).0)
}

/// The end of a partition that has so many entries.
pub fn position(entries: u64) -> SinkPosition {
    (SEGMENT, EntryId(entries).before())
}

/// How far a split was read.
pub fn read_of(record: &CommitRecord, split: usize) -> u64 {
    let at = record.spouts.get("in").and_then(|splits| splits.get(&split_key(split)));
    let bytes = at.map(|at| <[u8; 8]>::try_from(&at[..]).expect("as it was written"));
    bytes.map_or(0, u64::from_le_bytes)
}

/// A split as the protocol names it.
pub fn split_key(split: usize) -> Vec<u8> {
    vec![u8::try_from(split).expect("two")]
}

/// Whether two records say the same of what is committed.
pub fn same_content(a: &CommitRecord, b: &CommitRecord) -> bool {
    (a.last, &a.spouts, &a.state, &a.sinks) == (b.last, &b.spouts, &b.state, &b.sinks)
}

impl Store {
    /// Nothing.
    pub fn new() -> Store {
        Store {
            topology: None,
            ledgers: 0,
            commits: BTreeMap::new(),
            states: BTreeMap::new(),
            partitions: Default::default(),
            newest: None,
            read_by: Generation(0),
        }
    }

    /// Writes the topology's record if it is as expected; whether it was.
    pub fn save(&mut self, record: &TopologyRecord, expect: Option<u64>) -> Option<u64> {
        let revision = self.topology.as_ref().map(|(_, revision)| *revision);
        (revision == expect).then(|| {
            let next = revision.unwrap_or(0) + 1;
            self.topology = Some((record.clone(), next));
            next
        })
    }

    /// Appends a commit record, with what must hold of it; `false` when the ledger takes nothing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn append(&mut self, ledger: LedgerId, record: CommitRecord) -> Result<bool, String> {
        let held = self.commits.entry(ledger).or_default();
        if held.closed {
            return Ok(false);
        }
        held.entries.push(record.clone());
        self.check_order(&record)?;
        self.check(&record)?;
        self.newest = Some(record);
        Ok(true)
    }

    fn check_order(&self, record: &CommitRecord) -> Result<(), String> {
        let generation = record.generation;
        if generation < self.read_by {
            let read_by = self.read_by;
            return Err(format!("{generation} commits after {read_by} read what is committed"));
        }
        match (&self.newest, record.kind) {
            (None, RecordKind::Genesis) => Ok(()),
            (Some(newest), RecordKind::Commit) if record.last > newest.last => Ok(()),
            (Some(newest), _)
                if record.kind != RecordKind::Commit && same_content(newest, record) =>
            {
                Ok(())
            }
            (newest, kind) => Err(format!(
                "a {kind:?} of {generation} up to {} follows {:?}",
                record.last,
                newest.as_ref().map(|newest| newest.last)
            )),
        }
    }

    /// Every number before the committed positions is in its partition once and in order, and in the state of its
    /// worker, and nothing else is.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, record: &CommitRecord) -> Result<(), String> {
        let read = [0, 1].map(|split| read_of(record, split));
        for worker in 0..WORKERS {
            let (end, held) = (end_of(record, worker), &self.partitions[worker].entries);
            let end = usize::try_from(end).expect("few");
            let Some(output) = held.get(..end) else {
                return Err(format!(
                    "{end} entries of partition {worker} are committed of {held:?}"
                ));
            };
            for (split, position) in read.iter().enumerate() {
                let of_split: Vec<u64> =
                    output.iter().filter(|(from, _)| *from == split).map(|(_, n)| *n).collect();
                let expected: Vec<u64> =
                    (0..*position).filter(|n| worker_of((split, *n)) == worker).collect();
                if of_split != expected {
                    return Err(format!(
                        "up to {position} of split {split}, partition {worker} has {of_split:?}"
                    ));
                }
            }
            let counted = self.state_of(record, worker)?;
            let expected: u64 = (0..WORKERS).map(|split| share(split, read[split], worker)).sum();
            if counted != expected {
                return Err(format!("worker {worker} counted {counted} of {expected}"));
            }
        }
        Ok(())
    }

    /// What a worker's state is restored to.
    ///
    /// # Errors
    /// When what the record names is not there.
    pub fn state_of(&self, record: &CommitRecord, worker: usize) -> Result<u64, String> {
        let group = u32::try_from(worker).expect("two");
        let Some(set) = record.state.get("count") else { return Ok(0) };
        let slices = set.of_task(group, 2, 2);
        let ranges = slices.iter().flat_map(|slice| &slice.ledgers);
        let Some(range) = ranges.last() else { return Ok(0) };
        let Some(last) = range.last else { return Ok(0) };
        let held = self.states.get(&range.ledger).map(|ledger| &ledger.entries);
        let at = usize::try_from(last.0).expect("few");
        held.and_then(|entries| entries.get(at).copied())
            .ok_or_else(|| format!("{}:{last} is not there to be restored", range.ledger))
    }

    /// Shows readers what a record has.
    ///
    /// # Errors
    /// When that is not committed.
    pub fn publish(&mut self, record: &CommitRecord) -> Result<(), String> {
        let newest = self.newest.as_ref().map(|newest| newest.last);
        if newest < Some(record.last) {
            return Err(format!("{} is shown, and {newest:?} is committed", record.last));
        }
        for (partition, held) in self.partitions.iter_mut().enumerate() {
            held.visible = held.visible.max(end_of(record, partition));
        }
        Ok(())
    }

    /// What readers see is what is committed.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_visible(&self) -> Result<(), String> {
        for (partition, held) in self.partitions.iter().enumerate() {
            let committed = self.newest.as_ref().map_or(0, |newest| end_of(newest, partition));
            if held.visible > committed || held.visible > held.entries.len() as u64 {
                let seen = held.visible;
                return Err(format!("{seen} records of partition {partition} are seen: {held:?}"));
            }
        }
        Ok(())
    }

    /// Everything was read and is committed, once.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_finished(&self, scope: &Scope) -> Result<(), String> {
        let newest = self.newest.as_ref().ok_or("nothing was ever committed")?;
        let read = [0, 1].map(|split| read_of(newest, split));
        if read != scope.numbers {
            return Err(format!("{read:?} is committed of {:?}", scope.numbers));
        }
        self.check(newest)
    }
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}
