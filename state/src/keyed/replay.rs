//! The entries of a state ledger, read back into a table.
//!
//! A [`Replay`] is fed the entries of one ledger after the other, in the order of a
//! [`reading_plan`](crate::commit::restore_set::reading_plan), and takes the records of the key groups
//! it is told to. It checks what must hold of a ledger: batches whole, parts in order, epochs rising.
//! Values are decoded only under a schema the component declares; anything else is refused, for
//! `postcard` would read other bytes as something else without complaint.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use egret_schemas::bytes::{DecodeError, Reader};
use egret_schemas::key::key_group;
use egret_schemas::{EntryAddress, Epoch};

use super::backing::{Backing, Fault, InMemory};
use super::changelog::{KIND, LAST, MAGIC, VERSION};
use super::convert::{Conversions, Converting, OpenBacking};
use super::key::Key;
use super::record::{Record, What};
use super::schedule::Schedule;
use super::state::State;
use super::table::{GUESSES, Guess, KeyedTable, RestoreError, WriteError};
use crate::commit::record::{RecordError, unseal};

const WHAT: &str = "state entry";

/// The schema a component's keys and values have now, and older ones it can still read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The schema it writes.
    pub id: u64,
    /// Schemas whose bytes its code reads all the same.
    pub accepts: Vec<u64>,
    /// How others that are known differ, in words.
    pub differs: BTreeMap<u64, String>,
}

impl Schema {
    /// A schema that reads only itself.
    pub fn only(id: u64) -> Schema {
        Schema { id, accepts: Vec::new(), differs: BTreeMap::new() }
    }

    fn reads(&self, stored: u64) -> bool {
        stored == self.id || self.accepts.contains(&stored)
    }
}

/// Why an entry cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The bytes are no state entry this build can read.
    #[error("{at}: {why}")]
    Bytes {
        /// The entry.
        at: EntryAddress,
        /// What is wrong.
        why: RecordError,
    },
    /// The entry is another component's, or of another number of key groups.
    #[error(
        "{at}: state of {stored} where {wanted} was expected: the metadata names a wrong ledger"
    )]
    Foreign {
        /// The entry.
        at: EntryAddress,
        /// Whose it is.
        stored: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The entries do not follow one another.
    #[error("{at}: {why}: an entry is missing or out of place; restore the ledger from a copy")]
    Order {
        /// The entry.
        at: EntryAddress,
        /// What does not follow.
        why: &'static str,
    },
    /// A value was written under a schema the component does not declare.
    #[error(
        "component `{component}`, key group {group}: state written under schema {stored:016x}, the code has {own:016x} and does not read the other: {differs}. Run the old code, or give the state a format that reads the old one"
    )]
    Schema {
        /// The component.
        component: String,
        /// The key group.
        group: u32,
        /// The schema it was written under.
        stored: u64,
        /// The schema of the code.
        own: u64,
        /// How they differ, in words.
        differs: String,
    },
    /// A key or value does not decode.
    #[error(
        "component `{component}`, key group {group}: state written under schema {stored:016x} does not decode under {own:016x}: {why}"
    )]
    Value {
        /// The component.
        component: String,
        /// The key group.
        group: u32,
        /// The schema it was written under.
        stored: u64,
        /// The schema of the code.
        own: u64,
        /// What the decoder said.
        why: String,
    },
    /// A state of an older type cannot be converted.
    #[error(
        "component `{component}`, key group {group}: a state of an older type does not become one under schema {own:016x}: {why}"
    )]
    Converted {
        /// The component.
        component: String,
        /// The key group.
        group: u32,
        /// The schema of the code.
        own: u64,
        /// What the conversion said.
        why: String,
    },
    /// What lies beneath the table failed.
    #[error("component `{component}`, {why}")]
    Beneath {
        /// The component.
        component: String,
        /// The failure.
        why: Box<Fault>,
    },
}

impl ReplayError {
    /// Whether beginning again from the last commit may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, ReplayError::Beneath { why, .. } if why.may_pass)
    }
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Bytes of entries, records not taken included.
    pub bytes: u64,
    /// Records taken.
    pub records: u64,
}

/// Reads state entries into a table of one component.
#[derive(Debug)]
pub struct Replay<K: Key + ?Sized, S, B = InMemory> {
    component: String,
    schema: Schema,
    /// The batch before in this ledger, and its next part if it is not whole yet.
    before: Option<(Epoch, Option<u32>)>,
    last: Option<EntryAddress>,
    replayed: Replayed,
    converting: Option<Converting<K, S, B>>,
    /// Which of the conversions the states of a schema take.
    converts: BTreeMap<u64, usize>,
    of: PhantomData<fn(&K, S, B)>,
}

/// An entry of a state ledger, its records not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry<'a> {
    /// Whether it is the last of its batch.
    pub last: bool,
    /// The commit, as its last epoch.
    pub epoch: Epoch,
    /// Its place in the batch.
    pub part: u32,
    /// Key groups of the topology.
    pub key_groups: u32,
    /// The schema of keys and states.
    pub schema: u64,
    /// The component.
    pub component: &'a str,
    /// What it says of keys.
    pub records: Vec<Record<'a>>,
}

impl<K: Key + ?Sized, S: State, B: Backing> Replay<K, S, B> {
    /// A replay that has read nothing.
    pub fn new(component: &str, schema: Schema) -> Replay<K, S, B> {
        Replay {
            component: component.to_owned(),
            schema,
            before: None,
            last: None,
            replayed: Replayed::default(),
            converting: None,
            converts: BTreeMap::new(),
            of: PhantomData,
        }
    }

    /// The same, and states under the schemas of `converts` take the conversion of that number, whatever else is
    /// said of these schemas. `open` makes a place for the states of one conversion while they are read.
    #[must_use]
    pub fn converting(
        self,
        conversions: Conversions<S>,
        converts: BTreeMap<u64, usize>,
        open: OpenBacking<B>,
    ) -> Self {
        assert!(converts.values().all(|number| *number < conversions.len()), "of those there are");
        let converting = Some(Converting::new(conversions, open));
        Replay { converting, converts, ..self }
    }

    /// Applies one entry's records of the key groups `takes` says yes to.
    ///
    /// # Errors
    /// Nothing of the entry is applied then, unless a value does not decode or what lies beneath fails.
    pub fn apply(
        &mut self,
        at: EntryAddress,
        bytes: &[u8],
        takes: impl Fn(u32) -> bool,
        table: &mut KeyedTable<K, S, B>,
        schedule: &mut Schedule,
    ) -> Result<(), ReplayError> {
        let parsed = StateEntry::decode(bytes).map_err(|why| ReplayError::Bytes { at, why })?;
        self.check_owner(at, &parsed, table.key_groups())?;
        self.check_order(at, &parsed)?;
        self.replayed.bytes += bytes.len() as u64;
        let mut taken = parsed.records.iter().filter(|record| takes(record.group));
        let (mut hashes, mut guesses) = ([0; GUESSES], [Guess::NONE; GUESSES]);
        loop {
            let mut some: [Option<&Record<'_>>; GUESSES] = [None; GUESSES];
            some.fill_with(|| taken.next());
            let number = some.iter().flatten().count();
            for (hash, record) in hashes.iter_mut().zip(some.iter().flatten()) {
                *hash = egret_schemas::key::hash(record.key);
            }
            table.guess(&hashes[..number], &mut guesses);
            for (record, found) in some.iter().flatten().zip(hashes.iter().zip(&guesses)) {
                self.take(at, (record, parsed.schema), found, table, schedule)?;
            }
            if number < GUESSES {
                return Ok(());
            }
        }
    }

    /// Says that the ledger is read to the end that counts; the next entry is another ledger's.
    ///
    /// # Errors
    /// When the last batch is not whole.
    pub fn end_ledger(&mut self) -> Result<(), ReplayError> {
        let (before, last) = (self.before.take(), self.last.take());
        if let (Some((_, Some(_))), Some(at)) = (before, last) {
            return Err(ReplayError::Order { at, why: "the ledger ends inside a batch" });
        }
        Ok(())
    }

    /// Says that everything was read: what is left of older types is converted and put into the table; how many
    /// keys that were.
    ///
    /// # Errors
    /// When a state cannot be converted.
    pub fn finish(&mut self, table: &mut KeyedTable<K, S, B>) -> Result<u64, ReplayError> {
        let Some(converting) = self.converting.take() else { return Ok(0) };
        converting.finish(table).map_err(|(group, why)| match (group, why) {
            (Some(group), RestoreError::State(why)) => {
                let (component, own) = (self.component.clone(), self.schema.id);
                ReplayError::Converted { component, group, own, why: why.to_string() }
            }
            (group, why) => self.not_taken(group.unwrap_or_default(), self.schema.id, why),
        })
    }

    /// What was read so far.
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    fn check_owner(
        &self,
        at: EntryAddress,
        parsed: &StateEntry<'_>,
        key_groups: u32,
    ) -> Result<(), ReplayError> {
        if parsed.component == self.component && parsed.key_groups == key_groups {
            return Ok(());
        }
        let text = |name: &str, groups| format!("`{name}` with {groups} key groups");
        let stored = text(parsed.component, parsed.key_groups);
        Err(ReplayError::Foreign { at, stored, wanted: text(&self.component, key_groups) })
    }

    fn check_order(
        &mut self,
        at: EntryAddress,
        parsed: &StateEntry<'_>,
    ) -> Result<(), ReplayError> {
        let wrong = |why| Err(ReplayError::Order { at, why });
        if let Some(last) = self.last {
            if last.ledger != at.ledger {
                return wrong("another ledger begins before the one before ended");
            }
            if last.entry.next() != at.entry {
                return wrong("it does not follow the entry before");
            }
        }
        match self.before {
            Some((epoch, Some(part))) if (epoch, part) != (parsed.epoch, parsed.part) => {
                return wrong("it is not the next part of its batch");
            }
            Some((epoch, None)) if epoch >= parsed.epoch => {
                return wrong("its epoch does not rise");
            }
            Some((_, None)) | None if parsed.part != 0 => {
                return wrong("its batch has no beginning");
            }
            _ => {}
        }
        self.before = Some((parsed.epoch, (!parsed.last).then_some(parsed.part + 1)));
        self.last = Some(at);
        Ok(())
    }

    fn take(
        &mut self,
        at: EntryAddress,
        (record, stored): (&Record<'_>, u64),
        (&hash, &guess): (&u64, &Guess),
        table: &mut KeyedTable<K, S, B>,
        schedule: &mut Schedule,
    ) -> Result<(), ReplayError> {
        let (group, own) = (record.group, self.schema.id);
        let conversion = self.converts.get(&stored).copied();
        if conversion.is_none() && !self.schema.reads(stored) {
            let component = self.component.clone();
            let differs = self.schema.differs.get(&stored).cloned();
            let differs = differs.unwrap_or_else(|| "its text is not kept".to_owned());
            return Err(ReplayError::Schema { component, group, stored, own, differs });
        }
        if key_group(hash, table.key_groups()) != group {
            return Err(ReplayError::Order { at, why: "a record is under another key's group" });
        }
        let due = Schedule::has(record);
        if due || record.what == What::Removed {
            let restored = schedule.restore(record).map_err(RestoreError::from);
            restored.map_err(|why| self.not_taken(group, stored, why))?;
        }
        if !due {
            let taken = match (&mut self.converting, conversion) {
                (None, _) => table.restore_guessed(hash, record, guess),
                (Some(older), Some(number)) => older.take(number, hash, record, table),
                (Some(older), None) => older
                    .overtaken(hash, record)
                    .and_then(|()| table.restore_guessed(hash, record, guess)),
            };
            taken.map_err(|why| self.not_taken(group, stored, why))?;
        }
        self.replayed.records += 1;
        Ok(())
    }

    fn not_taken(&self, group: u32, stored: u64, why: RestoreError) -> ReplayError {
        let (component, own) = (self.component.clone(), self.schema.id);
        match why {
            RestoreError::Beneath(why) | RestoreError::Write(WriteError::Beneath(why)) => {
                ReplayError::Beneath { component, why }
            }
            other => ReplayError::Value { component, group, stored, own, why: other.to_string() },
        }
    }
}

impl<'a> StateEntry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// When the bytes are none that this build can read.
    pub fn decode(bytes: &'a [u8]) -> Result<StateEntry<'a>, RecordError> {
        let body = unseal(bytes, WHAT, MAGIC, VERSION)?;
        StateEntry::of_body(body).map_err(|why| RecordError::Content { what: WHAT, why })
    }

    fn of_body(body: &'a [u8]) -> Result<StateEntry<'a>, DecodeError> {
        let mut r = Reader::new(body);
        if r.u8("kind")? != KIND {
            return Err(r.wrong("kind", "unknown ordinal"));
        }
        let last = match r.u8("flags")? {
            0 => false,
            LAST => true,
            _ => return Err(r.wrong("flags", "unknown flag")),
        };
        let epoch = Epoch(r.u64("epoch")?);
        let part = r.u32("part")?;
        let (_task, _tasks) = (r.u32("task")?, r.u32("tasks")?);
        let key_groups = r.u32("key groups")?;
        let schema = r.u64("schema")?;
        let component = r.text("component")?;
        let mut records = Vec::new();
        while r.remaining() > 0 {
            records.push(Record::read(&mut r, key_groups)?);
        }
        Ok(StateEntry { last, epoch, part, key_groups, schema, component, records })
    }
}

#[cfg(test)]
mod tests {
    use super::super::changelog::{Head, write_commit};
    use super::*;
    use egret_schemas::bytes::Writer;
    use egret_schemas::{EntryId, Generation, LedgerId};
    use proptest::prelude::*;

    use crate::commit::record::seal;

    fn at(entry: u64) -> EntryAddress {
        EntryAddress { ledger: LedgerId(1), entry: EntryId(entry) }
    }

    fn head(commit: u32) -> Head {
        let epoch = Epoch::new(Generation(1), commit, 0);
        Head { component: "count".into(), task: 0, tasks: 1, schema: 7, epoch }
    }

    fn replay() -> Replay<u64, u64> {
        Replay::new("count", Schema::only(7))
    }

    /// Entries of two commits: keys 0..3 set, then key 1 removed and 2 changed.
    fn entries() -> Vec<Vec<u8>> {
        let mut table = KeyedTable::<u64, u64>::new(16);
        let mut entries = Vec::new();
        for key in 0..3u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = key + 10;
        }
        write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(0),
            |_| 0,
            |entry| entries.push(entry),
        )
        .unwrap();
        let slot = table.entry(1u64.hash64(), &1);
        table.remove(slot);
        let slot = table.entry(2u64.hash64(), &2);
        *table.get_mut(slot).1 = 99;
        write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(1),
            |_| 0,
            |entry| entries.push(entry),
        )
        .unwrap();
        entries
    }

    fn apply(
        replay: &mut Replay<u64, u64>,
        entries: &[Vec<u8>],
    ) -> Result<Vec<(u64, u64)>, ReplayError> {
        let mut table = KeyedTable::new(16);
        for (i, entry) in (0..).zip(entries) {
            replay.apply(at(i), entry, |_| true, &mut table, &mut Schedule::default())?;
        }
        replay.end_ledger()?;
        let mut all: Vec<_> = table.iter().map(|(_, key, state)| (*key, *state)).collect();
        all.sort_unstable();
        Ok(all)
    }

    #[test]
    fn deltas_and_removals_come_back() {
        let mut replay = replay();
        assert_eq!(apply(&mut replay, &entries()), Ok(vec![(0, 10), (2, 99)]));
        assert_eq!(replay.replayed().records, 5);
    }

    #[test]
    fn entries_out_of_place_are_refused() {
        let entries = entries();
        let swapped = [entries[1].clone(), entries[0].clone()];
        assert!(matches!(apply(&mut replay(), &swapped), Err(ReplayError::Order { .. })));
        let twice = [entries[0].clone(), entries[0].clone()];
        assert!(matches!(apply(&mut replay(), &twice), Err(ReplayError::Order { .. })));
        let mut table = KeyedTable::new(16);
        let mut replay = replay();
        replay.apply(at(0), &entries[0], |_| true, &mut table, &mut Schedule::default()).unwrap();
        let gap = replay.apply(at(2), &entries[1], |_| true, &mut table, &mut Schedule::default());
        assert!(matches!(gap, Err(ReplayError::Order { .. })));
    }

    #[test]
    fn a_batch_cut_short_is_refused() {
        let mut table = KeyedTable::<u64, Vec<u8>>::new(16);
        for key in 0..10u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = vec![1; 1 << 20];
        }
        let mut entries = Vec::new();
        write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(0),
            |_| 0,
            |entry| entries.push(entry),
        )
        .unwrap();
        let mut replay = Replay::<u64, Vec<u8>>::new("count", Schema::only(7));
        let mut back = KeyedTable::new(16);
        for (i, entry) in (0..).zip(&entries[..entries.len() - 1]) {
            replay.apply(at(i), entry, |_| true, &mut back, &mut Schedule::default()).unwrap();
        }
        assert!(matches!(replay.end_ledger(), Err(ReplayError::Order { .. })));
        let tail = Replay::<u64, Vec<u8>>::new("count", Schema::only(7)).apply(
            at(0),
            &entries[1],
            |_| true,
            &mut back,
            &mut Schedule::default(),
        );
        assert!(matches!(tail, Err(ReplayError::Order { .. })));
    }

    #[test]
    fn another_schema_is_refused_unless_declared() {
        let error = apply(&mut Replay::new("count", Schema::only(8)), &entries()).unwrap_err();
        assert!(matches!(error, ReplayError::Schema { stored: 7, own: 8, .. }));
        assert!(error.to_string().contains("component `count`, key group"));
        let mut declared = Replay::new("count", Schema { accepts: vec![7], ..Schema::only(8) });
        assert!(apply(&mut declared, &entries()).is_ok());
    }

    #[test]
    fn a_value_that_does_not_decode_names_component_group_and_both_schemas() {
        let mut table = KeyedTable::<u64, String>::new(16);
        let mut replay = Replay::new("count", Schema { accepts: vec![7], ..Schema::only(8) });
        let error = replay
            .apply(at(0), &entries()[0], |_| true, &mut table, &mut Schedule::default())
            .unwrap_err();
        assert!(matches!(error, ReplayError::Value { stored: 7, own: 8, .. }), "{error}");
    }

    #[test]
    fn another_components_entry_is_refused() {
        let error = apply(&mut Replay::new("sum", Schema::only(7)), &entries()).unwrap_err();
        assert!(error.to_string().contains("`count` with 16 key groups"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_apply_or_fail_without_panic(bytes: Vec<u8>) {
            let mut table = KeyedTable::new(16);
            let _ = replay().apply(at(0), &bytes, |_| true, &mut table, &mut Schedule::default());
            let _ = StateEntry::of_body(&bytes);
            let mut sealed = MAGIC.to_vec();
            sealed.put_u16(VERSION);
            sealed.extend_from_slice(&bytes);
            seal(&mut sealed);
            let _ = replay().apply(at(0), &sealed, |_| true, &mut table, &mut Schedule::default());
        }

        #[test]
        fn a_mangled_entry_under_a_good_checksum_never_panics(
            at_byte: prop::sample::Index, byte: u8,
        ) {
            let mut bytes = entries().swap_remove(0);
            bytes.truncate(bytes.len() - 4);
            let i = at_byte.index(bytes.len());
            bytes[i] = byte;
            seal(&mut bytes);
            let mut table = KeyedTable::new(16);
            let _ = replay().apply(at(0), &bytes, |_| true, &mut table, &mut Schedule::default());
        }
    }
}
