//! A topology in this process: one generation after another until it finishes or keeps failing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use egret_log::Log;
use egret_log::stream::User;
use egret_schemas::{Epoch, Generation};
use egret_state::Guarantee;
use egret_state::commit::{
    CommitComponent, CommitConfig, CommitPlan, CommitRecord, Coordinator, Role,
};

use super::takeover::OwnedPartitions;
use super::topology_store::TopologyStore;
use super::{CommitLog, Progress, Restored, RunOptions, takeover};
use crate::budget::Budget;
use crate::builder::{Env, Outputs, Part, Topology};
use crate::dataflow::{Compiled, Ended, Failure, Shared, run_workers};
use crate::plan::{Kind, LogicalPlan, PhysicalPlan};
use crate::{Error, Result};

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
        options.check()?;
        crate::dataflow::register_messages();
        let mut failed_in_a_row = 0;
        let mut restarts = 0;
        loop {
            let commits_before = progress.commits();
            let generation = self.prepare(log, options, progress, restarts > 0)?;
            progress.began(generation.shared.first.generation().0);
            match run_workers(&generation) {
                Ok(Ended::Finished) => {
                    return Ok(Summary {
                        generation: generation.shared.first.generation(),
                        tuples: progress.tuples(),
                        commits: progress.commits(),
                        restarts,
                    });
                }
                Err(Failure { why, retry }) => {
                    failed_in_a_row =
                        if progress.commits() > commits_before { 1 } else { failed_in_a_row + 1 };
                    let topology = self.name().to_owned();
                    if !retry || failed_in_a_row >= options.tries {
                        return Err(Error::Failed { topology, why, tries: failed_in_a_row });
                    }
                    // Whoever was shut out by another process leaves the topology to it: taking it back would
                    // go on for ever.
                    let own = generation.shared.first.generation();
                    if takeover::newest_generation(log, &topology)?.is_some_and(|new| new > own) {
                        return Err(Error::TakenOver { topology });
                    }
                    tracing::warn!(topology, why, "restarting from the last commit");
                    restarts += 1;
                }
            }
        }
    }

    /// Takes the topology over and makes a generation ready to run.
    fn prepare(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        restarted: bool,
    ) -> Result<Arc<Compiled>> {
        let mut env = Env {
            log: log.clone(),
            topology: self.plan.name.clone(),
            guarantee: self.plan.guarantee,
            generation: Generation(0),
            key_groups: self.plan.key_groups,
            outputs: Outputs::default(),
        };
        let (plan, partitions) = self.resolve(&env)?;
        let stateful = stateful_tasks(&plan);
        let wanted = u32::try_from(stateful.len()).expect("tasks are counted in u32");
        let taken = takeover::take_over(&env, &plan, wanted, partitions, options.faults)?;
        let opened = taken.opened;
        self.claim_outputs(&env, &plan, &opened.record)?;
        env.generation = opened.topology.generation;
        let first = Epoch::first(env.generation);
        let physical = PhysicalPlan::place(&plan, options.workers);
        let (commit_plan, commit_index) =
            commit_plan(&plan, env.generation, opened.topology.graph.fingerprint());

        let ledgers = log.ledgers();
        let store = TopologyStore::new(&plan.name, ledgers, opened.topology, opened.revision);
        let store = Arc::new(store);
        let mut state = BTreeMap::new();
        for (task, ledger) in stateful.into_iter().zip(opened.state_ledgers) {
            state.insert(task, store.create_listed(ledger)?);
        }
        let commit_log = taken.commit_writer.map(|writer| {
            let (store, record) = (Arc::clone(&store), opened.record.clone());
            CommitLog::new(writer, store, record, opened.retired)
        });
        let config = CommitConfig {
            epoch_ms: options.epoch_ms.min(options.commit_ms),
            commit_ms: options.commit_ms,
            epochs_in_flight_max: options.epochs_in_flight_max,
            ..CommitConfig::default()
        };
        let coordinator = Coordinator::new(commit_plan, config, opened.record.clone());
        let spout_tasks: usize = spout_tasks(&plan).max(1);
        let share = options.in_flight_bytes_max / spout_tasks / options.epochs_in_flight_max;
        let shared = Shared::new(
            first,
            Budget::new(options.in_flight_bytes_max, physical.tasks_total() as usize),
            share.max(64 << 10).min(options.epoch_bytes_max),
            plan.guarantee.commits(),
            Arc::clone(progress),
        );
        let restored = Restored {
            resumes_at_end: !plan.guarantee.commits() && env.generation > Generation(1),
            restarted,
            record: opened.record,
            commit_index,
            key_groups: plan.key_groups,
            tasks: plan.components.iter().map(|c| (c.name.clone(), c.parallelism)).collect(),
            state: Mutex::new(state),
            names: plan.components.iter().map(|c| c.name.clone()).collect(),
            store,
            commit_log: Mutex::new(commit_log),
            none: BTreeMap::new(),
        };
        Ok(Arc::new(Compiled {
            plan,
            physical,
            parts: self.parts.clone(),
            env,
            restored,
            shared: Arc::new(shared),
            coordinator: Mutex::new(Some(coordinator)),
        }))
    }

    /// Has each output stream name its component, whose state belongs to it from then on. One that was
    /// written and does not is another stream of the same name: what is kept is not part of it.
    fn claim_outputs(&self, env: &Env, plan: &LogicalPlan, record: &CommitRecord) -> Result<()> {
        if !plan.guarantee.commits() {
            return Ok(());
        }
        for (component, part) in plan.components.iter().zip(&self.parts) {
            let Part::Sink(sink) = part else { continue };
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

    /// The plan with the parallelism streams dictate, and the partitions the topology owns.
    fn resolve(&self, env: &Env) -> Result<(LogicalPlan, OwnedPartitions)> {
        let mut plan = self.plan.clone();
        let mut owned = BTreeMap::new();
        for (component, part) in plan.components.iter_mut().zip(&self.parts) {
            let Part::Sink(sink) = part else { continue };
            if let Some(tasks) = sink.prepare(env)? {
                component.parallelism = tasks;
            }
            if let (Some(stream), Guarantee::EffectivelyOnce) = (sink.stream(), plan.guarantee) {
                let partitions = 0..component.parallelism;
                owned.extend(partitions.map(|p| ((stream.to_owned(), p), component.name.clone())));
            }
        }
        // Last: a topology may read what it writes.
        for part in &self.parts {
            if let Part::Spout(spout) = part {
                spout.check(env)?;
            }
        }
        Ok((plan, owned))
    }
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
    let keyed = plan.components.iter().enumerate().filter(|(_, c)| c.kind == Kind::KeyedBolt);
    keyed.flat_map(|(index, c)| (0..c.parallelism).map(move |task| (index, task))).collect()
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
            Kind::KeyedBolt => Some(Role::State),
            Kind::Sink => Some(Role::Sink),
            Kind::Bolt => None,
        };
        index.push(role.map(|role| {
            let (name, tasks) = (component.name.clone(), component.parallelism);
            components.push(CommitComponent { name, role, tasks });
            u32::try_from(components.len() - 1).expect("components are counted in u32")
        }));
    }
    let (guarantee, key_groups) = (plan.guarantee, plan.key_groups);
    (CommitPlan { generation, fingerprint, guarantee, key_groups, components }, index)
}
