//! The recovery planner against a small world of metadata, ledgers and partitions that can stop at
//! every step, lose every reply, and be fought over.

#![expect(clippy::cast_possible_truncation, reason = "the numbers of a small world")]

use egret_schemas::{Epoch, SegmentId};
use proptest::prelude::*;

use super::super::named::NameError;
use super::super::restore_set::{LedgerRange, RestoreSet, Slice};
use super::*;

fn graph(names: &[(&str, u64)]) -> Graph {
    Graph { components: names.iter().map(|(name, fp)| ((*name).to_owned(), *fp)).collect() }
}

fn wanted(process: u128) -> Wanted {
    Wanted {
        claimant: Claimant { process, operation: 0 },
        graph: graph(&[("in", 1), ("count", 2), ("out", 3)]),
        guarantee: Guarantee::EffectivelyOnce,
        key_groups: 16,
        state_ledgers: 2,
        partitions: [(("counts".to_owned(), 0), "out".to_owned())].into(),
        restore: None,
        fork: None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ledger {
    entries: Vec<CommitRecord>,
    closed: bool,
}

/// What is durable.
#[derive(Clone, Debug, Default)]
struct World {
    topology: Option<(TopologyRecord, u64)>,
    revision: u64,
    next_ledger: u64,
    commit_ledgers: BTreeMap<LedgerId, Ledger>,
    state_ends: BTreeMap<LedgerId, StateEnd>,
    partition_ends: BTreeMap<Partition, Option<SinkPosition>>,
    /// The topology that is forked.
    parent: Option<(TopologyRecord, u64)>,
    /// What readers see.
    visible: BTreeMap<Partition, SinkPosition>,
    /// The kinds of steps taken.
    log: Vec<&'static str>,
}

impl World {
    /// Does a step; the fact that answers it. Lost replies are the caller's business.
    fn act(&mut self, step: &Step) -> Fact {
        let (name, fact) = match step.clone() {
            Step::ReadTopology => ("read topology", Fact::Topology(self.topology.clone())),
            Step::Reserve { ledgers } => {
                let from = self.next_ledger;
                self.next_ledger += u64::from(ledgers);
                ("reserve", Fact::Reserved((from..self.next_ledger).map(LedgerId).collect()))
            }
            Step::Save { record, expect, parent } => {
                if self.topology.as_ref().map(|(_, revision)| *revision) != expect {
                    return Fact::SaveConflict;
                }
                if let Some(with) = parent {
                    let (_, record, expect) = *with;
                    if self.parent.as_ref().map(|(_, revision)| *revision) != Some(expect) {
                        return Fact::SaveConflict;
                    }
                    self.parent = Some((record, expect + 1));
                }
                self.revision += 1;
                let name = if record.begun && record.claimant.operation > 1 && self.begins(&record)
                {
                    "begin"
                } else {
                    "claim"
                };
                self.topology = Some((*record, self.revision));
                (name, Fact::Saved { revision: self.revision })
            }
            Step::CheckNamed { of: Some(_), .. } => ("check named", Fact::Checked(Ok(()))),
            Step::CheckNamed { record, of: None } => {
                let listed = &self.topology.as_ref().unwrap().0.state_ledgers;
                let gone = record.state_ledgers().into_keys().find(|l| !listed.contains(l));
                let there = gone.map_or(Ok(()), |ledger| Err(format!("{ledger} is gone")));
                ("check named", Fact::Checked(there))
            }
            Step::ReadParent { .. } => ("read parent", Fact::Parent(self.parent.clone())),
            Step::FindVisible { partitions } => {
                let seen = |p: Partition| (p.clone(), self.visible.get(&p).copied());
                ("find visible", Fact::Visible(partitions.into_iter().map(seen).collect()))
            }
            Step::Rewind { .. } => ("rewind", Fact::Rewound),
            Step::RaiseTerms { .. } => ("raise terms", Fact::TermsRaised),
            Step::CloseCommitLedgers { ledgers, .. } => {
                let mut end = |id: &LedgerId| {
                    let empty = Ledger { entries: Vec::new(), closed: true };
                    let ledger = self.commit_ledgers.entry(*id).or_insert(empty);
                    ledger.closed = true;
                    (*id, EntryId(ledger.entries.len() as u64).before())
                };
                let ends = ledgers.iter().map(&mut end).collect();
                ("close commit ledgers", Fact::CommitLedgersClosed(ends))
            }
            Step::ReadRecord { ledger, entry } => {
                let ledger = &self.commit_ledgers[&ledger];
                assert!(ledger.closed, "c is read only after nothing can be added");
                ("read record", Fact::Record(Ok(ledger.entries[entry.0 as usize].clone())))
            }
            Step::CloseState { ledgers, .. } => {
                for (ledger, end) in ledgers {
                    let before = *self.state_ends.entry(ledger).or_insert(end);
                    // A named commit may need less of what is closed, and never more.
                    let fits = match (before, end) {
                        (StateEnd::At(closed), StateEnd::At(last) | StateEnd::Beyond(last)) => {
                            closed >= last
                        }
                        (StateEnd::At(_), StateEnd::Unneeded) | (_, StateEnd::Unneeded) => true,
                        (before, end) => before == end || matches!(before, StateEnd::Beyond(_)),
                    };
                    assert!(fits, "{ledger} closed at {before:?}, then at {end:?}");
                }
                ("close state", Fact::StateClosed)
            }
            Step::ClosePartitions { partitions } => {
                for (partition, (_, end)) in partitions {
                    self.partition_ends.insert(partition, end);
                }
                ("close partitions", Fact::PartitionsClosed)
            }
            Step::Restate { ledger, record, .. } => {
                let listed = &self.topology.as_ref().unwrap().0.commit_ledgers;
                assert!(listed.contains(&ledger), "listed before its first append");
                self.append(ledger, *record);
                ("restate", Fact::Restated)
            }
            Step::Open(_) | Step::Refuse(_) => panic!("no fact answers the last step"),
        };
        self.log.push(name);
        fact
    }

    fn begins(&self, record: &TopologyRecord) -> bool {
        self.topology.as_ref().is_some_and(|(stored, _)| stored.generation == record.generation)
    }

    fn append(&mut self, id: LedgerId, record: CommitRecord) {
        let new = Ledger { entries: Vec::new(), closed: false };
        let ledger = self.commit_ledgers.entry(id).or_insert(new);
        assert!(!ledger.closed, "a closed ledger takes nothing");
        ledger.entries.push(record);
    }

    /// Runs an attempt to its end, or through `steps` steps.
    fn recover(&mut self, wanted: Wanted, steps: usize) -> Option<Result<Opened, RecoveryError>> {
        let (mut recovery, mut step) = Recovery::start(wanted);
        for _ in 0..steps {
            step = match step {
                Step::Open(opened) => return Some(Ok(*opened)),
                Step::Refuse(why) => return Some(Err(why)),
                step => recovery.step(self.act(&step)),
            };
        }
        None
    }

    fn run(&mut self, wanted: Wanted) -> Result<Opened, RecoveryError> {
        self.recover(wanted, 100).expect("it ends")
    }

    /// A generation commits: its first state ledger up to entry 4, its output up to entry 6.
    fn commit(&mut self, opened: &Opened) -> CommitRecord {
        let mut record = opened.record.clone();
        record.kind = super::super::record::RecordKind::Commit;
        record.last = Epoch::new(record.generation, 0, Epoch::MICRO_MAX);
        let ledgers = vec![LedgerRange { ledger: opened.state_ledgers[0], last: Some(EntryId(4)) }];
        let slices = vec![Slice { first_group: 0, end_group: 16, ledgers }];
        record.state.insert("count".into(), RestoreSet { tasks: 1, slices });
        record.sinks.entry("out".into()).or_default().insert(0, (SegmentId(1), Some(EntryId(6))));
        self.append(opened.commit_ledger.unwrap(), record.clone());
        record
    }
}

fn same_content(a: &CommitRecord, b: &CommitRecord) -> bool {
    (a.last, &a.spouts, &a.state, &a.sinks) == (b.last, &b.spouts, &b.state, &b.sinks)
}

#[test]
fn rule_4_a_new_topology_begins_with_a_genesis_record() {
    let mut world = World::default();
    let opened = world.run(wanted(1)).unwrap();
    let steps = ["read topology", "reserve", "claim", "raise terms", "close state"];
    assert_eq!(world.log[..5], steps);
    assert_eq!(world.log[5..], ["close partitions", "restate", "begin"]);
    assert_eq!(opened.record, CommitRecord::genesis(Generation(1), opened.record.fingerprint));
    assert!(opened.topology.begun && opened.retired.is_empty());
    assert_eq!((opened.commit_ledger, opened.state_ledgers.len()), (Some(LedgerId(0)), 2));
}

#[test]
fn rule_5_the_steps_come_in_their_order() {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    let committed = world.commit(&first);
    world.log.clear();
    let second = world.run(wanted(2)).unwrap();
    let order = [
        "read topology",
        "reserve",
        "claim",
        "raise terms",
        "close commit ledgers",
        "read record",
        "close state",
        "close partitions",
        "restate",
    ];
    assert_eq!(world.log, order);
    assert_eq!(second.topology.generation, Generation(2));
    assert!(same_content(&second.record, &committed));
    assert_eq!(second.record.generation, Generation(2));
    assert_eq!(second.retired, [first.state_ledgers[1]].into(), "never used, and needed by nobody");
}

#[test]
fn rule_2_everything_listed_is_closed_at_c_and_nothing_above_survives() {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    world.commit(&first);
    world.run(wanted(2)).unwrap();
    let ends = [
        (first.state_ledgers[0], StateEnd::At(Some(EntryId(4)))),
        (first.state_ledgers[1], StateEnd::Unneeded),
    ];
    assert_eq!(world.state_ends, ends.into());
    let end = Some((SegmentId(1), Some(EntryId(6))));
    assert_eq!(world.partition_ends[&("counts".to_owned(), 0)], end);
}

#[test]
fn rule_5_a_crash_after_any_step_is_followed_by_the_same_commit() {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    let committed = world.commit(&first);
    for steps in 0..9 {
        let mut world = world.clone();
        for again in 0..3 {
            assert!(world.recover(wanted(10 + again), steps).is_none());
        }
        let opened = world.run(wanted(20)).unwrap();
        assert!(same_content(&opened.record, &committed), "after {steps} steps");
    }
}

#[test]
fn rule_5_a_crash_before_the_genesis_record_is_no_damage() {
    for steps in 0..9 {
        let mut world = World::default();
        assert!(world.recover(wanted(1), steps).is_none());
        let opened = world.run(wanted(2)).unwrap();
        assert!(opened.topology.begun, "after {steps} steps");
        assert_eq!(opened.record.last, Epoch(0));
    }
}

#[test]
fn a_topology_that_began_is_never_started_empty() {
    let mut world = World::default();
    world.run(wanted(1)).unwrap();
    world.commit_ledgers.clear();
    let error = world.run(wanted(2)).unwrap_err();
    assert_eq!(error, RecoveryError::NoRecord { ledgers: vec![LedgerId(0)], names: Vec::new() });
    assert!(world.run(wanted(3)).is_err(), "and trying again does not help");
}

#[test]
fn an_unreadable_newest_record_stops_and_names_it() {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    world.commit(&first);
    let (mut recovery, mut step) = Recovery::start(wanted(2));
    loop {
        step = match step {
            Step::ReadRecord { .. } => recovery.step(Fact::Record(Err("bad checksum".into()))),
            Step::Refuse(why) => {
                let text = why.to_string();
                assert!(
                    text.starts_with("the newest commit record, L0:1, cannot be read"),
                    "{text}"
                );
                return;
            }
            step => recovery.step(world.act(&step)),
        };
    }
}

#[test]
fn another_graph_is_refused_by_name_before_anything_is_written() {
    let mut world = World::default();
    world.run(wanted(1)).unwrap();
    let before = world.topology.clone();
    let mut other = wanted(2);
    other.graph = graph(&[("in", 1), ("count", 9), ("sum", 4)]);
    let set = |name: &str| BTreeSet::from([name.to_owned()]);
    let (added, removed, changed) = (set("sum"), set("out"), set("count"));
    assert_eq!(world.run(other), Err(RecoveryError::Graph { added, removed, changed }));
    let mut other = wanted(2);
    other.key_groups = 32;
    assert!(matches!(world.run(other), Err(RecoveryError::KeyGroups { .. })));
    let mut other = wanted(2);
    other.guarantee = Guarantee::AtLeastOnce;
    assert!(matches!(world.run(other), Err(RecoveryError::Guarantee { .. })));
    assert_eq!(world.topology, before);
}

#[test]
fn a_record_that_needs_an_unlisted_ledger_is_refused() {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    world.commit(&first);
    world.topology.as_mut().unwrap().0.state_ledgers.clear();
    assert!(matches!(world.run(wanted(2)), Err(RecoveryError::Contradiction { .. })));
}

#[test]
fn a_newest_record_that_its_topology_cannot_have_written_is_refused() {
    let refused = |spoil: fn(&mut CommitRecord), words: &str| {
        let mut world = World::default();
        let first = world.run(wanted(1)).unwrap();
        let mut record = first.record.clone();
        spoil(&mut record);
        world.append(first.commit_ledger.unwrap(), record);
        let error = world.run(wanted(2)).unwrap_err();
        let RecoveryError::Contradiction { why, .. } = error else { panic!("{error}") };
        assert!(why.contains(words), "{why}");
    };
    refused(|record| record.generation = Generation(2), "it is of G2, not below G2");
    refused(|record| record.fingerprint += 1, "it was written by another graph");
}

#[test]
fn rule_16_at_most_once_claims_and_opens() {
    let mut world = World::default();
    let wanted = |process| Wanted { guarantee: Guarantee::AtMostOnce, ..wanted(process) };
    world.run(wanted(1)).unwrap();
    let opened = world.run(wanted(2)).unwrap();
    assert_eq!(opened.topology.generation, Generation(2));
    assert_eq!((opened.commit_ledger, opened.record.last), (None, Epoch(0)));
    assert!(world.commit_ledgers.is_empty());
}

#[test]
fn rule_4_a_lost_reply_is_settled_by_reading_back() {
    for landed in [true, false] {
        let mut world = World::default();
        let first = world.run(wanted(1)).unwrap();
        let committed = world.commit(&first);
        let (mut recovery, mut step) = Recovery::start(wanted(2));
        let mut lost = 0;
        let opened = loop {
            step = match step {
                Step::Save { .. } if lost == 0 => {
                    lost += 1;
                    if landed {
                        world.act(&step);
                    }
                    recovery.step(Fact::SaveUnknown)
                }
                Step::Open(opened) => break opened,
                step => recovery.step(world.act(&step)),
            };
        };
        assert_eq!(opened.topology.generation, Generation(2), "one claim, not two");
        assert!(same_content(&opened.record, &committed));
    }
}

#[test]
fn rule_4_of_two_claimants_with_lost_replies_one_goes_on() {
    let mut world = World::default();
    world.run(wanted(1)).unwrap();
    let mut attempts: Vec<_> = [2, 3].map(|process| Recovery::start(wanted(process))).into();
    for (recovery, step) in &mut attempts {
        *step = recovery.step(world.act(step));
        *step = recovery.step(world.act(step));
    }
    for (recovery, step) in &mut attempts {
        assert!(matches!(step, Step::Save { .. }));
        world.act(step);
        *step = recovery.step(Fact::SaveUnknown);
    }
    let after: Vec<_> =
        attempts.iter_mut().map(|(recovery, step)| recovery.step(world.act(step))).collect();
    assert!(matches!(after[0], Step::RaiseTerms { .. }));
    let taken = RecoveryError::TakenOver { generation: Generation(2), process: 2 };
    assert_eq!(after[1], Step::Refuse(taken));
}

proptest! {
    /// Any number of attempts by any processes, each stopped anywhere, with commits in between: the
    /// commit found is always the last one made, and generations rise.
    #[test]
    fn attempts_stopped_anywhere_lose_no_commit(
        attempts in proptest::collection::vec((0usize..14, any::<bool>()), 1..12)
    ) {
        let mut world = World::default();
        let mut committed = CommitRecord::genesis(Generation(1), 0);
        let mut generation = 0;
        for (process, (steps, commits)) in (1..).zip(attempts) {
            let Some(opened) = world.recover(wanted(process), steps) else { continue };
            let opened = opened.unwrap();
            prop_assert!(opened.topology.generation.0 > generation);
            generation = opened.topology.generation.0;
            prop_assert!(same_content(&opened.record, &committed));
            if commits {
                committed = world.commit(&opened);
            }
        }
    }
}

fn restoring(process: u128, name: &str) -> Wanted {
    Wanted { restore: Some(name.to_owned()), ..wanted(process) }
}

/// Commits, names that, goes on in another generation that commits more.
fn named_and_gone_on() -> (World, CommitRecord, CommitRecord) {
    let mut world = World::default();
    let first = world.run(wanted(1)).unwrap();
    let named = world.commit(&first);
    world.change_names(|record| {
        record.name_commit(Claimant { process: 9, operation: 1 }, "noon", 5, named.clone())
    });
    let second = world.run(wanted(2)).unwrap();
    let mut newest = second.record.clone();
    newest.kind = super::super::record::RecordKind::Commit;
    newest.last = Epoch::new(newest.generation, 0, Epoch::MICRO_MAX);
    let ledgers = vec![LedgerRange { ledger: second.state_ledgers[0], last: Some(EntryId(7)) }];
    let slices = vec![Slice { first_group: 0, end_group: 16, ledgers }];
    newest.state.insert("count".into(), RestoreSet { tasks: 1, slices });
    newest.sinks.entry("out".into()).or_default().insert(0, (SegmentId(2), Some(EntryId(3))));
    world.append(second.commit_ledger.unwrap(), newest.clone());
    (world, named, newest)
}

impl World {
    fn change_names(
        &mut self,
        change: impl FnOnce(&TopologyRecord) -> Result<TopologyRecord, NameError>,
    ) {
        let (record, _) = self.topology.take().unwrap();
        self.revision += 1;
        self.topology = Some((change(&record).unwrap(), self.revision));
    }
}

#[test]
fn rule_11_a_restore_has_the_named_state_after_the_newest_output() {
    let (mut world, named, newest) = named_and_gone_on();
    world.log.clear();
    let opened = world.run(restoring(3, "noon")).unwrap();
    assert_eq!(world.log[..3], ["read topology", "check named", "reserve"]);
    let end = ["close state", "close partitions", "rewind", "restate"];
    assert_eq!(world.log[world.log.len() - 4..], end);
    let record = &opened.record;
    assert_eq!(
        (&record.state, &record.spouts, record.last),
        (&named.state, &named.spouts, named.last)
    );
    assert_eq!(record.sinks, newest.sinks, "what readers saw stays");
    assert_eq!(
        world.partition_ends[&("counts".to_owned(), 0)],
        Some((SegmentId(2), Some(EntryId(3))))
    );
    let needed: BTreeSet<_> = named.state_ledgers().into_keys().collect();
    assert!(needed.is_disjoint(&opened.retired));
    // Going on from there, and from there again.
    let again = world.run(wanted(4)).unwrap();
    assert!(same_content(&again.record, record));
    assert!(again.topology.names.commits.contains_key("noon"), "names survive takeovers");
}

#[test]
fn rule_11_ledgers_that_only_the_named_commit_needs_are_to_be_there_as_far_as_it_says() {
    let (mut world, named, newest) = named_and_gone_on();
    let (mut recovery, mut step) = Recovery::start(restoring(3, "noon"));
    let closed = loop {
        step = match step {
            Step::CloseState { ledgers, .. } => break ledgers,
            step => recovery.step(world.act(&step)),
        };
    };
    for (ledger, last) in named.state_ledgers() {
        assert_eq!(closed[&ledger], StateEnd::Beyond(last));
    }
    for (ledger, last) in newest.state_ledgers() {
        assert_eq!(closed[&ledger], StateEnd::At(last));
    }
}

#[test]
fn a_restore_that_stops_anywhere_has_happened_or_has_not() {
    let (world, named, newest) = named_and_gone_on();
    let mut seen = BTreeSet::new();
    for steps in 0..20 {
        let mut world = world.clone();
        if world.recover(restoring(3, "noon"), steps).is_some() {
            break;
        }
        let opened = world.run(wanted(4)).unwrap();
        let restored = opened.record.state == named.state;
        assert!(restored || same_content(&opened.record, &newest), "after {steps} steps");
        assert_eq!(opened.record.sinks, newest.sinks);
        seen.insert(restored);
        // And it is there to be restored again.
        assert_eq!(world.run(restoring(5, "noon")).unwrap().record.state, named.state);
    }
    assert_eq!(seen, [false, true].into());
}

#[test]
fn what_cannot_be_restored_is_refused_before_anything_is_written() {
    let (mut world, ..) = named_and_gone_on();
    let before = world.topology.clone();
    let text = world.run(restoring(3, "dusk")).unwrap_err().to_string();
    assert_eq!(text, "nothing is restored: no commit is named `dusk`: there is `noon`");
    let at_most_once = Wanted { guarantee: Guarantee::AtMostOnce, ..restoring(3, "noon") };
    let mut other = World::default();
    other.run(Wanted { restore: None, ..at_most_once.clone() }).unwrap();
    let text = other.run(at_most_once).unwrap_err().to_string();
    assert!(
        text.ends_with("at-most-once commits nothing, so no commit of it has a name"),
        "{text}"
    );
    let text = World::default().run(restoring(3, "noon")).unwrap_err().to_string();
    assert!(text.contains("the topology has no named commits"), "{text}");
    assert_eq!(world.topology, before);

    let (mut recovery, mut step) = Recovery::start(restoring(3, "noon"));
    let refused = loop {
        step = match step {
            Step::CheckNamed { .. } => recovery.step(Fact::Checked(Err("L7 is gone".to_owned()))),
            Step::Refuse(why) => break why.to_string(),
            step => recovery.step(world.act(&step)),
        };
    };
    assert!(refused.contains("cannot be restored: L7 is gone; nothing was changed"), "{refused}");
    assert_eq!(world.topology, before);
}

/// Runs an attempt that cannot read c.
fn without_c(world: &mut World, wanted: Wanted) -> Result<Opened, RecoveryError> {
    let (mut recovery, mut step) = Recovery::start(wanted);
    loop {
        step = match step {
            Step::ReadRecord { .. } => recovery.step(Fact::Record(Err("bad checksum".into()))),
            Step::Refuse(why) => return Err(why),
            Step::Open(opened) => return Ok(*opened),
            step => recovery.step(world.act(&step)),
        };
    }
}

#[test]
fn an_unreadable_newest_record_says_what_can_be_restored_and_restores_it_when_asked() {
    let (mut world, named, _) = named_and_gone_on();
    let text = without_c(&mut world, wanted(3)).unwrap_err().to_string();
    assert!(text.contains("the topology is not started empty"), "{text}");
    assert!(text.contains("`--restore NAME`, or `egret checkpoint restore`"), "{text}");
    assert!(text.ends_with("`egret checkpoint list` has `noon`"), "{text}");
    // Readers see a part of what the unreadable commit covers.
    let seen = (SegmentId(2), Some(EntryId(1)));
    world.visible.insert(("counts".to_owned(), 0), seen);
    let opened = without_c(&mut world, restoring(4, "noon")).unwrap();
    assert_eq!(opened.record.state, named.state);
    assert_eq!(opened.record.sinks["out"][&0], seen);
    assert_eq!(world.partition_ends[&("counts".to_owned(), 0)], Some(seen));
    assert_eq!(world.run(wanted(5)).unwrap().record.state, named.state);

    let (mut world, named, _) = named_and_gone_on();
    world.commit_ledgers.clear();
    let text = world.run(wanted(3)).unwrap_err().to_string();
    assert!(text.contains("it is not started empty") && text.contains("has `noon`"), "{text}");
    let opened = world.run(restoring(4, "noon")).unwrap();
    assert_eq!((&opened.record.state, &opened.record.sinks), (&named.state, &named.sinks));
}

/// Somebody named a commit while the topology was taken over: the takeover took that for another one.
#[test]
fn a_name_given_while_a_generation_is_claimed_is_kept_and_in_nobodys_way() {
    for landed in [true, false] {
        let mut world = World::default();
        let first = world.run(wanted(1)).unwrap();
        let committed = world.commit(&first);
        let (mut recovery, mut step) = Recovery::start(wanted(2));
        let mut named = false;
        let opened = loop {
            step = match step {
                Step::Save { .. } if !named => {
                    named = true;
                    if landed {
                        world.act(&step);
                    }
                    let by = Claimant { process: 9, operation: 1 };
                    let commit = committed.clone();
                    world.change_names(|record| record.name_commit(by, "noon", 5, commit));
                    recovery.step(if landed { Fact::SaveUnknown } else { Fact::SaveConflict })
                }
                Step::Open(opened) => break *opened,
                Step::Refuse(why) => panic!("{why}"),
                step => recovery.step(world.act(&step)),
            };
        };
        assert!(same_content(&opened.record, &committed));
        assert_eq!(opened.topology, world.topology.unwrap().0, "and it is known");
        assert!(opened.topology.names.commits.contains_key("noon"));
    }
}

/// A name deleted between the look at it and the claim restores nothing.
#[test]
fn a_name_forgotten_while_its_restore_begins_is_not_restored() {
    let (mut world, ..) = named_and_gone_on();
    let (mut recovery, mut step) = Recovery::start(restoring(3, "noon"));
    let mut forgotten = false;
    let refused = loop {
        step = match step {
            Step::Save { .. } if !forgotten => {
                forgotten = true;
                let by = Claimant { process: 9, operation: 2 };
                world.change_names(|record| record.forget_name(by, "noon"));
                recovery.step(Fact::SaveConflict)
            }
            Step::Refuse(why) => break why.to_string(),
            step => recovery.step(world.act(&step)),
        };
    };
    assert!(refused.starts_with("nothing is restored: no commit is named `noon`"), "{refused}");
}

fn forking(process: u128) -> Wanted {
    let origin = Origin { topology: "words".into(), name: "noon".into() };
    Wanted { fork: Some((origin, "what-if".into())), ..wanted(process) }
}

/// An empty world beside one with a named commit, and that commit.
fn to_fork() -> (World, CommitRecord) {
    let (parent, named, _) = named_and_gone_on();
    let world = World { parent: parent.topology, next_ledger: 100, ..World::default() };
    (world, named)
}

fn kept_for(world: &World) -> Vec<String> {
    let (parent, _) = world.parent.as_ref().unwrap();
    parent.names.commits["noon"].forks.iter().cloned().collect()
}

#[test]
fn rule_11_a_fork_begins_with_the_named_state_and_output_of_its_own() {
    let (mut world, named) = to_fork();
    let opened = world.run(forking(3)).unwrap();
    let begin = ["read topology", "read parent", "check named", "reserve", "claim"];
    assert_eq!(world.log[..5], begin);
    let record = &opened.record;
    assert_eq!(
        (&record.state, &record.spouts, record.last),
        (&named.state, &named.spouts, named.last)
    );
    assert!(record.sinks.is_empty(), "nothing is written yet");
    assert!(opened.topology.generation > named.generation, "epochs only rise");
    assert_eq!(kept_for(&world), ["what-if"]);
    let theirs: BTreeSet<_> = named.state_ledgers().into_keys().collect();
    assert!(world.state_ends.keys().all(|ledger| !theirs.contains(ledger)), "none is closed");
    assert!(opened.retired.is_disjoint(&theirs), "none is deleted");
    // It goes on by itself, asked to fork again or not, and never touches them.
    for wanted in [forking(4), wanted(5)] {
        let opened = world.run(wanted).unwrap();
        assert!(same_content(&opened.record, record));
        assert!(opened.retired.is_disjoint(&theirs));
    }
    assert!(world.state_ends.keys().all(|ledger| !theirs.contains(ledger)));
}

#[test]
fn a_fork_that_stops_anywhere_is_begun_again_and_never_empty() {
    for steps in 0..14 {
        let (mut world, named) = to_fork();
        for process in 3..6 {
            if world.recover(forking(process), steps).is_some() {
                break;
            }
            let is_there = world.topology.is_some();
            assert_eq!(is_there, kept_for(&world) == ["what-if"], "both or neither");
        }
        // Whoever starts it the next time may have left the option out.
        let again = if world.topology.is_some() { wanted(7) } else { forking(7) };
        let opened = world.run(again).unwrap();
        assert_eq!(opened.record.state, named.state, "after {steps} steps");
        assert!(opened.topology.begun && opened.topology.fork.unwrap().commit.is_none());
    }
}

#[test]
fn whoever_runs_the_parent_changes_its_record_meanwhile_and_answers_are_lost() {
    for (landed, reply) in [
        (false, Fact::SaveConflict),
        (false, Fact::SaveUnknown),
        (true, Fact::SaveUnknown),
        (true, Fact::SaveConflict),
    ] {
        let (mut world, named) = to_fork();
        let (mut recovery, mut step) = Recovery::start(forking(3));
        let mut left = 3;
        let opened = loop {
            step = match step {
                Step::Save { expect: None, .. } if left > 0 => {
                    left -= 1;
                    if landed {
                        world.act(&step);
                        left = 0;
                    }
                    let (parent, revision) = world.parent.clone().unwrap();
                    world.parent =
                        Some((parent.claim(parent.claimant.next()).unwrap(), revision + 1));
                    recovery.step(reply.clone())
                }
                Step::Open(opened) => break *opened,
                Step::Refuse(why) => panic!("{why}"),
                step => recovery.step(world.act(&step)),
            };
        };
        assert_eq!(opened.record.state, named.state);
        assert_eq!(kept_for(&world), ["what-if"], "{landed} {reply:?}");
        let claims = world.log.iter().filter(|step| **step == "claim").count();
        assert_eq!(claims, 1, "{landed} {reply:?}");
    }
}

#[test]
fn what_cannot_be_forked_is_refused_before_anything_is_written() {
    let (world, _) = to_fork();
    let refused = |wanted: Wanted, world: &World| {
        let mut world = world.clone();
        let before = (world.topology.clone(), world.parent.clone());
        let why = world.run(wanted).unwrap_err().to_string();
        assert_eq!((world.topology, world.parent), before, "{why}");
        why
    };
    let of = |topology: &str, name: &str| {
        let origin = Origin { topology: topology.into(), name: name.into() };
        Wanted { fork: Some((origin, "what-if".into())), ..wanted(3) }
    };
    let why = refused(of("words", "dusk"), &world);
    assert!(why.contains("no commit is named `dusk`: there is `noon`"), "{why}");
    let why = refused(of("what-if", "noon"), &world);
    assert!(why.contains("cannot be forked from itself"), "{why}");
    let why = refused(forking(3), &World { parent: None, ..world.clone() });
    assert!(why.contains("no topology `words` here to fork"), "{why}");
    let why = refused(Wanted { key_groups: 32, ..forking(3) }, &world);
    assert!(why.contains("number of key groups is 16, and that of this topology 32"), "{why}");
    let other = Wanted { graph: graph(&[("in", 1)]), ..forking(3) };
    assert!(refused(other, &world).contains("its graph is"));
    let mut begun = world.clone();
    begun.run(wanted(2)).unwrap();
    let why = refused(forking(3), &begun);
    assert!(why.contains("`what-if` is there already and was not forked from words:noon"), "{why}");
}
