//! The one record metadata keeps of a topology: who runs it, and every ledger and partition it owns.
//!
//! Each change is a compare-and-swap of the whole record, and each carries its proposer and operation
//! number: a proposer whose reply was lost reads the record back and asks whether it is its own
//! ([`TopologyRecord::settles`]). A ledger is listed here before its first append, so a later
//! generation finds and fences everything an earlier one could still be writing.
//!
//! ```text
//! "EGTR" | version u16 | guarantee u8 | begun u8 | generation u32 | process u128 | operation u64
//! fingerprint u64 | key groups u32 | floor u64
//! components      count u32 × { name | fingerprint u64 }
//! commit ledgers  count u32 × ledger u64, oldest first
//! state ledgers   count u32 × ledger u64, ascending
//! partitions      count u32 × { stream | partition u32 | component }, ascending
//! names           in version 2, which a record has once its [names](super::named) were changed
//! fork            0 u8, or 1 u8 and the [fork](super::fork): in version 3, which a record has once a name is kept
//!                 for a fork, or it is one; and in version 4, which is as 3, of one that is being [deleted](super::deletion)
//! crc32c of everything before u32
//! ```

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{Epoch, Generation, LedgerId, key};

use super::fork::{Fork, flag};
use super::guarantee::Guarantee;
use super::named::Names;
use super::record::{
    CommitRecord, RecordError, insert_ascending, put_count, read_generation, seal, unseal_of,
};
use crate::caps;

const MAGIC: &[u8; 4] = b"EGTR";
/// Of a record whose names were never changed.
const WITHOUT_NAMES: u16 = 1;
const WITHOUT_FORKS: u16 = 2;
const WITHOUT_DELETION: u16 = 3;
/// Of a record whose topology is being deleted, and of no other.
const VERSION: u16 = 4;
const WHAT: &str = "topology record";

/// Who proposed a value: a process, by the random number it drew at start, and its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claimant {
    /// 128 random bits, drawn when the process started.
    pub process: u128,
    /// Counts this process's proposals, from 1.
    pub operation: u64,
}

impl Claimant {
    /// The same process's next operation.
    pub fn next(self) -> Claimant {
        Claimant { operation: self.operation + 1, ..self }
    }
}

/// A topology's graph, as far as restoring depends on it. Parallelism is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Graph {
    /// Component → fingerprint of its kind, inputs and groupings.
    pub components: BTreeMap<String, u64>,
}

impl Graph {
    /// One number for the whole graph.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        for (name, fingerprint) in &self.components {
            bytes.put_bytes(name.as_bytes());
            bytes.put_u64(*fingerprint);
        }
        key::hash(&bytes)
    }

    /// Components in `self` and not in `other`.
    pub fn without(&self, other: &Graph) -> BTreeSet<String> {
        let names = self.components.keys();
        names.filter(|name| !other.components.contains_key(*name)).cloned().collect()
    }

    /// Components in both that differ.
    pub fn changed(&self, other: &Graph) -> BTreeSet<String> {
        let differs =
            |(name, fp): &(&String, &u64)| other.components.get(*name).is_some_and(|o| o != *fp);
        self.components.iter().filter(differs).map(|(name, _)| name.clone()).collect()
    }
}

/// A partition of a transactional stream: the stream's name and the partition's number.
pub type Partition = (String, u32);

/// What metadata keeps of a topology; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopologyRecord {
    /// The newest generation claimed.
    pub generation: Generation,
    /// Who wrote this value.
    pub claimant: Claimant,
    /// Whether a genesis record was acknowledged. Until then no epoch was opened and an empty commit
    /// ledger is no damage; from then on it is.
    pub begun: bool,
    /// What the topology promises; fixed for its life.
    pub guarantee: Guarantee,
    /// The number of key groups; fixed for its life.
    pub key_groups: u32,
    /// Everything at or above this epoch can still be restored; ledgers only needed below it may go.
    pub floor: Epoch,
    /// The graph.
    pub graph: Graph,
    /// Commit ledgers, oldest first.
    pub commit_ledgers: Vec<LedgerId>,
    /// State ledgers.
    pub state_ledgers: BTreeSet<LedgerId>,
    /// Owned partition → the sink component that writes it.
    pub partitions: BTreeMap<Partition, String>,
    /// The named commits; see [`named`](super::named).
    pub names: Names,
    /// Where it was forked from, if it was; see [`fork`](super::fork).
    pub fork: Option<Fork>,
    /// Whether it is being deleted: then it is never run again; see [`deletion`](super::deletion).
    pub deleting: bool,
}

/// Why a change of the topology record may not be proposed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChangeError {
    /// Another process claimed the topology since.
    #[error(
        "the topology was taken over by process {process:032x} in {generation}: this process must stop"
    )]
    Superseded {
        /// The newer generation.
        generation: Generation,
        /// Its claimant.
        process: u128,
    },
    /// All generations are used up.
    #[error("all {} generations are used up: submit under a new name", Generation::MAX.0)]
    Generations,
    /// A ledger to drop is still needed.
    #[error("{ledger} is still needed to restore {epoch}: it cannot be dropped")]
    Needed {
        /// The ledger.
        ledger: LedgerId,
        /// A commit that needs it.
        epoch: Epoch,
    },
    /// The only commit ledger would go.
    #[error("{0} is the newest commit ledger: it cannot be dropped")]
    NewestCommitLedger(LedgerId),
    /// The floor would move back.
    #[error("the trim floor stands at {held}; it cannot go back to {asked}")]
    Floor {
        /// Where it stands.
        held: Epoch,
        /// Where it was to go.
        asked: Epoch,
    },
}

impl TopologyRecord {
    /// The first record of a topology: generation 1, nothing begun.
    pub fn first(
        claimant: Claimant,
        guarantee: Guarantee,
        key_groups: u32,
        graph: Graph,
    ) -> TopologyRecord {
        assert!((1..=caps::KEY_GROUPS_MAX).contains(&key_groups), "{key_groups} key groups");
        TopologyRecord {
            generation: Generation(1),
            claimant,
            begun: false,
            guarantee,
            key_groups,
            floor: Epoch(0),
            graph,
            commit_ledgers: Vec::new(),
            state_ledgers: BTreeSet::new(),
            partitions: BTreeMap::new(),
            names: Names::default(),
            fork: None,
            deleting: false,
        }
    }

    /// The record by which `claimant` takes the topology over as the next generation.
    pub fn claim(&self, claimant: Claimant) -> Result<TopologyRecord, ChangeError> {
        let generation = self.generation.next().ok_or(ChangeError::Generations)?;
        Ok(TopologyRecord { generation, claimant, ..self.clone() })
    }

    /// Whether a record read back proves that the proposal `self` was taken: only if it is this very
    /// proposal, or a later one of the same process and generation.
    pub fn settles(&self, read: &TopologyRecord) -> bool {
        read.generation == self.generation
            && read.claimant.process == self.claimant.process
            && read.claimant.operation >= self.claimant.operation
    }

    /// This record with ledgers listed, before anything is appended to them.
    pub fn list(
        &self,
        claimant: Claimant,
        commit: Option<LedgerId>,
        state: impl IntoIterator<Item = LedgerId>,
    ) -> Result<TopologyRecord, ChangeError> {
        let mut next = self.changed_by(claimant)?;
        if let Some(ledger) = commit {
            assert!(!next.commit_ledgers.contains(&ledger), "{ledger} is listed already");
            next.commit_ledgers.push(ledger);
        }
        next.state_ledgers.extend(state);
        Ok(next)
    }

    /// This record with partitions owned by a sink component.
    pub fn own(
        &self,
        claimant: Claimant,
        partitions: impl IntoIterator<Item = (Partition, String)>,
    ) -> Result<TopologyRecord, ChangeError> {
        let mut next = self.changed_by(claimant)?;
        next.partitions.extend(partitions);
        Ok(next)
    }

    /// This record once the first commit record was acknowledged.
    pub fn begin(&self, claimant: Claimant) -> Result<TopologyRecord, ChangeError> {
        let mut next = TopologyRecord { begun: true, ..self.changed_by(claimant)? };
        if let Some(fork) = &mut next.fork {
            fork.commit = None;
        }
        Ok(next)
    }

    /// This record with the trim floor raised: first this, then anything is deleted.
    pub fn raise_floor(
        &self,
        claimant: Claimant,
        floor: Epoch,
    ) -> Result<TopologyRecord, ChangeError> {
        if floor < self.floor {
            return Err(ChangeError::Floor { held: self.floor, asked: floor });
        }
        Ok(TopologyRecord { floor, ..self.changed_by(claimant)? })
    }

    /// Refuses ledgers that one of the `kept` commits needs or a named one, and the newest commit ledger.
    ///
    /// # Errors
    /// [`ChangeError::Needed`] and [`ChangeError::NewestCommitLedger`], for the first of them.
    pub fn check_unneeded<'a>(
        &self,
        ledgers: &BTreeSet<LedgerId>,
        kept: impl IntoIterator<Item = &'a CommitRecord>,
    ) -> Result<(), ChangeError> {
        let check = |record: &CommitRecord| match record
            .state_ledgers()
            .keys()
            .find(|ledger| ledgers.contains(ledger))
        {
            Some(&ledger) => Err(ChangeError::Needed { ledger, epoch: record.last }),
            None => Ok(()),
        };
        kept.into_iter().try_for_each(check)?;
        self.names.commits.values().try_for_each(|named| check(&named.record))?;
        match self.commit_ledgers.last() {
            Some(newest) if ledgers.contains(newest) => {
                Err(ChangeError::NewestCommitLedger(*newest))
            }
            _ => Ok(()),
        }
    }

    /// This record without ledgers that none of the `kept` commits needs, and without commit ledgers
    /// older than the newest.
    pub fn drop_ledgers<'a>(
        &self,
        claimant: Claimant,
        ledgers: &BTreeSet<LedgerId>,
        kept: impl IntoIterator<Item = &'a CommitRecord>,
    ) -> Result<TopologyRecord, ChangeError> {
        let mut next = self.changed_by(claimant)?;
        self.check_unneeded(ledgers, kept)?;
        next.commit_ledgers.retain(|ledger| !ledgers.contains(ledger));
        next.state_ledgers.retain(|ledger| !ledgers.contains(ledger));
        Ok(next)
    }

    /// A copy stamped with an operation of the process that holds the generation.
    pub(super) fn changed_by(&self, claimant: Claimant) -> Result<TopologyRecord, ChangeError> {
        if claimant.process != self.claimant.process {
            let (generation, process) = (self.generation, self.claimant.process);
            return Err(ChangeError::Superseded { generation, process });
        }
        assert!(claimant.operation > self.claimant.operation, "operation numbers rise");
        Ok(TopologyRecord { claimant, ..self.clone() })
    }

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        let version = self.version();
        out.put_u16(version);
        out.put_u8(self.guarantee.ordinal());
        out.put_u8(u8::from(self.begun));
        out.put_u32(self.generation.0);
        out.put_u128(self.claimant.process);
        out.put_u64(self.claimant.operation);
        out.put_u64(self.graph.fingerprint());
        out.put_u32(self.key_groups);
        out.put_u64(self.floor.0);
        put_count(&mut out, self.graph.components.len());
        for (name, fingerprint) in &self.graph.components {
            out.put_bytes(name.as_bytes());
            out.put_u64(*fingerprint);
        }
        put_count(&mut out, self.commit_ledgers.len());
        self.commit_ledgers.iter().for_each(|ledger| out.put_u64(ledger.0));
        put_count(&mut out, self.state_ledgers.len());
        self.state_ledgers.iter().for_each(|ledger| out.put_u64(ledger.0));
        put_count(&mut out, self.partitions.len());
        for ((stream, partition), component) in &self.partitions {
            out.put_bytes(stream.as_bytes());
            out.put_u32(*partition);
            out.put_bytes(component.as_bytes());
        }
        if version > WITHOUT_NAMES {
            self.names.put(&mut out, version > WITHOUT_FORKS);
        }
        if version > WITHOUT_FORKS {
            out.put_u8(u8::from(self.fork.is_some()));
            self.fork.iter().for_each(|fork| fork.put(&mut out));
        }
        seal(&mut out);
        out
    }

    /// The lowest that has all it says, so that one record has one encoding.
    fn version(&self) -> u16 {
        match (&self.fork, self.names.untouched()) {
            _ if self.deleting => VERSION,
            (Some(_), _) => WITHOUT_DELETION,
            (None, _) if self.names.are_forked() => WITHOUT_DELETION,
            (None, false) => WITHOUT_FORKS,
            (None, true) => WITHOUT_NAMES,
        }
    }

    /// Reads a record back.
    pub fn decode(bytes: &[u8]) -> Result<TopologyRecord, RecordError> {
        let (version, body) = unseal_of(bytes, WHAT, MAGIC, WITHOUT_NAMES..=VERSION)?;
        decode_body(version, body).map_err(|why| RecordError::Content { what: WHAT, why })
    }
}

fn decode_body(version: u16, body: &[u8]) -> Result<TopologyRecord, DecodeError> {
    let mut r = Reader::new(body);
    let guarantee = Guarantee::from_ordinal(r.u8("guarantee")?)
        .ok_or_else(|| r.wrong("guarantee", "unknown ordinal"))?;
    let begun = match r.u8("begun")? {
        0 => false,
        1 => true,
        _ => return Err(r.wrong("begun", "neither 0 nor 1")),
    };
    let generation = read_generation(&mut r)?;
    let claimant = Claimant { process: r.u128("process")?, operation: r.u64("operation")? };
    let fingerprint = r.u64("fingerprint")?;
    let key_groups = r.u32("key groups")?;
    if !(1..=caps::KEY_GROUPS_MAX).contains(&key_groups) {
        return Err(r.wrong("key groups", "out of range"));
    }
    let floor = Epoch(r.u64("floor")?);
    let mut graph = Graph::default();
    for _ in 0..r.u32("components")? {
        let name = r.text("component")?.to_owned();
        let fingerprint = r.u64("component fingerprint")?;
        insert_ascending(&r, &mut graph.components, name, fingerprint)?;
    }
    if graph.fingerprint() != fingerprint {
        return Err(r.wrong("fingerprint", "not that of the components"));
    }
    let mut commit_ledgers = Vec::new();
    for _ in 0..r.u32("commit ledgers")? {
        commit_ledgers.push(LedgerId(r.u64("commit ledger")?));
    }
    let mut state_ledgers = BTreeMap::new();
    for _ in 0..r.u32("state ledgers")? {
        let ledger = LedgerId(r.u64("state ledger")?);
        insert_ascending(&r, &mut state_ledgers, ledger, ())?;
    }
    let mut partitions = BTreeMap::new();
    for _ in 0..r.u32("partitions")? {
        let partition = (r.text("stream")?.to_owned(), r.u32("partition")?);
        let component = r.text("sink component")?.to_owned();
        insert_ascending(&r, &mut partitions, partition, component)?;
    }
    let names = match version {
        WITHOUT_NAMES => Names::default(),
        version => Names::read(&mut r, version > WITHOUT_FORKS)?,
    };
    let fork = match version > WITHOUT_FORKS && flag(&mut r, "whether it is a fork")? {
        true => Some(Fork::read(&mut r)?),
        false => None,
    };
    let at = r.wrong("version", "higher than what it says needs");
    r.end(WHAT)?;
    let record = TopologyRecord {
        generation,
        claimant,
        begun,
        guarantee,
        key_groups,
        floor,
        graph,
        commit_ledgers,
        state_ledgers: state_ledgers.into_keys().collect(),
        partitions,
        names,
        fork,
        deleting: version == VERSION,
    };
    if record.version() == version { Ok(record) } else { Err(at) }
}

#[cfg(test)]
mod tests {
    use super::super::restore_set::{LedgerRange, RestoreSet, Slice};
    use super::*;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    fn me(operation: u64) -> Claimant {
        Claimant { process: 7, operation }
    }

    fn other(operation: u64) -> Claimant {
        Claimant { process: 8, operation }
    }

    fn first() -> TopologyRecord {
        let graph = Graph { components: [("a".to_owned(), 1), ("b".to_owned(), 2)].into() };
        TopologyRecord::first(me(1), Guarantee::EffectivelyOnce, 4096, graph)
    }

    fn record() -> impl Strategy<Value = TopologyRecord> {
        let ledger = || any::<u64>().prop_map(LedgerId);
        (
            (1u32..1 << 20, any::<u128>(), any::<u64>(), any::<bool>(), any::<u64>()),
            (1u8..4, 1u32..=65_536),
            btree_map(".{0,5}", any::<u64>(), 0..4),
            (vec(ledger(), 0..4), btree_set(ledger(), 0..4)),
            btree_map((".{0,5}", any::<u32>()), ".{0,5}", 0..4),
        )
            .prop_map(|(head, fixed, components, ledgers, partitions)| TopologyRecord {
                generation: Generation(head.0),
                claimant: Claimant { process: head.1, operation: head.2 },
                begun: head.3,
                floor: Epoch(head.4),
                guarantee: Guarantee::from_ordinal(fixed.0).unwrap(),
                key_groups: fixed.1,
                graph: Graph { components },
                commit_ledgers: ledgers.0,
                state_ledgers: ledgers.1,
                partitions,
                names: Names::default(),
                fork: None,
                deleting: false,
            })
    }

    proptest! {
        #[test]
        fn a_record_comes_back(record in record()) {
            prop_assert_eq!(TopologyRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = TopologyRecord::decode(&bytes);
            let _ = (decode_body(1, &bytes), decode_body(2, &bytes));
        }

        #[test]
        fn a_damaged_record_is_noticed(record in record(), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(TopologyRecord::decode(&bytes).is_err());
        }
    }

    /// Two claimants raced for one generation and both replies were lost; both read back the same
    /// generation number, and one of them must not believe it won.
    #[test]
    fn rule_4_a_lost_claim_reply_is_settled_by_process_and_operation() {
        let old = first();
        let (mine, theirs) = (old.claim(me(5)).unwrap(), old.claim(other(9)).unwrap());
        assert_eq!(mine.generation, theirs.generation);
        assert!(mine.settles(&mine) && !mine.settles(&theirs));
        assert!(!mine.settles(&old.claim(other(5)).unwrap()));
        assert!(!mine.settles(&old), "an older value proves nothing was taken");
        let later = mine.list(me(6), Some(LedgerId(1)), []).unwrap();
        assert!(mine.settles(&later), "a later change of the same process implies the claim");
        assert!(!later.settles(&mine));
    }

    #[test]
    fn rule_4_a_superseded_process_changes_nothing() {
        let taken = first().claim(other(1)).unwrap();
        let error = taken.list(me(2), Some(LedgerId(1)), []).unwrap_err();
        assert!(matches!(error, ChangeError::Superseded { generation: Generation(2), process: 8 }));
        assert!(taken.begin(me(2)).is_err() && taken.raise_floor(me(2), Epoch(9)).is_err());
    }

    #[test]
    fn a_ledger_a_kept_commit_needs_is_not_dropped() {
        let listed = first().list(me(2), Some(LedgerId(1)), [LedgerId(2), LedgerId(3)]).unwrap();
        let mut commit = CommitRecord::genesis(Generation(1), 0);
        let ledgers = vec![LedgerRange { ledger: LedgerId(3), last: None }];
        let slices = vec![Slice { first_group: 0, end_group: 9, ledgers }];
        commit.state.insert("b".into(), RestoreSet { tasks: 1, slices });
        let drop = |ids: &[u64]| {
            let ids = ids.iter().map(|&id| LedgerId(id)).collect();
            listed.drop_ledgers(me(3), &ids, [&commit])
        };
        assert!(matches!(drop(&[3]), Err(ChangeError::Needed { ledger: LedgerId(3), .. })));
        assert_eq!(drop(&[1]), Err(ChangeError::NewestCommitLedger(LedgerId(1))));
        assert_eq!(drop(&[2]).unwrap().state_ledgers, [LedgerId(3)].into());
    }

    #[test]
    fn the_floor_never_moves_back() {
        let raised = first().raise_floor(me(2), Epoch(10)).unwrap();
        assert!(raised.raise_floor(me(3), Epoch(9)).is_err());
    }

    #[test]
    fn generations_end() {
        let mut record = first();
        record.generation = Generation::MAX;
        assert_eq!(record.claim(me(2)), Err(ChangeError::Generations));
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let record = first().list(me(2), Some(LedgerId(1)), [LedgerId(2)]).unwrap();
        let record = record.own(me(3), [(("out".to_owned(), 0), "b".to_owned())]).unwrap();
        let hex: String = record.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = concat!(
        "45475452010003000100000007000000000000000000000000000000030000000000000027fe6b86",
        "5a3d93f8001000000000000000000000020000000100000061010000000000000001000000620200",
        "00000000000001000000010000000000000001000000020000000000000001000000030000006f75",
        "74000000000100000062b6349b0c",
    );
}
