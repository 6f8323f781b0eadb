//! The coordinator alone: one test per rule that has its subject here, and random interleavings.

use std::collections::BTreeMap;

use egret_schemas::{EntryId, LedgerId, SegmentId};
use proptest::prelude::*;

use super::super::guarantee::Guarantee;
use super::super::plan::CommitComponent;
use super::super::report::Durable;
use super::super::restore_set::{LedgerRange, Slice};
use super::super::watermark::{Mark, Timed};
use super::*;

const G: Generation = Generation(3);
const IN: TaskId = TaskId { component: 0, task: 0 };
const COUNT: [TaskId; 2] = [TaskId { component: 1, task: 0 }, TaskId { component: 1, task: 1 }];
const OUT: TaskId = TaskId { component: 2, task: 0 };

pub(super) fn plan(guarantee: Guarantee) -> CommitPlan {
    let component =
        |name: &str, role, tasks| CommitComponent { name: name.to_owned(), role, tasks };
    CommitPlan {
        generation: G,
        fingerprint: 99,
        guarantee,
        key_groups: 16,
        components: vec![
            component("in", Role::Spout, 1),
            component("count", Role::State, 2),
            component("out", Role::Sink, 1),
        ],
        feedbacks: Vec::new(),
        timed: Vec::new(),
    }
}

fn epoch(commit: u32, micro: u32) -> Epoch {
    Epoch::new(G, commit, micro)
}

/// A coordinator, its clock, and what it said since it was last asked.
struct Rig {
    coordinator: Coordinator,
    now_ms: u64,
    out: Vec<Effect>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(plan(Guarantee::EffectivelyOnce), CommitConfig::default())
    }

    fn with(plan: CommitPlan, config: CommitConfig) -> Rig {
        let mut last = CommitRecord::genesis(G, 99);
        last.sinks.entry("out".into()).or_default().insert(7, (SegmentId(2), Some(EntryId(5))));
        last.spouts.entry("in".into()).or_default().insert(b"old".to_vec(), b"1".to_vec());
        Rig { coordinator: Coordinator::new(plan, config, last), now_ms: 0, out: Vec::new() }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.coordinator.step(self.now_ms, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// Opens the first epoch, emits in it, and lets the commit's time pass: commit 1 is open.
    fn through_commit_0(&mut self) {
        assert_eq!(self.step(Input::Tick), [Effect::Open(epoch(0, 0))]);
        self.step(Input::Active { task: IN, epoch: epoch(0, 0) });
        self.now_ms += 100;
        assert_eq!(self.step(Input::Tick), [Effect::Open(epoch(1, 0))]);
    }

    /// Emits in the open epoch and lets the commit's time pass.
    fn end_commit(&mut self) {
        let open = self.coordinator.open_epoch().unwrap();
        self.step(Input::Active { task: IN, epoch: open });
        self.now_ms += 100;
        let out = self.step(Input::Tick);
        assert_eq!(out, [Effect::Open(open.next_commit().unwrap())]);
    }

    fn report_all(&mut self, commit: u32) {
        for report in reports(commit) {
            assert_eq!(self.step(Input::Report(report)), []);
        }
    }
}

fn report(task: TaskId, commit: u32, what: Durable) -> TaskReport {
    TaskReport { generation: G, task, commit, what }
}

fn spout(commit: u32) -> TaskReport {
    let positions = [(b"p0".to_vec(), commit.to_string().into_bytes())].into();
    report(IN, commit, Durable::Spout { positions, mark: None })
}

fn state(task: usize, commit: u32) -> TaskReport {
    let first_group = if task == 0 { 0 } else { 8 };
    let last = Some(EntryId(u64::from(commit)));
    let ledgers = vec![LedgerRange { ledger: LedgerId(task as u64 + 1), last }];
    let slices = vec![Slice { first_group, end_group: first_group + 8, ledgers }];
    report(COUNT[task], commit, Durable::State { slices })
}

fn sink(commit: u32) -> TaskReport {
    let partitions = [(0, (SegmentId(1), Some(EntryId(u64::from(commit)))))].into();
    report(OUT, commit, Durable::Sink { partitions })
}

fn reports(commit: u32) -> [TaskReport; 4] {
    [spout(commit), state(0, commit), state(1, commit), sink(commit)]
}

fn appended(out: &[Effect]) -> &CommitRecord {
    match out {
        [Effect::AppendCommit(record)] => record,
        other => panic!("no record alone in {other:?}"),
    }
}

fn poison(out: &[Effect]) -> &Poison {
    match out.last() {
        Some(Effect::Poison { why }) => why,
        other => panic!("no poison in {other:?}"),
    }
}

#[test]
fn a_commit_is_made_of_every_report_and_the_record_before() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    let out = rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    let record = appended(&out).clone();
    assert_eq!((record.last, record.fingerprint), (epoch(0, Epoch::MICRO_MAX), 99));
    let spouts = &record.spouts["in"];
    assert_eq!((&spouts[&b"p0"[..]][..], &spouts[&b"old"[..]][..]), (&b"0"[..], &b"1"[..]));
    assert_eq!((record.state["count"].tasks, record.state["count"].slices.len()), (2, 2));
    let ends = [(0, (SegmentId(1), Some(EntryId(0)))), (7, (SegmentId(2), Some(EntryId(5))))];
    assert_eq!(record.sinks["out"], BTreeMap::from(ends));
    assert_eq!(rig.step(Input::CommitAcked { commit: 0 }), [Effect::Committed(record.last)]);
    assert_eq!(rig.coordinator.last_commit(), &record);
}

#[test]
fn a_split_that_is_reported_with_no_position_is_in_no_later_record() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    let positions = [(b"old".to_vec(), Vec::new()), (b"p0".to_vec(), b"0".to_vec())].into();
    let gone = report(IN, 0, Durable::Spout { positions, mark: None });
    for report in [gone, state(0, 0), state(1, 0), sink(0)] {
        assert_eq!(rig.step(Input::Report(report)), []);
    }
    let out = rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    let splits: Vec<_> = appended(&out).spouts["in"].keys().cloned().collect();
    assert_eq!(splits, [b"p0".to_vec()]);
}

#[test]
fn a_coordinator_is_at_rest_when_what_was_emitted_is_committed() {
    let mut rig = Rig::new();
    assert!(!rig.coordinator.is_at_rest(), "it has opened nothing");
    rig.step(Input::Tick);
    assert!(rig.coordinator.is_at_rest());
    rig.step(Input::Active { task: IN, epoch: epoch(0, 0) });
    assert!(!rig.coordinator.is_at_rest(), "something was emitted");
    rig.now_ms += 100;
    rig.step(Input::Tick);
    rig.step(Input::Processed(Some(epoch(1, 0))));
    assert!(!rig.coordinator.is_at_rest(), "it is not durable yet");
    rig.report_all(0);
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    assert!(!rig.coordinator.is_at_rest(), "its record is under way");
    rig.step(Input::CommitAcked { commit: 0 });
    assert!(rig.coordinator.is_at_rest());
}

/// The record has the watermark of every component, also of those that report nothing themselves, and one
/// that covers several commits has what the last of them came to.
#[test]
fn a_commit_has_the_watermarks_that_the_marks_of_spouts_come_to() {
    let timed = |name: &str| Timed { name: name.to_owned(), spouts: vec![0] };
    let mut plan = plan(Guarantee::EffectivelyOnce);
    plan.timed = ["in", "split", "count"].map(timed).into();
    let mut rig = Rig::with(plan, CommitConfig::default());
    rig.through_commit_0();
    rig.end_commit();
    rig.end_commit();
    let with_mark = |commit, ms, idle| {
        let mut report = spout(commit);
        if let Durable::Spout { mark, .. } = &mut report.what {
            *mark = Some(Mark { ms, idle });
        }
        [report].into_iter().chain(reports(commit).into_iter().skip(1))
    };
    let said = [with_mark(0, Some(700), false), with_mark(1, Some(600), false)];
    said.into_iter().flatten().for_each(|report| drop(rig.step(Input::Report(report))));
    let out = rig.step(Input::DurableFrontier(Some(epoch(2, 0))));
    let all = |ms: i64| BTreeMap::from(["in", "split", "count"].map(|name| (name.to_owned(), ms)));
    assert_eq!(appended(&out).watermarks, all(700), "it does not go back");
    rig.step(Input::CommitAcked { commit: 1 });
    with_mark(2, None, false).for_each(|report| drop(rig.step(Input::Report(report))));
    let out = rig.step(Input::DurableFrontier(Some(epoch(3, 0))));
    assert_eq!(appended(&out).watermarks, all(700), "who says nothing takes nothing back");
}

#[test]
fn rule_1_output_never_moves_back_along_a_partition() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    for mut report in reports(0) {
        if let Durable::Sink { partitions } = &mut report.what {
            partitions.insert(7, (SegmentId(2), Some(EntryId(4))));
        }
        rig.step(Input::Report(report));
    }
    let out = rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    assert!(matches!(poison(&out), Poison::OutputMovedBack { partition: 7, .. }));
}

/// The frontier moved because a capability was dropped on an error path; committing would have lost
/// that task's part for ever.
#[test]
fn rule_3_a_frontier_without_all_reports_poisons_and_never_commits() {
    for missing in 0..4 {
        let mut rig = Rig::new();
        rig.through_commit_0();
        for (i, report) in reports(0).into_iter().enumerate() {
            if i != missing {
                rig.step(Input::Report(report));
            }
        }
        let out = rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
        let Poison::Unreported { commit: 0, tasks } = poison(&out) else { panic!("{out:?}") };
        assert_eq!(tasks, &[["in/0", "count/0", "count/1", "out/0"][missing]]);
        assert_eq!(out.len(), 1);
        assert_eq!(rig.step(Input::Report(reports(0)[missing].clone())), [], "it is over");
    }
}

#[test]
fn rule_3_reports_without_the_frontier_do_not_commit() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    assert_eq!(rig.step(Input::DurableFrontier(Some(epoch(0, 3)))), []);
}

#[test]
fn rule_3_nothing_is_committed_before_the_record_is_acknowledged() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    let why = "the ledger was fenced".to_owned();
    let out = rig.step(Input::CommitFailed { why, outcome: Outcome::Unknown });
    assert!(matches!(poison(&out), Poison::Append { outcome: Outcome::Unknown, .. }));
    assert_eq!(
        rig.step(Input::CommitAcked { commit: 0 }),
        [],
        "too late: the next generation reads it"
    );
}

#[test]
fn rule_4_if_commits_lag_one_record_covers_several_in_order() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    for commit in 1..3 {
        rig.end_commit();
        rig.step(Input::Processed(Some(epoch(commit + 1, 0))));
        rig.report_all(commit);
        assert_eq!(rig.step(Input::DurableFrontier(Some(epoch(commit + 1, 0)))), []);
    }
    let out = rig.step(Input::CommitAcked { commit: 0 });
    assert_eq!(out[0], Effect::Committed(epoch(0, Epoch::MICRO_MAX)));
    let record = appended(&out[1..]);
    assert_eq!(record.last, epoch(2, Epoch::MICRO_MAX));
    assert_eq!(record.spouts["in"][&b"p0"[..]], b"2");
}

#[test]
fn rule_6_reports_of_another_generation_are_ignored() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    for mut report in reports(0) {
        report.generation = Generation(2);
        assert_eq!(rig.step(Input::Report(report)), []);
    }
    let old = Epoch::new(Generation(2), 0, 0);
    assert_eq!(rig.step(Input::Active { task: IN, epoch: old }), []);
    assert_eq!(rig.coordinator.ignored(), 5);
    let out = rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    assert!(matches!(poison(&out), Poison::Unreported { tasks, .. } if tasks.len() == 4));
}

#[test]
#[should_panic(expected = "no number is used twice")]
fn rule_6_a_generation_does_not_begin_on_its_own_records() {
    let mut last = CommitRecord::genesis(G, 99);
    last.last = epoch(4, 0);
    let _ = Coordinator::new(plan(Guarantee::EffectivelyOnce), CommitConfig::default(), last);
}

#[test]
fn rule_12_a_split_and_a_partition_have_one_owner() {
    let mut two = plan(Guarantee::EffectivelyOnce);
    two.components[0].tasks = 2;
    two.components[2].tasks = 2;
    for first in [spout(0), sink(0)] {
        let mut rig = Rig::with(two.clone(), CommitConfig::default());
        rig.through_commit_0();
        let mut second = first.clone();
        second.task.task = 1;
        assert_eq!(rig.step(Input::Report(first)), []);
        let out = rig.step(Input::Report(second));
        assert!(matches!(poison(&out), Poison::TwoOwners { other: 0, .. }), "{out:?}");
    }
}

#[test]
fn rule_12_a_task_speaks_of_its_own_key_groups_only() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    let mut report = state(1, 0);
    report.task = COUNT[0];
    let out = rig.step(Input::Report(report));
    assert!(matches!(poison(&out), Poison::Slices { .. }));
}

#[test]
fn contradictory_reports_poison() {
    type Expected = fn(&Poison) -> bool;
    let cases: [(TaskReport, Expected); 4] = [
        (spout(0), |why| matches!(why, Poison::Twice { .. })),
        (spout(5), |why| matches!(why, Poison::NotPending { .. })),
        (report(OUT, 0, spout(0).what), |why| matches!(why, Poison::WrongRole { .. })),
        (report(TaskId { component: 9, task: 0 }, 0, spout(0).what), |why| {
            matches!(why, Poison::UnknownTask { .. })
        }),
    ];
    for (bad, expected) in cases {
        let mut rig = Rig::new();
        rig.through_commit_0();
        rig.step(Input::Report(spout(0)));
        let out = rig.step(Input::Report(bad));
        assert!(expected(poison(&out)), "{out:?}");
    }
}

#[test]
fn a_report_after_its_commit_was_recorded_poisons() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    rig.step(Input::CommitAcked { commit: 0 });
    let out = rig.step(Input::Report(sink(0)));
    assert!(matches!(poison(&out), Poison::NotPending { commit: 0, .. }));
}

#[test]
fn frontiers_neither_go_back_nor_ahead_of_what_was_opened() {
    for input in [Input::Processed as fn(_) -> _, Input::DurableFrontier as fn(_) -> _] {
        for bad in [Some(epoch(0, 1)), Some(epoch(1, 1)), Some(Epoch::first(Generation(4)))] {
            let mut rig = Rig::new();
            rig.through_commit_0();
            rig.report_all(0);
            rig.step(input(Some(epoch(1, 0))));
            assert!(matches!(poison(&rig.step(input(bad))), Poison::Frontier { .. }));
        }
    }
}

/// A slow bolt stops epochs, epochs stop spouts; what is under way goes on.
#[test]
fn rule_15_epochs_open_only_while_few_are_unprocessed() {
    let mut rig = Rig::new();
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(0, 0))]);
    let done = |rig: &mut Rig, micro| {
        rig.step(Input::Active { task: IN, epoch: epoch(0, micro) });
        rig.step(Input::SpoutDone { task: IN, epoch: epoch(0, micro) })
    };
    for micro in 0..3 {
        assert_eq!(done(&mut rig, micro), [Effect::Open(epoch(0, micro + 1))]);
    }
    assert_eq!(done(&mut rig, 3), [], "four are unprocessed");
    rig.now_ms += 1000;
    assert_eq!(rig.step(Input::Tick), [], "no time opens a fifth");
    let out = rig.step(Input::Processed(Some(epoch(0, 1))));
    assert_eq!(out, [Effect::Open(epoch(1, 0))], "one is processed: one opens");
    assert_eq!(rig.step(Input::Processed(Some(epoch(0, 1)))), []);
}

#[test]
fn rule_15_commits_in_flight_are_bounded_and_micro_epochs_go_on() {
    let config = CommitConfig { commits_in_flight_max: 1, ..CommitConfig::default() };
    let mut rig = Rig::with(plan(Guarantee::EffectivelyOnce), config);
    rig.through_commit_0();
    rig.step(Input::Processed(Some(epoch(1, 0))));
    rig.step(Input::Active { task: IN, epoch: epoch(1, 0) });
    rig.now_ms += 1000;
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(1, 1))], "commit 0 is unacknowledged");
    rig.report_all(0);
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    let out = rig.step(Input::CommitAcked { commit: 0 });
    assert_eq!(out.last(), Some(&Effect::Open(epoch(2, 0))));
}

#[test]
fn a_commit_lasts_longer_the_longer_ends_of_commits_take() {
    let no_micros = CommitConfig { commit_ms: 10, epoch_ms: 1 << 40, ..CommitConfig::default() };
    for (commit_ms_max, due_ms) in [(None, 20), (Some(1000), 210), (Some(100), 110)] {
        let config = CommitConfig { commit_ms_max, ..no_micros };
        let mut rig = Rig::with(plan(Guarantee::EffectivelyOnce), config);
        rig.step(Input::Tick);
        rig.step(Input::Active { task: IN, epoch: epoch(0, 0) });
        rig.now_ms = 10;
        assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(1, 0))]);
        rig.now_ms = 12;
        let waits = rig.step(Input::Active { task: IN, epoch: epoch(1, 0) });
        assert_eq!(waits, [Effect::WakeAt(20)], "nothing is known of ends yet");
        rig.now_ms = 15;
        rig.step(Input::Processed(Some(epoch(0, 0))));
        // Bolts took 40 ms to close commit 0; the first of two, so half of it counts.
        rig.now_ms = 50;
        let out = rig.step(Input::Processed(Some(epoch(1, 0))));
        if due_ms <= rig.now_ms {
            assert_eq!(out, [Effect::Open(epoch(2, 0))]);
            continue;
        }
        assert_eq!(out, [Effect::WakeAt(due_ms)]);
        rig.now_ms = due_ms - 1;
        assert_eq!(rig.step(Input::Tick), []);
        rig.now_ms = due_ms;
        assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(2, 0))]);
    }
}

#[test]
fn micro_numbers_that_run_out_end_the_commit() {
    let mut rig = Rig::new();
    rig.step(Input::Tick);
    for micro in 0..=Epoch::MICRO_MAX {
        rig.step(Input::Processed(Some(epoch(0, micro))));
        rig.step(Input::Active { task: IN, epoch: epoch(0, micro) });
        let out = rig.step(Input::SpoutDone { task: IN, epoch: epoch(0, micro) });
        let next = if micro < Epoch::MICRO_MAX { epoch(0, micro + 1) } else { epoch(1, 0) };
        assert_eq!(out, [Effect::Open(next)]);
    }
}

#[test]
fn an_idle_topology_opens_and_appends_nothing() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    rig.report_all(0);
    rig.step(Input::Processed(Some(epoch(1, 0))));
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    rig.step(Input::CommitAcked { commit: 0 });
    for _ in 0..100 {
        rig.now_ms += 1000;
        assert_eq!(rig.step(Input::Tick), []);
        assert_eq!(rig.step(Input::SpoutDone { task: IN, epoch: epoch(1, 0) }), []);
    }
    let out = rig.step(Input::Active { task: IN, epoch: epoch(1, 0) });
    assert_eq!(out, [Effect::Open(epoch(2, 0))], "after a pause the first tuple commits at once");
}

#[test]
fn the_coordinator_asks_to_be_woken_once_per_deadline() {
    let mut rig = Rig::new();
    rig.step(Input::Tick);
    assert_eq!(rig.step(Input::Active { task: IN, epoch: epoch(0, 0) }), [Effect::WakeAt(10)]);
    assert_eq!(rig.step(Input::Tick), []);
    rig.now_ms = 10;
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(0, 1))]);
    assert_eq!(rig.step(Input::Tick), [Effect::WakeAt(100)], "the commit's own deadline");
    rig.now_ms = 100;
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(1, 0))]);
}

#[test]
fn what_is_due_at_a_bolt_ends_a_commit_unless_there_is_no_other() {
    let mut rig = Rig::new();
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(0, 0))]);
    rig.now_ms += 1000;
    assert_eq!(rig.step(Input::Tick), [], "nothing happened");
    rig.step(Input::Active { task: COUNT[1], epoch: epoch(0, 0) });
    assert_eq!(rig.step(Input::Tick), [], "the effect was with the message");
    assert_eq!(rig.coordinator.open_epoch(), Some(epoch(1, 0)));
    assert_eq!(rig.step(Input::Stop), [Effect::Drain]);
    // The bolt's frontier is beyond the last commit once the spouts have left it.
    assert_eq!(rig.step(Input::Active { task: COUNT[1], epoch: epoch(2, 0) }), []);
    let poisons = |out: Vec<Effect>| matches!(out[..], [Effect::Poison { .. }]);
    let mut rig = Rig::new();
    rig.step(Input::Tick);
    assert!(poisons(rig.step(Input::Active { task: COUNT[1], epoch: epoch(2, 0) })));
}

#[test]
fn bounded_input_ends_with_a_last_commit_then_finished() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    assert_eq!(rig.step(Input::SpoutExhausted { task: IN }), [Effect::Drain]);
    assert_eq!(rig.step(Input::Processed(None)), []);
    rig.report_all(0);
    rig.report_all(1);
    let out = rig.step(Input::DurableFrontier(None));
    assert_eq!(appended(&out).last, epoch(1, Epoch::MICRO_MAX));
    let out = rig.step(Input::CommitAcked { commit: 1 });
    assert_eq!(out, [Effect::Committed(epoch(1, Epoch::MICRO_MAX)), Effect::Finished]);
    assert_eq!(rig.step(Input::Tick), []);
}

/// A rig whose `count` is where tuples come back.
fn going_round() -> Rig {
    let plan = CommitPlan { feedbacks: vec![1], ..plan(Guarantee::EffectivelyOnce) };
    Rig::with(plan, CommitConfig::default())
}

#[test]
fn with_a_cycle_bounded_input_ends_once_a_commit_of_then_or_later_has_nothing_on_its_way() {
    let mut rig = going_round();
    let held = |task: usize, commit, held| Input::Held {
        task: COUNT[task],
        epoch: epoch(commit, 0),
        held,
    };
    rig.through_commit_0();
    assert_eq!(rig.step(Input::SpoutExhausted { task: IN }), [Effect::WakeAt(200)]);
    // What they say of a commit before is no answer.
    assert_eq!(rig.step(held(0, 0, false)), []);
    assert_eq!(rig.step(held(1, 0, false)), []);
    rig.now_ms += 100;
    // It ends though nobody emitted in it.
    assert_eq!(rig.step(Input::Tick), [Effect::Open(epoch(2, 0))]);
    assert_eq!(rig.step(held(0, 1, true)), []);
    assert_eq!(rig.step(held(1, 1, false)), []);
    rig.step(Input::Active { task: COUNT[0], epoch: epoch(2, 0) });
    rig.now_ms += 100;
    assert_eq!(rig.step(Input::Processed(Some(epoch(2, 0)))), [Effect::Open(epoch(3, 0))]);
    // Words of two commits say nothing together: it may have gone from one to the other between them.
    assert_eq!(rig.step(held(0, 2, false)), []);
    assert_eq!(rig.step(held(1, 2, true)), []);
    assert_eq!(rig.step(held(1, 3, false)), []);
    assert!(!rig.coordinator.is_at_rest());
    assert_eq!(rig.step(held(0, 3, false)), [Effect::Drain]);
}

#[test]
fn a_topology_does_not_rest_while_something_is_on_its_way_round() {
    let mut rig = going_round();
    rig.through_commit_0();
    rig.report_all(0);
    rig.step(Input::Held { task: COUNT[1], epoch: epoch(0, 0), held: true });
    rig.step(Input::Processed(Some(epoch(1, 0))));
    rig.step(Input::DurableFrontier(Some(epoch(1, 0))));
    rig.step(Input::CommitAcked { commit: 0 });
    assert!(!rig.coordinator.is_at_rest());
    rig.step(Input::Held { task: COUNT[1], epoch: epoch(1, 0), held: false });
    assert!(rig.coordinator.is_at_rest());
}

#[test]
fn who_says_what_it_holds_is_in_the_plan_and_says_it_once() {
    let held = |task, commit| Input::Held { task, epoch: epoch(commit, 0), held: false };
    let mut rig = going_round();
    rig.through_commit_0();
    assert_eq!(rig.step(held(COUNT[0], 0)), []);
    assert_eq!(
        poison(&rig.step(held(COUNT[0], 0))),
        &Poison::Twice { task: "count/0".into(), commit: 0 }
    );
    let mut rig = going_round();
    rig.through_commit_0();
    assert_eq!(poison(&rig.step(held(OUT, 0))), &Poison::UnknownTask { task: OUT });
}

#[test]
fn a_spout_that_gave_its_capability_up_before_saying_so_is_waited_for() {
    let mut rig = Rig::new();
    rig.step(Input::Tick);
    rig.report_all(0);
    assert_eq!(rig.step(Input::DurableFrontier(None)), []);
    let out = rig.step(Input::SpoutExhausted { task: IN });
    assert!(matches!(&out[..], [Effect::Drain, Effect::AppendCommit(_)]), "{out:?}");
}

#[test]
fn stop_finishes_the_open_commit() {
    let mut rig = Rig::new();
    rig.through_commit_0();
    assert_eq!(rig.step(Input::Stop), [Effect::Drain]);
    assert_eq!(rig.step(Input::Stop), []);
    rig.now_ms += 1000;
    assert_eq!(rig.step(Input::Tick), [], "nothing opens any more");
    rig.report_all(0);
    rig.report_all(1);
    appended(&rig.step(Input::DurableFrontier(None)));
    assert_eq!(rig.step(Input::CommitAcked { commit: 1 }).last(), Some(&Effect::Finished));
}

#[test]
fn stop_before_anything_is_finished_at_once() {
    assert_eq!(Rig::new().step(Input::Stop), [Effect::Finished]);
}

#[test]
fn at_most_once_appends_nothing_and_commits_what_is_processed() {
    let mut rig = Rig::with(plan(Guarantee::AtMostOnce), CommitConfig::default());
    rig.through_commit_0();
    rig.report_all(0);
    assert_eq!(rig.step(Input::DurableFrontier(Some(epoch(1, 0)))), []);
    let out = rig.step(Input::Processed(Some(epoch(1, 0))));
    assert_eq!(out, [Effect::Committed(epoch(0, Epoch::MICRO_MAX))]);
    assert_eq!(rig.step(Input::Stop), [Effect::Drain]);
    let out = rig.step(Input::Processed(None));
    assert_eq!(out, [Effect::Committed(epoch(1, Epoch::MICRO_MAX))]);
    assert_eq!(rig.step(Input::Tick), [], "processed is not written yet");
    assert_eq!(rig.step(Input::DurableFrontier(None)), [Effect::Finished]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Reports in any order, some lost, frontier steps anywhere: a record is appended exactly when
    /// its reports are there, in order, and any loss ends in poison, never in a commit.
    #[test]
    fn no_interleaving_commits_what_is_not_reported(
        order in Just((0u32..3).flat_map(|c| (0..4usize).map(move |t| (c, t))).collect::<Vec<_>>())
            .prop_shuffle(),
        lost in proptest::option::of(0usize..12),
        ack_every in 1usize..5,
        frontier_every in 1usize..5,
    ) {
        let mut rig = Rig::new();
        rig.through_commit_0();
        for _ in 1..3 {
            rig.end_commit();
        }
        let mut arrived: BTreeMap<u32, usize> = BTreeMap::new();
        let mut in_flight: Option<u32> = None;
        let mut recorded: Option<u32> = None;
        let mut poisoned = false;
        let complete = |arrived: &BTreeMap<u32, usize>| {
            (0..3).take_while(|c| arrived.get(c) == Some(&4)).last()
        };
        let mut inputs = Vec::new();
        for (i, (commit, task)) in order.into_iter().enumerate() {
            if lost != Some(i) {
                inputs.push(Some((commit, task)));
            }
            inputs.push(None);
        }
        for (i, input) in inputs.into_iter().enumerate() {
            let mut out = Vec::new();
            if let Some((commit, task)) = input {
                *arrived.entry(commit).or_default() += 1;
                out.extend(rig.step(Input::Report(reports(commit)[task].clone())));
            } else if i % frontier_every == 0 {
                // An honest frontier: what has fully arrived.
                let next = complete(&arrived).map_or(0, |c| c + 1);
                out.extend(rig.step(Input::DurableFrontier(Some(epoch(next, 0)))));
            }
            if let Some(commit) = in_flight.filter(|_| i % ack_every == 0) {
                in_flight = None;
                out.extend(rig.step(Input::CommitAcked { commit }));
            }
            for effect in out {
                if let Effect::AppendCommit(record) = effect {
                    let commit = record.last.commit();
                    prop_assert!(in_flight.is_none(), "one record in flight");
                    prop_assert!(recorded.is_none_or(|before| commit > before), "in order");
                    prop_assert!(complete(&arrived).is_some_and(|c| commit <= c));
                    (in_flight, recorded) = (Some(commit), Some(commit));
                } else {
                    prop_assert!(!matches!(effect, Effect::Poison { .. }), "{:?}", effect);
                }
            }
        }
        // Now the frontier passes everything, whatever is missing.
        for effect in rig.step(Input::DurableFrontier(Some(epoch(3, 0)))) {
            poisoned |= matches!(effect, Effect::Poison { .. });
            if let Effect::AppendCommit(record) = effect {
                recorded = Some(record.last.commit());
            }
        }
        prop_assert_eq!(poisoned, lost.is_some());
        if poisoned {
            prop_assert!(recorded.is_none_or(|c| Some(c) <= complete(&arrived)));
        }
    }
}
