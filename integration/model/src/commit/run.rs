//! One generation: the coordinator that ships, and two workers as they are seen from it.
//!
//! A worker does at once what nobody can see from outside: it counts what comes for the commit it works on, stashes
//! what comes for a later one, and closes a commit when every spout has left it. What it writes is on its way until
//! it [lands](Run::land_state), and is reported then.

use std::collections::VecDeque;

use egret_schemas::{EntryId, Epoch, Generation, LedgerId};
use egret_state::commit::{
    CommitComponent, CommitConfig, CommitPlan, CommitRecord, Coordinator, Durable, Effect,
    Guarantee, Input, LedgerRange, Opened, Outcome, Role, Slice, TaskId, TaskReport,
};

use super::store::{Ledger, Store, Tuple, WORKERS, position, read_of, split_key, worker_of};

const SPOUT: u32 = 0;
const COUNT: u32 = 1;
const SINK: u32 = 2;

fn task(component: u32, worker: usize) -> TaskId {
    TaskId { component, task: u32::try_from(worker).expect("two") }
}

fn plan(generation: Generation, fingerprint: u64) -> CommitPlan {
    let component = |name: &str, role| CommitComponent { name: name.to_owned(), role, tasks: 2 };
    CommitPlan {
        generation,
        fingerprint,
        guarantee: Guarantee::EffectivelyOnce,
        key_groups: 2,
        components: vec![
            component("in", Role::Spout),
            component("count", Role::State),
            component("out", Role::Sink),
        ],
        feedbacks: Vec::new(),
        timed: Vec::new(),
    }
}

/// One worker: a spout, what it counts, and a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    /// Where the spout is; `None` when it has left.
    epoch: Option<Epoch>,
    orders: VecDeque<Option<Epoch>>,
    read: u64,
    /// How far it was read when that was last reported.
    told: u64,
    active: bool,
    /// The commit that is worked on, what was counted up to now, and the output of it.
    commit: u32,
    counted: u64,
    output: Vec<Tuple>,
    stash: Vec<(Epoch, Tuple)>,
    ledger: LedgerId,
    /// On their way, by commit.
    state_writes: VecDeque<(u32, u64)>,
    sink_writes: VecDeque<(u32, Vec<Tuple>)>,
    /// The first commit not reported, by role.
    reported: [u32; 3],
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    coordinator: Coordinator,
    workers: [Worker; WORKERS],
    numbers: [u64; WORKERS],
    ledger: LedgerId,
    /// The record on its way, and one that landed whose answer is.
    in_flight: Option<CommitRecord>,
    landed: Option<CommitRecord>,
    /// The frontiers as the coordinator was told them.
    frontiers: (Option<Epoch>, Option<Epoch>),
    last_opened: Epoch,
    retired: Vec<LedgerId>,
    /// Something went wrong, so that it may give up.
    pub troubled: bool,
    /// Why it gave up.
    pub over: Option<Over>,
}

/// How a run ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// Everything is committed.
    Finished,
    /// It may not go on.
    Poisoned(String),
}

impl Run {
    /// Begins a generation: its state is restored, its first epoch open.
    ///
    /// # Errors
    /// What is not as it was committed.
    pub fn open(
        opened: &Opened,
        numbers: [u64; WORKERS],
        store: &mut Store,
    ) -> Result<Run, String> {
        let (record, generation) = (&opened.record, opened.topology.generation);
        let config = CommitConfig {
            // No time passes: what is due is due at once, so only the order of events matters.
            epoch_ms: 0,
            commit_ms: 0,
            commit_ms_max: None,
            epochs_in_flight_max: 2,
            commits_in_flight_max: 2,
        };
        let plan = plan(generation, record.fingerprint);
        let mut workers = Vec::new();
        for worker in 0..WORKERS {
            let read = read_of(record, worker);
            workers.push(Worker {
                epoch: Some(Epoch(0)),
                orders: VecDeque::new(),
                read,
                told: read,
                active: false,
                commit: 0,
                counted: store.state_of(record, worker)?,
                output: Vec::new(),
                stash: Vec::new(),
                ledger: opened.state_ledgers[worker],
                state_writes: VecDeque::new(),
                sink_writes: VecDeque::new(),
                reported: [0; 3],
            });
            store.states.entry(opened.state_ledgers[worker]).or_default();
        }
        let mut run = Run {
            coordinator: Coordinator::new(plan, config, record.clone()),
            workers: workers.try_into().expect("two"),
            numbers,
            ledger: opened.commit_ledger.expect("effectively-once has one"),
            in_flight: None,
            landed: None,
            frontiers: (Some(Epoch(0)), Some(Epoch(0))),
            last_opened: Epoch(0),
            retired: opened.retired.iter().copied().collect(),
            troubled: false,
            over: None,
        };
        run.tell(Input::Tick, store)?;
        for worker in 0..WORKERS {
            run.when_exhausted(worker, store)?;
        }
        Ok(run)
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        self.coordinator.last_commit().generation
    }

    /// Hands a fact to the coordinator and holds every effect to what is really so.
    fn tell(&mut self, input: Input, store: &mut Store) -> Result<(), String> {
        let mut out = Vec::new();
        self.coordinator.step(0, input, &mut out);
        for effect in out {
            match effect {
                Effect::Open(epoch) => {
                    if epoch <= self.last_opened || epoch.generation() != self.generation() {
                        return Err(format!("{epoch} opens after {}", self.last_opened));
                    }
                    self.last_opened = epoch;
                    self.workers.iter_mut().for_each(|worker| worker.orders.push_back(Some(epoch)));
                }
                Effect::Drain => {
                    self.workers.iter_mut().for_each(|worker| worker.orders.push_back(None));
                }
                Effect::AppendCommit(record) => {
                    if self.in_flight.is_some() {
                        return Err("two records are on their way".to_owned());
                    }
                    self.in_flight = Some(record);
                }
                Effect::Committed(epoch) => {
                    // What it knows of when it shows it.
                    let landed = self.landed.take().filter(|record| record.last == epoch);
                    let shown = landed.or_else(|| self.in_flight.clone());
                    let record = shown.ok_or_else(|| format!("{epoch} is shown of no record"))?;
                    store.publish(&record)?;
                }
                Effect::Finished => self.over = Some(Over::Finished),
                Effect::Poison { why } => {
                    if !self.troubled {
                        return Err(format!("nothing went wrong, and yet: {why}"));
                    }
                    self.over = Some(Over::Poisoned(why.to_string()));
                }
                Effect::WakeAt(ms) => return Err(format!("nothing is ever due at {ms}")),
            }
        }
        Ok(())
    }

    /// Tells the coordinator where the frontiers are, if they moved, after the workers closed what they can.
    fn settle(&mut self, store: &mut Store) -> Result<(), String> {
        loop {
            let spouts = least(self.workers.iter().map(|worker| worker.epoch));
            for worker in &mut self.workers {
                worker.close_up_to(spouts, self.last_opened);
            }
            let stashed = self.workers.iter().flat_map(|worker| &worker.stash);
            let stashed = stashed.map(|(epoch, _)| *epoch).min();
            let processed = least([spouts, stashed.or(spouts)]);
            let reported = self.workers.iter().flat_map(|worker| worker.reported).min();
            let next = reported.expect("two workers");
            let gone = spouts.is_none() && next > self.last_opened.commit();
            let durable = (!gone).then(|| Epoch::new(self.generation(), next, 0));
            // It begins before everything.
            let durable = if next == 0 { self.frontiers.1 } else { durable };
            if self.frontiers == (processed, durable) || self.over.is_some() {
                return Ok(());
            }
            self.frontiers = (processed, durable);
            self.tell(Input::Processed(processed), store)?;
            self.tell(Input::DurableFrontier(durable), store)?;
        }
    }

    fn report(
        &mut self,
        (component, worker): (u32, usize),
        (commit, what): (u32, Durable),
        store: &mut Store,
    ) -> Result<(), String> {
        let (generation, task) = (self.generation(), task(component, worker));
        self.workers[worker].reported[component as usize] = commit + 1;
        self.tell(Input::Report(TaskReport { generation, task, commit, what }), store)
    }

    /// Whether a spout may emit.
    pub fn may_emit(&self, worker: usize) -> bool {
        let at = &self.workers[worker];
        let here = at.epoch.is_some_and(|epoch| epoch.generation() == self.generation());
        here && at.read < self.numbers[worker]
    }

    /// A spout emits its next number.
    ///
    /// # Errors
    /// What does not hold; here as in what follows.
    pub fn emit(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        let at = &mut self.workers[worker];
        let (epoch, tuple) = (at.epoch.expect("it may emit"), (worker, at.read));
        at.read += 1;
        let first = !std::mem::replace(&mut at.active, true);
        let to = &mut self.workers[worker_of(tuple)];
        if epoch.commit() == to.commit {
            to.count(tuple);
        } else {
            to.stash.push((epoch, tuple));
        }
        if first {
            self.tell(Input::Active { task: task(SPOUT, worker), epoch }, store)?;
        }
        self.when_exhausted(worker, store)?;
        self.settle(store)
    }

    fn when_exhausted(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        match self.workers[worker].read == self.numbers[worker] {
            true => self.tell(Input::SpoutExhausted { task: task(SPOUT, worker) }, store),
            false => Ok(()),
        }
    }

    /// Whether a spout was told to move.
    pub fn may_move(&self, worker: usize) -> bool {
        !self.workers[worker].orders.is_empty()
    }

    /// A spout leaves its epoch for the next, and reports when it leaves a commit.
    ///
    /// # Errors
    /// What does not hold.
    pub fn move_on(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        let generation = self.generation();
        let at = &mut self.workers[worker];
        let order = at.orders.pop_front().expect("it may move");
        let from = at.epoch.expect("it has not left");
        at.epoch = order;
        at.active = false;
        let leaves = order.is_none_or(|to| to.commit() > from.commit());
        if from.generation() == generation && leaves {
            // Splits not named keep their position.
            let moved = at.read > at.told;
            at.told = at.read;
            let own = moved.then(|| (split_key(worker), at.read.to_le_bytes().to_vec()));
            let what = Durable::Spout { positions: own.into_iter().collect(), mark: None };
            self.report((SPOUT, worker), (from.commit(), what), store)?;
        }
        self.settle(store)
    }

    /// Whether state is on its way to its ledger.
    pub fn may_land_state(&self, worker: usize) -> bool {
        !self.workers[worker].state_writes.is_empty()
    }

    /// State reaches its ledger, or is refused.
    ///
    /// # Errors
    /// What does not hold.
    pub fn land_state(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        let at = &mut self.workers[worker];
        let (commit, counted) = at.state_writes.pop_front().expect("it may land");
        let ledger = store.states.entry(at.ledger).or_default();
        if ledger.closed {
            self.refused();
            return Ok(());
        }
        ledger.entries.push(counted);
        let last = EntryId(ledger.entries.len() as u64).before();
        let group = u32::try_from(worker).expect("two");
        let ledgers = vec![LedgerRange { ledger: at.ledger, last }];
        let slices = vec![Slice { first_group: group, end_group: group + 1, ledgers }];
        self.report((COUNT, worker), (commit, Durable::State { slices }), store)?;
        self.settle(store)
    }

    /// Whether output is on its way to its partition.
    pub fn may_land_sink(&self, worker: usize) -> bool {
        !self.workers[worker].sink_writes.is_empty()
    }

    /// Output reaches its partition, or is refused.
    ///
    /// # Errors
    /// What does not hold.
    pub fn land_sink(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        let (commit, output) = self.workers[worker].sink_writes.pop_front().expect("it may land");
        let partition = &mut store.partitions[worker];
        if partition.fence > self.generation() {
            self.refused();
            return Ok(());
        }
        // Partitions not named keep their end.
        let wrote = !output.is_empty();
        partition.entries.extend(output);
        let end = position(partition.entries.len() as u64);
        let number = u32::try_from(worker).expect("two");
        let partitions = wrote.then_some((number, end)).into_iter().collect();
        self.report((SINK, worker), (commit, Durable::Sink { partitions }), store)?;
        self.settle(store)
    }

    /// Output is lost, and what waited for it is let go without a report.
    ///
    /// # Errors
    /// What does not hold.
    pub fn drop_sink(&mut self, worker: usize, store: &mut Store) -> Result<(), String> {
        self.troubled = true;
        let at = &mut self.workers[worker];
        let last = at.sink_writes.back().expect("it may land").0;
        at.sink_writes.clear();
        at.reported[SINK as usize] = last + 1;
        self.settle(store)
    }

    /// Somebody else has its ledgers.
    fn refused(&mut self) {
        self.troubled = true;
        self.over = Some(Over::Poisoned("fenced".to_owned()));
    }

    /// The record on its way.
    pub fn in_flight(&self) -> Option<&CommitRecord> {
        self.in_flight.as_ref().filter(|_| self.landed.is_none())
    }

    /// The record on its way reaches its ledger, or is refused.
    ///
    /// # Errors
    /// What does not hold.
    pub fn land_record(&mut self, store: &mut Store) -> Result<(), String> {
        let record = self.in_flight.take().expect("one is on its way");
        match store.append(self.ledger, record.clone())? {
            true => self.landed = Some(record),
            false => self.failed("the ledger was fenced", store)?,
        }
        Ok(())
    }

    /// What is heard of the record: nothing, whether it landed or not.
    ///
    /// # Errors
    /// What does not hold.
    pub fn lose_answer(&mut self, landed: bool, store: &mut Store) -> Result<(), String> {
        let record = self.in_flight.take().expect("one is on its way");
        if landed {
            store.append(self.ledger, record.clone())?;
        }
        self.in_flight = Some(record);
        self.failed("no answer", store)
    }

    fn failed(&mut self, why: &str, store: &mut Store) -> Result<(), String> {
        self.troubled = true;
        let why = why.to_owned();
        self.tell(Input::CommitFailed { why, outcome: Outcome::Unknown }, store)?;
        self.settle(store)
    }

    /// Whether an answer is on its way.
    pub fn may_hear(&self) -> bool {
        self.landed.is_some()
    }

    /// The answer arrives.
    ///
    /// # Errors
    /// What does not hold.
    pub fn hear(&mut self, store: &mut Store) -> Result<(), String> {
        let commit = self.landed.as_ref().expect("it may hear").last.commit();
        self.tell(Input::CommitAcked { commit }, store)?;
        self.settle(store)
    }

    /// A report of a sink of the generation before arrives.
    ///
    /// # Errors
    /// What does not hold.
    pub fn hear_late(&mut self, store: &mut Store) -> Result<(), String> {
        let generation = Generation(self.generation().0 - 1);
        let commit = self.workers[1].reported[SINK as usize];
        let what = Durable::Sink { partitions: [(1, position(0))].into() };
        let report = TaskReport { generation, task: task(SINK, 1), commit, what };
        self.tell(Input::Report(report), store)?;
        self.settle(store)
    }

    /// Ledgers that may be deleted.
    pub fn retired(&self) -> &[LedgerId] {
        &self.retired
    }

    /// Deletes them. Bookies remember what was deleted: nobody writes it again.
    pub fn trim(&mut self, store: &mut Store) {
        for ledger in self.retired.drain(..) {
            if let Some(held) = store.states.get_mut(&ledger) {
                *held = Ledger { entries: Vec::new(), closed: true };
            } else {
                store.commits.insert(ledger, Ledger { entries: Vec::new(), closed: true });
            }
        }
    }

    /// Whether nothing it may still do has any effect.
    pub fn is_shut_out(&self, store: &Store) -> bool {
        let closed = |ledger| store.states.get(&ledger).is_none_or(|held| held.closed);
        let fenced = |partition: &super::store::Partition| partition.fence > self.generation();
        self.retired.is_empty()
            && store.commits.get(&self.ledger).is_none_or(|held| held.closed)
            && self.workers.iter().all(|worker| closed(worker.ledger))
            && store.partitions.iter().all(fenced)
    }
}

impl Worker {
    fn count(&mut self, tuple: Tuple) {
        self.counted += 1;
        self.output.push(tuple);
    }

    /// Closes the commits that every spout has left.
    fn close_up_to(&mut self, spouts: Option<Epoch>, opened: Epoch) {
        while self.commit <= opened.commit()
            && opened != Epoch(0)
            && spouts.is_none_or(|at| {
                at.generation() == opened.generation() && at.commit() > self.commit
            })
        {
            self.state_writes.push_back((self.commit, self.counted));
            self.sink_writes.push_back((self.commit, std::mem::take(&mut self.output)));
            self.commit += 1;
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.stash)
                .into_iter()
                .partition(|(epoch, _)| epoch.commit() == self.commit);
            self.stash = later;
            due.into_iter().for_each(|(_, tuple)| self.count(tuple));
        }
    }
}

/// The least of some frontiers; `None` is behind everything.
fn least(of: impl IntoIterator<Item = Option<Epoch>>) -> Option<Epoch> {
    of.into_iter().flatten().min()
}
