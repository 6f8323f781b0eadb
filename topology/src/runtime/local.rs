//! A topology in this process: one generation after another until it finishes or keeps failing; alone, as
//! the first of several processes, or as one of the others.

mod children;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use egret_log::Log;
use egret_log::client::LedgerWriter;
use egret_log::stream::User;
use egret_log::stream::error::CatalogError;
use egret_schemas::{Epoch, Generation};
use egret_state::Guarantee;
use egret_state::commit::{
    CommitComponent, CommitConfig, CommitPlan, CommitRecord, Coordinator, Graph, Origin, Role,
    Timed, TopologyRecord,
};

pub use children::Children;

use super::mesh::{Begin, Leader, Member, MeshError, Placed, Processes, Recruits, Told};
use super::takeover::OwnedPartitions;
use super::topology_store::TopologyStore;
use super::{Announcer, CommitLog, Faults, Kept, Progress, Restored, RunOptions, takeover};
use crate::budget::Budget;
use crate::builder::{Env, Outputs, Part as BuiltPart, SpoutPart, Topology};
use crate::dataflow::{Compiled, Failure, Shared, run_workers};
use crate::metrics::MetricsServer;
use crate::plan::{Kind, LogicalPlan, PhysicalPlan};
use crate::task::{OpenStateLedger, keep_schema};
use crate::{Error, Result, is_taken_over};

/// Processes beyond this are a mistake: each is connected to every other.
const PROCESSES_MAX: u32 = 64;

/// Generations without a commit between that may lose a process. More than of those that fail by
/// themselves: whoever kills processes from outside may well do so again before the first commit.
const LOST_MAX: u32 = 20;

/// Generations that failed one after another, without a commit between.
#[derive(Debug, Default)]
struct InARow {
    failed: u32,
    /// They lost a process, and nothing else is known.
    lost: u32,
}

impl InARow {
    /// Counts one more; whether there may be another.
    fn counts(&mut self, failure: &Failure, tries: u32) -> bool {
        match failure.severed {
            true => self.lost += 1,
            false => self.failed += 1,
        }
        self.failed < tries && self.lost < LOST_MAX.max(tries)
    }
}

/// Generations of one run that failed.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    in_a_row: InARow,
    count: u32,
    /// Commits when the generation under way began.
    commits_before: u64,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The generation that finished.
    pub generation: Generation,
    /// Tuples emitted by spouts, replays included.
    pub tuples: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Generations that failed before.
    pub restarts: u32,
}

impl Topology {
    /// Runs the topology on this thread and worker threads until every spout reached its end, or
    /// until [`Progress::stop`]. A failed generation is followed by another from the last commit.
    ///
    /// # Errors
    /// When options are out of range, a stream is missing or not what a component needs, the state
    /// cannot be restored, or generations keep failing without a commit between.
    pub fn run(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
    ) -> Result<Summary> {
        self.run_among(log, options, progress, &Processes::One)
    }

    /// Runs the topology in several processes: in the first of them until it finishes, in the others until
    /// the first says that it did. A process that goes away or stands still is started again, and the
    /// topology goes on from its last commit in all of them.
    ///
    /// # Errors
    /// As for [`run`](Topology::run); and when the processes do not come together.
    pub fn run_among(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        processes: &Processes,
    ) -> Result<Summary> {
        options.check()?;
        crate::dataflow::register_messages();
        let kept = options.keep();
        let rank = match processes {
            Processes::Other(seat) => seat.rank,
            // Another host, or a port of its own: whoever placed it said which.
            _ => 0,
        };
        let _told = self.tell_metrics(options, progress, rank)?;
        match processes {
            Processes::One | Processes::First { count: 1, .. } => {
                self.lead(log, options, progress, (&mut None, &kept))
            }
            Processes::Other(seat) => {
                let silence = options.silence();
                let member = Member::join(seat, self.fingerprint(), silence, progress)?;
                self.follow(log, &member, progress, &kept)
            }
            Processes::First { count, starter } => {
                let recruits = Recruits::Started(Arc::clone(starter));
                self.lead_among((log, &kept), options, progress, (*count, recruits))
            }
            Processes::Placed(placed) => {
                let Placed { rank, count, .. } = *placed;
                if rank >= count {
                    let (what, value) = ("rank", u64::from(rank));
                    return Err(Error::Option {
                        what,
                        value,
                        allowed: "below the number of processes",
                    });
                }
                match (rank, count) {
                    (_, 1) => self.lead(log, options, progress, (&mut None, &kept)),
                    (0, _) => {
                        let recruits = Recruits::Placed(placed.clone());
                        self.lead_among((log, &kept), options, progress, (count, recruits))
                    }
                    _ => self.follow_placed((log, &kept), options, progress, placed),
                }
            }
        }
    }

    /// Tells the process's numbers, if that was asked for, until what is returned is dropped.
    pub(crate) fn tell_metrics(
        &self,
        options: &RunOptions,
        progress: &Arc<Progress>,
        rank: u32,
    ) -> Result<Option<MetricsServer>> {
        let Some(address) = options.metrics else { return Ok(None) };
        let server = MetricsServer::start(address.of_rank(rank)?, self.name(), progress)?;
        // Where nobody can be told, nobody is: `eprintln!` would panic.
        let _ = writeln!(std::io::stderr(), "metrics: http://{}/metrics", server.address());
        Ok(Some(server))
    }

    /// Runs generation after generation as the first of several processes.
    fn lead_among(
        &self,
        (log, kept): (&Log, &Arc<Kept>),
        options: &RunOptions,
        progress: &Arc<Progress>,
        (count, recruits): (u32, Recruits),
    ) -> Result<Summary> {
        if !(1..=PROCESSES_MAX).contains(&count) {
            let (what, value) = ("processes", u64::from(count));
            return Err(Error::Option { what, value, allowed: "1 to 64" });
        }
        let waits = (options.silence(), options.join_wait());
        let leader = Leader::open(count, recruits, self.fingerprint(), waits, progress)?;
        let mut leader = Some(leader);
        let outcome = self.lead(log, options, progress, (&mut leader, kept));
        if let Some(leader) = leader {
            leader.end(outcome.is_ok());
        }
        outcome
    }

    /// Does a member's part under one leader after another: whoever placed the first process starts it again.
    fn follow_placed(
        &self,
        (log, kept): (&Log, &Arc<Kept>),
        options: &RunOptions,
        progress: &Arc<Progress>,
        placed: &Placed,
    ) -> Result<Summary> {
        let waits = (options.silence(), options.join_wait());
        let identity = placed.identity(self.fingerprint())?;
        loop {
            let member = Member::join_placed(placed, &identity, waits, progress)?;
            match self.follow(log, &member, progress, kept) {
                Err(Error::Mesh(ended)) => match *ended {
                    MeshError::LeaderGone { why, .. } => (placed.tell)(&format!(
                        "the first worker process is gone ({why}): it is looked for at {}",
                        placed.leader
                    )),
                    other => return Err(other.into()),
                },
                ended => return ended,
            }
        }
    }

    /// The graph as a takeover compares it.
    pub(crate) fn graph(&self) -> Graph {
        takeover::graph(&self.plan)
    }

    /// The plan as the processes of a run compare it.
    fn fingerprint(&self) -> u64 {
        let graph = self.graph().fingerprint();
        egret_schemas::key::hash(format!("{} {graph}", self.plan.name).as_bytes())
    }

    /// Runs generation after generation, alone or as the first of several processes.
    fn lead(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        here: (&mut Option<Leader>, &Arc<Kept>),
    ) -> Result<Summary> {
        let announcer = Announcer::new(log, self.name(), options.silence());
        self.lead_announced(log, options, progress, here, announcer)
    }

    /// The same where it may have been said already that this process is about to.
    pub(crate) fn lead_announced(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        here: (&mut Option<Leader>, &Arc<Kept>),
        mut announcer: Announcer,
    ) -> Result<Summary> {
        let outcome = announcer
            .follows_activity(progress)
            .and_then(|()| self.lead_on(log, options, progress, here, &mut announcer));
        match &outcome {
            Ok(summary) => announcer.ended(summary.generation),
            Err(error) if is_taken_over(error) => announcer.left(),
            Err(_) => drop(announcer),
        }
        outcome
    }

    fn lead_on(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        (leader, kept): (&mut Option<Leader>, &Arc<Kept>),
        announcer: &mut Announcer,
    ) -> Result<Summary> {
        let mut restarts = Restarts::default();
        loop {
            let mesh = leader.as_mut().map(Leader::assemble).transpose()?.unwrap_or_default();
            let (compiled, begins) =
                self.begin((log, kept), options, progress, &mut restarts, mesh)?;
            let own = compiled.shared.first.generation();
            let running = Arc::downgrade(&compiled);
            announcer.runs(own, move || {
                if let Some(running) = running.upgrade() {
                    let why = "the topology is another process's, or deleted";
                    running.shared.fail(Failure::passing(why.into()));
                }
            })?;
            match run_generation(&compiled, leader.as_ref().map(|leader| (leader, begins))) {
                Ok(()) => {
                    return Ok(Summary {
                        generation: own,
                        tuples: progress.tuples(),
                        commits: progress.commits(),
                        restarts: restarts.count,
                    });
                }
                Err(failure) => {
                    self.after_failure(log, options, progress, &mut restarts, (own, failure))?;
                }
            }
        }
    }

    fn begin(
        &self,
        log: (&Log, &Arc<Kept>),
        options: &RunOptions,
        progress: &Arc<Progress>,
        restarts: &mut Restarts,
        mesh: Vec<SocketAddr>,
    ) -> Result<(Arc<Compiled>, Vec<Begin>)> {
        restarts.commits_before = progress.commits();
        let (compiled, begins) =
            self.prepare(log, options, progress, (restarts.count > 0, mesh))?;
        progress.began(compiled.shared.first.generation().0);
        Ok((compiled, begins))
    }

    /// Takes the topology over for the next generation of a run in this process alone.
    pub(crate) fn next_generation(
        &self,
        log: (&Log, &Arc<Kept>),
        options: &RunOptions,
        progress: &Arc<Progress>,
        restarts: &mut Restarts,
    ) -> Result<Arc<Compiled>> {
        Ok(self.begin(log, options, progress, restarts, Vec::new())?.0)
    }

    /// Whether there may be another generation after one that failed.
    pub(crate) fn after_failure(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Progress,
        restarts: &mut Restarts,
        (own, failure): (Generation, Failure),
    ) -> Result<()> {
        let topology = self.name().to_owned();
        if progress.commits() > restarts.commits_before {
            restarts.in_a_row = InARow::default();
        }
        let goes_on = restarts.in_a_row.counts(&failure, options.tries) && failure.retry;
        let why = failure.why;
        // Whoever was shut out by another process leaves the topology to it: taking it back would go on for
        // ever. One that was deleted is not begun anew, nor gone on with where another process began it anew.
        let newest = takeover::read_record(log, &topology);
        let is_own = |record: &TopologyRecord| record.generation == own && !record.deleting;
        let is_own = |held: &Option<(TopologyRecord, u64)>| {
            held.as_ref().is_some_and(|(record, _)| is_own(record))
        };
        if newest.as_ref().is_ok_and(|held| !is_own(held)) {
            return Err(Error::TakenOver { topology });
        }
        if !goes_on {
            let tries = restarts.in_a_row.failed + restarts.in_a_row.lost;
            return Err(Error::Failed { topology, why, tries });
        }
        newest?;
        tracing::warn!(topology, why, "restarting from the last commit");
        restarts.count += 1;
        Ok(())
    }

    /// Takes the topology over and makes a generation ready to run: this process's part of it, and what the
    /// others are told, who listen at `mesh`.
    fn prepare(
        &self,
        (log, kept): (&Log, &Arc<Kept>),
        options: &RunOptions,
        progress: &Arc<Progress>,
        (restarted, mesh): (bool, Vec<SocketAddr>),
    ) -> Result<(Arc<Compiled>, Vec<Begin>)> {
        let mut env = Env { faults: options.faults, ..self.env(log, kept) };
        self.check_fork(&env, options.from.as_ref())?;
        let (plan, partitions) = self.resolve(&env)?;
        let stateful = stateful_tasks(&plan);
        let wanted = u32::try_from(stateful.len()).expect("tasks are counted in u32");
        // Once: a generation that failed is followed by one from its last commit.
        let restore = options.restore.clone().filter(|_| !restarted);
        let processes = u32::try_from(mesh.len().max(1)).expect("processes are few");
        let physical = PhysicalPlan::place_in(&plan, processes, options.workers);
        let writes = |partition| physical.process_of(partition) == 0;
        let with = (&writes as &(dyn Fn(u32) -> bool + Sync), options.faults);
        let begins = (restore, options.from.clone());
        let taken = takeover::take_over(&env, &plan, wanted, partitions, begins, with)?;
        let mut opened = taken.opened;
        if options.faults.forget_watermarks {
            opened.record.watermarks.clear();
        }
        if options.faults.forget_positions {
            opened.record.spouts.clear();
        }
        self.keep_schemas(log)?;
        self.claim_outputs(&env, &plan, &opened.record)?;
        env.generation = opened.topology.generation;
        kept.took_over(&env, &opened.record);
        let (commit_plan, _) =
            commit_plan(&plan, env.generation, opened.topology.graph.fingerprint());

        let of_others = opened.topology.fork.as_ref().map(|fork| fork.ledgers.clone());
        let ledgers = log.ledgers();
        let store = TopologyStore::new(&plan.name, ledgers, opened.topology, opened.revision);
        let store = Arc::new(store);
        let spout_tasks: usize = spout_tasks(&plan).max(1);
        let share = options.in_flight_bytes_max / spout_tasks / options.epochs_in_flight_max;
        let begin = Begin {
            generation: env.generation,
            record: if mesh.is_empty() { Vec::new() } else { opened.record.encode() },
            parallelism: plan.components.iter().map(|c| c.parallelism).collect(),
            threads: options.workers,
            state: Vec::new(),
            of_others: of_others.unwrap_or_default(),
            restarted,
            in_flight_bytes_max: options.in_flight_bytes_max as u64,
            epoch_bytes: share.max(64 << 10).min(options.epoch_bytes_max) as u64,
            mesh,
        };
        let mut begins: Vec<Begin> = (1..processes).map(|_| begin.clone()).collect();
        let mut state = BTreeMap::new();
        for ((component, task), ledger) in stateful.into_iter().zip(opened.state_ledgers) {
            match physical.process_of(task) {
                0 => {
                    state.insert((component, task), store.create_listed(ledger)?);
                }
                rank => {
                    let index = u32::try_from(component).expect("components are counted in u32");
                    begins[rank as usize - 1].state.push((index, task, ledger));
                }
            }
        }
        let commit_log = taken.commit_writer.map(|writer| {
            let (store, record) = (Arc::clone(&store), opened.record.clone());
            CommitLog::new(writer, store, record, opened.retired, options.faults)
        });
        let config = CommitConfig {
            epoch_ms: options.epoch_ms.min(options.commit_ms),
            commit_ms: options.commit_ms,
            commit_ms_max: options.commit_ms_max,
            epochs_in_flight_max: options.epochs_in_flight_max,
            ..CommitConfig::default()
        };
        let coordinator = Coordinator::new(commit_plan, config, opened.record.clone());
        let part = Part {
            rank: 0,
            record: opened.record,
            state,
            opener: Arc::clone(&store) as _,
            commits: Some((coordinator, commit_log, store)),
        };
        Ok((self.compile(env, plan, &begin, part, progress), begins))
    }

    /// Keeps what state looks like, before any is written.
    fn keep_schemas(&self, log: &Log) -> Result<()> {
        if !self.plan.guarantee.commits() {
            return Ok(());
        }
        for part in &self.parts {
            if let BuiltPart::Bolt(bolt) = part
                && let Some(schema) = bolt.schema()
            {
                keep_schema(log, &self.plan.name, &schema)?;
            }
        }
        Ok(())
    }

    pub(crate) fn env(&self, log: &Log, kept: &Arc<Kept>) -> Env {
        Env {
            log: log.clone(),
            topology: self.plan.name.clone(),
            guarantee: self.plan.guarantee,
            generation: Generation(0),
            key_groups: self.plan.key_groups,
            outputs: Outputs::default(),
            kept: Arc::clone(kept),
            stateful: 0,
            faults: Faults::default(),
        }
    }

    /// One process's part of a generation.
    fn compile(
        &self,
        mut env: Env,
        plan: LogicalPlan,
        begin: &Begin,
        part: Part,
        progress: &Arc<Progress>,
    ) -> Arc<Compiled> {
        let processes = u32::try_from(begin.mesh.len().max(1)).expect("processes are few");
        let physical = PhysicalPlan::place_in(&plan, processes, begin.threads);
        let (_, commit_index) = commit_plan(&plan, env.generation, 0);
        let of_process = physical.processes_of_emitters();
        let stateful = stateful_tasks(&plan).into_iter();
        env.stateful = stateful.filter(|(_, task)| physical.process_of(*task) == part.rank).count();
        let away: Box<[bool]> = match processes {
            1 => Box::default(),
            _ => of_process.iter().map(|process| *process != part.rank as usize).collect(),
        };
        let in_flight_bytes_max = usize::try_from(begin.in_flight_bytes_max).unwrap_or(usize::MAX);
        let shared = Shared::new(
            Epoch::first(env.generation),
            Budget::of_process(in_flight_bytes_max, of_process.len(), away),
            usize::try_from(begin.epoch_bytes).unwrap_or(usize::MAX),
            plan.guarantee.commits(),
            Arc::clone(progress),
        );
        let (coordinator, commit_log, store) = match part.commits {
            Some((coordinator, commit_log, store)) => (Some(coordinator), commit_log, Some(store)),
            None => (None, None, None),
        };
        let restored = Restored {
            resumes_at_end: !plan.guarantee.commits() && env.generation > Generation(1),
            restarted: begin.restarted,
            of_others: begin.of_others.clone(),
            record: part.record,
            commit_index,
            key_groups: plan.key_groups,
            tasks: plan.components.iter().map(|c| (c.name.clone(), c.parallelism)).collect(),
            state: Mutex::new(part.state),
            names: plan.components.iter().map(|c| c.name.clone()).collect(),
            opener: part.opener,
            store,
            commit_log: Mutex::new(commit_log),
            none: BTreeMap::new(),
            no_ends: BTreeMap::new(),
        };
        Arc::new(Compiled {
            plan,
            physical,
            parts: self.parts.clone(),
            settings: self.settings.clone(),
            hooks: Arc::clone(&self.hooks),
            env,
            restored,
            shared: Arc::new(shared),
            coordinator: Mutex::new(coordinator),
        })
    }

    /// Does a member's part of one generation after another.
    fn follow(
        &self,
        log: &Log,
        member: &Member,
        progress: &Arc<Progress>,
        kept: &Arc<Kept>,
    ) -> Result<Summary> {
        let mut generation = Generation(0);
        loop {
            let begin = match member.next()? {
                Told::Begin(begin) => begin,
                Told::Finished => {
                    let (tuples, commits) = (progress.tuples(), progress.commits());
                    return Ok(Summary { generation, tuples, commits, restarts: 0 });
                }
            };
            generation = begin.generation;
            progress.began(generation.0);
            let outcome = self.follow_one((log, kept), member, &begin, progress);
            member.ended(generation, outcome.err());
        }
    }

    fn follow_one(
        &self,
        (log, kept): (&Log, &Arc<Kept>),
        member: &Member,
        begin: &Begin,
        progress: &Arc<Progress>,
    ) -> Result<(), Failure> {
        let passing = |error: &dyn std::error::Error| Failure::poisoned(error);
        let record = CommitRecord::decode(&begin.record).map_err(|error| passing(&error))?;
        let mut env = self.env(log, kept);
        env.generation = begin.generation;
        let mut plan = self.plan.clone();
        for (component, tasks) in plan.components.iter_mut().zip(&begin.parallelism) {
            component.parallelism = *tasks;
        }
        let processes = u32::try_from(begin.mesh.len()).expect("processes are few");
        let physical = PhysicalPlan::place_in(&plan, processes, begin.threads);
        self.open_outputs(&env, &plan, &record, |task| physical.process_of(task) == member.rank())
            .map_err(|error| passing(&error))?;
        let opener = member.opener(begin.generation, log.ledgers());
        let mut state = BTreeMap::new();
        for &(component, task, ledger) in &begin.state {
            let writer = opener.create(ledger).map_err(Failure::passing)?;
            state.insert((component as usize, task), writer);
        }
        let rank = member.rank();
        let part = Part { rank, record, state, opener: Arc::new(opener), commits: None };
        let compiled = self.compile(env, plan, begin, part, progress);
        let peers = member.connect(begin, &compiled.shared)?;
        run_workers(&compiled, Some(peers))
    }

    /// Opens the owned partitions of a member's own sink tasks, at the commit the generation begins with.
    fn open_outputs(
        &self,
        env: &Env,
        plan: &LogicalPlan,
        record: &CommitRecord,
        mine: impl Fn(u32) -> bool,
    ) -> Result<()> {
        if plan.guarantee != Guarantee::EffectivelyOnce {
            return Ok(());
        }
        for (component, part) in plan.components.iter().zip(&self.parts) {
            let BuiltPart::Sink(sink) = part else { continue };
            let Some(stream) = sink.stream() else { continue };
            let ends = record.sinks.get(&component.name);
            for partition in (0..component.parallelism).filter(|task| mine(*task)) {
                let owner = takeover::owner(env, &component.name, partition);
                let end = ends.and_then(|ends| ends.get(&partition)).copied();
                let writer = env.log.transactional_writer(stream, partition, &owner, end)?;
                env.outputs.put(stream, partition, writer);
            }
        }
        Ok(())
    }

    /// Refuses a fork that would write where what it was forked from writes. Owned streams are refused by
    /// whoever owns them.
    fn check_fork(&self, env: &Env, from: Option<&Origin>) -> Result<()> {
        let Some(from) = from else { return Ok(()) };
        // Before any stream is made or claimed for it.
        if takeover::newest_generation(&env.log, &env.topology)?.is_none() {
            takeover::check_parent(&env.log, from)?;
        }
        for part in &self.parts {
            let BuiltPart::Sink(sink) = part else { continue };
            let Some(stream) = sink.stream() else { continue };
            let producers = match env.log.users(stream) {
                Ok(users) => users.producers,
                Err(CatalogError::NoStream { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if producers.iter().any(|user| user.topology == from.topology) {
                let (stream, topology) = (stream.to_owned(), from.topology.clone());
                return Err(Error::ForkOutput { stream, topology });
            }
        }
        Ok(())
    }

    /// Has each output stream name its component, whose state belongs to it from then on. One that was
    /// written and does not is another stream of the same name: what is kept is not part of it.
    fn claim_outputs(&self, env: &Env, plan: &LogicalPlan, record: &CommitRecord) -> Result<()> {
        if !plan.guarantee.commits() {
            return Ok(());
        }
        for (component, part) in plan.components.iter().zip(&self.parts) {
            let BuiltPart::Sink(sink) = part else { continue };
            let Some(stream) = sink.stream() else { continue };
            let (topology, component) = (plan.name.clone(), component.name.clone());
            let written = record.sinks.get(&component).is_some_and(|ends| !ends.is_empty());
            let user = User { topology, component };
            if written && !env.log.users(stream)?.producers.contains(&user) {
                let (stream, topology) = (stream.to_owned(), user.topology);
                return Err(Error::StreamMadeAgain { stream, topology });
            }
            env.log.produce(stream, &user)?;
        }
        Ok(())
    }

    /// The spouts, by name.
    fn spouts(&self) -> impl Iterator<Item = (&str, &dyn SpoutPart)> {
        self.plan.components.iter().zip(&self.parts).filter_map(|(component, part)| match part {
            BuiltPart::Spout(spout) => Some((component.name.as_str(), &**spout)),
            _ => None,
        })
    }

    /// The spouts that read streams that the topology does not make itself.
    pub(crate) fn reads_of_others(&self) -> impl Iterator<Item = (&str, &dyn SpoutPart)> {
        let makes = |stream: &str| {
            let sink = |part: &BuiltPart| matches!(part, BuiltPart::Sink(sink) if sink.stream() == Some(stream));
            self.parts.iter().any(sink)
        };
        self.spouts().filter(move |(_, spout)| spout.stream().is_some_and(|stream| !makes(stream)))
    }

    /// Whether it can only begin where something is already: it reads streams that it does not make.
    pub(crate) fn needs_streams(&self) -> bool {
        self.reads_of_others().next().is_some()
    }

    /// The plan with the parallelism streams dictate, and the partitions the topology owns.
    fn resolve(&self, env: &Env) -> Result<(LogicalPlan, OwnedPartitions)> {
        // Before any stream is made: where one that is read is not there, nothing is.
        for (name, spout) in self.reads_of_others() {
            spout.check(env).map_err(|error| error.of(name))?;
        }
        let mut plan = self.plan.clone();
        let mut owned = BTreeMap::new();
        for (component, part) in plan.components.iter_mut().zip(&self.parts) {
            let BuiltPart::Sink(sink) = part else { continue };
            if let Some(tasks) = sink.prepare(env).map_err(|error| error.of(&component.name))? {
                component.parallelism = tasks;
            }
            if let (Some(stream), Guarantee::EffectivelyOnce) = (sink.stream(), plan.guarantee) {
                let partitions = 0..component.parallelism;
                owned.extend(partitions.map(|p| ((stream.to_owned(), p), component.name.clone())));
            }
        }
        // Again, all of them: a topology may read what it writes.
        for (name, spout) in self.spouts() {
            spout.check(env).map_err(|error| error.of(name))?;
        }
        Ok((plan, owned))
    }
}

/// What one process has of a generation, beside what all have.
struct Part {
    rank: u32,
    record: CommitRecord,
    state: BTreeMap<(usize, u32), LedgerWriter>,
    /// Where its tasks get further state ledgers from.
    opener: Arc<dyn OpenStateLedger>,
    /// The first process's: who decides on commits, and where they are written.
    commits: Option<(Coordinator, Option<CommitLog>, Arc<TopologyStore>)>,
}

/// Runs a generation to its end here, and in the members if there are any.
fn run_generation(
    compiled: &Arc<Compiled>,
    members: Option<(&Leader, Vec<Begin>)>,
) -> Result<(), Failure> {
    let run = |peers| {
        run_workers(compiled, peers)?;
        compiled.shared.ended()
    };
    let Some((leader, begins)) = members else { return run(None) };
    let store =
        compiled.restored.store.as_ref().expect("the first process has the topology's record");
    let peers = leader.begin(begins, &compiled.shared, store);
    leader.settle(peers.and_then(|peers| run(Some(peers))))
}

fn spout_tasks(plan: &LogicalPlan) -> usize {
    let spouts = plan.components.iter().filter(|c| c.kind == Kind::Spout);
    spouts.map(|c| c.parallelism as usize).sum()
}

/// The tasks that keep a changelog.
fn stateful_tasks(plan: &LogicalPlan) -> Vec<(usize, u32)> {
    if !plan.guarantee.commits() {
        return Vec::new();
    }
    let keeps = plan.components.iter().enumerate().filter(|(_, c)| c.kind.keeps_state());
    keeps.flat_map(|(index, c)| (0..c.parallelism).map(move |task| (index, task))).collect()
}

/// The topology as the commit protocol sees it, and each component's place there.
fn commit_plan(
    plan: &LogicalPlan,
    generation: Generation,
    fingerprint: u64,
) -> (CommitPlan, Vec<Option<u32>>) {
    let mut components = Vec::new();
    let mut index = Vec::new();
    for component in &plan.components {
        let role = match component.kind {
            Kind::Spout => Some(Role::Spout),
            Kind::KeyedBolt | Kind::StatefulBolt | Kind::FeedbackEnd => Some(Role::State),
            Kind::Sink => Some(Role::Sink),
            // What it emits is in the state of its other end.
            Kind::Bolt | Kind::Feedback => None,
        };
        index.push(role.map(|role| {
            let (name, tasks) = (component.name.clone(), component.parallelism);
            components.push(CommitComponent { name, role, tasks });
            u32::try_from(components.len() - 1).expect("components are counted in u32")
        }));
    }
    let ends = |kind| matches!(kind, Kind::Sink | Kind::FeedbackEnd);
    let timed = plan.components.iter().enumerate().filter(|(_, c)| !ends(c.kind));
    let timed = timed.filter_map(|(component, c)| {
        let spouts = plan.timed_spouts_of(component).into_iter();
        let spouts: Vec<u32> = spouts.filter_map(|spout| index[spout]).collect();
        (!spouts.is_empty()).then(|| Timed { name: c.name.clone(), spouts })
    });
    let timed = timed.collect();
    let (guarantee, key_groups) = (plan.guarantee, plan.key_groups);
    let ends = plan.components.iter().zip(&index).filter(|(c, _)| c.feeds.is_some());
    let feedbacks = ends.filter_map(|(_, index)| *index).collect();
    let plan =
        CommitPlan { generation, fingerprint, guarantee, key_groups, components, feedbacks, timed };
    (plan, index)
}

#[cfg(test)]
#[path = "local/ghost_tests.rs"]
mod ghost_tests;
