//! Every interleaving of a small world: one spout task, one sink task, the coordinator, the commit
//! ledger; lost replies, a failed append, late messages of dead generations, and crashes at every step.
//!
//! The spout emits the numbers 0, 1, …; the sink's partition must hold them once each and in order, as
//! far as any commit record says, in every state that can be reached.

#![expect(clippy::cast_possible_truncation, reason = "the numbers of a small world")]

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use egret_schemas::{EntryId, Epoch, Generation, SegmentId};

use super::coordinator::{CommitConfig, Coordinator, Effect, Input, Outcome};
use super::guarantee::Guarantee;
use super::plan::{CommitComponent, CommitPlan, Role, TaskId};
use super::record::CommitRecord;
use super::report::{Durable, TaskReport};

const SPOUT: TaskId = TaskId { component: 0, task: 0 };
const SINK: TaskId = TaskId { component: 1, task: 0 };
const EPOCHS_MAX: usize = 2;

/// What may go wrong, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    tuples: u64,
    crashes: u8,
    lost_replies: u8,
    failed_appends: u8,
    stop: bool,
    /// Commits that may be under way.
    commits_max: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    budget: Budget,
    generation: Generation,
    coordinator: Coordinator,
    /// Nothing comes out of the coordinator any more, but a crash.
    poisoned: bool,
    finished: bool,
    /// Something went wrong in this generation: poison is allowed.
    faulty: bool,
    last_opened: Epoch,
    // The spout: its epoch (none: capability gone), position, and orders not taken yet.
    epoch: Option<Epoch>,
    position: u64,
    active: bool,
    done: bool,
    exhausted: bool,
    orders: VecDeque<Option<Epoch>>,
    // Between spout and sink.
    data: VecDeque<(Epoch, u64)>,
    // The sink: the commit it works on, its output, and appends not acknowledged (commit, end).
    commit: u32,
    output: Vec<u64>,
    syncing: VecDeque<(u32, u64)>,
    acked_end: u64,
    /// Commits the sink let go of without a report.
    let_go: u32,
    // On the way to the coordinator.
    flow: VecDeque<Input>,
    reports: [VecDeque<TaskReport>; 2],
    reported: [u32; 2],
    late: Option<TaskReport>,
    // The commit ledger; what is being appended; an acknowledgement on its way.
    ledger: Vec<CommitRecord>,
    in_flight: Option<CommitRecord>,
    ack: Option<u32>,
}

fn plan(generation: Generation) -> CommitPlan {
    let component = |name: &str, role| CommitComponent { name: name.to_owned(), role, tasks: 1 };
    CommitPlan {
        generation,
        fingerprint: 1,
        guarantee: Guarantee::EffectivelyOnce,
        key_groups: 1,
        components: vec![component("in", Role::Spout), component("out", Role::Sink)],
        feedbacks: Vec::new(),
        timed: Vec::new(),
    }
}

fn coordinator(last: &CommitRecord, commits_max: usize) -> Coordinator {
    let config = CommitConfig {
        // No time passes: what is due is due at once, so only the order of events matters.
        epoch_ms: 0,
        commit_ms: 0,
        commit_ms_max: None,
        epochs_in_flight_max: EPOCHS_MAX,
        commits_in_flight_max: commits_max,
    };
    Coordinator::new(plan(last.generation), config, last.clone())
}

fn committed_position(record: &CommitRecord) -> u64 {
    let position = record.spouts.get("in").map(|splits| splits[&b"s"[..]].clone());
    position.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn committed_end(record: &CommitRecord) -> u64 {
    record.sinks.get("out").map_or(0, |ends| EntryId::after(ends[&0].1).0)
}

impl World {
    fn new(budget: Budget) -> World {
        let genesis = CommitRecord::genesis(Generation(1), 1);
        let mut world = World {
            budget,
            generation: Generation(1),
            coordinator: coordinator(&genesis, budget.commits_max),
            poisoned: false,
            finished: false,
            faulty: false,
            last_opened: Epoch(0),
            epoch: Some(Epoch(0)),
            position: 0,
            active: false,
            done: false,
            exhausted: false,
            orders: VecDeque::new(),
            data: VecDeque::new(),
            commit: 0,
            output: Vec::new(),
            syncing: VecDeque::new(),
            acked_end: 0,
            let_go: 0,
            flow: VecDeque::new(),
            reports: Default::default(),
            reported: [0; 2],
            late: None,
            ledger: vec![genesis],
            in_flight: None,
            ack: None,
        };
        world.tell(Input::Tick);
        world
    }

    /// Hands a fact to the coordinator and checks every effect against what is really so.
    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.coordinator.step(0, input, &mut out);
        for effect in out {
            match effect {
                Effect::Open(epoch) => {
                    assert!(epoch > self.last_opened, "{epoch} was used before");
                    assert_eq!(epoch.generation(), self.generation);
                    self.last_opened = epoch;
                    self.orders.push_back(Some(epoch));
                }
                Effect::Drain => self.orders.push_back(None),
                Effect::AppendCommit(record) => self.check_record(record),
                Effect::Committed(epoch) => {
                    let covered = self.ledger.last().unwrap().last;
                    assert!(epoch <= covered, "{epoch} published, only {covered} is durable");
                }
                Effect::Finished => self.finished = true,
                Effect::Poison { why } => {
                    assert!(self.faulty, "nothing went wrong, and yet: {why}");
                    self.poisoned = true;
                }
                Effect::WakeAt(ms) => panic!("nothing is ever due at {ms}"),
            }
        }
    }

    /// No commit without all reports; what it says is durable, and holds each input once.
    fn check_record(&mut self, record: CommitRecord) {
        assert!(self.in_flight.is_none(), "one record in flight");
        assert!(record.last > self.ledger.last().unwrap().last, "commits rise");
        assert_eq!(record.generation, self.generation);
        let commit = record.last.commit();
        assert!(self.reported.iter().all(|&next| next > commit), "{commit} is not reported");
        let (position, end) = (committed_position(&record), committed_end(&record));
        assert!(end <= self.acked_end, "output up to {end} is not durable");
        let prefix: Vec<u64> = (0..position).collect();
        assert_eq!(self.output[..end as usize], prefix, "each input once, in order");
        self.in_flight = Some(record);
    }

    /// The frontier at the sink's input.
    fn input_frontier(&self) -> Option<Epoch> {
        self.data.front().map(|(epoch, _)| *epoch).or(self.epoch)
    }

    /// The durable frontier: past the commits both tasks have let go of and reported, if they did.
    fn durable_frontier(&self) -> Option<Epoch> {
        let next = self.reported[0].min(self.reported[1].max(self.let_go));
        let all = self.epoch.is_none() && next > self.last_opened.commit();
        (!all).then(|| Epoch::new(self.generation, next, 0))
    }

    /// A new generation takes over: the commit ledger is closed and read first, then the output is
    /// cut at its last record, then that is restated.
    fn recover(&mut self) {
        self.late = self.reports.iter_mut().find_map(VecDeque::pop_front).or(self.late.take());
        let last = self.ledger.last().unwrap();
        let (position, end) = (committed_position(last), committed_end(last));
        assert!(end <= self.acked_end, "committed output is missing");
        let generation = self.generation.next().unwrap();
        let restated = last.restated(generation, 1);
        let mut output = self.output.clone();
        output.truncate(end as usize);
        *self = World {
            budget: self.budget,
            late: self.late.take(),
            generation,
            coordinator: coordinator(&restated, self.budget.commits_max),
            output,
            position,
            acked_end: end,
            last_opened: self.last_opened,
            ledger: self.ledger.drain(..).chain([restated]).collect(),
            ..World::new(self.budget)
        };
        self.orders.clear();
        self.tell(Input::Tick);
    }

    /// Every world one step away, each with the name of the step.
    fn next(&self) -> Vec<(&'static str, World)> {
        let mut worlds = Vec::new();
        let mut step = |name, act: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            act(&mut world);
            worlds.push((name, world));
        };
        if self.budget.crashes > 0 && !self.finished {
            let crash = |w: &mut World, landed: bool| {
                w.budget.crashes -= 1;
                if landed {
                    w.ledger.extend(w.in_flight.take());
                }
                w.recover();
            };
            step("crash", &|w| crash(w, false));
            if self.in_flight.is_some() {
                step("crash, the record landed", &|w| crash(w, true));
            }
        }
        if self.poisoned {
            step("restart after poison", &World::recover);
            if self.in_flight.is_some() {
                step("restart after poison, the record landed", &|w| {
                    w.ledger.extend(w.in_flight.take());
                    w.recover();
                });
            }
            return worlds;
        }
        if self.finished {
            return worlds;
        }
        self.spout_steps(&mut step);
        self.sink_steps(&mut step);
        self.delivery_steps(&mut step);
        self.ledger_steps(&mut step);
        worlds
    }

    fn spout_steps(&self, step: &mut impl FnMut(&'static str, &dyn Fn(&mut World))) {
        if let Some(epoch) = self.epoch.filter(|epoch| epoch.generation() == self.generation) {
            if self.position < self.budget.tuples && !self.done {
                step("emit", &|w| {
                    w.data.push_back((epoch, w.position));
                    w.position += 1;
                    if !w.active {
                        w.flow.push_back(Input::Active { task: SPOUT, epoch });
                    }
                    w.active = true;
                });
            }
            if self.active && !self.done {
                step("done", &|w| {
                    w.flow.push_back(Input::SpoutDone { task: SPOUT, epoch });
                    w.done = true;
                });
            }
            if self.position == self.budget.tuples && !self.exhausted && !self.budget.stop {
                step("exhausted", &|w| {
                    w.flow.push_back(Input::SpoutExhausted { task: SPOUT });
                    w.exhausted = true;
                });
            }
        }
        if let Some(&order) = self.orders.front() {
            step("move", &|w| {
                w.orders.pop_front();
                let from = w.epoch.unwrap();
                let leaves = order.is_none_or(|to| to.commit() > from.commit());
                if from.generation() == w.generation && leaves {
                    let positions = [(b"s".to_vec(), w.position.to_le_bytes().to_vec())].into();
                    w.reports[0].push_back(TaskReport {
                        generation: w.generation,
                        task: SPOUT,
                        commit: from.commit(),
                        what: Durable::Spout { positions, mark: None },
                    });
                }
                w.epoch = order;
                (w.active, w.done) = (false, false);
            });
        }
    }

    fn sink_steps(&self, step: &mut impl FnMut(&'static str, &dyn Fn(&mut World))) {
        if self.data.front().is_some_and(|(epoch, _)| epoch.commit() == self.commit) {
            step("process", &|w| {
                let (_, tuple) = w.data.pop_front().unwrap();
                w.output.push(tuple);
            });
        }
        let own = Epoch::new(self.generation, self.commit, Epoch::MICRO_MAX);
        if self.commit <= self.last_opened.commit()
            && self.input_frontier().is_none_or(|frontier| frontier > own)
        {
            step("write", &|w| {
                w.syncing.push_back((w.commit, w.output.len() as u64));
                w.commit += 1;
            });
        }
        if let Some(&(commit, end)) = self.syncing.front() {
            step("sync", &|w| {
                w.syncing.pop_front();
                w.acked_end = end;
                let last = EntryId(end).before();
                let partitions = [(0, (SegmentId(1), last))].into();
                w.reports[1].push_back(TaskReport {
                    generation: w.generation,
                    task: SINK,
                    commit,
                    what: Durable::Sink { partitions },
                });
            });
            if self.budget.failed_appends > 0 {
                step("sync fails and the capability is dropped", &|w| {
                    w.budget.failed_appends -= 1;
                    w.syncing.clear();
                    (w.faulty, w.let_go) = (true, w.commit);
                });
            }
        }
    }

    fn delivery_steps(&self, step: &mut impl FnMut(&'static str, &dyn Fn(&mut World))) {
        if !self.flow.is_empty() {
            step("deliver flow", &|w| {
                let input = w.flow.pop_front().unwrap();
                w.tell(input);
            });
        }
        for task in 0..2 {
            if !self.reports[task].is_empty() {
                step("deliver report", &|w| {
                    let report = w.reports[task].pop_front().unwrap();
                    w.reported[task] = report.commit + 1;
                    w.tell(Input::Report(report));
                });
            }
        }
        step("deliver processed", &|w| {
            let frontier = w.input_frontier();
            w.tell(Input::Processed(frontier));
        });
        step("deliver durable", &|w| {
            let frontier = w.durable_frontier();
            w.tell(Input::DurableFrontier(frontier));
        });
        if self.late.is_some() {
            step("deliver a dead generation's report", &|w| {
                let report = w.late.take().unwrap();
                w.tell(Input::Report(report));
            });
        }
        if self.budget.stop && self.position > 0 {
            step("stop", &|w| {
                w.budget.stop = false;
                w.exhausted = true;
                w.tell(Input::Stop);
            });
        }
    }

    fn ledger_steps(&self, step: &mut impl FnMut(&'static str, &dyn Fn(&mut World))) {
        if self.in_flight.is_some() && self.ack.is_none() {
            step("record lands", &|w| {
                let record = w.in_flight.take().unwrap();
                w.ack = Some(record.last.commit());
                w.ledger.push(record);
            });
            if self.budget.lost_replies > 0 {
                let lose = |w: &mut World, landed: bool| {
                    w.budget.lost_replies -= 1;
                    w.faulty = true;
                    if landed {
                        w.ledger.extend(w.in_flight.take());
                    }
                    let why = "no reply".to_owned();
                    w.tell(Input::CommitFailed { why, outcome: Outcome::Unknown });
                };
                step("the reply is lost, the record landed", &|w| lose(w, true));
                step("the reply is lost with the record", &|w| lose(w, false));
            }
        }
        if let Some(commit) = self.ack {
            step("ack", &|w| {
                w.ack = None;
                w.tell(Input::CommitAcked { commit });
            });
        }
    }

    /// What must hold at rest.
    fn check_end(&self, budget: Budget) {
        assert!(self.finished, "stuck: nothing can happen and nothing is finished");
        let last = self.ledger.last().unwrap();
        let position = committed_position(last);
        assert_eq!(position, self.position, "all that was emitted is committed");
        assert_eq!(committed_end(last), self.output.len() as u64);
        assert!(budget.stop || position == budget.tuples, "the whole input is committed");
    }
}

/// Visits every reachable world once; returns how many.
fn explore(budget: Budget) -> usize {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let start = World::new(budget);
    let mut seen: HashSet<u64> = [hasher.hash_one(&start)].into();
    let mut queue = VecDeque::from([start]);
    while let Some(world) = queue.pop_back() {
        let mut moved = false;
        for (name, next) in world.next() {
            let crash = name.starts_with("crash");
            moved |= !crash && next != world;
            if seen.insert(hasher.hash_one(&next)) {
                queue.push_back(next);
            }
        }
        if !moved {
            world.check_end(budget);
        }
    }
    println!("{} worlds", seen.len());
    seen.len()
}

const CALM: Budget = Budget {
    tuples: 2,
    crashes: 0,
    lost_replies: 0,
    failed_appends: 0,
    stop: false,
    commits_max: 1,
};

#[test]
fn every_interleaving_without_faults_commits_everything() {
    assert!(explore(CALM) > 1000);
    assert!(explore(Budget { commits_max: 2, ..CALM }) > 1000);
}

#[test]
fn every_interleaving_with_crashes_keeps_each_input_once() {
    assert!(explore(Budget { crashes: 1, ..CALM }) > 10_000);
    assert!(explore(Budget { tuples: 1, crashes: 2, ..CALM }) > 1000);
}

#[test]
fn every_interleaving_with_lost_replies_keeps_each_input_once() {
    assert!(explore(Budget { lost_replies: 1, ..CALM }) > 10_000);
}

#[test]
fn every_interleaving_with_failed_appends_keeps_each_input_once() {
    assert!(explore(Budget { failed_appends: 1, ..CALM }) > 10_000);
}

#[test]
fn every_interleaving_with_a_stop_commits_what_was_emitted() {
    assert!(explore(Budget { stop: true, ..CALM }) > 1000);
}

#[test]
#[ignore = "minutes: run it before a change of the protocol"]
fn every_interleaving_of_a_larger_world_keeps_each_input_once() {
    let faults = Budget { crashes: 1, lost_replies: 1, failed_appends: 1, ..CALM };
    assert!(explore(faults) > 100_000);
    assert!(explore(Budget { tuples: 1, failed_appends: 2, lost_replies: 2, ..CALM }) > 1000);
    assert!(explore(Budget { crashes: 2, commits_max: 2, ..CALM }) > 100_000);
    assert!(explore(Budget { tuples: 3, crashes: 1, ..CALM }) > 100_000);
}
