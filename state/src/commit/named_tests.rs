//! Names against trims: whatever commits, trims, goes back, is named and forgotten, in any order.

use egret_schemas::{EntryId, Generation};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::guarantee::Guarantee;
use super::super::record::RecordKind;
use super::super::restore_set::{LedgerRange, RestoreSet, Slice};
use super::super::topology_record::Graph;
use super::*;

fn runner(operation: u64) -> Claimant {
    Claimant { process: 7, operation }
}

fn namer(operation: u64) -> Claimant {
    Claimant { process: 9, operation }
}

fn commit(generation: u32, commit: u32, ledgers: &[u64], graph: &Graph) -> CommitRecord {
    let generation = Generation(generation);
    let mut record = CommitRecord::genesis(generation, graph.fingerprint());
    record.kind = RecordKind::Commit;
    record.last = Epoch::new(generation, commit, 0).commit_end();
    let range = |id: &u64| LedgerRange { ledger: LedgerId(*id), last: Some(EntryId(1)) };
    let ledgers = ledgers.iter().map(range).collect();
    let slices = vec![Slice { first_group: 0, end_group: 16, ledgers }];
    record.state.insert("count".into(), RestoreSet { tasks: 1, slices });
    record
}

fn graph() -> Graph {
    Graph { components: [("count".to_owned(), 1)].into() }
}

fn begun() -> TopologyRecord {
    let first = TopologyRecord::first(runner(1), Guarantee::EffectivelyOnce, 16, graph());
    first.list(runner(2), None, [1, 2].map(LedgerId)).unwrap().begin(runner(3)).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    /// Commits, in the ledgers there are or with an image in a new one.
    Commit {
        image: bool,
    },
    /// The same ledgers and a new one after them, as after a takeover.
    Takeover,
    /// Deletes what the last two commits do not need, and no name.
    Trim,
    /// Names the commit this many before the newest: whoever names may have read it long ago.
    Name {
        name: u8,
        back: usize,
    },
    Forget {
        name: u8,
    },
    Restore {
        name: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<bool>().prop_map(|image| Op::Commit { image }),
        1 => Just(Op::Takeover),
        2 => Just(Op::Trim),
        2 => (0u8..4, 0usize..5).prop_map(|(name, back)| Op::Name { name, back }),
        1 => (0u8..4).prop_map(|name| Op::Forget { name }),
        1 => (0u8..4).prop_map(|name| Op::Restore { name }),
    ]
}

struct World {
    record: TopologyRecord,
    commits: Vec<CommitRecord>,
    chain: Vec<u64>,
    generation: u32,
    number: u32,
    next_ledger: u64,
    deleted: BTreeSet<LedgerId>,
    changes: u64,
}

impl World {
    fn new() -> World {
        World {
            record: begun(),
            commits: vec![commit(1, 0, &[1], &graph())],
            chain: vec![1],
            generation: 1,
            number: 0,
            next_ledger: 3,
            deleted: BTreeSet::new(),
            changes: 0,
        }
    }

    fn ledger(&mut self) -> u64 {
        let ledger = self.next_ledger;
        self.next_ledger += 1;
        let by = self.record.claimant.next();
        self.record = self.record.list(by, None, [LedgerId(ledger)]).unwrap();
        ledger
    }

    fn kept(&self) -> Vec<CommitRecord> {
        self.commits[self.commits.len().saturating_sub(2)..].to_vec()
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Commit { image } => {
                if image {
                    self.chain = vec![self.ledger()];
                }
                self.number += 1;
                self.commits.push(commit(self.generation, self.number, &self.chain, &graph()));
            }
            Op::Takeover => {
                let last = self.commits.last().unwrap().clone();
                self.begin(last);
            }
            Op::Trim => {
                let kept = self.kept();
                let by = self.record.claimant.next();
                let floor = kept.iter().map(|record| record.last).min().unwrap();
                let floor = self.record.floor_below(floor);
                let needed: BTreeSet<_> =
                    kept.iter().flat_map(|record| record.state_ledgers().into_keys()).collect();
                // Ledgers not yet in a commit are being written.
                let in_use = |ledger: &&LedgerId| !self.chain.contains(&ledger.0);
                let old = self.record.state_ledgers.iter().filter(in_use).copied();
                let unneeded = old.filter(|ledger| !needed.contains(ledger)).collect();
                let doomed = self.record.spared(&unneeded);
                let raised = self.record.raise_floor(by, floor).unwrap();
                self.deleted.extend(&doomed);
                self.record = raised.drop_ledgers(by.next(), &doomed, &kept).unwrap();
            }
            Op::Name { name, back } => {
                let at = self.commits.len().saturating_sub(back + 1);
                let (name, record) = (format!("n{name}"), self.commits[at].clone());
                self.changes += 1;
                if let Ok(named) = self.record.name_commit(namer(self.changes), &name, 5, record) {
                    assert!(named.same_but_names(&self.record));
                    self.record = named;
                }
            }
            Op::Forget { name } => {
                self.changes += 1;
                let without = self.record.forget_name(namer(self.changes), &format!("n{name}"));
                self.record = without.unwrap_or(self.record.clone());
            }
            Op::Restore { name } => {
                let Ok(named) = self.record.named(&format!("n{name}")).cloned() else { return };
                self.begin(named.record);
            }
        }
    }

    /// A generation that begins with a commit, and writes a ledger after it.
    fn begin(&mut self, from: CommitRecord) {
        self.generation += 1;
        self.number = 0;
        let (generation, fingerprint) = (Generation(self.generation), graph().fingerprint());
        let first = from.restated(generation, fingerprint);
        self.chain = first.state_ledgers().into_keys().map(|ledger| ledger.0).collect();
        let ledger = self.ledger();
        self.chain.push(ledger);
        self.commits = vec![first.clone(), first];
    }
}

proptest! {
    /// Nothing a name needs is ever among what is deleted, or below the floor, or not listed.
    #[test]
    fn rule_10_nothing_a_name_needs_is_ever_trimmed(ops in vec(op(), 1..60)) {
        let mut world = World::new();
        for op in ops {
            world.act(op.clone());
            for (name, named) in &world.record.names.commits {
                let needed: BTreeSet<_> = named.record.state_ledgers().into_keys().collect();
                prop_assert!(needed.is_disjoint(&world.deleted), "{name} after {op:?}");
                prop_assert!(needed.is_subset(&world.record.state_ledgers), "{name} after {op:?}");
                prop_assert!(world.record.floor <= named.record.last, "{name} after {op:?}");
            }
            let back = TopologyRecord::decode(&world.record.encode());
            prop_assert_eq!(back.as_ref(), Ok(&world.record));
        }
    }

    /// Without names, everything unneeded goes: a name keeps no more than it needs.
    #[test]
    fn what_only_a_forgotten_name_kept_goes_with_the_next_trim(ops in vec(op(), 1..40)) {
        let mut world = World::new();
        ops.into_iter().for_each(|op| world.act(op));
        (0..4).for_each(|name| world.act(Op::Forget { name }));
        world.act(Op::Trim);
        let kept = world.kept().into_iter().flat_map(|record| record.state_ledgers().into_keys());
        let needed: BTreeSet<_> = kept.chain(world.chain.iter().map(|id| LedgerId(*id))).collect();
        prop_assert_eq!(&world.record.state_ledgers, &needed);
    }

    #[test]
    fn names_that_decode_are_written_the_same_again(bytes: Vec<u8>, forks: bool) {
        let mut r = Reader::new(&bytes);
        if let Ok(names) = Names::read(&mut r, forks) {
            let mut again = Vec::new();
            names.put(&mut again, forks);
            prop_assert!(bytes.starts_with(&again));
        }
    }
}

#[test]
fn a_name_is_short_and_plain() {
    for good in ["a", "before-upgrade", "2026-11-26_noon.1", &"n".repeat(64)] {
        assert_eq!(check_name(good), Ok(()));
    }
    for bad in ["", "-a", ".a", "a/b", "a b", "ä", "a\n", &"n".repeat(65)] {
        let text = check_name(bad).unwrap_err().to_string();
        assert!(
            text.ends_with(
                "give 1 to 64 letters, digits, `-`, `_` or `.`, a letter or a digit first"
            )
        );
    }
}

#[test]
fn a_name_is_given_once_and_found_by_it_or_the_others_are_told() {
    let record = begun();
    let newest = commit(1, 3, &[1], &graph());
    let text = record.named("x").unwrap_err().to_string();
    assert_eq!(
        text,
        "no commit is named `x`: the topology has no named commits (`egret checkpoint create` makes one)"
    );
    let one = record.name_commit(namer(1), "noon", 5, newest.clone()).unwrap();
    let named = one.named("noon").unwrap();
    assert_eq!((named.created_ms, &named.record), (5, &newest));
    let taken = one.name_commit(namer(2), "noon", 6, newest.clone()).unwrap_err().to_string();
    assert!(taken.starts_with("`noon` names a commit already, commit 1.3: "), "{taken}");
    assert!(taken.ends_with("or delete that one first (`egret checkpoint delete`)"), "{taken}");
    let two = one.name_commit(namer(2), "dusk", 6, newest.clone()).unwrap();
    let three = two.name_commit(namer(3), "dawn", 7, newest).unwrap();
    let text = three.forget_name(namer(4), "x").unwrap_err().to_string();
    assert_eq!(text, "no commit is named `x`: there are `dawn`, `dusk` and `noon`");
    let text = one.named("x").unwrap_err().to_string();
    assert_eq!(text, "no commit is named `x`: there is `noon`");
}

#[test]
fn what_cannot_be_restored_is_not_named() {
    let record = begun();
    let name = |record: &TopologyRecord, commit| record.name_commit(namer(1), "n", 5, commit);
    let genesis = CommitRecord::genesis(Generation(1), graph().fingerprint());
    let text = name(&record, genesis).unwrap_err().to_string();
    assert_eq!(text, "the topology has not committed anything yet: let it run first");
    let unlisted = commit(1, 3, &[44], &graph());
    assert!(matches!(name(&record, unlisted), Err(NameError::Trimmed { .. })));
    let raised = record.raise_floor(runner(4), commit(1, 4, &[], &graph()).last).unwrap();
    let trimmed = name(&raised, commit(1, 3, &[1], &graph())).unwrap_err();
    assert!(
        trimmed.to_string().ends_with("was trimmed meanwhile: ask again for the newest commit")
    );
    let other = commit(1, 3, &[1], &Graph::default());
    let text = name(&record, other).unwrap_err().to_string();
    assert!(text.contains("was written by another graph of the topology"), "{text}");
}

#[test]
fn names_are_few_and_what_they_keep_in_metadata_is_little() {
    let mut record = begun();
    for n in 0..caps::COMMIT_NAMES_MAX as u64 {
        let newest = commit(1, 3, &[1], &graph());
        record = record.name_commit(namer(n + 1), &format!("n{n}"), 5, newest).unwrap();
    }
    let more = record.name_commit(namer(99), "more", 5, commit(1, 3, &[1], &graph()));
    let text = more.unwrap_err().to_string();
    assert!(text.starts_with("the topology has 32 named commits, as many as it may"), "{text}");

    let mut large = commit(1, 3, &[1], &graph());
    let position = vec![0; caps::NAMED_COMMITS_BYTES_MAX];
    large.spouts.entry("in".into()).or_default().insert(b"0".to_vec(), position);
    let text = begun().name_commit(namer(1), "n", 5, large).unwrap_err().to_string();
    assert!(text.contains("bytes, and may take 262144: delete a name first"), "{text}");
}

#[test]
fn a_change_of_names_touches_nothing_else_and_two_are_never_alike() {
    let record = begun();
    let newest = commit(1, 3, &[1], &graph());
    let mine = record.name_commit(namer(1), "n", 5, newest.clone()).unwrap();
    let theirs = record.name_commit(Claimant { process: 8, operation: 1 }, "n", 5, newest).unwrap();
    assert_ne!(mine.encode(), theirs.encode());
    assert!(mine.same_but_names(&theirs) && mine.same_but_names(&record));
    assert!(!mine.same_but_names(&record.claim(runner(9)).unwrap()));
    // The names go on through everything the runner does.
    assert_eq!(mine.claim(runner(9)).unwrap().names, mine.names);
}

#[test]
fn a_record_without_names_has_the_bytes_it_always_had() {
    let record = begun();
    assert_eq!(record.encode()[4..6], [1, 0]);
    let named = record.name_commit(namer(1), "n", 5, commit(1, 3, &[1], &graph())).unwrap();
    assert_eq!(named.encode()[4..6], [2, 0]);
    let without = named.forget_name(namer(2), "n").unwrap();
    assert_eq!(TopologyRecord::decode(&without.encode()), Ok(without));
}

#[test]
fn the_bytes_of_names_are_frozen() {
    let named = begun().name_commit(namer(1), "n", 5, commit(1, 3, &[1], &graph())).unwrap();
    let bytes = named.encode();
    let hash = format!("{:016x} of {}", egret_schemas::key::hash(&bytes), bytes.len());
    assert_eq!(hash, "6195856f123adac9 of 247");
}
